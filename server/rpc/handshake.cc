#include "server/rpc/handshake.h"

#include "server/message_limits.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {

static_assert(static_cast<int>(queue::GoAwayCode::kDraining) == v1::GO_AWAY_CODE_DRAINING);
static_assert(static_cast<int>(queue::GoAwayCode::kQueueDeleted) == v1::GO_AWAY_CODE_QUEUE_DELETED);
static_assert(static_cast<int>(queue::GoAwayCode::kRecovering) == v1::GO_AWAY_CODE_RECOVERING);
static_assert(static_cast<int>(queue::GoAwayCode::kFenced) == v1::GO_AWAY_CODE_FENCED);
static_assert(static_cast<int>(queue::GoAwayCode::kNotLeader) == v1::GO_AWAY_CODE_NOT_LEADER);

wire::MessageLimits RpcDeps::message_limits() const {
  return limits::MessageLimitsOf(options.payload_bytes_max);
}

bool ParseFrame(std::string_view content, google::protobuf::MessageLite& message) {
  return message.ParseFromArray(content.data(), static_cast<int>(content.size()));
}

absl::Status CheckClientName(std::string_view name) {
  if (name.size() <= limits::kClientNameBytesMax) return absl::OkStatus();
  return BadFieldStatus("client_name", "longer than 128 bytes; shorten it",
                        limits::kClientNameBytesMax, name.size());
}

absl::Status CheckToken(std::string_view content) {
  v1::UpdateToken update;
  if (!ParseFrame(content, update)) {
    return BadFieldStatus("update_token", "the bytes are not an UpdateToken");
  }
  if (update.token().size() <= limits::kTokenBytesMax) return absl::OkStatus();
  return BadFieldStatus("token", "longer than 8 KiB", limits::kTokenBytesMax,
                        update.token().size());
}

absl::StatusOr<std::shared_ptr<queue::QueueActor>> FindQueue(const queue::QueueRegistry& registry,
                                                             std::string_view name) {
  const absl::StatusOr<std::string> full = queue::FullName(name);
  if (!full.ok()) return full.status();
  return registry.Find(*full);
}

void FillLimits(const RpcOptions& options, v1::Limits& out) {
  out.set_max_payload_bytes(options.payload_bytes_max);
  out.set_max_headers(limits::kHeadersMax);
  out.set_max_header_bytes(limits::kHeaderBytesMax);
  out.set_max_key_bytes(limits::kKeyBytesMax);
  out.set_max_batch_messages(limits::kBatchMessagesMax);
  out.set_max_batch_bytes(limits::kBatchBytesMax);
  out.set_max_priority(limits::kPriorityMax);
  SetDuration(limits::kDelayMax.count(), *out.mutable_max_delay());
  SetDuration(options.ping_interval.count(), *out.mutable_ping_interval());
  SetDuration(options.ping_timeout.count(), *out.mutable_ping_timeout());
  out.set_max_credit_messages(limits::kCreditMessagesMax);
  out.set_max_credit_bytes(limits::kCreditBytesMax);
  out.set_message_overhead_bytes(limits::kMessageOverheadBytes);
}

void FillServerInfo(std::uint64_t epoch, v1::ServerInfo& out) {
  out.set_version(MQD_VERSION);
  out.set_epoch(epoch);
  SetTimestamp(WallMs(), *out.mutable_time());
}

void FillGoAway(queue::GoAwayCode code, std::chrono::milliseconds deadline,
                const queue::ErrorInfo& error, v1::GoAway& out) {
  out.set_code(static_cast<v1::GoAwayCode>(code));
  SetDuration(deadline.count(), *out.mutable_deadline());
  *out.mutable_error() = ToProto(error);
}

}  // namespace mqd::rpc
