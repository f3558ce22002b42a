#include "tests/support/crash_file_system.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"

namespace mqd::test {
namespace {

namespace fs = std::filesystem;
using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

/// "a//b" and "a/b/" are "a/b": RocksDB writes all of them.
std::string Tidy(const std::string& path) {
  std::string tidy = fs::path(path).lexically_normal();
  while (tidy.size() > 1 && tidy.back() == '/') tidy.pop_back();
  return tidy;
}

std::string NameOf(const std::string& path) { return fs::path(path).filename(); }

}  // namespace

/// Keeps book of one file.
class CrashFileSystem::WritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WritableFile(std::unique_ptr<FSWritableFile> file, CrashFileSystem& system,
               CrashState::Inode inode)
      : FSWritableFileOwnerWrapper(std::move(file)), system_(system), inode_(inode) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    system_.StallAt(Call::kAppend);
    base::MutexLock lock(system_.mutex_);
    const IOStatus fault = system_.Operate(Call::kAppend);
    if (!fault.ok() && system_.fault_->kind != FaultKind::kShortWrite) return fault;
    const Slice part(data.data(), fault.ok() ? data.size() : data.size() / 2);
    IOStatus status = target()->Append(part, options, debug);
    if (status.ok()) system_.state_.Append(inode_, part.size());
    return fault.ok() ? status : fault;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus PositionedAppend(const Slice&, std::uint64_t, const IOOptions&,
                            IODebugContext*) override {
    return IOStatus::NotSupported("direct writes");
  }
  IOStatus PositionedAppend(const Slice&, std::uint64_t, const IOOptions&,
                            const rocksdb::DataVerificationInfo&, IODebugContext*) override {
    return IOStatus::NotSupported("direct writes");
  }
  IOStatus Truncate(std::uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    base::MutexLock lock(system_.mutex_);
    if (IOStatus status = system_.Operate(Call::kTruncate); !status.ok()) return status;
    system_.state_.Truncate(inode_, size);
    return target()->Truncate(size, options, debug);
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    system_.StallAt(Call::kSync);
    base::MutexLock lock(system_.mutex_);
    if (IOStatus status = system_.Operate(Call::kSync); !status.ok()) return status;
    system_.state_.Sync(inode_);
    return IOStatus::OK();
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }
  // Neither promises anything to a power cut: the one empties a buffer that we do not have, the
  // other is a hint to the kernel.
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus RangeSync(std::uint64_t, std::uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  void PrepareWrite(std::size_t, std::size_t, const IOOptions&, IODebugContext*) override {}
  IOStatus Allocate(std::uint64_t, std::uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }

 private:
  CrashFileSystem& system_;
  const CrashState::Inode inode_;
};

class CrashFileSystem::SequentialFile final : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  SequentialFile(std::unique_ptr<FSSequentialFile> file, CrashFileSystem& system)
      : FSSequentialFileOwnerWrapper(std::move(file)), system_(system) {}

  IOStatus Read(std::size_t size, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) override {
    if (IOStatus status = system_.Read(); !status.ok()) return status;
    return FSSequentialFileWrapper::Read(size, options, result, scratch, debug);
  }

 private:
  CrashFileSystem& system_;
};

class CrashFileSystem::RandomAccessFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  RandomAccessFile(std::unique_ptr<FSRandomAccessFile> file, CrashFileSystem& system)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), system_(system) {}

  IOStatus Read(std::uint64_t offset, std::size_t size, const IOOptions& options, Slice* result,
                char* scratch, IODebugContext* debug) const override {
    if (IOStatus status = system_.Read(); !status.ok()) return status;
    return FSRandomAccessFileWrapper::Read(offset, size, options, result, scratch, debug);
  }

 private:
  CrashFileSystem& system_;
};

class CrashFileSystem::Directory final : public rocksdb::FSDirectory {
 public:
  explicit Directory(CrashFileSystem& system) : system_(system) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    base::MutexLock lock(system_.mutex_);
    if (IOStatus status = system_.Operate(Call::kSyncDirectory); !status.ok()) return status;
    system_.state_.SyncDirectory();
    return IOStatus::OK();
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  CrashFileSystem& system_;
};

