#include "tests/support/crash_file_system.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "tests/support/temporary_directory.h"

namespace mqd::test {
namespace {

namespace fs = std::filesystem;
using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using Random = std::mt19937_64;

constexpr std::uint64_t kSectorBytes = 512;

std::string DirectoryOf(const std::string& path) { return fs::path(path).parent_path(); }

/// "a//b" and "a/b/" are "a/b": RocksDB writes all of them.
std::string Tidy(const std::string& path) {
  std::string tidy = fs::path(path).lexically_normal();
  while (tidy.size() > 1 && tidy.back() == '/') tidy.pop_back();
  return tidy;
}

/// Turns the file at `path`, of which the first `synced` bytes are safe, into what a cut leaves.
void CutFile(const std::string& path, std::uint64_t synced, Remains remains, Random& random) {
  const std::uint64_t size = fs::file_size(path);
  if (remains == Remains::kAll || size <= synced) return;
  const std::uint64_t left =
      remains == Remains::kNothing ? synced : synced + random() % (size - synced + 1);
  // RocksDB refuses a manifest with a torn end (FORMAT.md, "Recovery"); it takes one that is cut.
  const bool tears = fs::path(path).filename().string().rfind("MANIFEST", 0) != 0;
  if (remains != Remains::kTorn || !tears) return fs::resize_file(path, left);
  // The new length may be durable although the bytes behind the last sync are not.
  std::string bytes = ReadFile(path);
  if (random() % 2) bytes.resize(left);
  for (std::uint64_t at = synced; at < bytes.size(); at = (at / kSectorBytes + 1) * kSectorBytes) {
    const std::uint64_t end =
        std::min<std::uint64_t>(bytes.size(), (at / kSectorBytes + 1) * kSectorBytes);
    const std::uint64_t fate = random() % 8;
    for (std::uint64_t i = at; fate < 3 && i < end; ++i) {
      bytes[i] = fate < 2 ? '\0' : static_cast<char>(random());
    }
  }
  WriteFile(path, bytes);
}

}  // namespace

/// Keeps book of one file.
class CrashFileSystem::WritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WritableFile(std::unique_ptr<FSWritableFile> file, CrashFileSystem& system,
               std::shared_ptr<Node> node)
      : FSWritableFileOwnerWrapper(std::move(file)), system_(system), node_(std::move(node)) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  IODebugContext* debug) override {
    base::MutexLock lock(system_.mutex_);
    if (IOStatus status = system_.Operate(); !status.ok()) return status;
    IOStatus status = target()->Append(data, options, debug);
    if (status.ok()) node_->written += data.size();
    return status;
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo&, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus PositionedAppend(const rocksdb::Slice&, std::uint64_t, const IOOptions&,
                            IODebugContext*) override {
    return IOStatus::NotSupported("direct writes");
  }
  IOStatus PositionedAppend(const rocksdb::Slice&, std::uint64_t, const IOOptions&,
                            const rocksdb::DataVerificationInfo&, IODebugContext*) override {
    return IOStatus::NotSupported("direct writes");
  }
  IOStatus Truncate(std::uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    base::MutexLock lock(system_.mutex_);
    if (IOStatus status = system_.Operate(); !status.ok()) return status;
    node_->written = std::min(node_->written, size);
    node_->synced = std::min(node_->synced, size);
    return target()->Truncate(size, options, debug);
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    base::MutexLock lock(system_.mutex_);
    if (IOStatus status = system_.Operate(); !status.ok()) return status;
    node_->synced = node_->written;
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
  const std::shared_ptr<Node> node_;
};

class CrashFileSystem::Directory final : public rocksdb::FSDirectory {
 public:
  Directory(CrashFileSystem& system, std::string path) : system_(system), path_(std::move(path)) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    base::MutexLock lock(system_.mutex_);
    if (IOStatus status = system_.Operate(); !status.ok()) return status;
    system_.changes_.erase(path_);
    return IOStatus::OK();
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  CrashFileSystem& system_;
  const std::string path_;
};

CrashFileSystem::CrashFileSystem(std::string attic)
    : FileSystemWrapper(rocksdb::FileSystem::Default()), attic_(std::move(attic)) {}

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

void CrashFileSystem::FailFrom(std::uint64_t operation) {
  base::MutexLock lock(mutex_);
  fail_from_ = operation;
}

std::uint64_t CrashFileSystem::operations() const {
  base::MutexLock lock(mutex_);
  return operations_;
}

IOStatus CrashFileSystem::Operate() {
  if (++operations_ == cut_at_) Cut();
  return operations_ < fail_from_ ? IOStatus::OK() : IOStatus::IOError("the disk is gone");
}

// From the last change to the first, as far as they are lost; then the bytes of what is left.
void CrashFileSystem::Cut() {
  for (const auto& [directory, changes] : changes_) {
    std::size_t kept = remains_ == Remains::kAll ? changes.size() : 0;
    if (remains_ == Remains::kPrefix || remains_ == Remains::kTorn) {
      kept = random_() % (changes.size() + 1);
    }
    for (std::size_t i = changes.size(); i > kept; --i) TakeBack(changes[i - 1]);
  }
  for (const auto& [path, node] : nodes_) {
    if (fs::exists(path)) CutFile(path, node->synced, remains_, random_);
  }
  end_();
  MQD_ASSERT(!"the end of a power cut has returned");
}

/// Keeps what is at `path` for the case that its deletion is lost.
std::string CrashFileSystem::Stow(const std::string& path) {
  std::string stowed = absl::StrCat(attic_, "/", ++stowed_);
  fs::create_hard_link(path, stowed);
  return stowed;
}

std::shared_ptr<CrashFileSystem::Node> CrashFileSystem::Take(const std::string& path) {
  auto found = nodes_.extract(path);
  return found.empty() ? nullptr : found.mapped();
}

void CrashFileSystem::Note(const std::string& path, Change change) {
  changes_[DirectoryOf(path)].push_back(std::move(change));
}

void CrashFileSystem::TakeBack(const Change& change) {
  if (!change.made.empty()) {
    Take(change.made);
    fs::remove(change.made);
  }
  if (!change.moved_from.empty()) {
    fs::rename(change.moved_to, change.moved_from);
    if (const std::shared_ptr<Node> node = Take(change.moved_to)) nodes_[change.moved_from] = node;
  }
  if (!change.stowed.empty()) {
    fs::rename(change.stowed, change.deleted);
    if (change.node) nodes_[change.deleted] = change.node;
  }
}

IOStatus CrashFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                          std::unique_ptr<rocksdb::FSWritableFile>* result,
                                          IODebugContext* debug) {
  const std::string name = Tidy(path);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  base::MutexLock lock(mutex_);
  if (IOStatus status = Operate(); !status.ok()) return status;
  Change change{.made = name};
  if (fs::exists(name)) {  // it is emptied; a cut may bring the old contents back
    change = {.made = name, .deleted = name, .stowed = Stow(name), .node = Take(name)};
    fs::remove(name);
  }
  if (IOStatus status = target()->NewWritableFile(name, options, &file, debug); !status.ok()) {
    return status;
  }
  auto node = std::make_shared<Node>();
  nodes_[name] = node;
  Note(name, std::move(change));
  *result = std::make_unique<WritableFile>(std::move(file), *this, std::move(node));
  return IOStatus::OK();
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
  *result = std::make_unique<Directory>(*this, Tidy(path));
  return IOStatus::OK();
}

