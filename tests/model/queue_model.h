#pragma once

// queue_model.h: what a queue promises, said as plainly as possible: a map from sequence to
// message, walked from end to end for every question. Written from the product's description and
// not from the core.
//
// The model is told each event after the core has had its turn. What the promises leave open (which
// of several consumers) it takes from the core and holds against what is allowed; all else it works
// out for itself.
//
// Threads: one at a time.
// Limits: slow on purpose; a queue of a few dozen messages is plenty.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/queue/events.h"
#include "tests/model/model_parts.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {

class QueueModel {
 public:
  QueueModel(QueueId id, const QueueSettings& settings, const ModelClock& clock)
      : id_(id), clock_(clock), settings_(settings) {
    disk_.settings = settings;
    mono_base_ms_ = clock.wall_ms - clock.steady_ms;
    Used();
  }

  // ---- publishing (model_publish.cc)
  /// False when it is refused.
  bool AttachPublisher(PublisherId publisher, ModelPublisher who, bool take_over);
  void DetachPublisher(PublisherId publisher);
  void Publish(ModelWaiter waiter, std::uint64_t answered_through);
  /// An atomic request or a dead letter asks for room.
  void Prepare(ModelWaiter waiter);
  void EndTransaction(TransactionId transaction, bool committed);
  void EndDivert(std::uint64_t divert, bool committed);
  void Answered(const storage::MessageRef& ref, RefState state);
  RefState StateOf(Sequence sequence) const;
  /// Empty when the publisher may be told this, else what is wrong with it.
  std::string Told(PublisherId publisher, std::uint64_t publish_id, const std::string& result);

  // ---- consuming (model_dispatch.cc)
  bool AttachConsumer(ConsumerId consumer, ModelConsumer who, bool take_over);
  void DetachConsumer(ConsumerId consumer, bool keep_deliveries);
  void Drain(ConsumerId consumer);
  void Grant(ConsumerId consumer, std::uint64_t messages, std::uint64_t bytes);
  /// Empty when nothing that could be delivered lies still.
  std::string NothingLeft() const;
  /// Whether the queue has something that this consumer would get if it had credit.
  enum class Has { kNothing, kPerhaps, kSomething };
  Has HasFor(ConsumerId consumer) const;
  std::string Recall(ConsumerId consumer, const std::vector<DeliveryRange>& ranges);
  bool OneOfSeveral(const ModelMessage& message) const;
  bool MayTake(ConsumerId consumer) const;

  // ---- settling (model_settle.cc)
  void Settle(DeliveryRange range, const SettleOutcome& outcome);
  void MarkStarted(DeliveryRange range);
  std::uint64_t Purge(bool dedup);
  std::vector<Sequence> Cancel(const std::vector<Sequence>& sequences);
  bool MayLeave(Sequence sequence) const;
  void Leave(Sequence sequence);
  const ModelMessage* FindDelivery(DeliveryId delivery) const;

  // ---- administration and the turn (model_turn.cc)
  void Close();
  void Reopen();
  void Update(const QueueSettings& settings);
  /// After every event: what is due, who is admitted. `written`: the turn has asked for a commit.
  /// `seen`: what consumers got in this turn. Empty when all is well.
  std::string EndTurn(bool written, bool commits_pending, std::deque<Seen>& seen);
  /// What the turn's commit does once it is on disk, and what it does to the memory then.
  ModelCommit TakeCommit() { return std::exchange(commit_, {}); }
  /// AT_MOST_ONCE: what the second commit of a turn does.
  ModelCommit TakeHandedOver() { return std::exchange(handed_over_, {}); }
  void Crash(Sequence next_sequence, bool rebuilt);
  /// By a client: the queue is not idle.
  void Used() { last_used_ms_ = clock_.steady_ms; }
  /// It was idle for too long, until Recreate().
  bool deleted() const { return deleted_; }
  void Recreate(const QueueSettings& settings, Sequence next_sequence);
  /// Rows of a transaction that another queue's commit carries.
  std::vector<std::function<void()>> PartOf(TransactionId transaction);
  /// With this turn's commit.
  void Carry(std::vector<std::function<void()>> part) {
    for (auto& step : part) commit_.disk.push_back(std::move(step));
  }
  std::string CheckAnswers(bool commits_pending) const;
  /// Empty when these explain why the subject does not move, else what is wrong (model_explain.cc).
  std::string WrongExplanation(const ExplainSubject& subject,
                               const std::vector<Explanation>& why) const;

