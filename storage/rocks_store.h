#pragma once

// rocks_store.h: step 4 of 5 (store). The store that mqd runs on: RocksDB below, group commit
// above.
//
// Threads: As store.h says; a commit thread, a sync thread and a reader thread of its own. on_fatal
//            runs on one of the first two.
// Ownership: Whoever opens it owns it. The destructor commits what was accepted, completes the
//            reads that were asked for, and closes the database.
// Limits: One process a data directory. Memory: Options::memtable_bytes (during a flush a little
//            more), Options::block_cache_bytes, and the bytes of the batches under way.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/data_dir.h"
#include "storage/store.h"

namespace mqd::storage {

class RocksStore final : public Store {
 public:
  struct Options {
    /// Made with mode 0700 when it is missing; its parent must exist.
    std::string data_dir;

    /// How long a Sync::kWritten batch may wait for the disk.
    std::chrono::milliseconds sync_interval{100};

    /// Free bytes under which DiskLow() holds. Unset: DiskWatch::DefaultWatermark().
    std::optional<std::uint64_t> disk_low_watermark_bytes;

    /// Changes not yet in table files. The log on disk is kept to about 5/4 of it.
    std::size_t memtable_bytes = 80u << 20;
    std::size_t block_cache_bytes = 16u << 20;

    /// As CommitLoop::Options.
    std::size_t write_ahead_bytes = 512u << 10;

    /// Called once, on a thread of the store, when a write, a sync or background work of the
    /// database has failed: the process is to end with this as its last word. From then on every
    /// batch completes with kUnknown (the ones being written) or kShuttingDown.
    std::function<void(absl::Status)> on_fatal;

    /// Go on although confirmed messages are missing after a damaged log: an operator's decision.
    bool accept_data_loss = false;
  };

  /// Opens or makes the data directory, recovers it, and makes a new epoch durable.
  ///
  /// Fails, with what to do about it in the message, with
  ///   kUnavailable          another process holds the directory, or the volume does not answer
  ///   kFailedPrecondition   a newer format, a directory that is not ours, or of two disks mixed
  ///   kDataLoss             damage, or confirmed messages are missing
  ///   kResourceExhausted    too little space to recover
  ///   kPermissionDenied, kNotFound ..  the directory cannot be made or written
  static absl::StatusOr<std::unique_ptr<RocksStore>> Open(Options options);
  ~RocksStore() override;

  void Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, Done done) override;
  Epoch CurrentEpoch() const override;
  bool DiskLow() const override;
  absl::Status Scan(ShardId shard, Table table, std::string_view prefix,
                    const Visit& visit) const override;
  void ReadBody(ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const override;
  StoreStats Stats() const override;

  const Identity& identity() const;

  /// What a store is made of; rocks_file_system.h opens one on another file system.
  struct Parts;
  explicit RocksStore(std::unique_ptr<Parts> parts);

 private:
  const std::unique_ptr<Parts> parts_;
};

}  // namespace mqd::storage
