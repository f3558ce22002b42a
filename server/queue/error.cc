#include "server/queue/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace mqd::queue {
namespace {

constexpr char kPayloadUrl[] = "mqd/queue.ErrorInfo";

struct ReasonRow {
  Reason reason;
  const char* name;
  absl::StatusCode code;
  bool retryable;
};

using absl::StatusCode;
constexpr ReasonRow kReasons[] = {
    {Reason::kQueueNotFound, "QUEUE_NOT_FOUND", StatusCode::kNotFound, false},
    {Reason::kQueueExistsDifferent, "QUEUE_EXISTS_DIFFERENT", StatusCode::kAlreadyExists, false},
    {Reason::kQueueFull, "QUEUE_FULL", StatusCode::kResourceExhausted, true},
    {Reason::kQueueClosed, "QUEUE_CLOSED", StatusCode::kFailedPrecondition, false},
    {Reason::kAlreadyClosed, "ALREADY_CLOSED", StatusCode::kFailedPrecondition, false},
    {Reason::kQueuePaused, "QUEUE_PAUSED", StatusCode::kUnavailable, true},
    {Reason::kRateLimited, "RATE_LIMITED", StatusCode::kResourceExhausted, true},
    {Reason::kMessageTooLarge, "MESSAGE_TOO_LARGE", StatusCode::kInvalidArgument, false},
    {Reason::kBadField, "BAD_FIELD", StatusCode::kInvalidArgument, false},
    {Reason::kIdempotencyConflict, "IDEMPOTENCY_CONFLICT", StatusCode::kAlreadyExists, false},
    {Reason::kDedupFull, "DEDUP_FULL", StatusCode::kResourceExhausted, true},
    {Reason::kStaleDelivery, "STALE_DELIVERY", StatusCode::kFailedPrecondition, false},
    {Reason::kCardinality, "CARDINALITY", StatusCode::kFailedPrecondition, false},
    {Reason::kFenced, "FENCED", StatusCode::kAborted, false},
    {Reason::kCreditExceeded, "CREDIT_EXCEEDED", StatusCode::kInvalidArgument, false},
    {Reason::kBlockedTimeout, "BLOCKED_TIMEOUT", StatusCode::kDeadlineExceeded, true},
    {Reason::kDiskLow, "DISK_LOW", StatusCode::kUnavailable, true},
    {Reason::kMemoryLow, "MEMORY_LOW", StatusCode::kResourceExhausted, true},
    {Reason::kDraining, "DRAINING", StatusCode::kUnavailable, true},
    {Reason::kNotLeader, "NOT_LEADER", StatusCode::kUnavailable, true},
    {Reason::kUnauthenticated, "UNAUTHENTICATED", StatusCode::kUnauthenticated, false},
    {Reason::kPermissionDenied, "PERMISSION_DENIED", StatusCode::kPermissionDenied, false},
    {Reason::kQuotaExceeded, "QUOTA_EXCEEDED", StatusCode::kResourceExhausted, false},
    {Reason::kInternal, "INTERNAL", StatusCode::kInternal, false},
    {Reason::kOutcomeUnknown, "OUTCOME_UNKNOWN", StatusCode::kUnavailable, true},
    {Reason::kQueueNotEmpty, "QUEUE_NOT_EMPTY", StatusCode::kFailedPrecondition, false},
    {Reason::kMessageNotFound, "MESSAGE_NOT_FOUND", StatusCode::kNotFound, false},
    {Reason::kNamespaceNotFound, "NAMESPACE_NOT_FOUND", StatusCode::kNotFound, false},
    {Reason::kNamespaceExistsDifferent, "NAMESPACE_EXISTS_DIFFERENT", StatusCode::kAlreadyExists,
     false},
    {Reason::kNamespaceNotEmpty, "NAMESPACE_NOT_EMPTY", StatusCode::kFailedPrecondition, false},
    {Reason::kTaskNotFound, "TASK_NOT_FOUND", StatusCode::kNotFound, false},
};

const ReasonRow& RowOf(Reason reason) {
  for (const ReasonRow& row : kReasons) {
    if (row.reason == reason) return row;
  }
  return RowOf(Reason::kInternal);
}

}  // namespace

bool IsRetryable(Reason reason) { return RowOf(reason).retryable; }
absl::StatusCode CodeOf(Reason reason) { return RowOf(reason).code; }
const char* ToString(Reason reason) { return RowOf(reason).name; }

absl::Status ToStatus(const ErrorInfo& info) {
  absl::Status status(CodeOf(info.reason), info.message);
  status.SetPayload(
      kPayloadUrl,
      absl::Cord(absl::StrCat(static_cast<int>(info.reason), "\n", info.limit, "\n", info.current,
                              "\n", info.retry_after_ms, "\n", info.resource)));
  return status;
}

ErrorInfo ErrorInfoOf(const absl::Status& status) {
  ErrorInfo info{.message = std::string(status.message())};
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return info;
  const std::vector<std::string> parts =
      absl::StrSplit(std::string(*payload), absl::MaxSplits('\n', 4));
  int reason = 0;
  if (parts.size() == 5 && absl::SimpleAtoi(parts[0], &reason) &&
      absl::SimpleAtoi(parts[1], &info.limit) && absl::SimpleAtoi(parts[2], &info.current) &&
      absl::SimpleAtoi(parts[3], &info.retry_after_ms)) {
    info.reason = static_cast<Reason>(reason);
    info.resource = parts[4];
  }
  return info;
}

}  // namespace mqd::queue
