#pragma once

// queue_actor.h: step 3 of 5 (queue). Runs one QueueCore, one event at a time, and performs what it
// asks for.
//
// Threads: Public calls: any. An idle actor runs its mailbox on the thread that posted; a busy
// one takes the event in
//            its next turn. Callbacks and sinks are called on the thread that runs the mailbox.
// Ownership: Shared: the registry, sessions and pending completions hold it.
// Limits: The mailbox is bounded by its callers: credit, one request per unary call, one commit
// per turn.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"
#include "server/queue/sinks.h"

namespace mqd::queue {

class QueueActor {
 public:
  template <class T>
  using Callback = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  virtual ~QueueActor() = default;

  virtual QueueId id() const = 0;
  virtual const std::string& name() const = 0;  // "namespace/queue"

  /// The answer comes through `sink`.
  virtual void Attach(AttachPublisher attach, std::shared_ptr<PublishSink> sink) = 0;
  virtual void Attach(AttachConsumer attach, std::uint32_t slot,
                      std::shared_ptr<ConsumeSink> sink) = 0;

  /// Events that are answered through a sink or not at all: PublishBatch, DetachPublisher,
  /// DetachConsumer, GrantCredit, MarkStarted, DrainConsumer. Events of a publisher or consumer
  /// that is not attached are dropped.
  virtual void Post(Event event) = 0;

  virtual void Settle(std::vector<SettleEntry> entries, Callback<SettleResult> done) = 0;
  virtual void Close(Callback<QueueInfo> done) = 0;
  virtual void Reopen(Callback<QueueInfo> done) = 0;
  virtual void Purge(bool purge_dedup, Callback<std::uint64_t> done) = 0;
  virtual void Update(QueueSettings settings, std::uint64_t expected_generation,
                      Callback<QueueInfo> done) = 0;
  virtual void Info(Callback<QueueInfo> done) = 0;
  virtual void PeekMessages(Peek peek, Callback<std::vector<PeekedMessage>> done) = 0;
  virtual void Delete(bool force, Callback<std::uint64_t> done) = 0;
  virtual void Cancel(std::vector<Sequence> sequences, Callback<CancelResult> done) = 0;
  /// MESSAGE_NOT_FOUND when neither the sequence nor the key is known.
  virtual void Find(FindMessage find, Callback<PeekedMessage> done) = 0;
  virtual void ShowDedup(KeyHash key, Callback<DedupInfo> done) = 0;
  virtual void ForgetDedupKey(KeyHash key, Callback<DedupInfo> done) = 0;
  virtual void History(Sequence sequence, std::uint32_t limit,
                       Callback<std::vector<HistoryEntry>> done) = 0;
  virtual void Clients(Callback<ClientList> done) = 0;
  virtual void Why(ExplainSubject subject, Callback<std::vector<Explanation>> done) = 0;

  /// How a transaction ended at its source. `unknown`: the commit may or may not be there. `error`:
  /// why it failed as a whole.
  struct CommitOutcome {
    bool committed = false;
    bool unknown = false;
    SettleResult result;
    std::optional<ErrorInfo> error;
  };

  // For SettleAtomically(). Each `done` is called once.
  virtual void Prepare(PrepareTransaction prepare,
                       absl::AnyInvocable<void(TransactionPrepared)> done) = 0;
  virtual void Commit(CommitTransaction commit, absl::AnyInvocable<void(CommitOutcome)> done) = 0;
  virtual void End(EndTransaction end) = 0;
  /// Drops what memory says of the queue and reads it again from the store.
  virtual void Rebuild() = 0;
};

}  // namespace mqd::queue
