#pragma once

// queue_core.h: step 3 of 5 (queue). The rules of one queue: events and time in, effects out.
//
// A turn is: Step() for each waiting event, then EndTurn(), which runs what is due, gives waiting
// publishers the room that came free, closes one commit, and delivers. Same events and times, same
// effects. A message is delivered only after its commit; a slot comes free only after the commit of
// the settle.
//
// Threads: One at a time. No clock, thread, disk or lock in here.
// Limits: The queue's settings; storage::kBodyMessagesMax messages in a chunk.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "server/queue/chunk.h"
#include "server/queue/dedup_index.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"
#include "server/queue/held_table.h"
#include "server/queue/in_flight.h"
#include "server/queue/producer_table.h"
#include "server/queue/queue_core_state.h"
#include "server/queue/queue_recovery.h"

namespace mqd::queue {

class QueueCore {
 public:
  /// Deliveries are numbered from `first_delivery`.
  QueueCore(RecoveredQueue recovered, DeliveryId first_delivery, const Now& now);
  /// In the place of `before`: no delivery id or sequence that it gave is given again.
  QueueCore(RecoveredQueue recovered, const QueueCore& before, const Now& now);
  QueueCore(const QueueCore&) = delete;
  QueueCore& operator=(const QueueCore&) = delete;

  void Step(Event event, const Surroundings& around, Effects& effects);
  void EndTurn(const Surroundings& around, Effects& effects);
  /// The store has no row of the queue: every event is refused from now on.
  void MarkDeleted() { deleting_ = true; }
  /// When the next turn must run even if nothing happens; kNever for not at all.
  std::int64_t next_wake_ns() const;

  const QueueSettings& settings() const { return settings_; }
  /// Bytes of message bodies that this queue holds.
  std::uint64_t resident_body_bytes() const { return resident_bytes_; }

  QueueStats Stats(const Now& now) const;
  QueueInfo Info(const Now& now) const;

 private:
  // ---- queue_core.cc
  void Handle(AttachPublisher& event);
  void Handle(DetachPublisher& event);
  void Handle(CommitDone& event);
  void Handle(BodyLoaded& event);
  void Handle(Tick&) {}
  void RunDue();
  void DropProducersExpired();
  /// Closes the open commit: writes it, or ends it at once when there is nothing to write or await.
  void SealCommit();
  void SealChunk();
  void SendCommit(Commit commit);
  void EndCommit(Commit& commit);
  void EndUnsentCommits();
  bool OpenCommitEmpty() const;
  void Send(Effect effect) { effects_->sends.push_back(std::move(effect)); }
  void Reply(RequestId request, ErrorInfo error);
  ErrorInfo MakeError(Reason reason, std::string message) const;
  bool durable() const { return settings_.durability != Durability::kMemory; }

  // ---- queue_core_publish.cc
  void Handle(PublishBatch& event);
  Admitted Admit(Waiter& waiter);
  /// Null when the message may be stored; otherwise its result was recorded or it must wait.
  std::optional<ErrorInfo> RefusalFor(const IncomingMessage& message) const;
  bool HasRoom(const IncomingMessage& message) const;
  Producer* ProducerOf(PublisherId publisher);
  bool AnswerFromRecord(Producer* producer, const Waiter& waiter, std::uint64_t publish_id);
  /// What its idempotency key says of a message: nothing, a result, or that it must wait.
  std::optional<std::variant<Duplicate, ErrorInfo>> CheckKey(const IncomingMessage& message,
                                                             bool& pending) const;
  bool MakeDedupRoom();
  void RememberKey(const IncomingMessage& message, Sequence sequence, TransactionId pending,
                   storage::Batch& batch);
  Sequence NextSequence();
  void Store(const Waiter& waiter, const IncomingMessage& message, std::uint64_t publish_id,
             Producer* producer);
  Confirms& ConfirmsOf(PublisherId publisher);
  void Confirm(PublisherId publisher, std::uint64_t publish_id, Sequence sequence,
               std::uint32_t charge);
  void Except(PublisherId publisher, std::uint64_t publish_id, std::uint32_t charge,
              std::variant<Duplicate, Dropped, ErrorInfo> result);
  ErrorInfo FullError() const;
  ErrorInfo DedupFullError() const;
  void Enqueue(Waiter waiter);
  void EndWait(const Waiter& waiter);
  void AdmitWaiters();
  void ExpireWaiters();
  void RefuseRest(Waiter& waiter, const ErrorInfo& error);
  void DropWaitersOf(PublisherId publisher);
  void TouchProducers();
  MessageStatus StatusOf(Sequence sequence) const;

  // ---- queue_core_dispatch.cc
  void Handle(AttachConsumer& event);
  void Handle(DetachConsumer& event);
  void Handle(GrantCredit& event);
  void Handle(DrainConsumer& event);
  void Dispatch();
  Consumer* PickConsumer(ConsumerId& id);
  bool DeliverTo(ConsumerId id, Consumer& consumer);
  bool DeliverHeld(ConsumerId id, Consumer& consumer, Sequence sequence);
  bool DeliverFresh(ConsumerId id, Consumer& consumer, Chunk& chunk);
  void HandOver(ConsumerId id, Consumer& consumer, Chunk& chunk, std::uint32_t index,
                std::uint32_t count, std::uint32_t attempt);
  std::uint32_t Quantum() const;
  void SetCredit(ConsumerId id, Consumer& consumer, std::int64_t messages, std::int64_t bytes);
  void FlushOutboxes();
  void BalanceOnDemand();
  void TellEnd();
  bool HasReady() const;
  std::uint64_t ReadyCount() const;
  void Load(Chunk& chunk);
  void ReadAhead();

