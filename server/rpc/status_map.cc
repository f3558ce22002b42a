#include "server/rpc/status_map.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

using queue::Reason;

static_assert(static_cast<int>(Reason::kQueueNotFound) == v1::REASON_QUEUE_NOT_FOUND);
static_assert(static_cast<int>(Reason::kQueueExistsDifferent) == v1::REASON_QUEUE_EXISTS_DIFFERENT);
static_assert(static_cast<int>(Reason::kQueueFull) == v1::REASON_QUEUE_FULL);
static_assert(static_cast<int>(Reason::kQueueClosed) == v1::REASON_QUEUE_CLOSED);
static_assert(static_cast<int>(Reason::kAlreadyClosed) == v1::REASON_ALREADY_CLOSED);
static_assert(static_cast<int>(Reason::kQueuePaused) == v1::REASON_QUEUE_PAUSED);
static_assert(static_cast<int>(Reason::kRateLimited) == v1::REASON_RATE_LIMITED);
static_assert(static_cast<int>(Reason::kMessageTooLarge) == v1::REASON_MESSAGE_TOO_LARGE);
static_assert(static_cast<int>(Reason::kBadField) == v1::REASON_BAD_FIELD);
static_assert(static_cast<int>(Reason::kIdempotencyConflict) == v1::REASON_IDEMPOTENCY_CONFLICT);
static_assert(static_cast<int>(Reason::kDedupFull) == v1::REASON_DEDUP_FULL);
static_assert(static_cast<int>(Reason::kStaleDelivery) == v1::REASON_STALE_DELIVERY);
static_assert(static_cast<int>(Reason::kCardinality) == v1::REASON_CARDINALITY);
static_assert(static_cast<int>(Reason::kFenced) == v1::REASON_FENCED);
static_assert(static_cast<int>(Reason::kCreditExceeded) == v1::REASON_CREDIT_EXCEEDED);
static_assert(static_cast<int>(Reason::kBlockedTimeout) == v1::REASON_BLOCKED_TIMEOUT);
static_assert(static_cast<int>(Reason::kDiskLow) == v1::REASON_DISK_LOW);
static_assert(static_cast<int>(Reason::kMemoryLow) == v1::REASON_MEMORY_LOW);
static_assert(static_cast<int>(Reason::kDraining) == v1::REASON_DRAINING);
static_assert(static_cast<int>(Reason::kNotLeader) == v1::REASON_NOT_LEADER);
static_assert(static_cast<int>(Reason::kUnauthenticated) == v1::REASON_UNAUTHENTICATED);
static_assert(static_cast<int>(Reason::kPermissionDenied) == v1::REASON_PERMISSION_DENIED);
static_assert(static_cast<int>(Reason::kQuotaExceeded) == v1::REASON_QUOTA_EXCEEDED);
static_assert(static_cast<int>(Reason::kInternal) == v1::REASON_INTERNAL);
static_assert(static_cast<int>(Reason::kOutcomeUnknown) == v1::REASON_OUTCOME_UNKNOWN);
static_assert(static_cast<int>(Reason::kQueueNotEmpty) == v1::REASON_QUEUE_NOT_EMPTY);
static_assert(static_cast<int>(Reason::kMessageNotFound) == v1::REASON_MESSAGE_NOT_FOUND);
static_assert(static_cast<int>(Reason::kNamespaceNotFound) == v1::REASON_NAMESPACE_NOT_FOUND);
static_assert(static_cast<int>(Reason::kNamespaceExistsDifferent) ==
              v1::REASON_NAMESPACE_EXISTS_DIFFERENT);
static_assert(static_cast<int>(Reason::kNamespaceNotEmpty) == v1::REASON_NAMESPACE_NOT_EMPTY);
static_assert(static_cast<int>(Reason::kTaskNotFound) == v1::REASON_TASK_NOT_FOUND);
static_assert(static_cast<int>(Reason::kTaskNotFound) == v1::Reason_MAX,
              "a reason is missing here");

static_assert(static_cast<int>(absl::StatusCode::kCancelled) == grpc::StatusCode::CANCELLED);
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) ==
              grpc::StatusCode::UNAUTHENTICATED);

}  // namespace

v1::ErrorInfo ToProto(const queue::ErrorInfo& info) {
  v1::ErrorInfo out;
  out.set_reason(static_cast<v1::Reason>(info.reason));
  out.set_retryable(queue::IsRetryable(info.reason));
  if (info.retry_after_ms > 0) SetDuration(info.retry_after_ms, *out.mutable_retry_after());
  out.set_resource(info.resource);
  out.set_limit(info.limit);
  out.set_current(info.current);
  out.set_message(info.message);
  return out;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (absl::IsCancelled(status)) {
    return grpc::Status(grpc::StatusCode::CANCELLED, std::string(status.message()));
  }
  const queue::ErrorInfo info = queue::ErrorInfoOf(status);
  const auto code = static_cast<grpc::StatusCode>(queue::CodeOf(info.reason));
  v1::RpcStatus details;
  details.set_code(code);
  details.set_message(info.message);
  details.add_details()->PackFrom(ToProto(info));
  return grpc::Status(code, absl::StrCat(queue::ToString(info.reason), ": ", info.message),
                      details.SerializeAsString());
}

queue::ErrorInfo BadField(std::string_view field, std::string_view text, std::uint64_t limit,
                          std::uint64_t current) {
  return {.reason = Reason::kBadField,
          .resource = absl::StrCat("field ", std::string(field)),
          .message = absl::StrCat(std::string(field), ": ", std::string(text)),
          .limit = limit,
          .current = current};
}

queue::ErrorInfo NotSupported(std::string_view field) {
  return BadField(field, "not supported by this version of the broker; leave it unset");
}

absl::Status BadFieldStatus(std::string_view field, std::string_view text, std::uint64_t limit,
                            std::uint64_t current) {
  return queue::ToStatus(BadField(field, text, limit, current));
}

queue::ErrorInfo Draining() {
  return {.reason = Reason::kDraining,
          .resource = "broker",
          .message = "the broker is stopping; reconnect, to another one or to this one later"};
}

}  // namespace mqd::rpc
