#pragma once

// live_queue_actor.h: step 3 of 5 (queue). The QueueActor of the daemon: a mailbox around a
// QueueCore.
//
// A turn takes everything that waits in the mailbox, hands it to the core, ends the core's turn and
// performs its effects. When a commit's outcome is unknown, or the store had no room for it, the
// actor waits until every commit has ended, lets go of all publishers and consumers, and builds a
// new core from the store; mail waits meanwhile.
//
// Threads: Public calls: any. `turn` members: only the thread that runs the turn, of which there
// is one at a time. Ownership  Shared; completions and timers hold it.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "asio/any_io_executor.hpp"
#include "asio/steady_timer.hpp"
#include "proto/base/mutex.h"
#include "server/queue/namespace_ledger.h"
#include "server/queue/queue_actor.h"
#include "server/queue/queue_core.h"
#include "server/queue/queue_registry.h"

namespace mqd::queue {

/// Finds queues by name for dead letters, and learns of their end.
class QueueDirectory {
 public:
  virtual ~QueueDirectory() = default;
  virtual absl::StatusOr<std::shared_ptr<QueueActor>> Find(std::string_view name) const = 0;
  /// Null when there is none.
  virtual std::shared_ptr<QueueActor> FindById(QueueId id) const = 0;
  virtual void Forget(const std::string& name, QueueId id) = 0;
};

/// What is pointed to outlives every actor.
struct ActorDeps {
  storage::Store* store = nullptr;
  storage::ShardId shard{};
  QueueDirectory* directory = nullptr;
  std::shared_ptr<NamespaceLedger> ledger;
  std::function<void(const QueueAlarm&)> on_alarm;           // as RegistryOptions; may be empty
  std::shared_ptr<std::atomic<std::uint64_t>> cached_bytes;  // of all queues
  std::uint64_t cache_bytes_max = 0;
  asio::any_io_executor pool;
  std::function<Now()> clock;
};

class LiveQueueActor final : public QueueActor,
                             public std::enable_shared_from_this<LiveQueueActor> {
 public:
  LiveQueueActor(ActorDeps deps, RecoveredQueue recovered);
  ~LiveQueueActor() override;

  QueueId id() const override { return id_; }
  const std::string& name() const override { return name_; }
  void Attach(AttachPublisher attach, std::shared_ptr<PublishSink> sink) override;
  void Attach(AttachConsumer attach, std::uint32_t slot,
              std::shared_ptr<ConsumeSink> sink) override;
  void Post(Event event) override;
  void Settle(std::vector<SettleEntry> entries, Callback<SettleResult> done) override;
  void Close(Callback<QueueInfo> done) override;
  void Reopen(Callback<QueueInfo> done) override;
  void Purge(bool purge_dedup, Callback<std::uint64_t> done) override;
  void Update(QueueSettings settings, std::uint64_t expected_generation,
              Callback<QueueInfo> done) override;
  void Info(Callback<QueueInfo> done) override;
  void PeekMessages(Peek peek, Callback<std::vector<PeekedMessage>> done) override;
  void Delete(bool force, Callback<std::uint64_t> done) override;
  void Cancel(std::vector<Sequence> sequences, Callback<CancelResult> done) override;
  void Find(FindMessage find, Callback<PeekedMessage> done) override;
  void ShowDedup(KeyHash key, Callback<DedupInfo> done) override;
  void ForgetDedupKey(KeyHash key, Callback<DedupInfo> done) override;
  void History(Sequence sequence, std::uint32_t limit,
               Callback<std::vector<HistoryEntry>> done) override;
  void Clients(Callback<ClientList> done) override;
  void Why(ExplainSubject subject, Callback<std::vector<Explanation>> done) override;
  void Prepare(PrepareTransaction prepare,
               absl::AnyInvocable<void(TransactionPrepared)> done) override;
  void Commit(CommitTransaction commit, absl::AnyInvocable<void(CommitOutcome)> done) override;
  void End(EndTransaction end) override;
  void Rebuild() override;

  /// Runs what is due after recovery. Once, when the actor is shared.
  void Wake() { Post(Tick{}); }

 private:
  using Task = absl::AnyInvocable<void()>;
  using Answer = absl::AnyInvocable<void(RequestDone)>;
  using Ended = std::pair<std::uint64_t, storage::Outcome>;

  void Put(Task task);
  void Run();
  bool TakeMail(std::vector<Ended>& ended);
  void EndCommit(const Ended& ended);
  void StartFailing();
  void Step(Event event);
  void Turn(std::vector<Ended> ended);
  void Perform();
  template <class Request>
  void Ask(Request request, Answer answer);
  /// An Answer that hands T, or the error, to `done`.
  template <class T>
  static Answer Unpack(Callback<T> done);

  void Perform(PublisherAttached& effect);
  void Perform(SendConfirms& effect);
  void Perform(SendBlocked& effect);
  void Perform(PublisherGone& effect);
  void Perform(ConsumerAttached& effect);
  void Perform(SendDeliveries& effect);
  void Perform(WantCredit& effect);
  void Perform(CreditReturned& effect);
  void Perform(SendLeaseLost& effect);
  void Perform(SendRecall& effect);
  void Perform(SendEndOfQueue& effect);
  void Perform(ConsumerDrained& effect);
  void Perform(ConsumerGone& effect);
  void Perform(RequestDone& effect);
  void Perform(TransactionPrepared& effect);
  void Perform(TransactionDone& effect);
  void Perform(MoveToDeadLetter& effect);
  void Perform(DivertToDeadLetter& effect);
  void Perform(AskRef& effect);
  void Perform(TellRef& effect);

  void Append(CommitRequest commit);
  void Load(ChunkKey chunk);
  void ArmTimer();
  void CountCache();
  void CountHeld();
  void MoveFails(std::vector<Sequence> sequences, std::optional<ErrorInfo> why);
  void DeadLettersWait(const ErrorInfo& why);
  void WatchDeadLetters();
  void PeekTry(Peek peek, int tries, Callback<std::vector<PeekedMessage>> done);
  void ReadPeeked(std::vector<PeekedMessage> peeked, Callback<std::vector<PeekedMessage>> done);
  void LetGoOfAll(const ErrorInfo& error);
  void RebuildNow();
  ErrorInfo WhyLetGo() const;

  struct ConsumerEntry {
    std::shared_ptr<ConsumeSink> sink;
    std::uint32_t slot = 0;
  };

  const ActorDeps deps_;
  const QueueId id_;
  const std::string name_;

  // Turn members.
  std::unique_ptr<QueueCore> core_;
  Surroundings around_;
  Effects effects_;
  std::vector<Task> turn_;
  asio::steady_timer timer_;
  std::int64_t armed_ns_ = kNever;
  std::uint64_t counted_bytes_ = 0;  // what this queue has added to cached_bytes
  QuotaShare share_;
  bool dead_letters_wait_ = false;  // and on_alarm was told so
  std::size_t appends_outstanding_ = 0;
  /// Commits since the core was built: what a later one says of producers rests on those before it.
  std::shared_ptr<storage::BatchChain> chain_ = std::make_shared<storage::BatchChain>();
  bool failing_ = false;   // a commit failed; waiting for the others to end
  bool refused_ = false;   // failing, and every commit that has ended since was refused for space
  bool stopping_ = false;  // the store has shut down: nothing is rebuilt
  bool deleted_ = false;
  RequestId next_request_ = 1;
  // By id, so that all are told of an end in the same order in every run.
  absl::btree_map<PublisherId, std::shared_ptr<PublishSink>> publishers_;
  absl::btree_map<ConsumerId, ConsumerEntry> consumers_;
  absl::btree_map<RequestId, Answer> requests_;
  /// How many messages, and who waits.
  absl::btree_map<TransactionId,
                  std::pair<std::size_t, absl::AnyInvocable<void(TransactionPrepared)>>>
      preparing_;
  absl::btree_map<TransactionId, absl::AnyInvocable<void(CommitOutcome)>> committing_;

  // Shared.
  base::Mutex mutex_;
  std::vector<Task> mail_ ABSL_GUARDED_BY(mutex_);
  std::vector<Ended> ended_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool hold_mail_ ABSL_GUARDED_BY(mutex_) = false;  // while failing
};

}  // namespace mqd::queue
