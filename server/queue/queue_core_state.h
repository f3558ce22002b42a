#pragma once

// queue_core_state.h: the pieces of state of which a QueueCore is made. Only queue_core*.cc use
// them.
//
// Threads: plain values, one at a time.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/queue/chunk.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"
#include "server/queue/held_table.h"
#include "server/queue/key_table.h"
#include "server/queue/ready_lanes.h"

namespace mqd::queue {

/// What all queues of a namespace share: a count against its quotas.
class QuotaLedger {
 public:
  virtual ~QuotaLedger() = default;
  /// Counts one more message of `bytes`, unless a quota would be passed; says why not.
  virtual std::optional<ErrorInfo> Take(std::uint64_t bytes) = 0;
  /// Why Take() of the smallest message would fail now; none when it would not.
  virtual std::optional<ErrorInfo> Full() const = 0;
};

/// What a turn sees of the world.
struct Surroundings {
  Now now;
  bool disk_low = false;
  bool cache_full = false;        // bodies of this turn's commits should not stay in memory
  QuotaLedger* ledger = nullptr;  // null: the namespace has no quota
};

/// The delivery ids of a broker's epoch begin here; 2^44 fit before the next epoch's.
DeliveryId FirstDelivery(storage::Epoch epoch);

struct Publisher {
  std::optional<ProducerId> producer;
  std::string client_name;
  WallMs since_ms = 0;
  std::uint32_t waiting = 0;    // its batches in waiters
  bool told = false;            // that it is blocked
  WallMs blocked_since_ms = 0;  // while it waits
};

struct Consumer {
  std::int64_t credit_messages = 0;
  std::int64_t credit_bytes = 0;
  std::uint64_t in_flight = 0;
  std::int64_t lease_ns = 0;  // 0: the queue's
  bool marks_started = false;
  std::uint32_t in_flight_per_key = 1;
  bool on_demand = false;
  bool granted = false;  // on demand: a grant is open
  bool wanting = false;  // has asked for credit and not got it
  bool draining = false;
  bool told_end = false;
  std::string client_name;
  WallMs since_ms = 0;
  std::uint64_t delivered = 0, acked = 0;
  ReadyLanes own;  // heads of keys that belong to it (STICKY), or of which it has messages (KEYED)
  std::vector<DeliveryRun> outbox;  // of this turn
  std::uint64_t outbox_messages = 0;
  std::uint64_t outbox_bytes = 0;
};

/// What a publish waits for.
enum class WaitFor : std::uint8_t {
  kRoom,
  kRate,
  kTaker,   // rendezvous
  kKey,     // another publish or atomic request has its idempotency key
  kCommit,  // of messages that can be dropped for it
  kRefs     // other queues' word on its deliver_after
};

/// Messages that are not yet admitted: a batch of a publisher or of a transaction, from `next`
/// on.
struct Waiter {
  std::uint64_t id = 0;
  PublishBatch batch;
  std::size_t next = 0;
  TransactionId transaction = 0;  // 0: a publisher's
  bool bypass_dedup = false;
  std::vector<storage::DeadLetterOrigin> origins;
  WaitFor waits_for = WaitFor::kRoom;
};
/// kWait: for what Waiter::waits_for says.
enum class Admitted { kAll, kWait };

/// What the rules say of one message that would be published now: store it, wait, hand it on to the
/// dead-letter queue, or a result.
struct StoreIt {};
struct DivertIt {};
using Verdict = std::variant<StoreIt, WaitFor, DivertIt, Duplicate, Dropped, ErrorInfo>;

/// A publish whose confirm waits for its delivery or its end.
struct Awaited {
  PublisherId publisher = 0;
  std::uint64_t publish_id = 0;
  std::uint32_t charge = 0;
  ConfirmLevel level = ConfirmLevel::kDelivered;
  std::int64_t deadline_ns = kNever;
};

/// A publish on its way to the dead-letter queue.
struct Diverting {
  PublisherId publisher = 0;
  std::uint64_t publish_id = 0;
  std::uint32_t charge = 0;
  std::string key;  // idempotency key, or empty
  KeyHash key_hash;
  std::uint64_t digest = 0;
  WallMs first_seen_ms = 0;  // of the key
};

/// What a target has promised a transaction.
struct Prepared {
  std::unique_ptr<Chunk> chunk;  // null when every message was a duplicate
  std::uint64_t bytes = 0;
  std::vector<KeyHash> keys;
  std::vector<DedupRowId> expired_key_rows;  // that its commit deletes
};

/// Results by publisher, in the order in which they were decided.
using ConfirmList = std::vector<std::pair<PublisherId, Confirms>>;
Confirms& ConfirmsOf(ConfirmList& list, PublisherId publisher);
void AddConfirm(ConfirmList& list, PublisherId publisher, std::uint64_t publish_id,
                Sequence sequence, std::uint32_t charge);

/// What one commit will have done once it is on disk.
struct Commit {
  std::uint64_t id = 0;
  bool sent = false;  // false: nothing to write
  std::vector<Sequence> chunks;
  std::vector<ChunkKey> rewritten;
  ConfirmList confirms;
  std::vector<std::pair<Sequence, Held>> returned;  // ready or delayed again
  std::uint64_t freed_messages = 0;
  std::uint64_t freed_bytes = 0;
  std::vector<Effect> replies;
  std::vector<KeyState*> keys;               // one message less at work; they are busy until then
  std::vector<std::string> keys_not_heeded;  // the same, of messages delivered without regard
  std::vector<std::pair<ConsumerId, DeliveryRun>> deliveries;  // AT_MOST_ONCE
  bool deletes_queue = false;
};

}  // namespace mqd::queue
