#include "storage/memory_store.h"

#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "storage/record_codec.h"

namespace mqd::storage {

MemoryStore::MemoryStore(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {
  base::MutexLock lock(disk_->mutex);
  epoch_ = ++disk_->epoch;
}

void MemoryStore::Append(ShardId shard, Epoch epoch, Batch batch, Sync, Done done) {
  RunInTurn([this, shard, epoch, batch = std::move(batch), done = std::move(done)]() mutable {
    done(Commit(shard, epoch, batch));
  });
}

// Whoever finds nobody running runs what is there, and what is added meanwhile.
void MemoryStore::RunInTurn(Task task) const {
  {
    base::MutexLock lock(turn_mutex_);
    waiting_.push_back(std::move(task));
    if (running_) return;
    running_ = true;
  }
  std::vector<Task> taken;
  for (;;) {
    {
      base::MutexLock lock(turn_mutex_);
      taken.clear();
      taken.swap(waiting_);
      running_ = !taken.empty();
      if (!running_) return;
    }
    for (Task& next : taken) next();
  }
}

CommitResult MemoryStore::Commit(ShardId shard, Epoch epoch, const Batch& batch) {
  if (epoch != epoch_) return {Outcome::kNotLeader, epoch_, 0};
  if (batch.bytes() > kBatchBytesMax) {
    batch.BreakChain();
    return {Outcome::kTooLarge, epoch_, 0};
  }
  if (batch.chain_broken()) return {Outcome::kNoSpace, epoch_, 0};
  base::MutexLock lock(disk_->mutex);
  MemoryDisk::Shard& rows = disk_->shards[shard];
  for (const Op& op : batch.ops()) Apply(rows, op);
  committed_batches_.fetch_add(1, std::memory_order_relaxed);
  return {Outcome::kCommitted, epoch_, ++rows.applied};
}

void MemoryStore::Apply(MemoryDisk::Shard& shard, const Op& op) {
  MemoryDisk::Rows& rows = shard.tables[static_cast<std::size_t>(op.table)];
  switch (op.kind) {
    case OpKind::kPutOnce:
      MQD_ASSERT(!rows.contains(op.key));
      [[fallthrough]];
    case OpKind::kPut:
      rows.insert_or_assign(op.key, MemoryDisk::Row{op.value, op.body});
      break;
    case OpKind::kDelete:
    case OpKind::kDeleteOnce:
      rows.erase(op.key);
      break;
    case OpKind::kDeletePrefix: {
      auto row = rows.lower_bound(op.key);
      while (row != rows.end() && absl::StartsWith(row->first, op.key)) row = rows.erase(row);
      break;
    }
  }
}

absl::Status MemoryStore::Scan(ShardId shard, Table table, std::string_view prefix,
                               const Visit& visit) const {
  std::vector<std::pair<std::string, MemoryDisk::Row>> seen;  // a visitor may call the store
  {
    base::MutexLock lock(disk_->mutex);
    const auto found = disk_->shards.find(shard);
    if (found == disk_->shards.end()) return absl::OkStatus();
    const MemoryDisk::Rows& rows = found->second.tables[static_cast<std::size_t>(table)];
    for (auto row = rows.lower_bound(prefix); row != rows.end() && row->first.starts_with(prefix);
         ++row) {
      seen.push_back(*row);
    }
  }
  for (const auto& [key, row] : seen) {
    absl::Status status = visit(key, row.body ? row.body->encoded() : std::string_view(row.value));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void MemoryStore::ReadBody(ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const {
  RunInTurn([this, shard, queue, key, done = std::move(done)]() mutable {
    done(Find(shard, queue, key));
  });
}

absl::StatusOr<std::shared_ptr<const Body>> MemoryStore::Find(ShardId shard, QueueId queue,
                                                              ChunkKey key) const {
  base::MutexLock lock(disk_->mutex);
  const auto found = disk_->shards.find(shard);
  if (found != disk_->shards.end()) {
    const MemoryDisk::Rows& bodies = found->second.tables[static_cast<std::size_t>(Table::kBodies)];
    const auto row = bodies.find(BodyRowKey(queue, key));
    if (row != bodies.end()) return row->second.body;
  }
  return absl::NotFoundError(absl::StrCat("queue ", queue, " has no chunk at ", key.first_sequence,
                                          " of generation ", key.generation));
}

StoreStats MemoryStore::Stats() const {
  const std::uint64_t batches = committed_batches_.load(std::memory_order_relaxed);
  return {batches, batches, 0, std::numeric_limits<std::uint64_t>::max(), 0};
}

}  // namespace mqd::storage
