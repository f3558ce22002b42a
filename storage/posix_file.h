#pragma once

// posix_file.h: the few file calls of the data directory that do not go through the database, with
// failures as sentences.
//
// Threads: Any.
// Ownership: A File closes its descriptor.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mqd::storage {

class File {
 public:
  /// `flags` and `mode` as in open(2); O_CLOEXEC is added.
  static absl::StatusOr<File> Open(const std::string& path, int flags, unsigned mode = 0600);
  File(File&& other) noexcept;
  File& operator=(File&&) = delete;
  ~File();

  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }
  absl::Status WriteAt(std::string_view bytes, std::uint64_t offset) const;
  /// Up to `size` bytes; fewer at the end of the file.
  absl::StatusOr<std::string> ReadAt(std::size_t size, std::uint64_t offset) const;
  absl::Status Sync() const;

 private:
  File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}

  int descriptor_;
  std::string path_;
};

/// "cannot <action> <path>: <what errno says>", with the code that fits errno.
absl::Status ErrnoStatus(int error, absl::string_view action, absl::string_view path);

absl::Status SyncDirectory(const std::string& path);

/// Replaces `path` so that after a crash either the old or the new contents are there.
absl::Status ReplaceFile(const std::string& path, std::string_view contents);

/// kNotFound when there is none. Reads at most 64 KiB.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

}  // namespace mqd::storage
