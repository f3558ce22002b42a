#pragma once

// queue_core.h: step 3 of 5 (queue). The rules of one queue: events and time in, effects out.
//
// A turn is: Step() for each waiting event, then EndTurn(), which runs what is due, gives waiting
// publishers the room that came free, closes one commit, and delivers. Same events and times, same
// effects. A message is delivered only after its commit; a slot comes free only after the commit of
// the settle, except where a newcomer takes it in the same commit (DROP_OLDEST).
//
// Threads: One at a time. No clock, thread, disk or lock in here.
// Limits: The queue's settings; storage::kBodyMessagesMax messages in a chunk.

#include "server/queue/ready_order.h"

namespace mqd::queue {

class QueueCore : private ReadyOrder {
 public:
  /// Deliveries are numbered from `first`, windows counted from `mono_ms` (0: the wall clock).
  QueueCore(RecoveredQueue recovered, DeliveryId first, const Now& now, WallMs mono_ms = 0);
  /// In the place of `before`: no delivery id or sequence is given again, and windows go on.
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
  /// What counts against the bounds and quotas.
  std::uint64_t held_messages() const { return messages_; }
  std::uint64_t held_bytes() const { return bytes_; }

  QueueStats Stats(const Now& now) const;
  QueueInfo Info(const Now& now) const;

 private:
  // ---- queue_core.cc: the turn, its commit
  void Handle(CommitDone& event);
  void Handle(BodyLoaded& event);
  void Handle(Tick&) {}
  void RunDue();
  /// Closes the open commit: writes it, or ends it at once when there is nothing to write or await.
  void SealCommit();
  void SealChunk();
  void SendCommit(Commit commit);
  void EndCommit(Commit& commit);
  void EndUnsentCommits();
  bool OpenCommitEmpty() const;
  void Send(Effect effect) { effects_->sends.push_back(std::move(effect)); }
  void Reply(RequestId request, ErrorInfo error);
  std::vector<std::string> Alarms() const;

  // ---- queue_core_publish.cc: one message after the other
  void Handle(AttachPublisher& event);
  void Handle(DetachPublisher& event);
  void Handle(PublishBatch& event);
  void FenceProducer(const ProducerId& id, AttachedPublisher& attached);
  std::optional<ErrorInfo> TooManyProducers(const AttachPublisher& event);
  void DropPublisher(PublisherId publisher);
  void DropProducersExpired();
  Admitted Admit(Waiter& waiter);
  Verdict Judge(Waiter& waiter, const IncomingMessage& message);
  void Refuse(const Waiter& waiter, const IncomingMessage& message, std::uint64_t publish_id,
              Verdict& verdict);
  std::optional<ErrorInfo> RefusalFor(const IncomingMessage& message,
                                      const SpecialFields* special) const;
  std::optional<Verdict> JudgeRefs(const SpecialFields& special);
  Producer* ProducerOf(PublisherId publisher);
  bool AnswerFromRecord(Producer* producer, const Waiter& waiter, std::uint64_t publish_id);
  std::optional<Verdict> CheckKey(const IncomingMessage& message) const;
  bool MakeDedupRoom();
  std::optional<DedupRowId> RememberKey(const IncomingMessage& message, Sequence sequence,
                                        TransactionId pending, storage::Batch& batch);
  Sequence NextSequence();
  void Store(const Waiter& waiter, const IncomingMessage& message, std::uint64_t publish_id,
             Producer* producer);
  std::optional<storage::MessageControl> ControlFor(const SpecialFields& special,
                                                    std::uint32_t index) const;
  void TouchProducers();

