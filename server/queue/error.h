#pragma once

// error.h: why a request, or one entry of it, failed. The edge turns it into mqd.v1.ErrorInfo,
// number for number.
//
// Threads: plain values.

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace mqd::queue {

/// The numbers are those of mqd.v1.Reason.
enum class Reason : std::uint8_t {
  kQueueNotFound = 1,
  kQueueExistsDifferent = 2,
  kQueueFull = 3,
  kQueueClosed = 4,
  kAlreadyClosed = 5,
  kQueuePaused = 6,
  kRateLimited = 7,
  kMessageTooLarge = 8,
  kBadField = 9,
  kIdempotencyConflict = 10,
  kDedupFull = 11,
  kStaleDelivery = 12,
  kCardinality = 13,
  kFenced = 14,
  kCreditExceeded = 15,
  kBlockedTimeout = 16,
  kDiskLow = 17,
  kMemoryLow = 18,
  kDraining = 19,
  kNotLeader = 20,
  kUnauthenticated = 21,
  kPermissionDenied = 22,
  kQuotaExceeded = 23,
  kInternal = 24,
  kOutcomeUnknown = 25,
  kQueueNotEmpty = 26,
  kMessageNotFound = 27,
  kNamespaceNotFound = 28,
  kNamespaceExistsDifferent = 29,
  kNamespaceNotEmpty = 30,
  kTaskNotFound = 31,
};

struct ErrorInfo {
  Reason reason = Reason::kInternal;
  std::string resource;  // "queue default/orders", "field ttl"
  std::string message;   // one sentence: what, why, what to do
  std::uint64_t limit = 0;
  std::uint64_t current = 0;
  std::int64_t retry_after_ms = 0;  // 0: no hint
};

/// Whether the same request can succeed later.
bool IsRetryable(Reason reason);

/// The gRPC status code that goes with a reason.
absl::StatusCode CodeOf(Reason reason);

/// "QUEUE_FULL"
const char* ToString(Reason reason);

/// A status that carries `info`; ErrorInfoOf() gives it back.
absl::Status ToStatus(const ErrorInfo& info);

/// What ToStatus() packed, or an ErrorInfo with kInternal and the status' message. `status` is not
/// OK.
ErrorInfo ErrorInfoOf(const absl::Status& status);

}  // namespace mqd::queue
