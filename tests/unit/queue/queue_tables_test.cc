// The tables of which a queue is made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/queue/dedup_index.h"
#include "server/queue/in_flight.h"
#include "server/queue/interval_set.h"
#include "server/queue/producer_table.h"
#include "server/queue/settings.h"

namespace mqd::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::SizeIs;

TEST(IntervalSetTest, TouchingRangesBecomeOne) {
  IntervalSet set;
  set.Add(5, 7);
  set.Add(1, 3);
  set.Add(3, 5);
  EXPECT_THAT(set.ranges(), ElementsAre(Pair(1, 7)));
  EXPECT_EQ(set.SkipFrom(2), 7u);
  EXPECT_EQ(set.NextFrom(0, 100), 1u);
  EXPECT_FALSE(set.Contains(7));
}

TEST(InFlightTest, TakingTheMiddleLeavesBothEnds) {
  Chunk chunk;
  InFlightTable table;
  table.Add({.first = 10, .count = 10, .chunk = &chunk, .first_index = 100, .consumer = 1});
  std::vector<DeliveryRange> missing;
  const auto taken = table.Take({13, 15}, missing);
  ASSERT_THAT(taken, SizeIs(1));
  EXPECT_EQ(taken[0].first_index, 103u);
  EXPECT_THAT(missing, SizeIs(0));
  EXPECT_EQ(table.messages(), 7u);
  EXPECT_FALSE(table.HoldsAll({12, 16}));
  EXPECT_TRUE(table.HoldsAll({16, 19}));
}

TEST(InFlightTest, HugeRangeNamesOnlyItsGaps) {
  Chunk chunk;
  InFlightTable table;
  table.Add({.first = 10, .count = 2, .chunk = &chunk});
  std::vector<DeliveryRange> missing;
  EXPECT_THAT(table.Take({0, UINT64_MAX}, missing), SizeIs(1));
  EXPECT_THAT(missing, ElementsAre(DeliveryRange{0, 9}, DeliveryRange{12, UINT64_MAX}));
}

TEST(DedupIndexTest, OldestGoesFirstAndErasedKeysAreSkipped) {
  DedupIndex index;
  index.Insert({0, 1}, {.sequence = 1, .first_seen_ms = 10});
  index.Insert({0, 2}, {.sequence = 2, .first_seen_ms = 20});
  index.Erase({0, 1});
  EXPECT_EQ(index.PopOldest(15), std::nullopt);
  EXPECT_EQ(index.PopOldest(20), (KeyHash{0, 2}));
}

TEST(ProducerTest, AnsweredIdsAreForgottenAndOthersFound) {
  Producer producer;
  for (std::uint64_t id = 1; id <= 10; ++id) producer.Add(id, 100 + id);
  producer.Trim(4);
  EXPECT_EQ(producer.Find(4), std::nullopt);
  EXPECT_EQ(producer.Find(5), 105u);
  EXPECT_EQ(producer.Find(11), std::nullopt);
  EXPECT_THAT(producer.record.ranges, SizeIs(1));
}

TEST(SettingsTest, SurviveTheStore) {
  QueueSettings settings{.max_messages = kUnlimited, .dead_letter_queue = "default/dead"};
  settings.retry_backoff.jitter = 0.25;
  const auto read = DecodeSettings(EncodeSettings(settings));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, settings);
  EXPECT_FALSE(DecodeSettings("unheard_of=1\n").ok());
}

TEST(SettingsTest, WhatIsNotCarriedOutIsRefusedByName) {
  const absl::Status status = Validate({.ordering = Ordering::kKeyed}, "default/q");
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("ordering"));
  EXPECT_FALSE(Validate({.max_messages = 0}, "default/q").ok());
  EXPECT_FALSE(Validate({.dead_letter_queue = "default/q"}, "default/q").ok());
  EXPECT_TRUE(Validate({}, "default/q").ok());
}

}  // namespace
}  // namespace mqd::queue
