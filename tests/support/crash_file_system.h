#pragma once

// crash_file_system.h: a file system that forgets, at a power cut, what was never synced.
//
// Writes go to real files at once, so that RocksDB reads back what it wrote. What a power cut may
// take is kept book of: of each file the bytes behind its last sync, of each directory the entries
// made, renamed or deleted since its last sync. A cut turns the real files into what the next
// start finds, and then ends the process by the function it was given: nothing of it runs on.
//
// Threads: RocksDB's calls: any. The rest: one at a time, before or between them.
// Ownership: `attic` is an empty directory outside the database, on the same volume, for deleted
//            files that a cut brings back. What is there before the first call counts as durable.
// Limits: The operation at which the cut falls is exact; which one RocksDB's background threads
//            have come to by then is not, so a seed repeats a run nearly. Made directories and
//            the info log are never lost. Nothing is ever really synced.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "proto/base/mutex.h"
#include "rocksdb/file_system.h"

namespace mqd::test {

/// What is left of the bytes and entries that were not synced.
enum class Remains : std::uint8_t {
  kNothing,  // they are all gone
  kPrefix,   // of each file a part from its front; of each directory the older changes
  kTorn,     // as kPrefix, but sectors of the rest may be zeroes or garbage; not in a MANIFEST
  kAll,      // the end of the process rather than of the power
};

class CrashFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit CrashFileSystem(std::string attic);
  const char* Name() const override { return "CrashFileSystem"; }

  /// Cuts the power instead of doing the operation of this number. An operation is anything that
  /// writes, syncs, makes, renames or deletes; the first one is 1. `end` must not return.
  void CutAt(std::uint64_t operation, Remains remains, std::uint64_t seed,
             std::function<void()> end);
  /// Cuts now, with the remains and the end that were given.
  void CutNow();
  /// From this operation on, all fail; nothing is lost.
  void FailFrom(std::uint64_t operation);
  std::uint64_t operations() const;

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomRWFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSRandomRWFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus Truncate(const std::string& path, std::size_t size,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;

 private:
  class WritableFile;
  class Directory;

  /// A file, whatever its name is by now.
  struct Node {
    std::uint64_t written = 0;
    std::uint64_t synced = 0;
  };

  /// One change of a directory: what to do, in this order, when it is lost.
  struct Change {
    std::string made;  // remove it
    std::string moved_from;
    std::string moved_to;  // give it its old name again
    std::string deleted;
    std::string stowed;          // bring it back from here
    std::shared_ptr<Node> node;  // of what was deleted; null when all of it is durable
  };

  /// Before each operation: counts it, and does not return when the cut falls here.
  rocksdb::IOStatus Operate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Cut() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string Stow(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<Node> Take(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Note(const std::string& path, Change change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeBack(const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string attic_;
  // Held through each operation, the real one included: at a cut nothing else is under way.
  mutable base::Mutex mutex_;
  std::map<std::string, std::shared_ptr<Node>> nodes_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<Change>> changes_ ABSL_GUARDED_BY(mutex_);  // by directory
  std::uint64_t operations_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t cut_at_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;
  std::uint64_t fail_from_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;
  Remains remains_ ABSL_GUARDED_BY(mutex_) = Remains::kNothing;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> end_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t stowed_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mqd::test
