// The bytes that FORMAT.md promises, there and back.
#include "storage/record_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "storage/byte_codec.h"
#include "tests/unit/storage/golden_records.h"

namespace mqd::storage {
namespace {

using ::testing::HasSubstr;

std::string Hex(std::string_view bytes) { return absl::BytesToHexString(std::string(bytes)); }

class GoldenRecordTest : public ::testing::TestWithParam<GoldenRecord> {};

INSTANTIATE_TEST_SUITE_P(EveryKind, GoldenRecordTest,
                         ::testing::ValuesIn(GoldenRecordsOfEveryVersion()),
                         [](const auto& kind) { return kind.param.name; });

TEST(RecordCodecTest, WritesTheBytesOfFormatMd) {
  for (const GoldenRecord& kind : GoldenRecords()) {
    EXPECT_EQ(Hex(kind.encoded), Hex(kind.bytes)) << kind.name;
  }
}

// A value of an older version is rewritten in the newest one when its row is next written.
TEST(RecordCodecTest, AnOldVersionIsRewrittenInTheNewestOne) {
  for (const GoldenRecord& old : OldGoldenRecords()) {
    EXPECT_EQ(old.bytes[0], 1) << old.name;
    EXPECT_EQ(old.encoded[0], 2) << old.name;
    EXPECT_EQ(Hex(*old.recode(old.bytes)), Hex(old.encoded)) << old.name;
  }
}

TEST_P(GoldenRecordTest, ReadsTheBytesOfFormatMd) {
  EXPECT_TRUE(GetParam().is_example(GetParam().bytes));
}

TEST_P(GoldenRecordTest, RefusesEveryCutAndEveryChangedBit) {
  const std::string& good = GetParam().bytes;
  for (std::size_t at = 0; at < good.size(); ++at) {
    EXPECT_TRUE(absl::IsDataLoss(GetParam().recode(good.substr(0, at)).status())) << at;
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = good;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      EXPECT_FALSE(GetParam().recode(flipped).ok()) << "byte " << at << " bit " << bit;
    }
  }
}

// A seal proves only that we wrote it: fields that are missing or left over must be noticed too.
TEST_P(GoldenRecordTest, RefusesMissingAndLeftOverFieldsUnderAGoodSeal) {
  const std::string& good = GetParam().bytes;
  for (std::size_t at = 0; at + kChecksumBytes < good.size(); ++at) {
    const std::string cut = good.substr(0, at) + std::string(kChecksumBytes, '\0');
    EXPECT_TRUE(absl::IsDataLoss(GetParam().recode(Resealed(cut)).status())) << at;
  }
  std::string longer = good;
  longer.insert(longer.size() - kChecksumBytes, 1, '\0');
  EXPECT_TRUE(absl::IsDataLoss(GetParam().recode(Resealed(longer)).status()));
}

TEST_P(GoldenRecordTest, RefusesANewerVersionByName) {
  std::string newer = GetParam().bytes;
  newer[0] = static_cast<char>(GetParam().encoded[0] + 1);
  const absl::Status status = GetParam().recode(Resealed(newer)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("it has version ", int{newer[0]})));
  EXPECT_THAT(std::string(status.message()), HasSubstr("start the newer program"));
  newer[0] = 0;
  EXPECT_TRUE(absl::IsDataLoss(GetParam().recode(Resealed(newer)).status()));
}

TEST(RecordKeyTest, WritesTheBytesOfFormatMd) {
  const KeyHash hash{0x0102030405060708, 0x090a0b0c0d0e0f10};
  ProducerId producer{};
  producer[0] = 0xaa;
  producer[15] = 0xbb;
  EXPECT_EQ(Hex(QueueRowPrefix()), "71");
  EXPECT_EQ(Hex(QueueRowKey(9)), "710000000000000009");
  EXPECT_EQ(Hex(NamespaceRowPrefix()), "6e");
  EXPECT_EQ(Hex(NamespaceRowKey("billing")), "6e62696c6c696e67");
  EXPECT_EQ(Hex(RedriveRowPrefix()), "72");
  EXPECT_EQ(Hex(RedriveRowKey(0x400000001)), "720000000400000001");
  EXPECT_EQ(Hex(QueuePrefix(9)), "0000000000000009");
  EXPECT_EQ(Hex(ChunkRowKey(9, 257)), "00000000000000090000000000000101");
  EXPECT_EQ(Hex(BodyRowKey(9, {257, 1})), "0000000000000009000000000000010100000001");
  EXPECT_EQ(Hex(AttemptRowKey(9, 258)), "00000000000000090000000000000102");
  EXPECT_EQ(Hex(DedupRowKey(9, {300, hash})),
            "0000000000000009000000000000012c0102030405060708090a0b0c0d0e0f10");
  EXPECT_EQ(Hex(DedupRowKey(9, {DedupRowId::kByHash, hash})),
            "00000000000000090102030405060708090a0b0c0d0e0f10");
  EXPECT_EQ(Hex(ProducerRowKey(9, producer)), "0000000000000009aa0000000000000000000000000000bb");
  EXPECT_EQ(Hex(HeadRowKey()), "ffff68656164");
  EXPECT_EQ(Hex(IdentityRowKey()), "ffff6964656e74697479");
  EXPECT_EQ(Hex(AppliedRowKey(ShardId{1})), "00016170706c696564");
}

