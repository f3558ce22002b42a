#pragma once

// queue_world.h: random events for two queues on one disk, and what must hold after each of them.
// The second queue is the first one's dead-letter queue, the target of its atomic requests, and
// each may be named by the other's deliver_after.
//
// Threads: one at a time.
// Limits: about a dozen messages each. Times are multiples of 10 ms, and what waits for them ends
// between two of those, so that nothing depends on a tie.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "tests/model/queue_model.h"
#include "tests/support/queue_harness.h"
#include "tests/support/test_ledger.h"

namespace mqd::queue::testing {

inline constexpr const char* kOrderingKeys[] = {"k0", "k1", "k2"};

/// Settings at random, of the first queue or of its dead-letter queue.
QueueSettings RandomSettings(std::mt19937_64& random, bool has_dead_letters);

class QueueWorld {
 public:
  explicit QueueWorld(std::uint64_t seed);

  /// Stops at the first broken promise.
  void Run(int events);
  /// Settles and purges everything; nothing may be left.
  void Drain();

  /// What was broken, or empty.
  const std::string& complaint() const { return complaint_; }
  std::uint64_t trace() const { return a_.queue.trace() * 31 + b_.queue.trace(); }
  const QueueSettings& first_settings() const { return first_settings_; }

 private:
  struct Expected {
    std::uint64_t held = 0;  // settled, purged or cancelled
    std::uint64_t asked = 0;
    std::optional<ExplainSubject> subject;
  };
  struct Producer {
    std::map<std::uint64_t, ModelSent> unanswered;
    std::uint64_t next_id = 1;
  };
  struct Side {
    Side(const QueueSettings& wanted, QueueHarness::Place place, const ModelClock& clock)
        : queue(wanted, place), model(place.id, wanted, clock), name(place.name) {}
    QueueHarness queue;
    QueueModel model;
    std::string name;
    std::unique_ptr<TestLedger> ledger = std::make_unique<TestLedger>();
    std::map<PublisherId, Producer> streams;
    Producer resuming;  // what the producer with an id has not been told
    std::map<RequestId, Expected> requests;
    std::vector<DeliveryId> past;   // delivery ids
    DeliveryId newest = 0;          // of them
    std::set<PublisherId> blocked;  // were told that they wait
    std::set<ConsumerId> told_end;
    std::int64_t wakes_ns = 0;
    std::uint64_t slots_before = 0;
    std::uint64_t bytes_before = 0;
    std::uint64_t keys_before = 0;
  };
  struct Atomic {
    Side* source = nullptr;
    Side* target = nullptr;
    std::vector<SettleEntry> entries;
    std::vector<Sequence> leaving;
    std::uint64_t divert = 0;  // the core's number
    std::uint64_t model_divert = 0;
    bool allowed = false;
    bool orphaned = false;  // its source was deleted
  };
  struct Filed {
    Side* side = nullptr;
    ModelCommit commit;
  };
  struct Question {
    Side* asker = nullptr;
    storage::MessageRef ref;
    std::optional<RefState> answer;
    bool operator==(const Question&) const = default;
  };

  std::uint64_t Pick(std::uint64_t below) { return random_() % below; }
  /// A number of milliseconds up to `most` that is no multiple of 10.
  std::int64_t Odd(std::uint64_t most) {
    return static_cast<std::int64_t>(Pick(most / 10) * 10 + 3);
  }
  void Fail(const Side& side, const std::string& what);

