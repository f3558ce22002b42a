#pragma once

// queue.h: what a queue is set to and how it stands.
//
// Threads:   values; any.
// Limits:    those of each setting; a value outside is refused by the broker, Reason::kBadField.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mqd/message.h"

namespace mqd {

/// A bound. 0 is a bound of nothing; no bound has to be written Limit::Unlimited().
struct Limit {
  std::uint64_t value = 0;
  bool unlimited = false;

  static Limit Of(std::uint64_t value) { return {value, false}; }
  static Limit Unlimited() { return {0, true}; }
  bool operator==(const Limit&) const = default;
};

enum class Durability : std::int32_t { kUnspecified = 0, kSync = 1, kAsync = 2, kMemory = 3 };
enum class DeliveryMode : std::int32_t { kUnspecified = 0, kAtLeastOnce = 1, kAtMostOnce = 2 };
enum class DedupFullPolicy : std::int32_t { kUnspecified = 0, kReject = 1, kEvictOldest = 2 };
enum class Ordering : std::int32_t { kUnspecified = 0, kFifo = 1, kKeyed = 2 };
enum class QueueKind : std::int32_t { kUnspecified = 0, kWork = 1, kLog = 2 };
enum class DispatchPolicy : std::int32_t {
  kUnspecified = 0,
  kLeastLoaded = 1,
  kRoundRobin = 2,
  kRandom = 3,
  kSticky = 4,
};
enum class Paused : std::int32_t {
  kUnspecified = 0,
  kNone = 1,
  kPublish = 2,
  kConsume = 3,
  kBoth = 4,
};

/// initial * multiplier^(attempt - 1), at most max, moved by up to jitter of itself.
struct RetryBackoff {
  std::optional<std::chrono::milliseconds> initial = {};
  std::optional<double> multiplier = {};
  std::optional<std::chrono::milliseconds> max = {};
  std::optional<double> jitter = {};
  bool operator==(const RetryBackoff&) const = default;
};

/// Settings of one queue. One that is not set takes its default at creation and is left alone by an
/// update; Admin::GetQueue answers every one that has a value. Names are those of
/// mqd.v1.QueueSettings; the product's table tells what each means.
struct QueueSettings {
  std::optional<Limit> max_messages = {};
  std::optional<Limit> max_bytes = {};
  std::optional<OverflowPolicy> overflow_policy = {};
  std::optional<Durability> durability = {};
  std::optional<DeliveryMode> delivery = {};
  std::optional<std::chrono::milliseconds> lease_duration = {};  // 1 s to 12 h
  std::optional<std::uint32_t> max_attempts = {};                // 1 to 1,000,000
  std::optional<RetryBackoff> retry_backoff = {};
  std::optional<std::string> dead_letter_queue = {};  // empty: none
  std::optional<std::chrono::milliseconds> default_ttl = {};
  std::optional<bool> expired_to_dead_letter = {};
  std::optional<std::chrono::milliseconds> dedup_window = {};  // 1 s to 7 days
  std::optional<Limit> dedup_max_entries = {};
  std::optional<DedupFullPolicy> dedup_full_policy = {};
  std::optional<DispatchPolicy> dispatch_policy = {};
  std::optional<Ordering> ordering = {};
  std::optional<Limit> max_producers = {};
  std::optional<Limit> max_consumers = {};
  std::optional<bool> single_active = {};
  std::optional<Paused> paused = {};
  std::optional<std::chrono::milliseconds> expires_after_idle = {};
  std::optional<Limit> max_publish_rate = {};  // messages a second
  std::optional<QueueKind> kind = {};
  std::optional<Limit> max_delivery_rate = {};  // messages a second
  /// Transitions of messages kept for Admin::GetHistory, in memory; 0: none. At most 1,000,000.
  std::optional<std::uint32_t> history_entries = {};
  /// A priority that has ready messages gets one delivered at least this often.
  std::optional<std::chrono::milliseconds> ageing_floor = {};
  bool operator==(const QueueSettings&) const = default;

  /// The names of the settings that have a value, in the order above: an update mask.
  std::vector<std::string> SetFields() const;
};

/// Counts of one queue at one moment; the *_total ones since the broker started.
struct QueueStats {
  std::uint64_t ready = 0;
  std::uint64_t in_flight = 0;
  std::uint64_t delayed = 0;
  std::uint64_t parked = 0;
  std::uint64_t committing = 0;
  std::uint64_t backlog_bytes = 0;
  std::uint64_t publishers = 0;
  std::uint64_t consumers = 0;
  std::uint64_t blocked_publishers = 0;
  std::uint64_t dedup_entries = 0;
  std::uint64_t published_total = 0;
  std::uint64_t duplicates_total = 0;
  std::uint64_t rejected_total = 0;
  std::uint64_t delivered_total = 0;
  std::uint64_t redelivered_total = 0;
  std::uint64_t acked_total = 0;
  std::uint64_t retried_total = 0;
  std::uint64_t released_total = 0;
  std::uint64_t dead_lettered_total = 0;
  std::uint64_t lease_expired_total = 0;
  std::uint64_t purged_total = 0;
  std::uint64_t dedup_evicted_total = 0;
  std::uint64_t dropped_total = 0;
  std::uint64_t expired_total = 0;
  /// Since the oldest unsettled message was published; nothing when there is none.
  std::optional<std::chrono::milliseconds> oldest_age = {};
  bool closed = false;
  std::uint64_t diverted_total = 0;  // by a full queue to its dead-letter queue
  std::uint64_t cancelled_total = 0;
  std::uint64_t recalled_total = 0;
  /// Publishes whose confirm level kDelivered or kSettled is not reached yet.
  std::uint64_t awaited_confirms = 0;
  /// Parked messages that wait for room in the dead-letter queue.
  std::uint64_t dead_letter_waiting = 0;
  /// One sentence for each thing that an operator should look at.
  std::vector<std::string> alarms = {};
};

struct Queue {
  std::string name = {};  // "namespace/queue"
  QueueSettings settings = {};
  std::uint64_t generation = 0;  // raised by every change of the settings
  WallTime create_time = {};
  bool closed = false;
  QueueStats stats = {};
};

}  // namespace mqd
