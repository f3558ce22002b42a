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
#include <vector>

#include "server/queue/chunk.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"
#include "server/queue/held_table.h"

namespace mqd::queue {

/// What all queues of a namespace share: a count against its quotas.
class QuotaLedger {
 public:
  virtual ~QuotaLedger() = default;
  /// Counts one more message of `bytes`, unless a quota would be passed; says why not.
  virtual std::optional<ErrorInfo> Take(std::uint64_t bytes) = 0;
};

/// What a turn sees of the world.
struct Surroundings {
  Now now;
  bool disk_low = false;
  bool cache_full = false;  // bodies of this turn's commits should not stay in memory
  QuotaLedger* ledger = nullptr;  // null: the namespace has no quota
};

/// The delivery ids of a broker's epoch begin here; 2^44 fit before the next epoch's.
DeliveryId FirstDelivery(storage::Epoch epoch);

struct Publisher {
  std::optional<ProducerId> producer;
  std::uint32_t waiting = 0;  // its batches in waiters_
};

struct Consumer {
  std::int64_t credit_messages = 0;
  std::int64_t credit_bytes = 0;
  std::uint64_t in_flight = 0;
  std::int64_t lease_ns = 0;  // 0: the queue's
  bool marks_started = false;
  bool on_demand = false;
  bool granted = false;  // on demand: a grant is open
  bool wanting = false;  // has asked for credit and not got it
  bool draining = false;
  bool told_end = false;
  std::vector<DeliveryRun> outbox;  // of this turn
  std::uint64_t outbox_messages = 0;
  std::uint64_t outbox_bytes = 0;
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
};
/// kWait: for room, or for a transaction that holds the key of the next message.
enum class Admitted { kAll, kWait };

/// What a target has promised a transaction.
struct Prepared {
  std::unique_ptr<Chunk> chunk;  // null when every message was a duplicate
  std::uint64_t bytes = 0;
  std::vector<KeyHash> keys;
};

/// What one commit will have done once it is on disk.
struct Commit {
  std::uint64_t id = 0;
  bool sent = false;  // false: nothing to write
  std::vector<Sequence> chunks;
  std::vector<ChunkKey> rewritten;
  std::vector<std::pair<PublisherId, Confirms>> confirms;
  std::vector<std::pair<Sequence, Held>> returned;  // ready or delayed again
  std::uint64_t freed_messages = 0;
  std::uint64_t freed_bytes = 0;
  std::vector<Effect> replies;
  bool deletes_queue = false;
};

}  // namespace mqd::queue
