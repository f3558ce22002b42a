#include "server/queue/redrive_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/limits.h"
#include "storage/record_codec.h"

namespace mqd::queue {
namespace {

using storage::RedriveRecord;

absl::Status NoSuchTask(std::uint64_t id) {
  return ToStatus({.reason = Reason::kTaskNotFound,
                   .resource = absl::StrCat("redrive ", id),
                   .message = absl::StrCat("redrive ", id,
                                           ": there is no such task; of those that "
                                           "have ended the latest ",
                                           limits::kRedrivesEndedMax, " are kept")});
}

absl::Status BadTarget(absl::string_view text) {
  return ToStatus({.reason = Reason::kBadField,
                   .resource = "field target",
                   .message = absl::StrCat("target ", text)});
}

absl::Status NotStored(std::uint64_t id, storage::Outcome outcome) {
  const bool stopping = outcome == storage::Outcome::kShuttingDown;
  return ToStatus({.reason = stopping ? Reason::kDraining : Reason::kOutcomeUnknown,
                   .resource = absl::StrCat("redrive ", id),
                   .message = absl::StrCat(
                       "redrive ", id, ": ",
                       stopping ? "the broker is stopping" : "it could not be stored; try again")});
}

/// A transaction that could not begin.
TransactionResult RefusedFor(const absl::Status& status) {
  TransactionResult result;
  result.error = ErrorInfoOf(status);
  return result;
}

}  // namespace

absl::Status RedriveManager::Recover() {
  std::vector<Shared> unended;
  const absl::Status status = deps_.store.Scan(
      deps_.shard, storage::Table::kMeta, storage::RedriveRowPrefix(),
      [&](std::string_view key, std::string_view value) {
        absl::StatusOr<RedriveRecord> row = storage::DecodeRedriveRecord(value);
        if (!row.ok()) {
          return absl::Status(
              row.status().code(),
              absl::StrCat("table meta, row ", absl::BytesToHexString(std::string(key)), ": ",
                           row.status().message()));
        }
        const std::uint64_t id = row->id;
        auto running = std::make_shared<Running>(*std::move(row));
        if (!running->task.ended()) unended.push_back(running);
        base::MutexLock lock(mutex_);
        tasks_[id] = std::move(running);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  for (const Shared& running : unended) Continue(running, 0);
  return absl::OkStatus();
}

// ---- administration

void RedriveManager::Start(RedriveRecord asked, Callback done) {
  if (!asked.target.empty()) {
    if (asked.target == asked.queue) return done(BadTarget("is the queue itself; name another"));
    if (NamespaceOf(asked.target) != NamespaceOf(asked.queue)) {
      return done(BadTarget("must be a queue of the same namespace"));
    }
    if (auto target = deps_.queues.Find(asked.target); !target.ok()) return done(target.status());
  }
  auto source = deps_.queues.Find(asked.queue);
  if (!source.ok()) return done(source.status());
  (*source)->Info([this, asked = std::move(asked), source = *source,
                   done = std::move(done)](absl::StatusOr<QueueInfo> info) mutable {
    if (!info.ok()) return done(info.status());
    asked.end_sequence = info->next_sequence;
    Begin(std::move(asked), std::move(source), std::move(done));
  });
}

void RedriveManager::Begin(RedriveRecord record, std::shared_ptr<QueueActor> source,
                           Callback done) {
  record.state = static_cast<std::uint8_t>(RedriveState::kRunning);
  record.start_time_ms = deps_.clock().wall_ms;
  Shared running;
  std::size_t unended = 0;
  {
    base::MutexLock lock(mutex_);
    for (const auto& [id, other] : tasks_) unended += other->task.ended() ? 0 : 1;
    if (unended < limits::kRedrivesRunningMax && !stopping_) {
      record.id = (deps_.store.CurrentEpoch() << 32) | next_number_++;
      running = std::make_shared<Running>(std::move(record));
      running->source = std::move(source);
      tasks_[running->task.record().id] = running;
    }
  }
  if (running == nullptr) {
    return done(ToStatus({.reason = Reason::kQuotaExceeded,
                          .resource = "redrives",
                          .message = absl::StrCat(unended, " of ", limits::kRedrivesRunningMax,
                                                  " redrives run; wait for one or cancel it"),
                          .limit = limits::kRedrivesRunningMax,
                          .current = unended}));
  }
  Store(running, storage::Sync::kFlush,
        [this, running, done = std::move(done)](storage::Outcome outcome) mutable {
          const std::uint64_t id = running->task.record().id;
          const bool unknown = outcome == storage::Outcome::kUnknown;
          if (outcome == storage::Outcome::kCommitted || (unknown && IsStored(id))) {
            Continue(running, 0);
            return done(Get(id));
          }
          {
            base::MutexLock lock(mutex_);
            tasks_.erase(id);
          }
          done(NotStored(id, outcome));
        });
}

void RedriveManager::Cancel(std::uint64_t id, Callback done) {
  Shared running;
  const Now now = deps_.clock();
  {
    base::MutexLock lock(mutex_);
    const auto found = tasks_.find(id);
    if (found != tasks_.end()) {
      running = found->second;
      running->task.Cancel(now);
    }
  }
  if (running == nullptr) return done(NoSuchTask(id));
  Store(running, storage::Sync::kFlush,
        [this, id, done = std::move(done)](storage::Outcome outcome) mutable {
          if (outcome == storage::Outcome::kCommitted) return done(Get(id));
          done(NotStored(id, outcome));
        });
}

absl::StatusOr<RedriveRecord> RedriveManager::Get(std::uint64_t id) const {
  base::MutexLock lock(mutex_);
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return NoSuchTask(id);
  return found->second->task.record();
}

std::vector<RedriveRecord> RedriveManager::List(std::string_view queue) const {
  std::vector<RedriveRecord> list;
  base::MutexLock lock(mutex_);
  for (auto next = tasks_.rbegin(); next != tasks_.rend(); ++next) {
    const RedriveRecord& record = next->second->task.record();
    if (queue.empty() || record.queue == queue) list.push_back(record);
  }
  return list;
}

void RedriveManager::Stop() {
  base::MutexLock lock(mutex_);
  stopping_ = true;
}

// ---- steps

void RedriveManager::Continue(const Shared& running, std::int64_t at_ns) {
  deps_.run_at(at_ns, [this, running] { StepNow(running); });
}

void RedriveManager::StepNow(const Shared& running) {
  const Now now = deps_.clock();
  RedriveTask::Step step;
  {
    base::MutexLock lock(mutex_);
    if (stopping_) return;
    step = running->task.NextStep(now);
  }
  std::visit([&](auto& kind) { Do(running, std::move(kind)); }, step);
}

void RedriveManager::Do(const Shared& running, RedriveTask::Look look) {
  const auto looked = [this, running](absl::StatusOr<std::vector<PeekedMessage>> found) {
    const Now now = deps_.clock();
    {
      base::MutexLock lock(mutex_);
      running->task.OnLooked(std::move(found), now);
    }
    Continue(running, 0);
  };
  if (running->source == nullptr) {  // only the task's own steps touch it
    auto source = deps_.queues.Find(running->task.record().queue);
    if (!source.ok()) return looked(source.status());
    running->source = *std::move(source);
  }
  running->source->PeekMessages(look.peek, looked);
}

void RedriveManager::Do(const Shared& running, RedriveTask::Move move) {
  auto queue = deps_.queues.Find(move.target);
  if (!queue.ok()) return OnMoved(running, RefusedFor(queue.status()));
  TransactionTarget target{.queue = *std::move(queue), .bypass_dedup = true};
  auto owner = std::make_shared<std::vector<PeekedMessage>>(std::move(move.messages));
  std::vector<Sequence> leaving;
  for (const PeekedMessage& message : *owner) {
    const std::string_view element = message.body->Element(message.index);
    IncomingMessage incoming{.element = element, .charge_bytes = message.charge_bytes};
    if (std::optional<SpecialFields> special = deps_.special_of(element)) {
      target.batch.specials.push_back(*std::move(special));
      incoming.special = static_cast<std::uint32_t>(target.batch.specials.size());
    }
    target.batch.messages.push_back(incoming);
    leaving.push_back(message.sequence);
  }
  target.batch.owner = std::move(owner);
  std::vector<TransactionTarget> targets;
  targets.push_back(std::move(target));
  RunTransaction({running->source, {}, std::move(leaving), {}}, std::move(targets),
                 [this, running](const TransactionResult& result) { OnMoved(running, result); });
}

void RedriveManager::OnMoved(const Shared& running, const TransactionResult& result) {
  const Now now = deps_.clock();
  {
    base::MutexLock lock(mutex_);
    running->task.OnMoved(result, now);
  }
  Store(running, storage::Sync::kWritten, nullptr);
  Continue(running, 0);
}

void RedriveManager::Do(const Shared& running, RedriveTask::Wait wait) {
  Continue(running, wait.until_ns);
}

void RedriveManager::Do(const Shared& running, RedriveTask::End) {
  Store(running, storage::Sync::kFlush, nullptr);
}

// ---- rows

void RedriveManager::Store(const Shared& running, storage::Sync sync, Stored then) {
  {
    base::MutexLock lock(mutex_);
    if (then != nullptr) running->waiting.push_back(std::move(then));
    if (sync == storage::Sync::kFlush) running->sync = sync;
    running->changed = true;
    if (std::exchange(running->writing, true)) return;
  }
  Write(running);
}

void RedriveManager::Write(const Shared& running) {
  storage::Batch batch;
  storage::Sync sync;
  std::vector<Stored> waiting;
  {
    base::MutexLock lock(mutex_);
    batch.PutRedrive(running->task.ToStore());
    ForgetOldestLocked(batch);
    sync = std::exchange(running->sync, storage::Sync::kWritten);
    running->changed = false;
    waiting = std::exchange(running->waiting, {});
  }
  deps_.store.Append(
      deps_.shard, deps_.store.CurrentEpoch(), std::move(batch), sync,
      [this, running, waiting = std::move(waiting)](storage::CommitResult result) mutable {
        deps_.run_at(
            0, [this, running, waiting = std::move(waiting), outcome = result.outcome]() mutable {
              OnWritten(running, std::move(waiting), outcome);
            });
      });
}

void RedriveManager::OnWritten(const Shared& running, std::vector<Stored> waiting,
                               storage::Outcome outcome) {
  bool again = false;
  {
    base::MutexLock lock(mutex_);
    again = running->changed;
    running->writing = again;
  }
  if (again) Write(running);
  for (Stored& then : waiting) then(outcome);
}

bool RedriveManager::IsStored(std::uint64_t id) const {
  bool found = false;
  const absl::Status status =
      deps_.store.Scan(deps_.shard, storage::Table::kMeta, storage::RedriveRowKey(id),
                       [&](std::string_view, std::string_view) {
                         found = true;
                         return absl::OkStatus();
                       });
  return status.ok() && found;
}

void RedriveManager::ForgetOldestLocked(storage::Batch& batch) {
  std::vector<std::pair<storage::WallMs, std::uint64_t>> ended;
  for (const auto& [id, running] : tasks_) {
    if (running->task.ended()) ended.emplace_back(running->task.record().end_time_ms, id);
  }
  if (ended.size() <= limits::kRedrivesEndedMax) return;
  std::sort(ended.begin(), ended.end());
  ended.resize(ended.size() - limits::kRedrivesEndedMax);
  for (const auto& [end_time, id] : ended) {
    batch.DeleteRedrive(id);
    tasks_.erase(id);
  }
}

}  // namespace mqd::queue