IOStatus CrashFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                     IODebugContext* debug) {
  const std::string name = Tidy(path);
  base::MutexLock lock(mutex_);
  if (IOStatus status = Operate(); !status.ok()) return status;
  if (!fs::exists(name)) return target()->DeleteFile(name, options, debug);
  const std::string stowed = Stow(name);
  IOStatus status = target()->DeleteFile(name, options, debug);
  if (status.ok()) {
    Note(name, {.deleted = name, .stowed = stowed, .node = Take(name)});
  }
  return status;
}

IOStatus CrashFileSystem::RenameFile(const std::string& from, const std::string& to,
                                     const IOOptions& options, IODebugContext* debug) {
  const std::string old_name = Tidy(from);
  const std::string new_name = Tidy(to);
  MQD_ASSERT(DirectoryOf(old_name) == DirectoryOf(new_name));
  base::MutexLock lock(mutex_);
  if (IOStatus status = Operate(); !status.ok()) return status;
  Change change{.moved_from = old_name, .moved_to = new_name};
  if (fs::exists(new_name)) {
    change.deleted = new_name;
    change.stowed = Stow(new_name);
  }
  IOStatus status = target()->RenameFile(old_name, new_name, options, debug);
  if (!status.ok()) return status;
  change.node = Take(new_name);
  if (const std::shared_ptr<Node> node = Take(old_name)) nodes_[new_name] = node;
  Note(new_name, std::move(change));
  return status;
}

}  // namespace mqd::test