TEST(RecordKeyTest, NamesItsParts) {
  const KeyHash hash{0x0102030405060708, 0xf90a0b0c0d0e0f10};
  ProducerId producer{};
  producer[3] = 0xfe;
  constexpr Sequence kLargest = std::numeric_limits<Sequence>::max();
  EXPECT_EQ(*SequenceOfRowKey(ChunkRowKey(9, kLargest)), kLargest);
  for (const Sequence sequence : {Sequence{0}, kLargest - 1, DedupRowId::kByHash}) {
    const DedupRowId row{sequence, hash};
    EXPECT_EQ(*DedupRowOfKey(DedupRowKey(9, row)), row);
  }
  EXPECT_EQ(*ProducerOfRowKey(ProducerRowKey(9, producer)), producer);
  EXPECT_EQ(ShardOfKey(AppliedRowKey(ShardId{0x1234})), ShardId{0x1234});
}

TEST(RecordKeyTest, OfAWrongLengthIsRefused) {
  for (std::size_t size = 0; size < 40; ++size) {
    const std::string key(size, '\x7f');
    EXPECT_EQ(SequenceOfRowKey(key).ok(), size == 16) << size;
    EXPECT_EQ(DedupRowOfKey(key).ok(), size == 24 || size == 32) << size;
    EXPECT_EQ(ProducerOfRowKey(key).ok(), size == 24) << size;
  }
}

TEST(RecordKeyTest, LieInOrderOfQueueThenSequence) {
  const std::vector<std::string> rising = {ChunkRowKey(1, 1),   ChunkRowKey(1, 255),
                                           ChunkRowKey(1, 256), ChunkRowKey(1, 1ull << 40),
                                           ChunkRowKey(2, 1),   ChunkRowKey(256, 1)};
  EXPECT_TRUE(std::is_sorted(rising.begin(), rising.end()));
}

TEST(RecordCodecTest, ExtremeNumbersComeBack) {
  constexpr auto kMax64 = std::numeric_limits<std::uint64_t>::max();
  constexpr auto kMax32 = std::numeric_limits<std::uint32_t>::max();
  constexpr auto kLatest = std::numeric_limits<WallMs>::max();
  constexpr auto kEarliest = std::numeric_limits<WallMs>::min();
  const QueueRecord queue{
      kMax64, std::string(3000, 'n'), std::string(1, '\0'), kMax64, kEarliest, false, kMax64};
  EXPECT_EQ(*DecodeQueueRecord(EncodeQueueRecord(queue)), queue);
  const ChunkRecord chunk{
      .key = {kMax64, kMax32},
      .publish_time_ms = kLatest,
      .offsets = {0, kMax32},
      .charges = {kMax32, 0},
      .count = 2,
      .body_bytes = kMax64,
      .controls = {{.index = 0, .expires_at_ms = kEarliest}, {.index = 1, .priority = kMax32}}};
  EXPECT_EQ(*DecodeChunkRecord(EncodeChunkRecord(chunk)), chunk);
  const SettleRecord settles{{{0, kMax32}}};
  EXPECT_EQ(*DecodeSettleRecord(EncodeSettleRecord(settles)), settles);
  const AttemptNote note{kMax32, kEarliest, std::string(200, 'c'), std::string(1, '\0')};
  const AttemptRecord attempt{kMax32, HeldState::kParked, kEarliest,
                              std::vector<AttemptNote>(kAttemptNotesMax, note)};
  EXPECT_EQ(*DecodeAttemptRecord(EncodeAttemptRecord(attempt)), attempt);
  const DedupRecord dedup{kMax64, kMax64, kLatest, ""};
  EXPECT_EQ(*DecodeDedupRecord(EncodeDedupRecord(dedup)), dedup);
  const ProducerRecord producer{kMax64, kEarliest, {{kMax64, kMax64, kMax64}}};
  EXPECT_EQ(*DecodeProducerRecord(EncodeProducerRecord(producer)), producer);
  const NamespaceRecord name_space{std::string(128, 'n'), kEarliest, 0, kMax64, kMax64 - 1};
  EXPECT_EQ(*DecodeNamespaceRecord(EncodeNamespaceRecord(name_space)), name_space);
  RedriveRecord redrive = ExampleRedrive();
  redrive.state = 5;
  redrive.id = redrive.moved = redrive.cursor = kMax64;
  redrive.before_ms = kEarliest;
  EXPECT_EQ(*DecodeRedriveRecord(EncodeRedriveRecord(redrive)), redrive);
}

