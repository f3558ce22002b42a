#pragma once

// commit_loop.h: step 4 of 5 (store). Group commit: whatever was accepted while the last group was
// being written becomes the next group, with one write and at most one sync.
//
// Threads: Append(): any, also from inside a completion. Completions, LogWriter calls and
//            on_fatal: the commit thread of this object.
// Ownership: Borrows the LogWriter, which outlives it. The destructor commits what was accepted
//            before it began and completes what comes later with kShuttingDown.
// Limits: kIntakeBytesMax waiting; a group closes at kGroupBytesMax or with its first batch.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "proto/base/mutex.h"
#include "storage/batch.h"
#include "storage/store.h"
#include "storage/types.h"

namespace mqd::storage {

/// Where groups go. Any failure is final: after it the loop writes no more.
class LogWriter {
 public:
  virtual ~LogWriter() = default;

  /// Whether there is still room on the disk for `batch`.
  virtual bool HasRoomFor(const Batch& batch) const = 0;

  /// Adds `batch` to the group and returns its index in its shard.
  virtual Index Add(ShardId shard, const Batch& batch) = 0;

  /// Writes the group, all or nothing, and begins an empty one. With `sync` it returns when this
  /// group and all before it survive a power cut.
  virtual absl::Status Commit(bool sync) = 0;

  /// Makes all groups so far survive a power cut.
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

  struct Options {
    Epoch epoch = 1;
    /// How long a Sync::kWritten batch may wait for the disk.
    std::chrono::milliseconds sync_interval{100};
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

  Outcome Judge(Epoch epoch, const Batch& batch) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Run();
  bool WaitForWork();
  void TakeGroup();
  void CommitGroup();
  void CompleteGroup();
  void FlushIfDue();
  void MaintainIfDue();
  void Fail(absl::Status status);
  Clock::time_point NextDeadline() const;

  LogWriter& writer_;
  const Options options_;

  base::Mutex mutex_;
  std::condition_variable work_;
  std::vector<Pending> intake_ ABSL_GUARDED_BY(mutex_);
  std::size_t intake_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool thread_waits_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool failed_ ABSL_GUARDED_BY(mutex_) = false;

  // Touched on the commit thread only.
  std::vector<Pending> taken_;   // swapped with intake_, so that both keep their memory
  std::deque<Pending> waiting_;  // accepted, not yet in a group
  std::vector<Pending> group_;
  bool dead_ = false;            // failed_, without the lock
  bool unsynced_ = false;        // something written has not been flushed
  Clock::time_point flush_due_;  // while unsynced_
  Clock::time_point maintain_due_;

  std::atomic<std::uint64_t> committed_batches_{0};
  std::atomic<std::uint64_t> groups_{0};
  std::atomic<std::uint64_t> flushes_{0};

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mqd::storage
