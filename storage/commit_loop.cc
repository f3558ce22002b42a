#include "storage/commit_loop.h"

#include <pthread.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "proto/base/mutant.h"

namespace mqd::storage {
namespace {

constexpr std::chrono::seconds kMaintainInterval{1};

}  // namespace

CommitLoop::CommitLoop(LogWriter& writer, Options options)
    : writer_(writer),
      options_(std::move(options)),
      maintain_due_(Clock::now() + kMaintainInterval) {
  sync_thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "mqd-sync");
    RunSyncs();
  });
  commit_thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "mqd-commit");
    RunCommits();
  });
}

CommitLoop::~CommitLoop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  commit_thread_.join();
  sync_thread_.join();
}

void CommitLoop::Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, CommitLog::Done done) {
  bool wake = false;
  {
    base::MutexLock lock(mutex_);
    const Outcome verdict = Judge(epoch, batch);
    if (verdict != Outcome::kCommitted) {
      batch.BreakChain();
      batch = Batch();
    }
    intake_bytes_ += batch.bytes();
    intake_.push_back(
        {shard, epoch, std::move(batch), sync, std::move(done), {verdict, options_.epoch, 0}});
    wake = WorthWriting() && std::exchange(thread_waits_, false);
  }
  if (wake) work_.notify_one();
}

// Refused batches take their place in the line all the same: completions come in order.
Outcome CommitLoop::Judge(Epoch epoch, const Batch& batch) const {
  if (stopping_ || failed_) return Outcome::kShuttingDown;
  if (epoch != options_.epoch) return Outcome::kNotLeader;
  if (batch.bytes() > CommitLog::kBatchBytesMax) return Outcome::kTooLarge;
  if (batch.bytes() > kIntakeBytesMax - intake_bytes_) return Outcome::kNoSpace;
  return Outcome::kCommitted;
}

// While the disk is busy, a small group gains nothing by being written early, and costs a write.
bool CommitLoop::WorthWriting() const {
  if (intake_.empty()) return false;
  return !sync_thread_busy_ || stopping_ || intake_bytes_ >= options_.write_ahead_bytes;
}

CommitLoop::Counts CommitLoop::counts() const {
  return {committed_batches_.load(std::memory_order_relaxed),
          groups_.load(std::memory_order_relaxed), flushes_.load(std::memory_order_relaxed)};
}

void CommitLoop::RunCommits() {
  while (WaitForWork()) {
    TakeGroup();
    CommitGroup();
    FinishGroup();
    FlushIfDue();
    MaintainIfDue();
  }
  flush_due_ = Clock::now();
  FlushIfDue();
  {
    base::MutexLock lock(mutex_);
    no_more_groups_ = true;
  }
  handed_over_.notify_one();
}

/// False when everything is written and nothing will come.
bool CommitLoop::WaitForWork() {
  {
    base::MutexLock lock(mutex_);
    if (waiting_.empty() && !WorthWriting()) {
      if (stopping_) return false;
      thread_waits_ = true;
      lock.WaitUntil(work_, NextDeadline());
      thread_waits_ = false;
    }
    taken_.swap(intake_);
  }
  std::move(taken_.begin(), taken_.end(), std::back_inserter(waiting_));
  taken_.clear();
  return true;
}

void CommitLoop::TakeGroup() {
  while (!waiting_.empty()) {
    Pending& next = waiting_.front();
    const std::size_t bytes = group_.bytes + next.batch.bytes();
    if (!group_.batches.empty() && bytes > kGroupBytesMax) break;
    group_.bytes = bytes;
    group_.batches.push_back(std::move(next));
    waiting_.pop_front();
  }
  base::MutexLock lock(mutex_);
  intake_bytes_ -= group_.bytes;
}

void CommitLoop::CommitGroup() {
  std::uint64_t written = 0;
  for (Pending& pending : group_.batches) {
    CommitResult& result = pending.result;
    if (result.outcome != Outcome::kCommitted) continue;
    if (dead_) {
      result.outcome = Outcome::kShuttingDown;  // certainly not written
    } else if (pending.batch.chain_broken() || !writer_.HasRoomFor(pending.batch)) {
      pending.batch.BreakChain();
      result.outcome = Outcome::kNoSpace;
    } else {
      result.index = writer_.Add(pending.shard, pending.batch);
      group_.sync |= pending.sync == Sync::kFlush && !MQD_MUTANT(sync_on_timer_only);
      ++written;
    }
  }
  if (written == 0) return;
  if (MQD_MUTANT(confirm_before_commit)) {
    for (Pending& pending : group_.batches) {
      std::exchange(pending.done, [](auto) {})(pending.result);
    }
  }
  if (absl::Status status = writer_.Commit(); !status.ok()) {
    group_.sync = false;
    for (Pending& pending : group_.batches) {
      if (pending.result.outcome != Outcome::kCommitted) continue;
      pending.result = {Outcome::kUnknown, options_.epoch, 0};
      if (MQD_MUTANT(unknown_told_as_refused)) pending.result.outcome = Outcome::kNoSpace;
    }
    return Fail(std::move(status));
  }
  committed_batches_.fetch_add(written, std::memory_order_relaxed);
  groups_.fetch_add(1, std::memory_order_relaxed);
  if (group_.sync) {
    unsynced_ = false;
  } else if (!std::exchange(unsynced_, true)) {
    flush_due_ = Clock::now() + options_.sync_interval;
  }
}

/// Here and now, or by the sync thread when that has groups before this one or this one is large.
void CommitLoop::FinishGroup() {
  const bool large = group_.sync && group_.bytes >= options_.write_ahead_bytes;
  bool hand_over = false;
  {
    base::MutexLock lock(mutex_);
    hand_over = (large || sync_thread_busy_) && (group_.sync || !group_.batches.empty());
    if (hand_over) {
      unfinished_.push_back(std::move(group_));
      sync_thread_busy_ = true;
    }
  }
  if (hand_over) {
    handed_over_.notify_one();
    group_ = Group();
    return;
  }
  SyncGroups({&group_, 1});
  Complete(group_);
}

void CommitLoop::FlushIfDue() {
  if (dead_ || !unsynced_ || Clock::now() < flush_due_) return;
  unsynced_ = false;
  group_.sync = true;  // of an empty one
  FinishGroup();
}

void CommitLoop::MaintainIfDue() {
  if (dead_ || Clock::now() < maintain_due_) return;
  maintain_due_ = Clock::now() + kMaintainInterval;
  if (absl::Status status = writer_.Maintain(); !status.ok()) Fail(std::move(status));
}

CommitLoop::Clock::time_point CommitLoop::NextDeadline() const {
  if (dead_) return Clock::now() + kMaintainInterval;
  return unsynced_ ? std::min(flush_due_, maintain_due_) : maintain_due_;
}

}  // namespace mqd::storage