  // ---- queue_core_room.cc: when there is no room
  Verdict JudgeRoom(const IncomingMessage& message);
  bool Fits(std::uint64_t messages, std::uint64_t bytes) const;
  /// DROP_OLDEST: whether there would be room without all that may be dropped.
  bool DroppingHelps(std::uint64_t messages, std::uint64_t bytes) const;
  /// DROP_OLDEST: makes that room; for what is stored for sure.
  void DropFor(std::uint64_t messages, std::uint64_t bytes);
  bool DropOldest();
  void Divert(const Waiter& waiter, const IncomingMessage& message, std::uint64_t publish_id);
  void FinishDivert(std::uint64_t divert);
  void Handle(DivertFailed& event);
  void Enqueue(Waiter waiter);
  void TellBlocked(const Waiter& waiter);
  void EndWait(const Waiter& waiter);
  void AdmitWaiters();
  void ExpireWaiters();
  void RefuseRest(Waiter& waiter, const ErrorInfo& error);
  void DropWaitersOf(PublisherId publisher);

  // ---- queue_core_confirm.cc: what each publish id is told, and when
  void Except(PublisherId publisher, std::uint64_t publish_id, std::uint32_t charge,
              std::variant<Duplicate, Dropped, ErrorInfo> result);
  void ConfirmStored(const Waiter& waiter, std::uint64_t publish_id, Sequence sequence,
                     std::uint32_t charge);
  ConfirmLevel LevelOf(const Waiter& waiter) const;
  bool Reached(Sequence sequence, ConfirmLevel level) const;
  void Await(Sequence sequence, Awaited awaited);
  void AnswerAwaited(Sequence first, Sequence last, ConfirmLevel reached, ConfirmList& list);
  void ExpireAwaited();
  void DropAwaitedOf(PublisherId publisher);
  void FlushEarlyConfirms();

  // ---- queue_core_consumers.cc: who may take
  void Handle(AttachConsumer& event);
  void Handle(DetachConsumer& event);
  void Handle(GrantCredit& event);
  void Handle(DrainConsumer& event);
  std::optional<ErrorInfo> TooManyConsumers(const AttachConsumer& event);
  void RemoveConsumer(ConsumerId id, const std::string& why);
  void SetCredit(ConsumerId id, Consumer& consumer, std::int64_t messages, std::int64_t bytes);
  bool MayTake(ConsumerId id, const Consumer& consumer) const;
  void ElectActive();
  void BalanceOnDemand();
  void RecallForIdle();
  void TellEnd();

  // ---- queue_core_dispatch.cc: who gets the next message
  void Dispatch();
  bool DispatchShared();
  void DispatchOwn();
  Consumer* PickConsumer(ConsumerId& id);
  bool DeliverNext(ConsumerId id, Consumer& consumer, ReadyLanes& lanes, Sequence plain);
  bool DeliverHeld(ConsumerId id, Consumer& consumer, Sequence sequence);
  bool DeliverFresh(ConsumerId id, Consumer& consumer, Chunk& chunk, bool alone);
  void HandOver(ConsumerId id, Consumer& consumer, FlightRun run);
  DeliveryId FenceFor(const FlightRun& run);
  DeliveryRun RunFor(const FlightRun& run);
  void AddToOutbox(ConsumerId id, Consumer& consumer, DeliveryRun run, std::uint64_t charge);
  std::uint64_t Quantum() const;
  void FlushOutboxes();
  void Load(Chunk& chunk);
  void ReadAhead();

  // ---- queue_core_settle.cc: what becomes of a delivery
  void Handle(Settle& event);
  void Handle(MarkStarted& event);
  SettleResult ApplyEntries(std::vector<SettleEntry>& entries);
  void ApplyOutcome(const FlightRun& run, SettleOutcome& outcome);
  void Ack(const FlightRun& run);
  void AckMessages(const FlightRun& run);
  void SettleMessages(Chunk& chunk, std::uint32_t first, std::uint32_t last);
  void Settled(Chunk& chunk, std::uint32_t first, std::uint32_t last);
  /// Puts a run back; charged, attempts rise and it waits: `delay_ns`, or without one its backoff.
  void Return(const FlightRun& run, bool charged, std::optional<std::int64_t> delay_ns,
              const std::string& error);
  void TakeBackBehind();
  void ParkRun(const FlightRun& run, std::uint32_t attempts, const std::string& reason);
  void Park(Chunk& chunk, std::uint32_t index, Held held);
  void WriteAttempt(Sequence sequence, const Held& held);
  void AddNote(Held& held, const FlightRun& run, const std::string& error) const;
  void ExpireLeases();
  void CountBack(const FlightRun& run);
  ErrorInfo Stale(DeliveryRange range) const;
  bool SettledByItself(DeliveryRange range, const SettleOutcome& outcome) const;