  // ---- questions
  bool OnDisk(const Stored& stored) const;
  bool HasPendingKeys() const;
  bool Blank() const;  // it holds and remembers nothing
  std::uint64_t Count(ModelState state) const;
  std::uint64_t Slots() const { return messages_.size(); }
  std::uint64_t Bytes() const;
  bool Expired(const ModelMessage& message) const;
  bool Waiting(PublisherId publisher) const;

  std::map<ConsumerId, ModelConsumer>& consumers() { return consumers_; }
  const std::map<ConsumerId, ModelConsumer>& consumers() const { return consumers_; }
  std::map<PublisherId, ModelPublisher>& publishers() { return publishers_; }
  const std::map<Sequence, ModelMessage>& messages() const { return messages_; }
  const std::deque<ModelWaiter>& waiters() const { return waiters_; }
  const QueueSettings& settings() const { return settings_; }
  const ModelCounts& counts() const { return counts_; }
  /// Publishes that wait for their level; not those whose settle is on its way to disk.
  std::uint64_t Awaited() const;
  bool closed() const { return closed_; }
  ModelWorld& world() { return world_; }
  /// What the turn must bring.
  ModelDues& dues() { return dues_; }

 private:
  // Publishing.
  bool Admit(ModelWaiter& waiter);
  bool AdmitTransaction(ModelWaiter& waiter);
  void AdmitWaiters();
  std::string Refusal(const ModelSent& sent, bool bypass) const;
  std::string Judge(const ModelSent& sent);
  std::string JudgeKey(const ModelSent& sent) const;
  std::string JudgeRefs(const ModelSent& sent);
  std::string JudgeRoom(const ModelSent& sent);
  std::string JudgeTransaction(const ModelWaiter& waiter, std::vector<ModelSent>& fresh) const;
  std::string JudgeTransactionRoom(const ModelWaiter& waiter, const std::vector<ModelSent>& fresh);
  bool HasRoom(std::uint64_t count, std::uint64_t bytes) const;
  bool HasTaker() const;
  std::vector<Sequence> VictimsFor(std::uint64_t count, std::uint64_t bytes) const;
  void Drop(const std::vector<Sequence>& victims);
  bool WaitsWhenFull() const;
  bool HasDedupRoom(std::uint64_t keys) const;
  void Remember(const ModelSent& sent, Sequence sequence, bool pending);
  void Store(const ModelWaiter& waiter, const ModelSent& sent, std::uint64_t publish_id);
  void Divert(const ModelWaiter& waiter, const ModelSent& sent, std::uint64_t publish_id);
  ModelMessage MessageOf(const ModelSent& sent) const;
  bool AnswerFromRecord(const ModelWaiter& waiter, std::uint64_t publish_id);
  void Confirm(const ModelWaiter& waiter, std::uint64_t publish_id, Sequence sequence);
  void Answer(PublisherId publisher, std::uint64_t publish_id, std::string result, bool at_once,
              Sequence after = 0);
  void Reached(Sequence sequence, ConfirmLevel level, bool at_once);
  bool HasReached(Sequence sequence, ConfirmLevel level) const;
  void RemovePublisher(PublisherId publisher);
  void ExpireWaiters();
  ModelProducer* ProducerOf(PublisherId publisher);
  std::string StatusOf(Sequence sequence) const;
  // Dispatch.
  bool IsActive(ConsumerId consumer) const;
  void ElectActive();
  void RemoveConsumer(ConsumerId consumer);
  void Disown(ConsumerId consumer);
  bool HeedsKeys() const;
  bool Keyed() const { return settings_.ordering == Ordering::kKeyed; }
  bool Sticky() const { return settings_.dispatch_policy == DispatchPolicy::kSticky; }
  bool ConsumePaused() const;
  bool KeyLetsGo(Sequence sequence, const ModelMessage& message) const;
  std::set<ConsumerId> OwnersOf(const ModelMessage& message) const;
  bool Deliverable(Sequence sequence, const ModelMessage& message) const;
  void ObserveLanes();
  std::optional<std::uint32_t> LaneNext() const;
  bool HasAged(std::uint32_t lane) const;
  std::string WrongOrder(const Seen& seen, const ModelMessage& message) const;
  std::string WrongConsumer(const Seen& seen, const ModelMessage& message) const;
  std::string WrongFence(const Seen& seen, const ModelMessage& message);
  void HandOver(const Seen& seen, ModelMessage& message);
  void HandOverAtMostOnce();
  // Explaining.
  bool AnyMessage(ModelState state, std::optional<ModelWait> wait = std::nullopt) const;
  std::set<Cause> CausesOf(Sequence sequence) const;
  std::set<Cause> CausesOfReady(Sequence sequence, const ModelMessage& message) const;
  std::set<Cause> CausesOf(ConsumerId id, const ModelConsumer& consumer) const;
  std::set<Cause> CausesOfPublisher(PublisherId publisher) const;
  std::set<Cause> CausesOfWaiting() const;
  std::set<Cause> CausesOfQueue() const;
  // Settling and time.
  /// Empty when it was allowed.
  std::string Deliver(const Seen& seen);
  std::string Take(std::deque<Seen>& seen);
  static bool Finish(ModelCommit& commit);
  void Free(Sequence sequence, std::uint64_t ModelCounts::*reason);
  bool Lies(const ModelMessage& message) const;
  void Return(Sequence sequence, ModelMessage& message, bool charged, std::int64_t delay_ms);
  void Park(Sequence sequence, ModelMessage& message);
  void Place(Sequence sequence, ModelMessage& message);
  void SaveAttempt(Sequence sequence, const ModelMessage& message);
  std::int64_t BackoffMs(std::uint32_t attempt, Sequence sequence) const;
  void ExpireLeases();
  void ReadyDue();
  void ExpireTtl();
  void ExpireAwaited();
  void ExpireIdle();
  std::int64_t MonoMs() const { return mono_base_ms_ + clock_.steady_ms; }
  bool durable() const { return settings_.durability != Durability::kMemory; }
  void OnDisk(std::function<void()> step) {
    if (durable()) commit_.disk.push_back(std::move(step));
  }
  void Then(std::function<void()> step) { commit_.memory.push_back(std::move(step)); }

