#pragma once

// rocks_file_system.h: opens a RocksStore on another file system than the machine's. For tests that
// cut the power or fill the disk; the daemon uses RocksStore::Open().
//
// Threads: Any.
// Ownership: The store shares the file system.
// Limits: Only the database goes through it: LOCK, FORMAT and WATERMARK are ordinary files.

#include <memory>

#include "absl/status/statusor.h"
#include "rocksdb/file_system.h"
#include "storage/rocks_store.h"

namespace mqd::storage {

class RocksStoreOpener {
 public:
  static absl::StatusOr<std::unique_ptr<RocksStore>> Open(
      RocksStore::Options options, std::shared_ptr<rocksdb::FileSystem> file_system);
};

}  // namespace mqd::storage