  // ---- queue_core_transaction.cc
  void Handle(PrepareTransaction& event);
  void Handle(CommitTransaction& event);
  void Handle(EndTransaction& event);
  Admitted AdmitTransaction(Waiter& waiter);
  using Results = std::vector<std::variant<Sequence, Duplicate, ErrorInfo>>;
  /// False when it must wait for a key.
  bool JudgeTransaction(const Waiter& waiter, std::vector<std::size_t>& fresh, Results& results,
                        bool& refused);
  Verdict JudgeTransactionRoom(const Waiter& waiter, const std::vector<std::size_t>& fresh);
  void AddControl(const Waiter& waiter, const IncomingMessage& message, std::size_t i,
                  std::uint32_t index, Chunk& chunk) const;
  void StorePrepared(const Waiter& waiter, const std::vector<std::size_t>& fresh, Results& results,
                     storage::Batch& part);
  void AnswerTransaction(TransactionId transaction, Results results, storage::Batch part,
                         bool accepted);
  SettleResult CheckTransaction(const CommitTransaction& event, bool& possible) const;
  bool Leaves(Sequence sequence) const;

  // ---- queue_core_time.cc: due times, ttl, idleness, deliver_after, dead letters that wait
  /// Gives committed messages of a chunk the rows that they need.
  void HoldSpecials(Chunk& chunk);
  void Hold(Chunk& chunk, std::uint32_t index, Held held);
  void ReadyDue();
  void BecomeReady(Sequence sequence);
  void ExpireTtl();
  void WatchDefaultTtl();
  bool ExpireChunk(Chunk& chunk, std::size_t& left);
  bool IsExpired(const Chunk& chunk, std::uint32_t index) const;
  void Expire(Chunk& chunk, std::uint32_t index);
  void ExpireIdle();
  void PlanWallCheck();
  void Handle(WatchMessage& event);
  void Handle(RefAnswer& event);
  void AskAgain();
  void MoveParked();
  void Handle(MoveFailed& event);

  // ---- queue_core_admin.cc
  void Handle(CloseQueue& event);
  void Handle(ReopenQueue& event);
  void Handle(PurgeQueue& event);
  void Handle(UpdateSettings& event);
  void Handle(DeleteQueue& event);
  void Handle(GetStats& event);
  void Handle(CancelMessages& event);
  void Handle(ForgetDedup& event);
  void WriteQueueRecord();
  void Adopt(QueueSettings settings);
  void DeleteNow(const ErrorInfo& gone, std::optional<Effect> reply);
  /// A ready, delayed or parked message goes.
  void Remove(Sequence sequence, Transition why);

  // ---- queue_core_inspect.cc: looking without touching
  void Handle(Peek& event);
  void Handle(FindMessage& event);
  void Handle(GetDedup& event);
  void Handle(GetHistory& event);
  void Handle(ListClients& event);
  void Handle(Explain& event);
  void Note(Transition transition, Sequence first, Sequence last, std::uint32_t attempt = 0,
            const std::string& client = "", const std::string& text = "");
  void Note(Transition transition, const FlightRun& run, const std::string& text = "");

  // ---- queue_core_upkeep.cc: chunks as they shrink, windows, the way back from disk
  void WriteSettles();
  void RewriteSparseChunks();
  bool WorthRewriting(const Chunk& chunk) const;
  void Rewrite(Chunk& chunk);
  void ExpireDedup();
  void SetBody(Chunk& chunk, std::shared_ptr<const storage::Body> body);
  void DropBodyIfFull(Chunk& chunk);
  void EraseChunk(Chunk& chunk);
  void Restore(RecoveredQueue& recovered, const Now& now);
  void RestoreAttempts(RecoveredQueue& recovered, const Now& now);
};

}  // namespace mqd::queue