CrashFileSystem::CrashFileSystem(std::string database, std::string attic)
    : FileSystemWrapper(rocksdb::FileSystem::Default()),
      database_(Tidy(database)),
      attic_(std::move(attic)) {
  if (!fs::exists(database_)) return;
  base::MutexLock lock(mutex_);
  for (const fs::directory_entry& entry : fs::directory_iterator(database_)) {
    Keep(entry.path(), state_.Adopt(NameOf(entry.path()), entry.file_size()));
  }
}

void CrashFileSystem::CutAt(std::uint64_t operation, Remains remains, std::uint64_t seed,
                            std::function<void()> end) {
  base::MutexLock lock(mutex_);
  cut_at_ = operation;
  remains_ = remains;
  random_.seed(seed);
  end_ = std::move(end);
}

void CrashFileSystem::CutNow() {
  base::MutexLock lock(mutex_);
  Cut();
}

void CrashFileSystem::Inject(Fault fault) {
  base::MutexLock lock(mutex_);
  MQD_ASSERT(fault.nth > 0);
  calls_to_fault_ = fault.nth;
  faulted_ = false;
  fault_ = std::move(fault);
}

bool CrashFileSystem::faulted() const {
  base::MutexLock lock(mutex_);
  return faulted_;
}

std::uint64_t CrashFileSystem::operations() const {
  base::MutexLock lock(mutex_);
  return operations_;
}

void CrashFileSystem::RecordPoints(std::function<void()> before) {
  base::MutexLock lock(mutex_);
  first_point_ = operations_ + 1;
  before_ = std::move(before);
}

void CrashFileSystem::MaterialisePoint(std::uint64_t operation, Remains remains, std::uint64_t seed,
                                       const std::string& target) const {
  CrashState::Random random(seed);
  base::MutexLock lock(mutex_);
  points_.at(operation - first_point_).Materialise(attic_, remains, random, target);
}

void CrashFileSystem::Materialise(Remains remains, std::uint64_t seed,
                                  const std::string& target) const {
  CrashState::Random random(seed);
  base::MutexLock lock(mutex_);
  state_.Materialise(attic_, remains, random, target);
}

IOStatus CrashFileSystem::Operate(Call call) {
  ++operations_;
  if (before_) {
    points_.push_back(state_);
    before_();
  }
  if (operations_ == cut_at_) Cut();
  return FaultAt(call);
}

IOStatus CrashFileSystem::FaultAt(Call call) {
  if (!fault_ || fault_->kind == FaultKind::kStall) return IOStatus::OK();
  if (call != fault_->call && (fault_->call || call == Call::kRead)) return IOStatus::OK();
  if (calls_to_fault_ > 0) --calls_to_fault_;
  if (calls_to_fault_ > 0 || (faulted_ && !fault_->stays)) return IOStatus::OK();
  faulted_ = true;
  if (fault_->kind != FaultKind::kNoSpace) return IOStatus::IOError("the disk does not answer");
  IOStatus full = IOStatus::NoSpace("the disk is full");
  full.SetRetryable(true);  // as RocksDB's own file system says
  return full;
}

IOStatus CrashFileSystem::Read() {
  base::MutexLock lock(mutex_);
  return FaultAt(Call::kRead);
}

void CrashFileSystem::StallAt(Call call) {
  std::function<void()> stall;
  {
    base::MutexLock lock(mutex_);
    if (!fault_ || fault_->kind != FaultKind::kStall || call != fault_->call || faulted_) return;
    if (--calls_to_fault_ > 0) return;
    faulted_ = true;
    stall = fault_->stall;
  }
  stall();
}

void CrashFileSystem::Cut() {
  const std::string left = database_ + ".cut";
  state_.Materialise(attic_, remains_, random_, left);
  fs::remove_all(database_);
  fs::rename(left, database_);
  end_();
  MQD_ASSERT(!"the end of a power cut has returned");
}

