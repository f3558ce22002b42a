#pragma once

// rocks_log_writer.h: step 4 of 5 (store). One group of batches becomes one RocksDB write: the only
// place that translates our operations, and the only one that writes after the store is open.
//
// Threads: as LogWriter says. disk(): any.
// Ownership: Borrows the database.
// Limits: Keeps kDiskReserveBytes of the volume free of new bodies.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "rocksdb/write_batch.h"
#include "storage/commit_loop.h"
#include "storage/commit_watermark.h"
#include "storage/disk_watch.h"
#include "storage/node_rows.h"
#include "storage/rocks_database.h"
#include "storage/rocks_reclaim.h"

namespace mqd::storage {

using AppliedIndexes = absl::flat_hash_map<ShardId, Index>;

class RocksLogWriter final : public LogWriter {
 public:
  /// Left for settles, the log and the flush of the memtables: below it no body is written.
  static constexpr std::uint64_t kDiskReserveBytes = 128u << 20;

  struct Disk {
    bool low = false;
    std::uint64_t free_bytes = 0;
    std::uint64_t watermark_bytes = 0;
  };

  /// What recovery has found; `head` is the row of the last group, with the epoch of this open.
  struct Start {
    HeadRow head;
    AppliedIndexes applied;
    CommitWatermark watermark;
    std::uint64_t disk_low_watermark_bytes = 0;
    std::uint64_t free_bytes = 0;
  };

  RocksLogWriter(const RocksDatabase& database, Start start);

  bool HasRoomFor(const Batch& batch) const override;
  Index Add(ShardId shard, const Batch& batch) override;
  absl::Status Commit() override;
  absl::Status Flush() override;
  absl::Status Maintain() override;

  Disk disk() const;

 private:
  void AddOp(std::string_view shard_prefix, const Op& op);
  void AddDeletePrefix(std::string_view shard_prefix, const Op& op);
  void ReadDisk(std::uint64_t free_bytes);

  const RocksDatabase& database_;
  rocksdb::WriteBatch group_;
  std::vector<ShardId> touched_;  // shards of the group
  HeadRow head_;
  AppliedIndexes applied_;
  CommitWatermark watermark_;  // of Flush()
  std::atomic<std::uint64_t> written_group_;
  RocksReclaim reclaim_;
  DiskWatch disk_watch_;
  std::uint64_t written_since_reading_ = 0;  // bytes, since the last look at the volume

  // What other threads see of disk_watch_.
  std::atomic<bool> disk_low_{false};
  std::atomic<std::uint64_t> disk_free_bytes_{0};
};

}  // namespace mqd::storage
