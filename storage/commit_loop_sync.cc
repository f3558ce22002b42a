// commit_loop_sync.cc: what comes behind the write of a group: the sync, and what everybody is
// told.
#include <algorithm>
#include <utility>

#include "storage/commit_loop.h"

namespace mqd::storage {

void CommitLoop::RunSyncs() {
  while (TakeUnfinished()) {
    SyncGroups(finishing_);
    for (Group& group : finishing_) Complete(group);
    finishing_.clear();
  }
}

/// False when there are none and none will come.
bool CommitLoop::TakeUnfinished() {
  bool wake = false;
  {
    base::MutexLock lock(mutex_);
    if (unfinished_.empty()) {
      sync_thread_busy_ = false;
      wake = WorthWriting() && std::exchange(thread_waits_, false);
    }
  }
  if (wake) work_.notify_one();
  base::MutexLock lock(mutex_);
  while (unfinished_.empty() && !no_more_groups_) lock.Wait(handed_over_);
  finishing_.swap(unfinished_);
  return !finishing_.empty();
}

/// One sync for all of them, if any asks for it. Those of a failed one may be there or not, and so
/// may those written behind it, whether they ask or not.
void CommitLoop::SyncGroups(std::span<Group> groups) {
  const auto asks = [](const Group& each) { return each.sync; };
  if (!dead_ && std::none_of(groups.begin(), groups.end(), asks)) return;
  absl::Status status = dead_ ? absl::UnavailableError("the log has failed") : writer_.Flush();
  if (status.ok()) {
    flushes_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  for (Group& group : groups) {
    for (Pending& pending : group.batches) {
      if (pending.result.outcome != Outcome::kCommitted) continue;
      pending.result = {Outcome::kUnknown, options_.epoch, 0};
    }
  }
  Fail(std::move(status));
}

void CommitLoop::Complete(Group& group) {
  for (Pending& pending : group.batches) pending.done(pending.result);
  group.batches.clear();
  group.bytes = 0;
  group.sync = false;
}

void CommitLoop::Fail(absl::Status status) {
  if (dead_.exchange(true)) return;
  {
    base::MutexLock lock(mutex_);
    failed_ = true;
  }
  if (options_.on_fatal) options_.on_fatal(std::move(status));
}

}  // namespace mqd::storage
