#pragma once

// queue_world.h: random events for two queues on one disk, and what must hold after each of them.
// The second queue is the first one's dead-letter queue and the target of its atomic requests.
//
// Threads: one at a time.
// Limits: durable queues; about a hundred messages each.

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/model/queue_model.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {

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

 private:
  struct Sent {
    std::string payload;
    std::string key;
  };
  struct Side {
    Side(const QueueSettings& wanted, QueueHarness::Place place)
        : settings(wanted), queue(wanted, std::move(place)), model(wanted) {}
    const QueueSettings settings;
    QueueHarness queue;
    QueueModel model;
    std::map<Sequence, std::string> ever;            // stored at any time
    std::set<std::string> payloads;                  // of ever, without keyed ones
    std::map<std::string, std::int64_t> first_try;   // of a key, since it was last stored
    std::map<std::string, std::int64_t> stored_try;  // the one that was stored
    std::set<Sequence> held_back;                    // wait for their transaction
    std::map<std::string, std::map<std::uint64_t, Sent>> unanswered;  // by publisher
    std::map<std::string, std::uint64_t> next_id;
    std::map<RequestId, std::pair<std::uint64_t, std::uint64_t>> settles;  // expected: held, asked
    std::set<DeliveryId> lost;      // leases that ended, not yet told
    std::vector<DeliveryId> stale;  // delivery ids of the past
  };
  struct Atomic {
    Side* source = nullptr;
    std::vector<SettleEntry> entries;
    std::vector<Sequence> parked;
    std::vector<Sequence> stored;
    bool allowed = false;
  };

  static QueueSettings SettingsOf(std::mt19937_64& random, bool dead_letters);
  std::uint64_t Pick(std::uint64_t below) { return random_() % below; }
  std::string KeyPrefix(const Side& side) const;
  void Fail(const Side& side, const std::string& what);

  // Events.
  void OneEvent();
  void Publish(Side& side);
  void Resend(Side& side);
  void ReconnectProducer(Side& side);
  void Attach(Side& side);
  void Detach(Side& side);
  void Grant(Side& side);
  void Settle(Side& side);
  void Mark(Side& side);
  void Purge(Side& side);
  void Advance(std::int64_t ms);
  void Restart();
  void CommitNext();
  void StartAtomic();
  void Prepare(Atomic atomic, PublishBatch batch, std::vector<storage::DeadLetterOrigin> origins);
  void MoveDeadLetters(Side& side, MoveToDeadLetter move);
  void CommitAtomic(TransactionPrepared prepared);
  void EndAtomic(const TransactionDone& done);

  /// Runs one turn of a queue, files what it must write, and looks at what came out.
  template <class Act>
  void Turn(Side& side, Act act);
  void Observe(Side& side);
  void CheckConfirms(Side& side, const std::string& publisher, const Confirms& confirms);
  void CheckException(Side& side, const Sent& sent, const PublishException& one);
  void CheckAnswers(Side& side);
  void CheckCredit(Side& side);
  void CheckCounts(Side& side);
  void NoteStored(const Stored& stored);
  DeliveryRange AnyRange(Side& side);
  SettleOutcome AnyOutcome();

  std::mt19937_64 random_;
  const std::size_t padding_;
  const std::uint64_t batch_max_;
  std::shared_ptr<TestDisk> disk_ = std::make_shared<TestDisk>();
  Side b_;
  Side a_;
  std::int64_t now_ms_ = 0;
  std::deque<std::vector<std::pair<Side*, ModelChange>>> commits_;  // as they wait on the disk
  std::map<TransactionId, Atomic> atomics_;
  TransactionId next_transaction_ = 1;
  std::uint64_t serial_ = 0;
  std::string complaint_;
};

}  // namespace mqd::queue::testing
