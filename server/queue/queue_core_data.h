#pragma once

// queue_core_data.h: all that a QueueCore remembers, and questions that change nothing.
//
// Threads: One at a time.
// Ownership: Chunks own their messages; rows, runs and keys point into them.
// Limits: The queue's settings.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "server/queue/dedup_index.h"
#include "server/queue/held_table.h"
#include "server/queue/history.h"
#include "server/queue/in_flight.h"
#include "server/queue/key_table.h"
#include "server/queue/producer_table.h"
#include "server/queue/queue_core_state.h"
#include "server/queue/queue_recovery.h"
#include "server/queue/ready_lanes.h"
#include "server/queue/token_bucket.h"

namespace mqd::queue {

struct QueueData {
  QueueData(const RecoveredQueue& recovered, DeliveryId first_delivery, const Now& now);

  bool durable() const { return settings_.durability != Durability::kMemory; }
  bool rendezvous() const { return settings_.max_messages == 0; }
  bool keyed() const { return settings_.ordering == Ordering::kKeyed; }
  bool sticky() const { return settings_.dispatch_policy == DispatchPolicy::kSticky; }
  bool to_dead_letters() const { return !settings_.dead_letter_queue.empty(); }
  bool waits_when_full() const {
    return settings_.overflow_policy == OverflowPolicy::kBlock ||
           settings_.overflow_policy == OverflowPolicy::kThrottle;
  }
  bool consume_paused() const {
    return settings_.paused == Paused::kConsume || settings_.paused == Paused::kBoth;
  }
  bool publish_paused() const {
    return settings_.paused == Paused::kPublish || settings_.paused == Paused::kBoth;
  }
  std::int64_t now_ns() const { return around_->now.steady_ns; }

  /// The wall clock of this core's start, moved on by the steady one: windows are counted on it.
  WallMs MonoMs(const Now& now) const;
  WallMs MonoMs() const { return MonoMs(around_->now); }
  bool HasReady() const { return !fresh_.empty() || !lanes_.empty(); }
  std::uint64_t ReadyCount() const;
  /// The first plain message, or ReadyLanes::kNone.
  Sequence FirstFresh() const;
  /// The chunk that may hold it; null when none can.
  Chunk* FindChunk(Sequence sequence) const;
  MessageStatus StatusOf(Sequence sequence) const;
  /// Whether a message of so many bytes finds room now.
  bool HasRoom(std::uint64_t charge_bytes) const;
  /// Whether so many more idempotency keys find room, forgetting what may be forgotten.
  bool HasDedupRoom(std::uint64_t keys) const;
  /// Keys first seen until then may be forgotten to make room.
  WallMs DedupGoesMs() const;
  /// Deletes the row of a key; answers which it was.
  DedupRowId DeleteKeyRow(DedupRowId row, storage::Batch& batch);
  /// Rendezvous: whether a consumer with credit waits for one more.
  bool HasTaker() const;
  const std::string& NameOf(ConsumerId consumer) const;
  /// A delivery of the key that is in flight; null when what became of all is being committed.
  const FlightRun* FlightOf(const KeyState& key) const;
  /// Of the consumer that has the run, or had it when it left.
  const std::string& NameOf(const FlightRun& run) const;
  std::int64_t SecondsSince(WallMs wall_ms) const {
    return std::max<std::int64_t>(0, around_->now.wall_ms - wall_ms) / 1'000;
  }
  ErrorInfo MakeError(Reason reason, std::string message) const;
  ErrorInfo FullError() const;
  ErrorInfo DedupFullError() const;
  ErrorInfo WaitError(WaitFor what) const;

  const QueueId id_;
  const std::string name_;
  const WallMs create_time_ms_;
  QueueSettings settings_;
  std::uint64_t generation_;
  bool closed_;
  bool deleting_ = false;

  // Set for the length of Step() and EndTurn().
  const Surroundings* around_ = nullptr;
  Effects* effects_ = nullptr;

  // Slots. ready = messages_ - committing_ - settling_ - returning_ - in flight - delayed - parked.
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t committing_ = 0, settling_ = 0, returning_ = 0;

