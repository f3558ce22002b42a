#pragma once

// settings.h: the settings of one queue, their defaults and their bytes in the store.
//
// Threads: plain values and pure functions.
// Limits: server/limits.h; Validate() holds settings against them.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mqd::queue {

/// "unlimited" as a number. It must be asked for by name; 0 is a limit of nothing.
inline constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};

// The numbers are those of the enums in proto/mqd/v1/types.proto.
enum class OverflowPolicy : std::uint8_t {
  kReject = 1,
  kBlock = 2,
  kDropOldest = 3,
  kDropNewest = 4,
  kDeadLetter = 5,
  kThrottle = 6
};
enum class Durability : std::uint8_t { kSync = 1, kAsync = 2, kMemory = 3 };
enum class DeliveryMode : std::uint8_t { kAtLeastOnce = 1, kAtMostOnce = 2 };
enum class DedupFullPolicy : std::uint8_t { kReject = 1, kEvictOldest = 2 };
enum class DispatchPolicy : std::uint8_t {
  kLeastLoaded = 1,
  kRoundRobin = 2,
  kRandom = 3,
  kSticky = 4
};
enum class Ordering : std::uint8_t { kFifo = 1, kKeyed = 2 };
enum class Paused : std::uint8_t { kNone = 1, kPublish = 2, kConsume = 3, kBoth = 4 };
enum class QueueKind : std::uint8_t { kWork = 1, kLog = 2 };

struct RetryBackoff {
  std::chrono::milliseconds initial{1'000};
  double multiplier = 2.0;
  std::chrono::milliseconds max{300'000};
  double jitter = 0.1;
  bool operator==(const RetryBackoff&) const = default;
};

/// Every field has its default; 1-product.md gives their meaning.
struct QueueSettings {
  std::uint64_t max_messages = 1'000'000;
  std::uint64_t max_bytes = std::uint64_t{1} << 30;
  OverflowPolicy overflow_policy = OverflowPolicy::kReject;
  Durability durability = Durability::kSync;
  DeliveryMode delivery = DeliveryMode::kAtLeastOnce;
  std::chrono::milliseconds lease_duration{30'000};
  std::uint32_t max_attempts = 16;
  RetryBackoff retry_backoff;
  std::string dead_letter_queue;             // full name, empty for none
  std::chrono::milliseconds default_ttl{0};  // 0: never
  bool expired_to_dead_letter = true;
  std::chrono::milliseconds dedup_window{600'000};
  std::uint64_t dedup_max_entries = 1'000'000;
  DedupFullPolicy dedup_full_policy = DedupFullPolicy::kEvictOldest;
  DispatchPolicy dispatch_policy = DispatchPolicy::kLeastLoaded;
  Ordering ordering = Ordering::kFifo;
  std::uint64_t max_producers = kUnlimited;
  std::uint64_t max_consumers = kUnlimited;
  bool single_active = false;
  Paused paused = Paused::kNone;
  std::chrono::milliseconds expires_after_idle{0};  // 0: never
  std::uint64_t max_publish_rate = kUnlimited;
  std::uint64_t max_delivery_rate = kUnlimited;
  QueueKind kind = QueueKind::kWork;
  std::uint32_t history_entries = 0;
  std::chrono::milliseconds ageing_floor{30'000};
  bool operator==(const QueueSettings&) const = default;
};

/// How long a message waits after its `attempt`th failure. The jitter depends on the message alone,
/// so that the same events have the same effects.
std::int64_t BackoffNs(const RetryBackoff& backoff, std::uint32_t attempt, std::uint64_t sequence);

/// Fails with BAD_FIELD, naming the field, its limit and what to do: for values out of range, and
/// for settings that this version does not carry out yet.
absl::Status Validate(const QueueSettings& settings, std::string_view queue_name);

/// "max_messages: 64, not 100" for each field that differs, in the order of the struct. `have` is
/// named first.
std::vector<std::string> Difference(const QueueSettings& have, const QueueSettings& want);

/// For QueueRecord.settings. Decode fails with kDataLoss on damaged bytes, kFailedPrecondition on a
/// newer version.
std::string EncodeSettings(const QueueSettings& settings);
absl::StatusOr<QueueSettings> DecodeSettings(std::string_view bytes);

}  // namespace mqd::queue
