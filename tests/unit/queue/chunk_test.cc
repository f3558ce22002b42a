// The messages of one commit, dense and rewritten.
#include "server/queue/chunk.h"

#include <gtest/gtest.h>

namespace mqd::queue {
namespace {

Chunk Dense(std::uint32_t count) {
  Chunk chunk;
  chunk.key.first_sequence = 100;
  chunk.count = count;
  chunk.charges = {70};
  return chunk;
}

TEST(ChunkTest, SequenceAndIndexAreEachOthersInverse) {
  Chunk chunk = Dense(10);
  for (std::uint32_t i = 0; i < 10; ++i) EXPECT_EQ(chunk.IndexOf(chunk.SequenceAt(i)), i);
  EXPECT_EQ(chunk.IndexOf(99), std::nullopt);
  EXPECT_EQ(chunk.IndexOf(110), std::nullopt);
  chunk.count = 3;
  chunk.offsets = {0, 4, 5};
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(chunk.IndexOf(chunk.SequenceAt(i)), i);
  EXPECT_EQ(chunk.IndexOf(101), std::nullopt);
  EXPECT_EQ(chunk.LastSequence(), 105u);
}

TEST(ChunkTest, RunOfDeliveriesEndsWhereSequencesJump) {
  Chunk chunk = Dense(4);
  EXPECT_EQ(chunk.ContiguousEnd(0, 4), 4u);
  chunk.offsets = {0, 1, 5, 6};
  EXPECT_EQ(chunk.ContiguousEnd(0, 4), 2u);
  EXPECT_EQ(chunk.ContiguousEnd(2, 4), 4u);
  EXPECT_EQ(chunk.ContiguousEnd(2, 3), 3u);
}

TEST(ChunkTest, FreshSkipsWhatIsHeldOrSettled) {
  Chunk chunk = Dense(10);
  chunk.held.Add(0, 2);
  chunk.settled.Add(2, 4);
  chunk.held.Add(6, 7);
  chunk.settled.Add(6, 8);
  EXPECT_EQ(chunk.NextFresh(), 4u);
  EXPECT_EQ(chunk.FreshEnd(4), 6u);
  chunk.cursor = 6;
  EXPECT_EQ(chunk.NextFresh(), 8u);
  EXPECT_EQ(chunk.FreshEnd(8), 10u);
  chunk.cursor = 10;
  EXPECT_EQ(chunk.NextFresh(), 10u);
}

TEST(ChunkTest, ChargesOfARangeAddUp) {
  Chunk chunk = Dense(3);
  EXPECT_EQ(chunk.ChargeOf(0, 3), 210u);
  chunk.charges = {70, 80, 90};
  EXPECT_EQ(chunk.ChargeOf(1, 3), 170u);
  EXPECT_EQ(chunk.ChargeAt(2), 90u);
}

TEST(ChunkTest, RecordBringsTheChunkBack) {
  Chunk chunk = Dense(2);
  chunk.key.generation = 3;
  chunk.offsets = {0, 7};
  chunk.publish_time_ms = 42;
  chunk.controls.push_back({.index = 1, .ordering_key = "key"});
  EXPECT_EQ(Chunk::FromRecord(chunk.ToRecord()).ToRecord(), chunk.ToRecord());
  EXPECT_EQ(chunk.ControlOf(0), nullptr);
  EXPECT_EQ(chunk.ControlOf(1)->ordering_key, "key");
}

}  // namespace
}  // namespace mqd::queue