void CrashFileSystem::Keep(const std::string& path, CrashState::Inode inode) {
  fs::create_hard_link(path, absl::StrCat(attic_, "/", inode));
}

IOStatus CrashFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                          std::unique_ptr<rocksdb::FSWritableFile>* result,
                                          IODebugContext* debug) {
  MQD_ASSERT(fs::path(Tidy(path)).parent_path() == database_);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  base::MutexLock lock(mutex_);
  if (IOStatus status = Operate(Call::kMake); !status.ok()) return status;
  fs::remove(path);  // not emptied: a cut may bring the old contents back
  IOStatus status = target()->NewWritableFile(path, options, &file, debug);
  if (!status.ok()) return status;
  const CrashState::Inode inode = state_.Make(NameOf(path));
  Keep(path, inode);
  *result = std::make_unique<WritableFile>(std::move(file), *this, inode);
  return status;
}

// RocksDB does not use these with our options; were it to begin, a test should fail and not lie.
IOStatus CrashFileSystem::ReopenWritableFile(const std::string&, const FileOptions&,
                                             std::unique_ptr<rocksdb::FSWritableFile>*,
                                             IODebugContext*) {
  return IOStatus::NotSupported("ReopenWritableFile");
}

IOStatus CrashFileSystem::ReuseWritableFile(const std::string&, const std::string&,
                                            const FileOptions&,
                                            std::unique_ptr<rocksdb::FSWritableFile>*,
                                            IODebugContext*) {
  return IOStatus::NotSupported("ReuseWritableFile");
}

IOStatus CrashFileSystem::NewSequentialFile(const std::string& path, const FileOptions& options,
                                            std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                            IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSSequentialFile> file;
  IOStatus status = target()->NewSequentialFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<SequentialFile>(std::move(file), *this);
  return status;
}

IOStatus CrashFileSystem::NewRandomAccessFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                              IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  IOStatus status = target()->NewRandomAccessFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<RandomAccessFile>(std::move(file), *this);
  return status;
}

IOStatus CrashFileSystem::NewRandomRWFile(const std::string&, const FileOptions&,
                                          std::unique_ptr<rocksdb::FSRandomRWFile>*,
                                          IODebugContext*) {
  return IOStatus::NotSupported("NewRandomRWFile");
}

IOStatus CrashFileSystem::LinkFile(const std::string&, const std::string&, const IOOptions&,
                                   IODebugContext*) {
  return IOStatus::NotSupported("LinkFile");
}

IOStatus CrashFileSystem::Truncate(const std::string&, std::size_t, const IOOptions&,
                                   IODebugContext*) {
  return IOStatus::NotSupported("Truncate");
}

IOStatus CrashFileSystem::NewDirectory(const std::string& path, const IOOptions&,
                                       std::unique_ptr<rocksdb::FSDirectory>* result,
                                       IODebugContext*) {
  if (!fs::is_directory(path)) return IOStatus::PathNotFound(path);
  *result = std::make_unique<Directory>(*this);
  return IOStatus::OK();
}

IOStatus CrashFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                     IODebugContext* debug) {
  base::MutexLock lock(mutex_);
  if (IOStatus status = Operate(Call::kDelete); !status.ok()) return status;
  IOStatus status = target()->DeleteFile(path, options, debug);
  if (status.ok() && state_.Has(NameOf(path))) state_.Remove(NameOf(path));
  return status;
}

IOStatus CrashFileSystem::RenameFile(const std::string& from, const std::string& to,
                                     const IOOptions& options, IODebugContext* debug) {
  base::MutexLock lock(mutex_);
  if (IOStatus status = Operate(Call::kRename); !status.ok()) return status;
  IOStatus status = target()->RenameFile(from, to, options, debug);
  if (status.ok() && state_.Has(NameOf(from))) state_.Rename(NameOf(from), NameOf(to));
  return status;
}

}  // namespace mqd::test
