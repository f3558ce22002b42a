#pragma once

// disk_watch.h: when is the disk low? Pure rule with hysteresis, so that publishers near the
// watermark are not let in and out with every deleted file.
//
// Threads: one at a time.

#include <cstdint>

namespace mqd::storage {

class DiskWatch {
 public:
  /// max(1 GiB, 5 % of the volume), but never more than half of a small volume.
  static std::uint64_t DefaultWatermark(std::uint64_t volume_bytes);

  explicit DiskWatch(std::uint64_t watermark_bytes) : watermark_(watermark_bytes) {}

  /// Takes a reading. Low begins under the watermark and ends 10 % above it.
  void Update(std::uint64_t free_bytes);

  bool low() const { return low_; }
  std::uint64_t free_bytes() const { return free_; }
  std::uint64_t watermark_bytes() const { return watermark_; }

 private:
  const std::uint64_t watermark_;
  std::uint64_t free_ = 0;
  bool low_ = false;
};

}  // namespace mqd::storage
