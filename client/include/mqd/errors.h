#pragma once

// errors.h: why the broker, or the client library, refused something.
//
// Every failure is an absl::Status. Where there is more to say it carries an ErrorInfo, which
// ErrorInfoOf() takes out again. Branch on Reason, show message(); the code of the status is what
// CodeOf(reason) says, or the gRPC code when a call failed below mqd (kUnavailable: the broker
// cannot be reached; kDeadlineExceeded; kCancelled).
//
// Threads:   any; pure functions.
// Limits:    none.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mqd {

/// The closed list of reasons. Numbers are those of mqd.v1.Reason and never change; a number that
/// this version does not know is kept as it is.
enum class Reason : std::int32_t {
  kUnspecified = 0,
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
  /// Nobody can say whether the request took effect. Ask again with the same idempotency key.
  kOutcomeUnknown = 25,
  kQueueNotEmpty = 26,
  /// No unsettled message has this sequence, or no key is remembered under this name.
  kMessageNotFound = 27,
  kNamespaceNotFound = 28,
  kNamespaceExistsDifferent = 29,
  kNamespaceNotEmpty = 30,
  kTaskNotFound = 31,
};

/// The typed detail of an error.
struct ErrorInfo {
  Reason reason = Reason::kUnspecified;
  /// Whether the same request can succeed later.
  bool retryable = false;
  /// How long to wait before that; 0 when the broker does not say.
  std::chrono::milliseconds retry_after{0};
  /// What the reason is about: "queue default/orders", "field ttl".
  std::string resource = {};
  /// The limit that was met and the value that met it, when the reason has them.
  std::uint64_t limit = 0;
  std::uint64_t current = 0;
  /// One sentence for a person: what, why, what to do.
  std::string message = {};
  /// Where the leader is, for kNotLeader.
  std::string leader = {};
  std::uint64_t epoch = 0;
};

/// "QUEUE_FULL"; "REASON_99" for a number this version does not know.
std::string ReasonName(Reason reason);

/// The status code that goes with a reason.
absl::StatusCode CodeOf(Reason reason);

/// A status of code CodeOf(info.reason) that carries `info`.
absl::Status MakeStatus(const ErrorInfo& info);

/// The detail of `status`; nothing when it is OK or came from below mqd.
std::optional<ErrorInfo> ErrorInfoOf(const absl::Status& status);

/// The reason of `status`; kUnspecified when it has none.
Reason ReasonOf(const absl::Status& status);

}  // namespace mqd
