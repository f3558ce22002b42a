#pragma once

// rocks_manifest_mark.h: how far the manifest of the database has been synced, in a file of ours.
//
// A power cut may leave garbage behind the last sync of a file. In the manifest RocksDB takes that
// for damage, and does not open. The manifest alone cannot tell a torn end, on which nothing rests,
// from damage; the mark can. It is durable before RocksDB is told that its sync has succeeded, so
// nothing rests on what lies behind it.
//
// Threads: RocksDB's calls: any. CheckLength(), CutTornManifest(): before the database is open.
// Ownership: shares the file system below.
// Limits: remembers the two latest manifests, of which CURRENT names one.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/base/mutex.h"
#include "rocksdb/file_system.h"

namespace mqd::storage {

class RocksManifestMark final : public rocksdb::FileSystemWrapper {
 public:
  RocksManifestMark(std::shared_ptr<rocksdb::FileSystem> files, std::string mark_path);
  const char* Name() const override { return "mqd.ManifestMark"; }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;

  /// kDataLoss when the manifest that CURRENT names has fewer bytes than were synced. RocksDB takes
  /// one that ends between two of its records for whole, and forgets the files behind it.
  static absl::Status CheckLength(const std::string& database_path, const std::string& mark_path);

  /// Cuts off what lies behind the mark of the manifest that CURRENT names, and says whether there
  /// was anything. Without a mark of it, nothing is cut.
  static absl::StatusOr<bool> CutTornManifest(const std::string& database_path,
                                              const std::string& mark_path);

 private:
  class Manifest;
  using Marks =
      std::vector<std::pair<std::string, std::uint64_t>>;  // name and length, oldest first

  struct Current {
    std::string path;
    std::uint64_t length = 0;
    std::uint64_t synced = 0;  // by its mark
  };

  static Marks ReadMarks(const std::string& mark_path);
  /// The manifest that CURRENT names; nothing when it is not there or has no mark.
  static std::optional<Current> ReadCurrent(const std::string& database_path,
                                            const std::string& mark_path);
  rocksdb::IOStatus Mark(const std::string& name, std::uint64_t length);

  const std::string mark_path_;
  base::Mutex mutex_;
  Marks marks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::storage
