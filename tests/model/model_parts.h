#pragma once

// model_parts.h: what the model of a queue is made of. Plain values.
//
// Threads: one at a time.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "server/queue/effects.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {

/// Both in milliseconds; the wall clock jumps.
struct ModelClock {
  std::int64_t steady_ms = 0;
  WallMs wall_ms = 0;
};

/// kCommitting: stored or reserved, and not yet on disk. kSettling and kReturning: gone, or put
/// back with a charge, and that is not yet on disk.
enum class ModelState { kCommitting, kReady, kInFlight, kDelayed, kParked, kSettling, kReturning };

/// What a delayed message waits for.
enum class ModelWait { kNothing, kDelay, kWallTime, kRetry, kMessages };

struct ModelMessage {
  std::string payload;
  std::uint32_t charge = 0;
  std::string key;  // ordering_key
  std::uint32_t priority = 0;
  WallMs published_ms = 0;
  WallMs expires_ms = 0;  // its own ttl; 0: none
  std::int64_t delay_ms = 0;
  WallMs deliver_at_ms = 0;
  std::set<storage::MessageRef> refs;  // not settled

  ModelState state = ModelState::kCommitting;
  std::uint32_t attempts = 0;  // charged
  ModelWait wait = ModelWait::kNothing;
  std::int64_t due_ms = 0;  // on the clock of `wait`
  WallMs retry_wall_ms = 0;
  std::int64_t retry_delay_ms = 0;
  bool busy = false;  // holds its key: from its delivery until what became of it is on disk
  // While in flight.
  DeliveryId delivery = 0;
  ConsumerId consumer = 0;  // 0: nobody's
  bool started = false;
  bool recalled = false;
  bool with_key = false;  // its key counted at its delivery, or since
  std::int64_t deadline_ms = 0;
};

struct ModelConsumer {
  std::string name;
  bool marks_started = false;
  bool on_demand = false;
  bool draining = false;
  bool wanting = false;
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
  bool HasCredit() const { return !draining && messages > 0 && bytes > 0; }
};

struct ModelPublisher {
  std::string name;
  std::string producer;  // empty: none
};

/// A message as its publisher sent it.
struct ModelSent {
  std::string payload;
  std::uint32_t charge = 0;
  std::string key;  // idempotency_key
  Extras extras;
};

/// A batch of a publisher or of a transaction, from `next` on.
struct ModelWaiter {
  PublisherId publisher = 0;
  std::uint64_t first_id = 0;
  std::vector<ModelSent> messages;
  std::size_t next = 0;
  std::int64_t deadline_ms = INT64_MAX;
  ConfirmLevel level = ConfirmLevel::kDurable;
  TransactionId transaction = 0;
  bool bypass = false;
  std::string waits_for;
};

/// What a publisher is to be told.
struct ModelResult {
  std::string text;
  bool at_once = false;
  Sequence after = 0;  // not before this one is on disk
};

struct ModelAwaited {
  PublisherId publisher = 0;
  std::uint64_t publish_id = 0;
  ConfirmLevel level = ConfirmLevel::kDelivered;
  std::int64_t deadline_ms = INT64_MAX;
};

/// What is remembered of an idempotency key.
struct ModelKey {
  Sequence sequence = 0;
  std::string payload;
  std::int64_t first_seen_ms = 0;
  bool pending = false;
  std::int64_t written_ms = 0;  // first seen, as a life with another clock has said
  auto age() const { return std::tuple(first_seen_ms, written_ms, sequence); }
};

/// What is remembered of a producer.
struct ModelProducer {
  std::map<std::uint64_t, Sequence> stored;
  PublisherId connected = 0;
};

struct ModelDivert {
  PublisherId publisher = 0;
  std::uint64_t publish_id = 0;
  ModelSent sent;
};

struct ModelPrepared {
  std::vector<Sequence> sequences;
  std::vector<std::string> keys;
};

struct ModelDisk {
  QueueSettings settings;
  bool closed = false;
  std::map<Sequence, ModelMessage> messages;
  std::map<std::string, ModelKey> dedup;
  std::map<std::string, std::map<std::uint64_t, Sequence>> producers;
};

struct ModelCommit {
  std::vector<std::function<void()>> disk;
  std::vector<std::function<void()>> memory;
  bool empty() const { return disk.empty() && memory.empty(); }
};

/// Of one life of the core.
struct ModelCounts {
  std::uint64_t acked = 0, dead_lettered = 0, dropped = 0, expired = 0, purged = 0, cancelled = 0;
  std::uint64_t published = 0, restored = 0, diverted = 0;
  std::uint64_t victims = 0;  // of DROP_OLDEST; dropped counts newcomers too
};

/// What the world around a queue says.
struct ModelWorld {
  bool disk_low = false;
  bool quota_full = false;
};

/// What a turn must have brought.
struct ModelDues {
  std::set<DeliveryId> lost;
  std::set<PublisherId> publishers_gone;
  std::set<ConsumerId> consumers_gone;
  std::deque<std::pair<ConsumerId, Seen>> at_most_once;
  std::deque<std::uint64_t> diverts;                            // numbers in diverts_, in order
  std::vector<std::pair<TransactionId, std::string>> prepared;  // empty text: accepted
};

/// At most so many a second, with a burst of a tenth of a second's worth.
struct ModelBucket {
  std::int64_t full_ns = 0;
  static std::int64_t Interval(std::uint64_t rate) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(1'000'000'000 / rate));
  }
  bool Has(std::int64_t now_ms, std::uint64_t rate) const {
    if (rate == kUnlimited) return true;
    const std::int64_t burst = static_cast<std::int64_t>(std::max<std::uint64_t>(1, rate / 10));
    const std::int64_t ahead = std::max<std::int64_t>(0, full_ns - now_ms * kNsPerMs);
    return ahead + Interval(rate) <= burst * Interval(rate);
  }
  void Take(std::int64_t now_ms, std::uint64_t rate, std::uint64_t count) {
    if (rate == kUnlimited) return;
    full_ns =
        std::max(full_ns, now_ms * kNsPerMs) + static_cast<std::int64_t>(count) * Interval(rate);
  }
};

}  // namespace mqd::queue::testing
