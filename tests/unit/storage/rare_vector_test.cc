// A vector that costs one pointer while it is empty, and otherwise is a vector.
#include "storage/rare_vector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace mqd::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Names = RareVector<std::string>;

static_assert(sizeof(Names) == sizeof(void*));

TEST(RareVectorTest, EmptyOnesAreEqualHoweverTheyBecameSo) {
  Names emptied = {"a"};
  emptied.pop_front();
  Names cleared = {"a"};
  cleared.clear();
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_TRUE(emptied.empty());
  EXPECT_EQ(emptied, Names());
  EXPECT_EQ(cleared, Names(std::vector<std::string>()));
}

TEST(RareVectorTest, ACopyIsItsOwn) {
  Names first = {"a", "b"};
  Names copy = first;
  copy.push_back("c");
  copy.front() = "x";
  EXPECT_THAT(first, ElementsAre("a", "b"));
  EXPECT_THAT(copy, ElementsAre("x", "b", "c"));
  EXPECT_NE(first, copy);
  first = copy;
  EXPECT_EQ(first, copy);
}

TEST(RareVectorTest, TheOldestGoesFirst) {
  Names names;
  for (const char* name : {"a", "b", "c"}) names.push_back(name);
  names.pop_front();
  EXPECT_THAT(names, ElementsAre("b", "c"));
  EXPECT_EQ(names.back(), "c");
}

TEST(RareVectorTest, GoesIntoAVectorAndBack) {
  const Names names = std::vector<std::string>{"a", "b"};
  const std::vector<std::string> copied = names;
  Names moved_from = names;
  const std::vector<std::string> moved = std::move(moved_from);
  EXPECT_THAT(copied, ElementsAre("a", "b"));
  EXPECT_EQ(moved, copied);
}

}  // namespace
}  // namespace mqd::storage
