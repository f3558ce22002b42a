// message_checks.cc: step 2 of 5 (session). Which messages of a batch go to the queue.
#include "server/rpc/message_checks.h"

#include <limits>

#include "google/protobuf/io/coded_stream.h"
#include "mqd/v1/broker.pb.h"
#include "server/limits.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {
namespace {

queue::ErrorInfo FaultError(const wire::MessageFault& fault) {
  queue::ErrorInfo info = BadField(fault.field, "", fault.limit, fault.current);
  info.message = fault.text;
  if (fault.kind == wire::MessageFault::Kind::kTooLarge) {
    info.reason = queue::Reason::kMessageTooLarge;
    info.message += "; send less, or keep the data elsewhere and send where it is";
  }
  return info;
}

queue::IncomingMessage ToIncoming(const wire::ScannedMessage& message, std::uint32_t charge) {
  return {.element = message.element,
          .charge_bytes = charge,
          .idempotency_key = message.idempotency_key,
          .key_hash = {message.key_hash_high, message.key_hash_low},
          .digest = message.digest};
}

/// The confirm level that the frame asks for, unless this version has it.
std::optional<queue::ErrorInfo> CheckLevel(std::uint32_t level) {
  if (level == v1::CONFIRM_LEVEL_UNSPECIFIED || level == v1::CONFIRM_LEVEL_DURABLE) return {};
  return BadField("confirm_level",
                  "not supported by this version of the broker; leave it unset or use DURABLE");
}

std::optional<queue::ErrorInfo> CheckTimeout(std::int64_t timeout_ms) {
  if (timeout_ms <= limits::kPublishTimeoutMax.count()) return {};
  return BadField("timeout", "longer than a publish may wait; give less, or none",
                  static_cast<std::uint64_t>(limits::kPublishTimeoutMax.count()),
                  static_cast<std::uint64_t>(timeout_ms));
}

}  // namespace

std::optional<queue::ErrorInfo> CheckMessage(const wire::ScannedMessage& message,
                                             const wire::MessageFault* fault) {
  if (fault != nullptr) return FaultError(*fault);
  if (!message.ordering_key.empty()) return NotSupported("ordering_key");
  if (message.priority != 0) return NotSupported("priority");
  if (message.delay_ms != 0) return NotSupported("delay");
  if (message.deliver_at_ms != 0) return NotSupported("deliver_at");
  if (message.ttl_ms != 0) return NotSupported("ttl");
  if (message.has_deliver_after) return NotSupported("deliver_after");
  return std::nullopt;
}

std::uint32_t ChargeOf(const wire::ScannedMessage& message, bool faulty) {
  if (!faulty) return message.content_bytes + limits::kMessageOverheadBytes;
  // The scan stops at the first fault. Count as the client does, so that the two windows do not
  // drift apart.
  google::protobuf::io::CodedInputStream in(
      reinterpret_cast<const std::uint8_t*>(message.element.data()),
      static_cast<int>(message.element.size()));
  std::uint32_t length = 0;
  v1::Message parsed;
  if (in.ReadTag() == 0 || !in.ReadVarint32(&length)) return limits::kMessageOverheadBytes;
  parsed.ParsePartialFromCodedStream(&in);
  std::size_t bytes = parsed.payload().size() + parsed.idempotency_key().size() +
                      parsed.ordering_key().size() + limits::kMessageOverheadBytes;
  for (const auto& [name, value] : parsed.headers()) bytes += name.size() + value.size();
  return static_cast<std::uint32_t>(bytes);
}

CheckedBatch CheckBatch(const wire::ScannedBatch& batch) {
  CheckedBatch out;
  std::optional<queue::ErrorInfo> whole = CheckLevel(batch.confirm_level);
  if (!whole) whole = CheckTimeout(batch.timeout_ms);
  auto fault = batch.faults.begin();
  queue::PublishBatch* open = nullptr;
  out.messages = batch.messages.size();
  for (std::size_t i = 0; i < batch.messages.size(); ++i) {
    const wire::ScannedMessage& message = batch.messages[i];
    const bool faulty = fault != batch.faults.end() && fault->first == i;
    std::optional<queue::ErrorInfo> error =
        whole ? whole : CheckMessage(message, faulty ? &fault->second : nullptr);
    if (faulty) ++fault;
    const std::uint32_t charge = ChargeOf(message, faulty);
    out.bytes += charge;
    out.last_bytes = charge;
    if (error) {
      out.refused.push_back({batch.first_publish_id + i, *std::move(error)});
      out.refused_bytes += charge;
      open = nullptr;
      continue;
    }
    if (open == nullptr) {
      open = &out.good.emplace_back();
      open->first_publish_id = batch.first_publish_id + i;
      open->answered_through = batch.answered_through;
      open->messages.reserve(batch.messages.size() - i);
    }
    open->messages.push_back(ToIncoming(message, charge));
  }
  return out;
}

}  // namespace mqd::rpc