  // Events (world_events.cc, world_admin.cc).
  void OneEvent();
  void RareEvent(Side& side);
  void Publish(Side& side);
  ModelSent AnyMessage(Side& side, bool keyed);
  Extras AnyExtras(Side& side);
  void Send(Side& side, PublisherId publisher, std::uint64_t first_id, std::vector<ModelSent> sent,
            std::uint64_t answered_through);
  void AttachPublisher(Side& side);
  void DetachPublisher(Side& side);
  void Resend(Side& side, PublisherId publisher);
  void AttachConsumer(Side& side);
  void DetachConsumer(Side& side);
  void Grant(Side& side);
  void Settle(Side& side);
  void Mark(Side& side);
  void Purge(Side& side);
  void Cancel(Side& side);
  void Update(Side& side);
  void Apply(Side& side, const QueueSettings& settings);
  void CloseOrReopen(Side& side);
  void Ask(Side& side);
  void Surround(Side& side);
  void EverybodyLeaves(Side& side);
  void Recreate(Side& side);
  std::uint64_t Settles(Side& side, const std::vector<SettleEntry>& entries);
  static bool AtMostOnce(const Side& side) {
    return side.model.settings().delivery == DeliveryMode::kAtMostOnce;
  }
  void Wake(Side& side, bool jumped);
  void SetClocks(std::int64_t steady_ms, WallMs wall_ms);
  void Advance(std::int64_t ms);
  void JumpWall(std::int64_t ms);
  void Crash(bool rebuild);
  void CommitNext();
  DeliveryRange AnyRange(Side& side);
  SettleOutcome AnyOutcome();
  Sequence AnySequence(Side& side);

  // The end.
  void OpenUp(Side& side);
  void TakeAll(Side& side);
  void CheckNothingIsLeft();

  // Between the queues (world_between.cc).
  void StartAtomic();
  void Prepare(Atomic atomic, std::vector<ModelSent> sent, PublishBatch batch, bool bypass,
               std::vector<storage::DeadLetterOrigin> origins);
  void MoveDeadLetters(Side& side, MoveToDeadLetter move);
  void DivertOne(Side& side, DivertToDeadLetter divert, std::uint64_t model_divert);
  void CommitAtomic(TransactionPrepared prepared);
  void RefuseAtomic(const Atomic& atomic);
  void EndAtomic(const TransactionDone& done);
  void CarryQuestion();
  void RunLater(bool all);

  // What a turn brought (queue_world.cc).
  /// One turn of a queue: the core acts, then the model is told.
  template <class Act, class Tell>
  void Turn(Side& side, Act act, Tell tell) {
    const std::size_t before = disk_->waiting();
    const bool pending = Pending(side);
    act();
    const std::size_t commits = disk_->waiting() - before;
    const bool lived = !side.model.deleted();
    tell(side.model);
    EndTurn(side, commits, pending);
    Observe(side);
    if (lived && side.model.deleted()) Recreate(side);
  }
  void EndTurn(Side& side, std::size_t commits, bool pending);
  bool Pending(const Side& side) const;
  void File(Side& side, std::size_t commits);
  void Observe(Side& side);
  void CheckDeliveries(Side& side);
  void CheckConfirms(Side& side);
  void CheckConfirm(Side& side, PublisherId publisher, std::uint64_t id, const std::string& result);
  void CheckGone(Side& side);
  void CheckBlocked(Side& side);
  void CheckCredit(Side& side);
  void CheckEnd(Side& side);
  void CheckRequests(Side& side);
  void CheckCounts(Side& side);
  void CheckConservation(Side& side, const QueueStats& stats);
  void TakeRequestsOfQueues(Side& side);

  std::mt19937_64 random_;
  ModelClock clock_;
  std::shared_ptr<TestDisk> disk_ = std::make_shared<TestDisk>();
  QueueSettings b_settings_;
  QueueSettings first_settings_;
  Side b_;
  Side a_;
  std::deque<Filed> commits_;  // as they wait on the disk
  std::map<TransactionId, Atomic> atomics_;
  std::deque<Question> questions_;
  std::map<storage::MessageRef, RefState> watched_as_;
  std::deque<std::function<void()>> later_;
  TransactionId next_transaction_ = 1;
  std::uint64_t serial_ = 0;
  bool keys_ = false;  // some have an idempotency key
  std::int64_t jumped_ms_ = 0;
  bool special_ = false;  // this world's messages are more than plain
  std::string complaint_;
};

}  // namespace mqd::queue::testing
