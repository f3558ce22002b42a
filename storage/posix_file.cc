#include "storage/posix_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/mutant.h"

namespace mqd::storage {

absl::Status ErrnoStatus(int error, absl::string_view action, absl::string_view path) {
  const std::string what = absl::StrCat("cannot ", std::string(action), " ", std::string(path),
                                        ": ", std::generic_category().message(error));
  return absl::Status(absl::ErrnoToStatusCode(error), what);
}

absl::StatusOr<File> File::Open(const std::string& path, int flags, unsigned mode) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (descriptor < 0) return ErrnoStatus(errno, "open", path);
  return File(descriptor, path);
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

absl::Status File::WriteAt(std::string_view bytes, std::uint64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write", path_);
    bytes.remove_prefix(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> File::ReadAt(std::size_t size, std::uint64_t offset) const {
  std::string bytes(size, '\0');
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t got = ::pread(descriptor_, bytes.data() + filled, size - filled,
                                static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, "read", path_);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

absl::Status File::Sync() const {
  if (::fsync(descriptor_) != 0) return ErrnoStatus(errno, "sync", path_);
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  if (MQD_MUTANT(directory_sync_skipped)) return absl::OkStatus();
  absl::StatusOr<File> directory = File::Open(path, O_RDONLY | O_DIRECTORY);
  if (!directory.ok()) return directory.status();
  return directory->Sync();
}

absl::Status ReplaceFile(const std::string& path, std::string_view contents) {
  const std::string next = absl::StrCat(path, ".new");
  {
    absl::StatusOr<File> file = File::Open(next, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.ok()) return file.status();
    if (absl::Status status = file->WriteAt(contents, 0); !status.ok()) return status;
    if (absl::Status status = file->Sync(); !status.ok()) return status;
  }
  if (std::rename(next.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "replace", path);
  return SyncDirectory(std::filesystem::path(path).parent_path());
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  absl::StatusOr<File> file = File::Open(path, O_RDONLY);
  if (!file.ok()) return file.status();
  return file->ReadAt(64u << 10, 0);
}

}  // namespace mqd::storage