  const QueueId id_;
  const ModelClock& clock_;
  QueueSettings settings_;
  bool closed_ = false;
  bool deleted_ = false;
  std::int64_t last_used_ms_ = 0;
  std::map<Sequence, ModelMessage> messages_;
  Sequence next_sequence_ = 1;
  ModelDisk disk_;
  ModelCommit commit_, handed_over_;
  ModelCounts counts_;
  ModelDues dues_;
  ModelWorld world_;

  std::map<PublisherId, ModelPublisher> publishers_;  // ids rise: the longest here first
  std::map<std::string, ModelProducer> producers_;
  std::deque<ModelWaiter> waiters_;
  std::map<Sequence, ModelAwaited> awaited_;
  std::map<std::pair<PublisherId, std::uint64_t>, ModelResult> results_;
  std::map<std::string, ModelKey> dedup_;  // by idempotency key
  std::map<std::uint64_t, ModelDivert> diverts_;
  std::map<TransactionId, ModelPrepared> prepared_;
  std::set<storage::MessageRef> asked_refs_;
  std::map<storage::MessageRef, RefState> known_refs_;
  ModelBucket publish_rate_;
  ModelBucket delivery_rate_;
  std::int64_t mono_base_ms_ = 0;

  std::map<ConsumerId, ModelConsumer> consumers_;
  ConsumerId active_ = 0;
  ConsumerId turn_ = 0;                                              // ROUND_ROBIN
  std::set<DeliveryId> given_;                                       // delivery ids of all lives
  std::map<std::uint32_t, std::int64_t> lanes_;                      // when each began to wait
  std::map<std::string, std::set<ConsumerId>> owners_;               // STICKY: who may own a key
  std::map<std::string, std::pair<ConsumerId, DeliveryId>> fences_;  // of keys, "": of all
  std::int64_t recalled_ms_ = -1;                                    // below 0: never
};

}  // namespace mqd::queue::testing
