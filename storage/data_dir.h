#pragma once

// data_dir.h: the data directory around the database: it is ours alone (LOCK), it is of a format we
// know (FORMAT), and it is the disk that it was (identity).
//
// Threads: One at a time.
// Ownership: Holds the lock until destroyed; the kernel drops it when the process ends, however.
// Limits: One data directory, one process.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/posix_file.h"

namespace mqd::storage {

/// The newest format of the data directory that this program reads and the one that it writes.
inline constexpr std::uint64_t kFormatVersion = 1;

/// Who this directory is. Made up at initialisation, 32 hex digits each, never changed.
struct Identity {
  std::string cluster;
  std::string node;
  std::string disk;
  bool operator==(const Identity&) const = default;
};

class DataDir {
 public:
  /// Makes the directory (0700) if need be, locks it and reads or writes FORMAT.
  ///
  /// Fails with
  ///   kPermissionDenied, kNotFound ..  it cannot be made, read or written
  ///   kUnavailable          another process holds it
  ///   kFailedPrecondition   a newer format, or something that is not ours lies in it
  ///   kDataLoss             FORMAT is damaged
  static absl::StatusOr<DataDir> Open(const std::string& path);

  /// A first open that did not come to its end: nothing has been confirmed yet.
  bool initialising() const { return initialising_; }
  /// The end of the first open.
  absl::Status MarkReady();

  const Identity& identity() const { return identity_; }
  const std::string& path() const { return path_; }
  std::string database_path() const { return path_ + "/db"; }
  std::string watermark_path() const { return path_ + "/WATERMARK"; }
  std::string manifest_mark_path() const { return path_ + "/MANIFEST-SYNCED"; }
  std::string kept_logs_path() const { return path_ + "/kept-logs"; }

 private:
  DataDir(std::string path, File lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  absl::Status LoadFormat();
  absl::Status Initialise();
  absl::Status ParseFormat(std::string_view text);
  absl::Status WriteFormat() const;
  absl::Status Damaged(std::string_view what) const;

  std::string path_;
  File lock_;
  Identity identity_;
  bool initialising_ = false;
};

}  // namespace mqd::storage
