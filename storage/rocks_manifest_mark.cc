#include "storage/rocks_manifest_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "storage/posix_file.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

constexpr std::size_t kMarksMax = 2;

}  // namespace

/// Counts what is written, and marks what is synced.
class RocksManifestMark::Manifest final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  Manifest(std::unique_ptr<FSWritableFile> file, RocksManifestMark& system, std::string name)
      : FSWritableFileOwnerWrapper(std::move(file)), system_(system), name_(std::move(name)) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  IODebugContext* debug) override {
    IOStatus status = FSWritableFileWrapper::Append(data, options, debug);
    if (status.ok()) written_ += data.size();
    return status;
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& info, IODebugContext* debug) override {
    IOStatus status = FSWritableFileWrapper::Append(data, options, info, debug);
    if (status.ok()) written_ += data.size();
    return status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = FSWritableFileWrapper::Sync(options, debug);
    return status.ok() ? system_.Mark(name_, written_) : status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = FSWritableFileWrapper::Fsync(options, debug);
    return status.ok() ? system_.Mark(name_, written_) : status;
  }

 private:
  RocksManifestMark& system_;
  const std::string name_;
  std::uint64_t written_ = 0;
};

RocksManifestMark::RocksManifestMark(std::shared_ptr<rocksdb::FileSystem> files,
                                     std::string mark_path)
    : FileSystemWrapper(std::move(files)),
      mark_path_(std::move(mark_path)),
      marks_(ReadMarks(mark_path_)) {}

IOStatus RocksManifestMark::NewWritableFile(const std::string& path,
                                            const rocksdb::FileOptions& options,
                                            std::unique_ptr<rocksdb::FSWritableFile>* result,
                                            IODebugContext* debug) {
  IOStatus status = target()->NewWritableFile(path, options, result, debug);
  const std::string name = fs::path(path).filename();
  if (status.ok() && name.starts_with("MANIFEST-")) {
    *result = std::make_unique<Manifest>(std::move(*result), *this, name);
  }
  return status;
}

IOStatus RocksManifestMark::Mark(const std::string& name, std::uint64_t length) {
  base::MutexLock lock(mutex_);
  if (marks_.empty() || marks_.back().first != name) marks_.emplace_back(name, 0);
  if (marks_.size() > kMarksMax) marks_.erase(marks_.begin());
  marks_.back().second = length;
  std::string text;
  for (const auto& [manifest, synced] : marks_) absl::StrAppend(&text, manifest, " ", synced, "\n");
  const absl::Status status = ReplaceFile(mark_path_, text);
  return status.ok() ? IOStatus::OK() : IOStatus::IOError(std::string(status.message()));
}

// A line that is not in its form is none: without a mark nothing is cut.
RocksManifestMark::Marks RocksManifestMark::ReadMarks(const std::string& mark_path) {
  Marks marks;
  const absl::StatusOr<std::string> text = ReadSmallFile(mark_path);
  if (!text.ok()) return marks;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    std::uint64_t length = 0;
    if (absl::SimpleAtoi(field.second, &length)) marks.emplace_back(field.first, length);
  }
  return marks;
}

std::optional<RocksManifestMark::Current> RocksManifestMark::ReadCurrent(
    const std::string& database_path, const std::string& mark_path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(absl::StrCat(database_path, "/CURRENT"));
  if (!text.ok()) return std::nullopt;
  const std::string name(absl::StripAsciiWhitespace(*text));
  for (const auto& [manifest, synced] : ReadMarks(mark_path)) {
    if (manifest != name) continue;
    Current current{.path = absl::StrCat(database_path, "/", name), .synced = synced};
    std::error_code error;
    current.length = fs::file_size(current.path, error);
    if (!error) return current;
  }
  return std::nullopt;
}

absl::Status RocksManifestMark::CheckLength(const std::string& database_path,
                                            const std::string& mark_path) {
  const std::optional<Current> current = ReadCurrent(database_path, mark_path);
  if (!current || current->length >= current->synced) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(current->path, " is damaged: ", current->synced,
                                          " bytes of it were synced, and it has ", current->length,
                                          ". Restore the data directory from a backup"));
}

absl::StatusOr<bool> RocksManifestMark::CutTornManifest(const std::string& database_path,
                                                        const std::string& mark_path) {
  const std::optional<Current> current = ReadCurrent(database_path, mark_path);
  if (!current || current->length <= current->synced) return false;
  absl::StatusOr<File> file = File::Open(current->path, O_RDWR);
  if (!file.ok()) return file.status();
  if (::ftruncate(file->descriptor(), static_cast<off_t>(current->synced)) != 0) {
    return ErrnoStatus(errno, "cut the torn end of", file->path());
  }
  if (absl::Status status = file->Sync(); !status.ok()) return status;
  return true;
}

}  // namespace mqd::storage
