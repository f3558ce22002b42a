#include "server/heap_trim.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace mqd {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

TEST(HeapTrimTest, IsDueWhenMuchMoreIsResidentThanInUse) {
  EXPECT_FALSE(IsTrimDue(100 * kMiB, 0));
  EXPECT_FALSE(IsTrimDue(kSpareBytes, 0));
  EXPECT_TRUE(IsTrimDue(kSpareBytes + 1, 0));
  EXPECT_FALSE(IsTrimDue(500 * kMiB + kSpareBytes, 400 * kMiB));
  EXPECT_TRUE(IsTrimDue(501 * kMiB + kSpareBytes, 400 * kMiB));
  EXPECT_FALSE(IsTrimDue(100 * kMiB, 200 * kMiB)) << "the rest is swapped out";
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they bring their own malloc
TEST(HeapTrimTest, GivesBackWhatIsFreeBetweenThingsInUse) {
  std::vector<std::unique_ptr<std::byte[]>> blocks;
  for (int i = 0; i < 6'400; ++i) blocks.push_back(std::make_unique<std::byte[]>(64 << 10));
  EXPECT_EQ(TrimHeapIfDue(), std::nullopt) << "all is in use";
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (i % 10 != 9) blocks[i].reset();
  }
  EXPECT_GT(TrimHeapIfDue().value_or(0), 300 * kMiB);
  EXPECT_EQ(TrimHeapIfDue(), std::nullopt) << "it has been given back";
}
#endif

}  // namespace
}  // namespace mqd