  // ---- queue_core_settle.cc
  void Handle(Settle& event);
  void Handle(MarkStarted& event);
  SettleResult ApplyEntries(std::vector<SettleEntry>& entries);
  void ApplyOutcome(const FlightRun& run, SettleOutcome& outcome);
  void Ack(const FlightRun& run);
  void SettleMessages(Chunk& chunk, std::uint32_t first, std::uint32_t last);
  /// Puts a run back: charged attempts rise by one; `delay_ns` 0 is ready at once.
  void Return(const FlightRun& run, bool charged, std::int64_t delay_ns, const std::string& error);
  void ParkRun(const FlightRun& run, std::uint32_t attempts, const std::string& reason);
  void Hold(Chunk& chunk, std::uint32_t index, Held held);
  void WriteAttempt(Sequence sequence, const Held& held);
  std::vector<storage::AttemptNote> NotesOf(const FlightRun& run, std::uint32_t i) const;
  void AddNote(Held& held, ConsumerId consumer, const std::string& error) const;
  std::int64_t BackoffNs(std::uint32_t attempt, Sequence sequence) const;
  void ExpireLeases();
  void CountBack(const FlightRun& run);
  ErrorInfo Stale(DeliveryRange range) const;
  void MoveParked();

  // ---- queue_core_transaction.cc
  void Handle(PrepareTransaction& event);
  void Handle(CommitTransaction& event);
  void Handle(EndTransaction& event);
  Admitted AdmitTransaction(Waiter& waiter);
  void AnswerTransaction(TransactionId transaction,
                         std::vector<std::variant<Sequence, Duplicate, ErrorInfo>> results,
                         storage::Batch part, bool accepted);
  void StorePrepared(const Waiter& waiter, const std::vector<std::size_t>& fresh,
                     std::vector<std::variant<Sequence, Duplicate, ErrorInfo>>& results,
                     storage::Batch& part);

  // ---- queue_core_admin.cc
  void Handle(CloseQueue& event);
  void Handle(ReopenQueue& event);
  void Handle(PurgeQueue& event);
  void Handle(UpdateSettings& event);
  void Handle(DeleteQueue& event);
  void Handle(GetStats& event);
  void Handle(Peek& event);
  void WriteQueueRecord();
  std::uint64_t PurgeChunk(Chunk& chunk);
  PeekedMessage PeekAt(const Chunk& chunk, std::uint32_t index) const;
  void Handle(CancelMessages& event);
  void Handle(FindMessage& event);
  void Handle(GetDedup& event);
  void Handle(ForgetDedup& event);
  void Handle(GetHistory& event);
  void Handle(ListClients& event);
  void Handle(Explain& event);
  void Handle(WatchMessage& event);
  void Handle(RefAnswer& event);
  void Handle(DivertFailed& event);
  std::vector<PeekedMessage> PeekHeld(const Peek& peek) const;
  std::vector<PeekedMessage> PeekInFlight(const Peek& peek) const;
  std::vector<PeekedMessage> PeekChunks(const Peek& peek) const;

  // ---- queue_core_upkeep.cc
  void WriteSettles();
  void RewriteSparseChunks();
  bool WorthRewriting(const Chunk& chunk) const;
  void Rewrite(Chunk& chunk);
  void ExpireDedup();
  void SetBody(Chunk& chunk, std::shared_ptr<const storage::Body> body);
  void DropBodyIfFull(Chunk& chunk);
  void EraseChunk(Chunk& chunk);
  Chunk* FindChunk(Sequence sequence) const;
  void Restore(RecoveredQueue& recovered, const Now& now);
  void RestoreAttempts(RecoveredQueue& recovered, const Now& now);

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
  bool room_freed_ = false;  // since waiters were last looked at

  std::map<Sequence, std::unique_ptr<Chunk>> chunks_;  // by first sequence
  absl::btree_set<Sequence> fresh_;                    // committed chunks with fresh messages
  HeldTable held_;
  std::vector<Sequence> to_move_;  // parked in this turn, for the dead-letter queue
  InFlightTable in_flight_;
  DedupIndex dedup_;
  ProducerTable producers_;
  absl::btree_set<Sequence> dirty_chunks_;
  absl::btree_set<Sequence> sparse_candidates_;  // partly settled chunks
  std::int64_t next_rewrite_ns_ = kNever, next_dedup_ns_ = kNever, next_reload_ns_ = kNever;
  std::vector<ChunkKey> failed_loads_;  // asked for again at next_reload_ns_
  std::uint64_t resident_bytes_ = 0;

  absl::btree_map<PublisherId, Publisher> publishers_;
  absl::btree_map<ConsumerId, Consumer> consumers_;
  absl::btree_set<std::pair<std::int64_t, ConsumerId>> idle_credit_;  // consumers that can take
  std::vector<ConsumerId> with_outbox_;
  std::size_t on_demand_count_ = 0;
  std::deque<Waiter> waiters_;  // first come first served
  absl::btree_set<std::pair<std::int64_t, std::uint64_t>> waiter_deadlines_;
  std::uint64_t next_waiter_ = 1;
  absl::btree_map<TransactionId, Prepared> prepared_;

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
