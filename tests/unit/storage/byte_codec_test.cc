// Numbers and strings as bytes; the seal around them.
#include "storage/byte_codec.h"

#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mqd::storage {
namespace {

constexpr std::uint64_t kMax64 = std::numeric_limits<std::uint64_t>::max();

std::string Varint(std::uint64_t value) {
  RecordWriter writer(1);
  writer.Varint(value);
  const std::string sealed = std::move(writer).Finish();
  return sealed.substr(1, sealed.size() - 1 - kChecksumBytes);
}

std::string Signed(std::int64_t value) {
  RecordWriter writer(1);
  writer.Signed(value);
  const std::string sealed = std::move(writer).Finish();
  return sealed.substr(1, sealed.size() - 1 - kChecksumBytes);
}

TEST(ByteCodecTest, FixedNumbersHaveTheOrderOfTheirName) {
  std::string bytes;
  AppendBigEndian16(bytes, 0x0102);
  AppendBigEndian32(bytes, 0x03040506);
  AppendBigEndian64(bytes, 0x0708090a0b0c0d0e);
  AppendLittleEndian32(bytes, 0x01020304);
  AppendLittleEndian64(bytes, 0x0102030405060708);
  EXPECT_EQ(absl::BytesToHexString(bytes), "0102030405060708090a0b0c0d0e040302010807060504030201");
  EXPECT_EQ(LoadBigEndian16(bytes.data()), 0x0102);
  EXPECT_EQ(LoadBigEndian64(bytes.data() + 6), 0x0708090a0b0c0d0e);
  EXPECT_EQ(LoadLittleEndian32(bytes.data() + 14), 0x01020304u);
  EXPECT_EQ(LoadLittleEndian64(bytes.data() + 18), 0x0102030405060708u);
}

// The value that XXH3 is published with: another hash would make every old directory unreadable.
TEST(ByteCodecTest, ChecksumIsXxh3WithSeedZero) {
  EXPECT_EQ(Checksum(""), 0x2d06800538d394c2u);
  EXPECT_EQ(LoadLittleEndian64("\xc2\x94\xd3\x38\x05\x80\x06\x2d"), Checksum(""));
}

TEST(ByteCodecTest, VarintsComeBackAndAreAsShortAsTheyCan) {
  for (unsigned shift = 0; shift < 64; ++shift) {
    const std::uint64_t power = std::uint64_t{1} << shift;
    for (const std::uint64_t value : {power - 1, power, kMax64 >> shift}) {
      const std::string bytes = Varint(value);
      ByteReader reader(bytes);
      EXPECT_EQ(reader.Varint(), value);
      EXPECT_TRUE(reader.ok() && reader.AtEnd()) << value;
    }
  }
  EXPECT_EQ(Varint(127), "\x7f");
  EXPECT_EQ(Varint(128), "\x80\x01");
  EXPECT_EQ(Varint(kMax64).size(), 10u);
}

TEST(ByteCodecTest, SignedNumbersComeBackAndSmallOnesAreShort) {
  for (const std::int64_t value :
       {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1}, std::int64_t{1'700'000'000'000},
        std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
    const std::string bytes = Signed(value);
    EXPECT_EQ(ByteReader(bytes).Signed(), value);
  }
  EXPECT_EQ(Signed(-64).size(), 1u);
  EXPECT_EQ(Signed(63).size(), 1u);
}

TEST(ByteCodecTest, VarintAbove64BitsIsRefused) {
  const std::string largest = Varint(kMax64);
  for (const std::string& bytes : {largest.substr(0, 9) + "\x02", largest.substr(0, 9) + "\x81\x01",
                                   std::string(11, '\xff')}) {
    ByteReader reader(bytes);
    reader.Varint();
    EXPECT_FALSE(reader.ok()) << absl::BytesToHexString(bytes);
  }
}

// Nobody but us writes these bytes: a number in a longer form than ours is damage.
TEST(ByteCodecTest, VarintLongerThanNeededIsRefused) {
  for (const std::string& bytes : {std::string("\x80\x00", 2), std::string("\xff\x80\x00", 3)}) {
    ByteReader reader(bytes);
    reader.Varint();
    EXPECT_FALSE(reader.ok()) << absl::BytesToHexString(bytes);
  }
}

TEST(ByteCodecTest, Varint32RefusesWhatDoesNotFit) {
  const std::string fits = Varint(0xffffffff);
  EXPECT_EQ(ByteReader(fits).Varint32(), 0xffffffffu);
  const std::string above = Varint(0x100000000);
  ByteReader reader(above);
  EXPECT_EQ(reader.Varint32(), 0u);
  EXPECT_FALSE(reader.ok());
}

TEST(ByteCodecTest, StringThatIsCutIsRefused) {
  ByteReader reader(
      "\x05"
      "four");
  EXPECT_EQ(reader.String(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(ByteCodecTest, ReaderThatHasFailedReadsZeroesForGood) {
  const std::string bytes = "\x7f" + std::string(20, '\x01');
  ByteReader reader(bytes);
  reader.String();
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Byte(), 0);
  EXPECT_EQ(reader.Varint(), 0u);
  EXPECT_EQ(reader.Signed(), 0);
  EXPECT_EQ(reader.String(), "");
  EXPECT_EQ(reader.Count(1), 0u);
  EXPECT_FALSE(reader.ok());
}

TEST(ByteCodecTest, CountIsAtMostWhatTheRestCanHold) {
  const std::string rest(10, '\x01');
  const std::string five = Varint(5) + rest;
  const std::string six = Varint(6) + rest;
  EXPECT_EQ(ByteReader(five).Count(2), 5u);
  ByteReader reader(six);
  EXPECT_EQ(reader.Count(2), 0u);
  EXPECT_FALSE(reader.ok());
}

TEST(ByteCodecTest, EmptyRecordIsRefused) {
  EXPECT_TRUE(absl::IsDataLoss(OpenRecord("", "queue", 1).status()));
  std::string only_a_seal;
  AppendChecksum(only_a_seal);
  EXPECT_TRUE(absl::IsDataLoss(OpenRecord(only_a_seal, "queue", 1).status()));
}

}  // namespace
}  // namespace mqd::storage
