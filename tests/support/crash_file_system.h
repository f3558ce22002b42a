#pragma once

// crash_file_system.h: a file system that forgets, at a power cut, what was never synced, and that
// fails at the call a test names.
//
// Writes go to real files at once, so that RocksDB reads back what it wrote; crash_state.h keeps
// book of what a power cut may take. A cut ends the process by the function it was given, so that
// nothing of it runs on; or the state in front of each operation is recorded in one run, and every
// one of them is made into a directory later.
//
// Threads: RocksDB's calls: any. The rest: one at a time, before or between them.
// Ownership: `database` is the directory that is kept book of; what is there at the beginning
//            counts as durable. `attic` is an empty directory beside it, on the same volume.
// Limits: The operation at which a cut falls is exact; which one RocksDB's background threads
//            have come to by then is not, so a seed repeats a run nearly. The info log is never
//            lost. Nothing is ever really synced.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/mutex.h"
#include "rocksdb/file_system.h"
#include "tests/support/crash_state.h"

namespace mqd::test {

/// A kind of call. All but kRead are operations, at each of which the power may be cut.
enum class Call : std::uint8_t {
  kMake,
  kAppend,
  kTruncate,
  kSync,
  kSyncDirectory,
  kRename,
  kDelete,
  kRead
};

enum class FaultKind : std::uint8_t {
  kIoError,     // EIO; nothing is done
  kNoSpace,     // ENOSPC; nothing is done
  kShortWrite,  // EIO, and of an append the front half is written
  kStall,       // it succeeds, after `stall` has returned
};

struct Fault {
  std::optional<Call> call;  // unset: any operation
  std::uint64_t nth = 1;     // of them, from now on
  FaultKind kind = FaultKind::kIoError;
  bool stays = false;           // and all behind it
  std::function<void()> stall;  // other calls go on meanwhile
};

class CrashFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  CrashFileSystem(std::string database, std::string attic);
  const char* Name() const override { return "CrashFileSystem"; }

  /// Cuts the power instead of doing the operation of this number. The first one is 1. `end` must
  /// not return.
  void CutAt(std::uint64_t operation, Remains remains, std::uint64_t seed,
             std::function<void()> end);
  /// Cuts now, with the remains and the end that were given.
  void CutNow();
  /// In the place of the fault before.
  void Inject(Fault fault);
  /// Whether the fault has come.
  bool faulted() const;
  std::uint64_t operations() const;

  /// Keeps the state in front of each operation from now on, and calls `before` there: it must not
  /// call back.
  void RecordPoints(std::function<void()> before);
  /// Makes `target` what a power cut in front of `operation`, which was recorded, leaves.
  void MaterialisePoint(std::uint64_t operation, Remains remains, std::uint64_t seed,
                        const std::string& target) const;
  /// The same for now.
  void Materialise(Remains remains, std::uint64_t seed, const std::string& target) const;

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
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
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
  class SequentialFile;
  class RandomAccessFile;
  class Directory;

  /// Before each operation: counts it, and does not return when the cut falls here.
  rocksdb::IOStatus Operate(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// The fault, if it is at this call.
  rocksdb::IOStatus FaultAt(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  rocksdb::IOStatus Read();
  /// Waits when the fault is a stall at this call.
  void StallAt(Call call);
  void Cut() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Keeps the bytes of the file at `path`, whatever becomes of its name.
  void Keep(const std::string& path, CrashState::Inode inode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string database_;
  const std::string attic_;
  // Held through each operation, the real one included: at a cut nothing else is under way.
  mutable base::Mutex mutex_;
  CrashState state_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t operations_ ABSL_GUARDED_BY(mutex_) = 0;

  std::uint64_t cut_at_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;
  Remains remains_ ABSL_GUARDED_BY(mutex_);
  CrashState::Random random_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> end_ ABSL_GUARDED_BY(mutex_);

  std::optional<Fault> fault_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t calls_to_fault_ ABSL_GUARDED_BY(mutex_) = 0;
  bool faulted_ ABSL_GUARDED_BY(mutex_) = false;

  std::function<void()> before_ ABSL_GUARDED_BY(mutex_);  // null: points are not recorded
  std::uint64_t first_point_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<CrashState> points_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::test
