// The message bytes of a chunk: as built, so on disk, so read back; damage is never served.
#include "storage/body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "absl/strings/escaping.h"
#include "storage/byte_codec.h"

namespace mqd::storage {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const Body> ThreeMessages() {
  Body::Builder builder;
  for (const char* element : {"\x7a\x01x", "\x7a\x03yyy", "\x7a\x02zz"}) builder.Append(element);
  return std::move(builder).Finish();
}

std::string WithFooter(std::string elements_and_ends, std::uint32_t count, char version = 1) {
  AppendLittleEndian32(elements_and_ends, count);
  elements_and_ends.push_back(version);
  AppendChecksum(elements_and_ends);
  return elements_and_ends;
}

TEST(BodyTest, WritesTheBytesOfFormatMd) {
  EXPECT_EQ(absl::BytesToHexString(std::string(ThreeMessages()->encoded())),
            "7a01787a037979797a027a7a"
            "03000000080000000c000000"
            "03000000"
            "01"
            "419508d2133b8bfe");
}

TEST(BodyTest, ElementsComeBackAloneAndInRuns) {
  const auto body = Body::Decode(std::string(ThreeMessages()->encoded()));
  ASSERT_TRUE(body.ok());
  EXPECT_EQ((*body)->count(), 3u);
  EXPECT_EQ((*body)->Element(0), "\x7a\x01x");
  EXPECT_EQ((*body)->Element(2), "\x7a\x02zz");
  EXPECT_EQ((*body)->Elements(1, 3), "\x7a\x03yyy\x7a\x02zz");
  EXPECT_EQ((*body)->Elements(0, 0), "");
}

TEST(BodyTest, WithoutMessagesComesBack) {
  const auto body = Body::Decode(std::string(Body::Builder().Finish()->encoded()));
  ASSERT_TRUE(body.ok());
  EXPECT_EQ((*body)->count(), 0u);
}

/// The bound on cached bodies is one on memory.
TEST(BodyTest, RoomToSpareCountsAsMemory) {
  Body::Builder builder;
  for (int i = 0; i < 700; ++i) builder.Append(std::string(100, 'x'));
  const auto body = std::move(builder).Finish();
  const std::size_t taken = ::malloc_usable_size(const_cast<char*>(body->encoded().data()));
  ASSERT_GT(taken, body->encoded().size() * 5 / 4) << "it has no room to spare";
  constexpr std::size_t kPage = 4096;  // what the allocator rounds up to
  EXPECT_GT(body->memory_bytes() + kPage, taken);
  EXPECT_LE(body->memory_bytes(), taken);
}

TEST(BodyTest, EveryCutAndEveryChangedBitIsRefused) {
  const std::string good(ThreeMessages()->encoded());
  for (std::size_t at = 0; at < good.size(); ++at) {
    EXPECT_TRUE(absl::IsDataLoss(Body::Decode(good.substr(0, at)).status())) << at;
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = good;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      EXPECT_TRUE(absl::IsDataLoss(Body::Decode(flipped).status())) << at;
    }
  }
}

TEST(BodyTest, CountThatLiesIsRefused) {
  for (const std::uint32_t count : {4u, 4097u, 0x40000000u, 0xffffffffu}) {
    const auto body = Body::Decode(WithFooter(std::string(12, '\0'), count));
    EXPECT_TRUE(absl::IsDataLoss(body.status())) << count;
  }
}

TEST(BodyTest, OffsetsThatFallOrLeaveBytesOutAreRefused) {
  const auto with_ends = [](std::initializer_list<std::uint32_t> ends) {
    std::string bytes = "abcd";
    for (const std::uint32_t end : ends) AppendLittleEndian32(bytes, end);
    return Body::Decode(WithFooter(bytes, static_cast<std::uint32_t>(ends.size()))).ok();
  };
  EXPECT_TRUE(with_ends({2, 4}));
  EXPECT_TRUE(with_ends({0, 4})) << "an element may be empty";
  EXPECT_FALSE(with_ends({3, 2}));
  EXPECT_FALSE(with_ends({2, 3})) << "the last byte belongs to nobody";
  EXPECT_FALSE(with_ends({2, 5}));
  EXPECT_FALSE(with_ends({}));
}

TEST(BodyTest, NewerVersionIsNamed) {
  const auto body = Body::Decode(WithFooter("", 0, 2));
  EXPECT_FALSE(body.ok());
  EXPECT_THAT(std::string(body.status().message()), HasSubstr("version 2"));
}

}  // namespace
}  // namespace mqd::storage