  Sequence next_sequence_;
  Sequence sequence_limit_;
  DeliveryId next_delivery_;
  ConsumerId fence_holder_ = 0;  // single_active, max_consumers 1: who has got the last message
  DeliveryId fence_ = 0;         // since then
  bool room_freed_ = false;      // since waiters were last looked at

  WallMs base_wall_ms_;
  std::int64_t base_steady_ns_;

  std::map<Sequence, std::unique_ptr<Chunk>> chunks_;  // by first sequence
  absl::btree_set<Sequence> fresh_;                    // committed chunks with fresh messages
  HeldTable held_;
  ReadyLanes lanes_;  // of held_, for anybody
  KeyTable keys_;
  std::deque<Sequence> to_move_;      // parked, to go to the dead-letter queue
  absl::btree_set<Sequence> moving_;  // on their way there
  InFlightTable in_flight_;
  absl::btree_set<DeliveryId> behind_;  // KEYED: to be taken back, as one before them came back
  DedupIndex dedup_;
  absl::btree_set<KeyHash> key_rows_by_hash_;  // dedup rows of the form before
  ProducerTable producers_;
  History history_;
  absl::btree_set<Sequence> dirty_chunks_;
  absl::btree_set<Sequence> sparse_candidates_;  // partly settled chunks
  std::int64_t next_rewrite_ns_ = kNever, next_dedup_ns_ = kNever, next_reload_ns_ = kNever;
  std::int64_t next_wall_check_ns_ = kNever, next_move_ns_ = kNever, next_ask_ns_ = kNever;
  std::int64_t next_rate_ns_ = kNever, next_recall_ns_ = 0, last_used_ns_ = 0;
  std::int64_t recall_wake_ns_ = kNever;
  std::vector<ChunkKey> failed_loads_;  // asked for again at next_reload_ns_
  std::uint64_t resident_bytes_ = 0;

  absl::btree_set<std::pair<WallMs, Sequence>> ttl_due_;  // unsettled messages with their own ttl
  // default_ttl: chunks whose messages were not looked at since it has passed, by publish time.
  absl::btree_set<std::pair<WallMs, Sequence>> ttl_chunks_;
  WallMs last_wall_ms_ = 0;

  // deliver_after: rows that wait for a message, and what is known for those that are not stored.
  absl::btree_map<storage::MessageRef, std::vector<Sequence>> waiting_refs_;
  absl::btree_map<storage::MessageRef, std::optional<RefState>> asked_refs_;  // none: no answer yet
  absl::btree_map<Sequence, std::vector<QueueId>> watched_;

  absl::btree_map<PublisherId, Publisher> publishers_;  // by id: the longest here first
  absl::btree_map<ConsumerId, Consumer> consumers_;     // likewise
  absl::btree_set<std::pair<std::int64_t, ConsumerId>> idle_credit_;  // consumers that can take
  std::vector<ConsumerId> with_outbox_;
  std::size_t on_demand_count_ = 0;
  std::size_t marking_count_ = 0;  // consumers that mark what they have started
  ConsumerId active_ = 0;          // single_active
  ConsumerId turn_ = 0;            // ROUND_ROBIN: who was served last
  ConsumerId favoured_ = 0;        // what was recalled is for this one
  std::uint64_t random_state_;
  TokenBucket publish_rate_, delivery_rate_;

  std::deque<Waiter> waiters_;  // first come first served
  absl::btree_set<std::pair<std::int64_t, std::uint64_t>> waiter_deadlines_;
  std::uint64_t next_waiter_ = 1;
  absl::btree_map<TransactionId, Prepared> prepared_;
  absl::btree_map<Sequence, Awaited> awaited_;
  absl::btree_set<std::pair<std::int64_t, Sequence>> awaited_deadlines_;
  absl::btree_map<std::uint64_t, Diverting> diverting_;
  std::uint64_t next_divert_ = 1;
  ConfirmList early_confirms_;  // of this turn; wait for no commit

  // The commit that this turn fills.
  Commit open_;
  storage::Batch open_batch_;
  bool open_flush_ = false;
  std::unique_ptr<Chunk> open_chunk_;
  storage::Body::Builder open_body_;
  std::vector<ProducerId> dirty_producers_;
  std::deque<Commit> sent_;  // in order
  std::uint64_t next_commit_ = 1;

  QueueStats totals_;  // the counters only
};

}  // namespace mqd::queue
