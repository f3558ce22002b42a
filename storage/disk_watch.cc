#include "storage/disk_watch.h"

#include <algorithm>

namespace mqd::storage {

std::uint64_t DiskWatch::DefaultWatermark(std::uint64_t volume_bytes) {
  constexpr std::uint64_t kFloor = 1ull << 30;
  return std::min(std::max(kFloor, volume_bytes / 20), volume_bytes / 2);
}

void DiskWatch::Update(std::uint64_t free_bytes) {
  free_ = free_bytes;
  if (free_bytes < watermark_) {
    low_ = true;
  } else if (free_bytes - watermark_ >= watermark_ / 10) {
    low_ = false;
  }
}

}  // namespace mqd::storage
