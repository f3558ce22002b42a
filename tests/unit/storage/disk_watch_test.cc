// When the disk is low.
#include "storage/disk_watch.h"

#include <gtest/gtest.h>

namespace mqd::storage {
namespace {

constexpr std::uint64_t kGiB = 1ull << 30;

TEST(DiskWatchTest, WatermarkIsAShareOfTheVolumeAndFitsASmallOne) {
  EXPECT_EQ(DiskWatch::DefaultWatermark(100 * kGiB), 5 * kGiB);
  EXPECT_EQ(DiskWatch::DefaultWatermark(10 * kGiB), kGiB);
  EXPECT_EQ(DiskWatch::DefaultWatermark(kGiB), kGiB / 2);
  EXPECT_EQ(DiskWatch::DefaultWatermark(0), 0u);
}

TEST(DiskWatchTest, LowBeginsUnderTheWatermark) {
  DiskWatch watch(1000);
  watch.Update(1000);
  EXPECT_FALSE(watch.low());
  watch.Update(999);
  EXPECT_TRUE(watch.low());
  EXPECT_EQ(watch.free_bytes(), 999u);
}

TEST(DiskWatchTest, LowEndsOnlyATenthAboveTheWatermark) {
  DiskWatch watch(1000);
  watch.Update(0);
  watch.Update(1099);
  EXPECT_TRUE(watch.low());
  watch.Update(1100);
  EXPECT_FALSE(watch.low());
  watch.Update(1001);
  EXPECT_FALSE(watch.low()) << "between the two nothing changes";
}

TEST(DiskWatchTest, WithoutAWatermarkNothingIsLow) {
  DiskWatch watch(0);
  watch.Update(0);
  EXPECT_FALSE(watch.low());
}

}  // namespace
}  // namespace mqd::storage
