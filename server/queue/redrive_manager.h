#pragma once

// redrive_manager.h: step 3 of 5 (queue). The redrive tasks of the broker: runs each, step by step,
// and keeps a row of it, so that it goes on after a restart.
//
// Which messages have been moved is decided by the transactions that move them and by nothing else:
// the row may lag behind, so a task that is taken up again may look at messages twice, and neither
// loses nor doubles one.
//
// Threads: Any. The tasks are guarded by one mutex; nothing is called while it is held. Callbacks
// run on the pool.
// Ownership: The app; the queue registry outlives it. What RunAt was given may come until it is
// gone.
// Limits: limits::kRedrivesRunningMax that have not ended, limits::kRedrivesEndedMax that have.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "proto/base/mutex.h"
#include "server/queue/queue_registry.h"
#include "server/queue/redrive_task.h"
#include "storage/store.h"

namespace mqd::queue {

class RedriveManager {
 public:
  using Task = absl::AnyInvocable<void()>;
  using Callback = QueueActor::Callback<storage::RedriveRecord>;

  struct Deps {
    storage::Store& store;
    storage::ShardId shard{};
    QueueRegistry& queues;
    std::function<Now()> clock;
    /// Runs a task on the pool at a time of the steady clock, or soon when that has passed.
    std::function<void(std::int64_t at_ns, Task task)> run_at;
    /// What is special about the message of a stored element, if anything; views point into it.
    std::function<std::optional<SpecialFields>(std::string_view element)> special_of;
  };

  explicit RedriveManager(Deps deps) : deps_(std::move(deps)) {}

  /// Reads every row and takes up what had not ended. Once, before the others.
  absl::Status Recover();

  /// Starts what `asked` says: queue (full names), target, filters, rate, dry run. QUEUE_NOT_FOUND,
  /// BAD_FIELD for a target that is the queue itself or of another namespace, QUOTA_EXCEEDED when
  /// as many run as may. The answer comes when the row is stored.
  void Start(storage::RedriveRecord asked, Callback done);
  /// TASK_NOT_FOUND. Ends the task; what has been moved stays moved. One that has ended stays so.
  void Cancel(std::uint64_t id, Callback done);
  absl::StatusOr<storage::RedriveRecord> Get(std::uint64_t id) const;
  /// The latest first. Empty: of every queue.
  std::vector<storage::RedriveRecord> List(std::string_view queue) const;

  /// Nothing is moved from now on but what is on its way; rows stay as they are.
  void Stop();

 private:
  using Stored = absl::AnyInvocable<void(storage::Outcome)>;

  struct Running {
    explicit Running(storage::RedriveRecord record) : task(std::move(record)) {}
    RedriveTask task;
    std::shared_ptr<QueueActor> source;  // null: not looked up yet
    // Its row: one write at a time, so that the last one says how the task stands.
    bool writing = false;
    bool changed = false;  // since the write under way began
    storage::Sync sync = storage::Sync::kWritten;
    std::vector<Stored> waiting;  // for the next write
  };
  using Shared = std::shared_ptr<Running>;

  void Begin(storage::RedriveRecord record, std::shared_ptr<QueueActor> source, Callback done);
  /// Lets the task go on, in a moment.
  void Continue(const Shared& running, std::int64_t at_ns);
  void StepNow(const Shared& running);
  void Do(const Shared& running, RedriveTask::Look look);
  void Do(const Shared& running, RedriveTask::Move move);
  void Do(const Shared& running, RedriveTask::Wait wait);
  void Do(const Shared& running, RedriveTask::End end);
  void OnMoved(const Shared& running, const TransactionResult& result);
  /// Stores the row as the task stands now, or later; `then` may be null.
  void Store(const Shared& running, storage::Sync sync, Stored then);
  void Write(const Shared& running);
  void OnWritten(const Shared& running, std::vector<Stored> waiting, storage::Outcome outcome);
  bool IsStored(std::uint64_t id) const;
  void ForgetOldestLocked(storage::Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Deps deps_;

  mutable base::Mutex mutex_;
  /// By id. The tasks inside are guarded, too.
  std::map<std::uint64_t, Shared> tasks_ ABSL_GUARDED_BY(mutex_);
  std::uint32_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mqd::queue
