#pragma once

// commit_watermark.h: a small file that says up to which group the log has been synced. It is
// written after each sync and not synced itself, so it may lag behind the log but never runs ahead.
// After recovery, a log that ends before it has lost confirmed groups (FORMAT.md, "Recovery").
//
// Threads: One at a time.
// Limits: Two slots written in turn, so that one torn write leaves the other.

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/posix_file.h"

namespace mqd::storage {

class CommitWatermark {
 public:
  /// A new file at zero, synced.
  static absl::StatusOr<CommitWatermark> Create(const std::string& path);
  /// kNotFound when there is none, kDataLoss when neither slot can be read.
  static absl::StatusOr<CommitWatermark> Open(const std::string& path);

  std::uint64_t group() const { return group_; }
  /// Raises it; not synced.
  absl::Status Advance(std::uint64_t group);

 private:
  CommitWatermark(File file, std::uint64_t group, int slot)
      : file_(std::move(file)), group_(group), slot_(slot) {}

  File file_;
  std::uint64_t group_;
  int slot_;  // the next to write
};

}  // namespace mqd::storage
