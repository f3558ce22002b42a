#pragma once

// rocks_database.h: the RocksDB below RocksStore: open, its column families, plain reads.
//
// Threads: Everything is const after Open() and may be called on any thread.
// Ownership: Owns the database and its environment; closes it when destroyed.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rocksdb/db.h"
#include "rocksdb/file_system.h"
#include "storage/batch.h"
#include "storage/rocks_log_order.h"
#include "storage/rocks_options.h"
#include "storage/store.h"
#include "storage/types.h"

namespace mqd::storage {

class BackgroundFault;  // rocks_database.cc

class RocksDatabase {
 public:
  struct Options {
    std::string path;
    bool create = false;
    RocksBudget budget;
    std::shared_ptr<rocksdb::FileSystem> file_system;  // null: the machine's
    std::string manifest_mark_path;                    // of RocksManifestMark; empty: none
  };

  /// With a mark, the end of the manifest that a power cut has torn is cut off when it must be.
  static absl::StatusOr<std::unique_ptr<RocksDatabase>> Open(const Options& options);
  ~RocksDatabase();

  rocksdb::DB& db() const { return *db_; }
  rocksdb::ColumnFamilyHandle* node_family() const { return families_.front(); }
  rocksdb::ColumnFamilyHandle* family(Table table) const {
    return families_[1 + static_cast<std::size_t>(table)];
  }

  /// Path of the log with the last record that the open took; empty when there was none.
  const std::string& last_log() const { return log_order_.last_log(); }
  /// What a flush or compaction has run into; OK while there is nothing.
  absl::Status background_fault() const;
  absl::StatusOr<std::uint64_t> FreeBytes() const;

  /// A row of the node family by its whole key. kNotFound when there is none.
  absl::StatusOr<std::string> GetNodeRow(const std::string& key) const;
  /// All rows of the node family whose key, without the shard, is `name`.
  absl::Status ScanNodeRows(
      std::string_view name,
      const std::function<absl::Status(ShardId, std::string_view)>& visit) const;

  // As in store.h.
  absl::Status Scan(ShardId shard, Table table, std::string_view prefix,
                    const Reader::Visit& visit) const;
  absl::StatusOr<std::shared_ptr<const Body>> GetBody(ShardId shard, QueueId queue,
                                                      ChunkKey key) const;

 private:
  static absl::StatusOr<std::unique_ptr<RocksDatabase>> OpenOnce(const Options& options);
  RocksDatabase(std::string path, std::unique_ptr<rocksdb::Env> env,
                std::shared_ptr<BackgroundFault> fault);

  const std::string path_;
  const std::unique_ptr<rocksdb::Env> env_;
  RocksLogOrder log_order_;  // RocksDB keeps a pointer to it
  const std::shared_ptr<BackgroundFault> fault_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;  // destroyed before db_, by our destructor
};

/// The first key behind all that begin with `prefix`; empty when there is none.
std::string BehindPrefix(std::string prefix);

}  // namespace mqd::storage
