#pragma once

// memory_store.h: the store without a disk: ordered maps. For tests, models and simulators.
//
// Everything happens at once: a batch is applied, and its completion runs, inside Append(), on the
// thread that finds the store idle. A call from inside a completion, or from another thread
// meanwhile, waits its turn there and returns at once.
//
// Threads: As store.h says; no thread of its own.
// Ownership: Shares its MemoryDisk: what one store wrote the next one on the same disk sees, with
// the
//            next epoch. One store at a time a disk.
// Limits: Memory. Nothing survives the end of the process.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "proto/base/mutex.h"
#include "storage/store.h"

namespace mqd::storage {

/// What a restart finds.
struct MemoryDisk {
  struct Row {
    std::string value;
    std::shared_ptr<const Body> body;  // instead of `value`
  };
  using Rows = std::map<std::string, Row, std::less<>>;
  struct Shard {
    Rows tables[kTableCount];
    Index applied = 0;
  };

  base::Mutex mutex;
  std::map<ShardId, Shard> shards ABSL_GUARDED_BY(mutex);
  Epoch epoch ABSL_GUARDED_BY(mutex) = 0;
};

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::shared_ptr<MemoryDisk> disk = std::make_shared<MemoryDisk>());

  void Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, Done done) override;
  Epoch CurrentEpoch() const override { return epoch_; }
  bool DiskLow() const override { return disk_low_.load(std::memory_order_relaxed); }
  absl::Status Scan(ShardId shard, Table table, std::string_view prefix,
                    const Visit& visit) const override;
  void ReadBody(ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const override;
  StoreStats Stats() const override;

  /// What DiskLow() answers from now on.
  void SetDiskLow(bool low) { disk_low_.store(low, std::memory_order_relaxed); }

 private:
  using Task = absl::AnyInvocable<void()>;

  void RunInTurn(Task task) const;
  CommitResult Commit(ShardId shard, Epoch epoch, const Batch& batch);
  static void Apply(MemoryDisk::Shard& shard, const Op& op);
  absl::StatusOr<std::shared_ptr<const Body>> Find(ShardId shard, QueueId queue,
                                                   ChunkKey key) const;

  const std::shared_ptr<MemoryDisk> disk_;
  Epoch epoch_ = 0;
  std::atomic<bool> disk_low_{false};
  std::atomic<std::uint64_t> committed_batches_{0};

  mutable base::Mutex turn_mutex_;
  mutable std::vector<Task> waiting_ ABSL_GUARDED_BY(turn_mutex_);
  mutable bool running_ ABSL_GUARDED_BY(turn_mutex_) = false;
};

}  // namespace mqd::storage
