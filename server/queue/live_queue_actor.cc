// live_queue_actor.cc: step 3 of 5 (queue). The mailbox, the turn, and what happens when a commit
// fails.

#include "server/queue/live_queue_actor.h"

#include <chrono>
#include <utility>

#include "asio/post.hpp"
#include "proto/base/assert.h"

namespace mqd::queue {

using storage::Outcome;

namespace {

constexpr int kPeekTries = 3;

}  // namespace

LiveQueueActor::LiveQueueActor(ActorDeps deps, RecoveredQueue recovered)
    : deps_(std::move(deps)),
      id_(recovered.record.id),
      name_(recovered.record.name),
      core_(std::make_unique<QueueCore>(std::move(recovered),
                                        FirstDelivery(deps_.store->CurrentEpoch()), deps_.clock())),
      timer_(deps_.pool),
      share_(deps_.ledger) {
  CountHeld();
}

LiveQueueActor::~LiveQueueActor() {
  deps_.cached_bytes->fetch_sub(counted_bytes_, std::memory_order_relaxed);
}

// ---- mailbox

void LiveQueueActor::Put(Task task) {
  {
    base::MutexLock lock(mutex_);
    mail_.push_back(std::move(task));
    if (running_ || hold_mail_) return;
    running_ = true;
  }
  Run();
}

void LiveQueueActor::Run() {
  const auto self = shared_from_this();
  std::vector<Ended> ended;
  while (TakeMail(ended)) Turn(std::exchange(ended, {}));
}

bool LiveQueueActor::TakeMail(std::vector<Ended>& ended) {
  base::MutexLock lock(mutex_);
  ended.swap(ended_);
  if (!hold_mail_) turn_.swap(mail_);
  if (ended.empty() && turn_.empty()) {
    running_ = false;
    return false;
  }
  return true;
}

void LiveQueueActor::Turn(std::vector<Ended> ended) {
  around_ = {deps_.clock(), deps_.store->DiskLow(),
             deps_.cached_bytes->load(std::memory_order_relaxed) > deps_.cache_bytes_max,
             share_.gate()};
  for (const Ended& commit : ended) EndCommit(commit);
  if (failing_) Perform();  // what commits before the one that failed have decided
  if (failing_ && !turn_.empty()) {
    base::MutexLock lock(mutex_);
    mail_.insert(mail_.begin(), std::make_move_iterator(turn_.begin()),
                 std::make_move_iterator(turn_.end()));
    turn_.clear();
  }
  for (Task& task : turn_) task();
  turn_.clear();
  if (!failing_) {
    core_->EndTurn(around_, effects_);
    CountHeld();
    Perform();
  }
  if (failing_ && appends_outstanding_ == 0) RebuildNow();
}

void LiveQueueActor::Step(Event event) {
  core_->Step(std::move(event), around_, effects_);
  CountHeld();
}

void LiveQueueActor::EndCommit(const Ended& ended) {
  MQD_ASSERT(appends_outstanding_ > 0);
  --appends_outstanding_;
  if (ended.second == Outcome::kCommitted && !failing_) return Step(CommitDone{ended.first});
  if (ended.second == Outcome::kShuttingDown) stopping_ = true;
  const bool first = !failing_;
  if (first) StartFailing();
  refused_ = (first || refused_) && ended.second == Outcome::kNoSpace;
}

// ---- a commit that failed

void LiveQueueActor::StartFailing() {
  failing_ = true;
  refused_ = false;
  base::MutexLock lock(mutex_);
  hold_mail_ = true;
}

ErrorInfo LiveQueueActor::WhyLetGo() const {
  if (refused_ && !stopping_) {
    return {.reason = Reason::kDiskLow,
            .resource = "queue " + name_,
            .message = "queue " + name_ +
                       ": the broker's disk has no room for what was published and nothing of the "
                       "request was stored; free space or consume, then retry",
            .retry_after_ms = 1'000};
  }
  return {
      .reason = stopping_ ? Reason::kDraining : Reason::kOutcomeUnknown,
      .resource = "queue " + name_,
      .message = "queue " + name_ +
                 (stopping_ ? ": the broker is stopping; reconnect and ask again"
                            : ": the outcome is unknown, the queue is read again from disk; "
                              "repeat the request with the same idempotency key or publish id")};
}

void LiveQueueActor::LetGoOfAll(const ErrorInfo& error) {
  const GoAwayCode code = stopping_ ? GoAwayCode::kDraining : GoAwayCode::kRecovering;
  for (auto& [id, sink] : std::exchange(publishers_, {})) sink->OnGoAway(code, error);
  for (auto& [id, entry] : std::exchange(consumers_, {})) {
    entry.sink->OnGoAway(entry.slot, code, error);
  }
  for (auto& [id, answer] : std::exchange(requests_, {})) answer({id, error});
  for (auto& [id, waiting] : std::exchange(preparing_, {})) {
    auto& [messages, done] = waiting;
    TransactionPrepared refused{.transaction = id};
    refused.results.assign(messages, error);
    done(std::move(refused));
  }
  const bool unknown = error.reason != Reason::kDiskLow;
  for (auto& [id, done] : std::exchange(committing_, {}))
    done({.unknown = unknown, .error = error});
}

void LiveQueueActor::RebuildNow() {
  effects_ = {};
  LetGoOfAll(WhyLetGo());
  if (stopping_) return;
  absl::StatusOr<storage::QueueRecord> record = FindQueueRecord(*deps_.store, deps_.shard, id_);
  deleted_ = absl::IsNotFound(record.status());
  if (deleted_) {  // mail that waits is told so by an empty core
    const RecoveredQueue nothing{.record = {.id = id_, .name = name_}};
    core_ = std::make_unique<QueueCore>(nothing, *core_, deps_.clock());
    core_->MarkDeleted();
    deps_.directory->Forget(name_, id_);
  } else {
    if (!record.ok()) return;  // the store has failed for good and says so itself
    absl::StatusOr<RecoveredQueue> recovered =
        RecoverQueue(*deps_.store, deps_.shard, *std::move(record));
    if (!recovered.ok()) return;
    core_ = std::make_unique<QueueCore>(*std::move(recovered), *core_, deps_.clock());
  }
  CountCache();
  CountHeld();
  chain_ = std::make_shared<storage::BatchChain>();
  failing_ = false;
  base::MutexLock lock(mutex_);
  hold_mail_ = false;
}

void LiveQueueActor::Rebuild() {
  Put([this] { StartFailing(); });
}

// ---- requests

template <class Request>
void LiveQueueActor::Ask(Request request, Answer answer) {
  Put([this, request = std::move(request), answer = std::move(answer)]() mutable {
    request.request = next_request_++;
    if (deleted_) {
      return answer(
          {request.request, ErrorInfo{.reason = Reason::kQueueNotFound,
                                      .resource = "queue " + name_,
                                      .message = "queue " + name_ + ": the queue was deleted"}});
    }
    requests_.emplace(request.request, std::move(answer));
    Step(std::move(request));
  });
}

template <class T>
LiveQueueActor::Answer LiveQueueActor::Unpack(Callback<T> done) {
  return [done = std::move(done)](RequestDone answer) mutable {
    if (auto* error = std::get_if<ErrorInfo>(&answer.result)) return done(ToStatus(*error));
    done(std::get<T>(std::move(answer.result)));
  };
}

void LiveQueueActor::Attach(AttachPublisher attach, std::shared_ptr<PublishSink> sink) {
  Put([this, attach = std::move(attach), sink = std::move(sink)]() mutable {
    publishers_[attach.publisher] = std::move(sink);
    Step(std::move(attach));
  });
}

void LiveQueueActor::Attach(AttachConsumer attach, std::uint32_t slot,
                            std::shared_ptr<ConsumeSink> sink) {
  Put([this, attach, slot, sink = std::move(sink)]() mutable {
    consumers_[attach.consumer] = {std::move(sink), slot};
    Step(attach);
  });
}

void LiveQueueActor::Post(Event event) {
  Put([this, event = std::move(event)]() mutable {
    if (auto* gone = std::get_if<DetachPublisher>(&event)) publishers_.erase(gone->publisher);
    if (auto* gone = std::get_if<DetachConsumer>(&event)) consumers_.erase(gone->consumer);
    Step(std::move(event));
  });
}

void LiveQueueActor::Settle(std::vector<SettleEntry> entries, Callback<SettleResult> done) {
  Ask(queue::Settle{0, std::move(entries)}, Unpack(std::move(done)));
}
void LiveQueueActor::Close(Callback<QueueInfo> done) { Ask(CloseQueue{}, Unpack(std::move(done))); }
void LiveQueueActor::Reopen(Callback<QueueInfo> done) {
  Ask(ReopenQueue{}, Unpack(std::move(done)));
}
void LiveQueueActor::Purge(bool purge_dedup, Callback<std::uint64_t> done) {
  Ask(PurgeQueue{0, purge_dedup}, Unpack(std::move(done)));
}
void LiveQueueActor::Update(QueueSettings settings, std::uint64_t expected_generation,
                            Callback<QueueInfo> done) {
  Ask(UpdateSettings{0, std::move(settings), expected_generation}, Unpack(std::move(done)));
}
void LiveQueueActor::Info(Callback<QueueInfo> done) { Ask(GetStats{}, Unpack(std::move(done))); }
void LiveQueueActor::Delete(bool force, Callback<std::uint64_t> done) {
  Ask(DeleteQueue{0, force}, Unpack(std::move(done)));
}

void LiveQueueActor::Cancel(std::vector<Sequence> sequences, Callback<CancelResult> done) {
  Ask(CancelMessages{0, std::move(sequences)}, Unpack(std::move(done)));
}
void LiveQueueActor::ShowDedup(KeyHash key, Callback<DedupInfo> done) {
  Ask(GetDedup{0, key}, Unpack(std::move(done)));
}
void LiveQueueActor::ForgetDedupKey(KeyHash key, Callback<DedupInfo> done) {
  Ask(ForgetDedup{0, key}, Unpack(std::move(done)));
}
void LiveQueueActor::History(Sequence sequence, std::uint32_t limit,
                             Callback<std::vector<HistoryEntry>> done) {
  Ask(GetHistory{0, sequence, limit}, Unpack(std::move(done)));
}
void LiveQueueActor::Clients(Callback<ClientList> done) {
  Ask(ListClients{}, Unpack(std::move(done)));
}
void LiveQueueActor::Why(ExplainSubject subject, Callback<std::vector<Explanation>> done) {
  Ask(Explain{0, std::move(subject)}, Unpack(std::move(done)));
}

void LiveQueueActor::Find(FindMessage find, Callback<PeekedMessage> done) {
  Callback<std::vector<PeekedMessage>> read =
      [done = std::move(done)](absl::StatusOr<std::vector<PeekedMessage>> found) mutable {
        if (!found.ok()) return done(found.status());
        if (found->empty()) {  // it went while its body was read
          return done(PeekedMessage{.status = MessageStatus::kSettled});
        }
        done(std::move(found->front()));
      };
  Callback<std::vector<PeekedMessage>> bodies =
      [this, read = std::move(read)](absl::StatusOr<std::vector<PeekedMessage>> found) mutable {
        const bool gone = found.ok() && found->front().status == MessageStatus::kSettled;
        if (!found.ok() || gone) return read(std::move(found));
        ReadPeeked(*std::move(found), std::move(read));
      };
  Ask(std::move(find), Unpack(std::move(bodies)));
}

void LiveQueueActor::PeekMessages(Peek peek, Callback<std::vector<PeekedMessage>> done) {
  PeekTry(std::move(peek), kPeekTries, std::move(done));
}

// A chunk may be settled or written anew between the look and the read of its body.
void LiveQueueActor::PeekTry(Peek peek, int tries, Callback<std::vector<PeekedMessage>> done) {
  Callback<std::vector<PeekedMessage>> read =
      [this, peek, tries,
       done = std::move(done)](absl::StatusOr<std::vector<PeekedMessage>> peeked) mutable {
        if (!peeked.ok() || !peek.bodies) return done(std::move(peeked));
        const std::size_t wanted = peeked->size();
        ReadPeeked(*std::move(peeked),
                   [self = shared_from_this(), peek, tries, wanted, done = std::move(done)](
                       absl::StatusOr<std::vector<PeekedMessage>> found) mutable {
                     const bool all = !found.ok() || found->size() == wanted;
                     if (all || tries <= 1) return done(std::move(found));
                     self->PeekTry(peek, tries - 1, std::move(done));
                   });
      };
  Ask(peek, Unpack(std::move(read)));
}

void LiveQueueActor::Prepare(PrepareTransaction prepare,
                             absl::AnyInvocable<void(TransactionPrepared)> done) {
  Put([this, prepare = std::move(prepare), done = std::move(done)]() mutable {
    preparing_.emplace(prepare.transaction,
                       std::pair(prepare.batch.messages.size(), std::move(done)));
    Step(std::move(prepare));
  });
}

void LiveQueueActor::Commit(CommitTransaction commit,
                            absl::AnyInvocable<void(CommitOutcome)> done) {
  Put([this, commit = std::move(commit), done = std::move(done)]() mutable {
    committing_.emplace(commit.transaction, std::move(done));
    Step(std::move(commit));
  });
}

void LiveQueueActor::End(EndTransaction end) {
  Put([this, end] { Step(end); });
}

}  // namespace mqd::queue
