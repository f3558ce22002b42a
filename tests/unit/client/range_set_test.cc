#include "client/range_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mqd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::size_t kAll = 1'000;

TEST(RangeSetTest, IdsInOrderBecomeOneRange) {
  RangeSet set;
  for (std::uint64_t id = 5; id <= 900; ++id) set.Add({id, id});
  EXPECT_EQ(set.size(), 1u);
  EXPECT_THAT(set.Take(kAll), ElementsAre(IdRange{5, 900}));
  EXPECT_TRUE(set.empty());
}

TEST(RangeSetTest, InterleavedThreadsBecomeOneRange) {
  RangeSet set;
  for (std::uint64_t id = 0; id < 100; id += 2) set.Add({id, id});
  for (std::uint64_t id = 1; id < 100; id += 2) set.Add({id, id});
  EXPECT_THAT(set.Take(kAll), ElementsAre(IdRange{0, 99}));
}

TEST(RangeSetTest, GapsStay) {
  RangeSet set;
  set.Add({10, 12});
  set.Add({20, 20});
  set.Add({1, 3});
  EXPECT_THAT(set.Take(kAll), ElementsAre(IdRange{1, 3}, IdRange{10, 12}, IdRange{20, 20}));
}

TEST(RangeSetTest, RepeatedAndOverlappingIdsCountOnce) {
  RangeSet set;
  set.Add({1, 5});
  set.Add({3, 4});
  set.Add({5, 8});
  EXPECT_THAT(set.Take(kAll), ElementsAre(IdRange{1, 8}));
}

TEST(RangeSetTest, TakesNoMoreThanAskedFor) {
  RangeSet set;
  for (std::uint64_t id = 0; id < 10; id += 2) set.Add({id, id});
  EXPECT_THAT(set.Take(2), ElementsAre(IdRange{0, 0}, IdRange{2, 2}));
  EXPECT_EQ(set.Take(kAll).size(), 3u);
  EXPECT_THAT(set.Take(kAll), IsEmpty());
}

}  // namespace
}  // namespace mqd::client