TEST(RecordCodecTest, EmptyRecordsComeBack) {
  EXPECT_EQ(*DecodeQueueRecord(EncodeQueueRecord({})), QueueRecord());
  EXPECT_EQ(*DecodeChunkRecord(EncodeChunkRecord({})), ChunkRecord());
  EXPECT_EQ(*DecodeSettleRecord(EncodeSettleRecord({})), SettleRecord());
  EXPECT_EQ(*DecodeAttemptRecord(EncodeAttemptRecord({})), AttemptRecord());
  EXPECT_EQ(*DecodeDedupRecord(EncodeDedupRecord({})), DedupRecord());
  EXPECT_EQ(*DecodeProducerRecord(EncodeProducerRecord({})), ProducerRecord());
  EXPECT_EQ(*DecodeNamespaceRecord(EncodeNamespaceRecord({})), NamespaceRecord());
  EXPECT_EQ(*DecodeRedriveRecord(EncodeRedriveRecord({})), RedriveRecord());
}

// Each is well sealed and well formed, and says something that no chunk can be.
TEST(RecordCodecTest, ChunkThatContradictsItselfIsRefused) {
  const auto chunk = [](std::uint64_t count, std::vector<std::uint64_t> offsets,
                        std::vector<std::uint64_t> charges) {
    RecordWriter writer(1);
    for (const std::uint64_t field : {std::uint64_t{1}, std::uint64_t{0}}) writer.Varint(field);
    writer.Signed(0);
    writer.Varint(count);
    writer.Varint(0);
    for (const auto& numbers : {offsets, charges}) {
      writer.Varint(numbers.size());
      for (const std::uint64_t number : numbers) writer.Varint(number);
    }
    writer.Varint(0);
    return DecodeChunkRecord(std::move(writer).Finish()).ok();
  };
  EXPECT_TRUE(chunk(2, {0, 1}, {65, 66}));
  EXPECT_TRUE(chunk(2, {}, {65}));
  EXPECT_FALSE(chunk(2, {0}, {65})) << "an offset is missing";
  EXPECT_FALSE(chunk(2, {1, 1}, {65})) << "offsets do not rise";
  EXPECT_FALSE(chunk(2, {0, 1ull << 32}, {65})) << "an offset does not fit";
  EXPECT_FALSE(chunk(3, {}, {65, 66})) << "a charge is missing";
  EXPECT_FALSE(chunk(2, {}, {})) << "nothing is charged";
  EXPECT_FALSE(chunk(4097, {}, {65})) << "more messages than a body holds";
}

TEST(RecordCodecTest, SettleRangesThatAreEmptyOrTooFarAreRefused) {
  const auto settles = [](std::vector<std::uint64_t> numbers) {
    RecordWriter writer(1);
    writer.Varint(numbers.size() / 2);
    for (const std::uint64_t number : numbers) writer.Varint(number);
    return DecodeSettleRecord(std::move(writer).Finish()).ok();
  };
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
  EXPECT_TRUE(settles({0, kMax}));
  EXPECT_FALSE(settles({3, 0}));
  EXPECT_FALSE(settles({1, kMax}));
  EXPECT_FALSE(settles({0, kMax, 1, 1}));
  EXPECT_FALSE(settles({0, kMax + 1}));
}

TEST(RecordCodecTest, MoreNotesOrReferencesThanAMessageHasAreRefused) {
  const auto attempt = [](std::size_t notes) {
    RecordWriter writer(2);
    writer.Varint(1);
    writer.Byte(0);
    writer.Signed(0);
    writer.Varint(notes);
    for (std::size_t i = 0; i < 4 * notes; ++i) writer.Varint(0);
    return DecodeAttemptRecord(std::move(writer).Finish()).ok();
  };
  EXPECT_TRUE(attempt(kAttemptNotesMax));
  EXPECT_FALSE(attempt(kAttemptNotesMax + 1));
  ChunkRecord chunk = ExampleRewrittenChunk();
  chunk.controls[0].deliver_after = std::vector<MessageRef>(16, {.queue = 8, .sequence = 3});
  EXPECT_TRUE(DecodeChunkRecord(EncodeChunkRecord(chunk)).ok());
  chunk.controls[0].deliver_after = std::vector<MessageRef>(17, {.queue = 8, .sequence = 3});
  EXPECT_FALSE(DecodeChunkRecord(EncodeChunkRecord(chunk)).ok());
}

TEST(RecordCodecTest, RedriveInAStateThatDoesNotExistIsRefused) {
  std::string row = EncodeRedriveRecord(ExampleRedrive());
  const std::size_t state = row.find('\x02', 1 + row.find("max"));
  ASSERT_NE(state, std::string::npos);
  for (const char no_state : {'\0', '\x06', '\xff'}) {
    row[state] = no_state;
    EXPECT_TRUE(absl::IsDataLoss(DecodeRedriveRecord(Resealed(row)).status()));
  }
  row[state] = '\x05';
  EXPECT_EQ(DecodeRedriveRecord(Resealed(row))->state, 5);
}

TEST(RecordCodecTest, CountThatLiesReservesNothing) {
  RecordWriter writer(1);
  writer.Varint(std::numeric_limits<std::uint64_t>::max());
  EXPECT_TRUE(absl::IsDataLoss(DecodeSettleRecord(std::move(writer).Finish()).status()));
}

}  // namespace
}  // namespace mqd::storage
