#pragma once

// commit_loop.h: step 4 of 5 (store). Group commit: whatever was accepted while the last group was
// being written becomes the next group, with one write and at most one sync.
//
// A small group is synced by the commit thread, right behind its write. A large one is handed over
// to the sync thread, so that the next is written while the disk takes this one; one sync then
// serves every group that was written before it began.
//
// Threads: Append(): any, also from inside a completion. Completions and on_fatal: the commit
//            thread or the sync thread of this object, one at a time.
// Ownership: Borrows the LogWriter, which outlives it. The destructor commits what was accepted
//            before it began and completes what comes later with kShuttingDown.
// Limits: kIntakeBytesMax waiting; a group closes at kGroupBytesMax or with its first batch.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "proto/base/mutex.h"
#include "storage/batch.h"
#include "storage/store.h"
#include "storage/types.h"

namespace mqd::storage {

/// Where groups go. Any failure is final: after it the loop writes no more. Flush() may run beside
/// the other calls; these, and the calls of Flush(), come one at a time.
class LogWriter {
 public:
  virtual ~LogWriter() = default;

  /// Whether there is still room on the disk for `batch`.
  virtual bool HasRoomFor(const Batch& batch) const = 0;

  /// Adds `batch` to the group and returns its index in its shard.
  virtual Index Add(ShardId shard, const Batch& batch) = 0;

  /// Writes the group, all or nothing, and begins an empty one.
  virtual absl::Status Commit() = 0;

  /// Makes all groups that were committed before the call survive a power cut.
  virtual absl::Status Flush() = 0;

  /// Called about once a second, also when nothing is written: look after disk and database.
  virtual absl::Status Maintain() = 0;
};

class CommitLoop {
 public:
  /// Accepted and not yet written. The callers' credit keeps far below this; it is a backstop.
  static constexpr std::size_t kIntakeBytesMax = 1u << 30;
  /// A larger group would only make its first batch wait for its last.
  static constexpr std::size_t kGroupBytesMax = 8u << 20;
  /// From here on the sync of a group is worth another thread.
  static constexpr std::size_t kWriteAheadBytes = 512u << 10;

  struct Options {
    Epoch epoch = 1;
    /// How long a Sync::kWritten batch may wait for the disk.
    std::chrono::milliseconds sync_interval{100};
    /// A group of so many bytes is handed over; while it is synced, so many make the next one.
    std::size_t write_ahead_bytes = kWriteAheadBytes;
    /// Called once, with the first failure of the writer.
    std::function<void(absl::Status)> on_fatal;
  };

  struct Counts {
    std::uint64_t committed_batches = 0;
    std::uint64_t groups = 0;
    std::uint64_t flushes = 0;
  };

  CommitLoop(LogWriter& writer, Options options);
  ~CommitLoop();
  CommitLoop(const CommitLoop&) = delete;
  CommitLoop& operator=(const CommitLoop&) = delete;

  void Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, CommitLog::Done done);
  Epoch epoch() const { return options_.epoch; }
  Counts counts() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Pending {
    ShardId shard;
    Epoch epoch;
    Batch batch;
    Sync sync;
    CommitLog::Done done;
    CommitResult result;  // an outcome other than kCommitted means: do not write it
  };

  struct Group {
    std::vector<Pending> batches;
    std::size_t bytes = 0;
    bool sync = false;  // somebody waits for the disk
  };

  Outcome Judge(Epoch epoch, const Batch& batch) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WorthWriting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // ---- the commit thread
  void RunCommits();
  bool WaitForWork();
  void TakeGroup();
  void CommitGroup();
  void FinishGroup();
  void FlushIfDue();
  void MaintainIfDue();
  Clock::time_point NextDeadline() const;

  // ---- the sync thread
  void RunSyncs();
  bool TakeUnfinished();

  // ---- the thread whose turn it is
  void SyncGroups(std::span<Group> groups);
  void Complete(Group& group);
  void Fail(absl::Status status);

  LogWriter& writer_;
  const Options options_;

  base::Mutex mutex_;
  std::condition_variable work_;
  std::vector<Pending> intake_ ABSL_GUARDED_BY(mutex_);
  std::size_t intake_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool thread_waits_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool failed_ ABSL_GUARDED_BY(mutex_) = false;
  std::condition_variable handed_over_;
  std::vector<Group> unfinished_ ABSL_GUARDED_BY(mutex_);  // in order, for the sync thread
  bool sync_thread_busy_ ABSL_GUARDED_BY(mutex_) = false;  // it has some, or there are some for it
  bool no_more_groups_ ABSL_GUARDED_BY(mutex_) = false;

  // Touched on the commit thread only.
  std::vector<Pending> taken_;   // swapped with intake_, so that both keep their memory
  std::deque<Pending> waiting_;  // accepted, not yet in a group
  Group group_;
  bool unsynced_ = false;        // something written is in no sync that was begun or handed over
  Clock::time_point flush_due_;  // while unsynced_
  Clock::time_point maintain_due_;

  std::vector<Group> finishing_;   // touched on the sync thread only
  std::atomic<bool> dead_{false};  // failed_, without the lock

  std::atomic<std::uint64_t> committed_batches_{0};
  std::atomic<std::uint64_t> groups_{0};
  std::atomic<std::uint64_t> flushes_{0};

  // Last: they use all of the above.
  std::thread sync_thread_;
  std::thread commit_thread_;
};

}  // namespace mqd::storage
