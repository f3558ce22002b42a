// The tables of which a queue is made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "server/queue/dedup_index.h"
#include "server/queue/held_table.h"
#include "server/queue/in_flight.h"
#include "server/queue/interval_set.h"
#include "server/queue/key_table.h"
#include "server/queue/producer_table.h"
#include "server/queue/ready_lanes.h"
#include "server/queue/token_bucket.h"

namespace mqd::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

// ---- IntervalSet

TEST(IntervalSetTest, TouchingRangesBecomeOne) {
  IntervalSet set;
  set.Add(5, 7);
  set.Add(1, 3);
  set.Add(3, 5);
  EXPECT_THAT(set.ranges(), ElementsAre(Pair(1, 7)));
}

TEST(IntervalSetTest, AgreesWithALineOfFlags) {
  constexpr std::uint32_t kSize = 64;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    IntervalSet set;
    std::vector<bool> flags(kSize, false);
    for (int step = 0; step < 20; ++step) {
      const std::uint32_t first = random() % kSize;
      const std::uint32_t last = first + 1 + random() % std::min(8u, kSize - first);
      set.Add(first, last);
      std::fill(flags.begin() + first, flags.begin() + last, true);
      for (std::uint32_t i = 0; i < kSize; ++i) {
        ASSERT_EQ(set.Contains(i), flags[i]) << "seed " << seed;
        const auto out = std::find(flags.begin() + i, flags.end(), false) - flags.begin();
        ASSERT_EQ(set.SkipFrom(i), out) << "seed " << seed;
        const auto in = std::find(flags.begin() + i, flags.end(), true) - flags.begin();
        ASSERT_EQ(set.NextFrom(i, kSize), in) << "seed " << seed;
      }
      for (std::size_t i = 1; i < set.ranges().size(); ++i) {
        ASSERT_LT(set.ranges()[i - 1].second, set.ranges()[i].first) << "seed " << seed;
      }
    }
  }
}

// ---- InFlightTable

class InFlightTest : public ::testing::Test {
 protected:
  InFlightTest() {
    table.Add({.first = 10,
               .count = 10,
               .chunk = &chunk,
               .first_index = 100,
               .consumer = 1,
               .deadline_ns = 50});
  }
  Chunk chunk;
  InFlightTable table;
  std::vector<DeliveryRange> missing;
};

TEST_F(InFlightTest, TakingTheMiddleLeavesBothEnds) {
  const auto taken = table.Take({13, 15}, missing);
  ASSERT_THAT(taken, SizeIs(1));
  EXPECT_EQ(taken[0].first_index, 103u);
  EXPECT_THAT(missing, IsEmpty());
  EXPECT_EQ(table.messages(), 7u);
  EXPECT_FALSE(table.HoldsAll({12, 16}));
  EXPECT_TRUE(table.HoldsAll({16, 19}));
  EXPECT_EQ(table.Find(&chunk, 106)->first, 16u);
  EXPECT_EQ(table.Find(&chunk, 104), nullptr);
}

TEST_F(InFlightTest, HoldsAllSpansNeighbouringRunsAndNoGap) {
  table.Add({.first = 20, .count = 5, .chunk = &chunk, .deadline_ns = 60});
  EXPECT_TRUE(table.HoldsAll({10, 24}));
  EXPECT_FALSE(table.HoldsAll({10, 25}));
  EXPECT_FALSE(table.HoldsAll({9, 12}));
}

TEST_F(InFlightTest, HugeRangeNamesOnlyItsGaps) {
  EXPECT_THAT(table.Take({0, UINT64_MAX}, missing), SizeIs(1));
  EXPECT_THAT(missing, ElementsAre(DeliveryRange{0, 9}, DeliveryRange{20, UINT64_MAX}));
}

TEST_F(InFlightTest, EachPartOfASplitRunExpires) {
  table.Take({13, 13}, missing);
  EXPECT_EQ(table.earliest_deadline_ns(), 50);
  EXPECT_THAT(table.TakeExpired(49), IsEmpty());
  EXPECT_THAT(table.TakeExpired(50), SizeIs(2));
  EXPECT_EQ(table.messages(), 0u);
  EXPECT_EQ(table.earliest_deadline_ns(), kNever);
}

TEST_F(InFlightTest, OrphansBelongToNobody) {
  table.Orphan(1, "billing");
  EXPECT_THAT(table.TakeConsumer(1), IsEmpty());
  EXPECT_EQ(table.messages(), 10u);
  EXPECT_EQ(*table.Find(&chunk, 105)->holder, "billing");
}

TEST_F(InFlightTest, RepointedRunsFollowTheirMessages) {
  Chunk smaller;
  std::vector<std::uint32_t> moved(200, UINT32_MAX);
  for (std::uint32_t i = 100; i < 110; ++i) moved[i] = i - 100;
  table.Repoint(&chunk, &smaller, moved);
  EXPECT_EQ(table.Find(&chunk, 105), nullptr);
  EXPECT_EQ(table.Find(&smaller, 5)->first, 10u);
}

// ---- HeldTable

Held Delayed(Wait wait, std::int64_t due) {
  return {.state = storage::HeldState::kDelayed, .wait = wait, .due = due};
}

TEST(HeldTableTest, DelayedMessagesBecomeReadyInTime) {
  HeldTable table;
  table.Add(7, Delayed(Wait::kRetry, 50));
  table.Add(5, Delayed(Wait::kDelay, 60));
  table.Add(6, {.state = storage::HeldState::kParked});
  EXPECT_EQ(table.earliest_due_ns(), 50);
  EXPECT_THAT(table.TakeDue({.steady_ns = 50}, 10), ElementsAre(7));
  EXPECT_THAT(table.TakeDue({.steady_ns = 60}, 10), ElementsAre(5));
  EXPECT_EQ(table.parked(), 1u);
  EXPECT_EQ(table.delayed(), 0u);
  EXPECT_EQ(table.Find(6)->state, storage::HeldState::kParked);
}

TEST(HeldTableTest, WallTimesAreDueOnTheWallClockOnly) {
  HeldTable table;
  table.Add(3, Delayed(Wait::kWallTime, 1'000));
  EXPECT_EQ(table.earliest_wall_ms(), 1'000);
  EXPECT_EQ(table.earliest_due_ns(), kNever);
  EXPECT_THAT(table.TakeDue({.steady_ns = INT64_MAX - 1, .wall_ms = 999}, 10), IsEmpty());
  EXPECT_THAT(table.TakeDue({.steady_ns = 0, .wall_ms = 1'000}, 10), ElementsAre(3));
}

// ---- ReadyLanes

TEST(ReadyLanesTest, HigherPriorityGoesFirstThenSequence) {
  ReadyLanes lanes;
  lanes.Add(0, 1);
  lanes.Add(9, 5);
  lanes.Add(9, 4);
  EXPECT_EQ(lanes.Next(ReadyLanes::kNone, 0, 100)->sequence, 4u);
  lanes.Remove(9, 4);
  lanes.Remove(9, 5);
  EXPECT_EQ(lanes.Next(ReadyLanes::kNone, 0, 100)->sequence, 1u);
}

TEST(ReadyLanesTest, PlainMessagesStandInLaneZeroBySequence) {
  ReadyLanes lanes;
  lanes.Add(0, 5);
  EXPECT_EQ(lanes.Next(3, 0, 100)->sequence, 3u);
  EXPECT_EQ(lanes.Next(8, 0, 100)->sequence, 5u);
  EXPECT_FALSE(lanes.Next(8, 0, 100)->alone);
}

TEST(ReadyLanesTest, LaneThatWaitedForTheFloorGetsOneTurn) {
  ReadyLanes lanes;
  lanes.Add(0, 1);
  lanes.Add(9, 2);
  lanes.Add(9, 3);
  lanes.Observe(ReadyLanes::kNone, 0);
  EXPECT_EQ(lanes.Next(ReadyLanes::kNone, 99, 100)->priority, 9u);
  EXPECT_EQ(lanes.Next(ReadyLanes::kNone, 100, 100)->priority, 9u) << "lane 9 waited as long";
  lanes.Served(9, 100);
  EXPECT_EQ(lanes.Next(ReadyLanes::kNone, 100, 100)->priority, 0u);
  lanes.Served(0, 100);
  EXPECT_EQ(lanes.Next(ReadyLanes::kNone, 150, 100)->priority, 9u);
}

// ---- TokenBucket

TEST(TokenBucketTest, RateIsKeptWithABurstOfATenthOfASecond) {
  TokenBucket bucket;
  EXPECT_EQ(bucket.Available(0, 100), 10u);
  bucket.Take(0, 100, 10);
  EXPECT_EQ(bucket.Available(0, 100), 0u);
  EXPECT_EQ(bucket.NextNs(100), 10'000'000);
  EXPECT_EQ(bucket.Available(10'000'000, 100), 1u);
  EXPECT_EQ(bucket.Available(1'000'000'000, 100), 10u);
}

TEST(TokenBucketTest, SlowRatesLetOneThroughAtATime) {
  TokenBucket bucket;
  bucket.Take(0, 2, 1);
  EXPECT_EQ(bucket.Available(499'999'999, 2), 0u);
  EXPECT_EQ(bucket.Available(500'000'000, 2), 1u);
  EXPECT_EQ(bucket.Available(0, kUnlimited), UINT64_MAX);
}

// ---- KeyTable

TEST(KeyTableTest, BusyOrWaitingKeysStay) {
  KeyTable keys;
  KeyState& key = keys.Get("a");
  key.busy = 1;
  keys.DropIfIdle(key);
  EXPECT_EQ(keys.Find("a"), &key);
  key.busy = 0;
  keys.DropIfIdle(key);
  EXPECT_EQ(keys.Find("a"), nullptr);
}

TEST(KeyTableTest, OnlyKeysOfTheOneThatLeftMove) {
  int moved = 0;
  for (int i = 0; i < 1'000; ++i) {
    const std::uint64_t hash = HashOfKey("key" + std::to_string(i));
    const auto best = [hash](std::initializer_list<ConsumerId> consumers) {
      return *std::max_element(
          consumers.begin(), consumers.end(),
          [hash](ConsumerId a, ConsumerId b) { return KeyScore(hash, a) < KeyScore(hash, b); });
    };
    const ConsumerId before = best({1, 2, 3, 4});
    if (before != 3) {
      EXPECT_EQ(best({1, 2, 4}), before);
    }
    moved += before == 3;
  }
  EXPECT_NEAR(moved, 250, 60);
}

// ---- DedupIndex

TEST(DedupIndexTest, OldestGoesFirstAndErasedKeysAreSkipped) {
  DedupIndex index;
  index.Insert({0, 1}, {.sequence = 1, .first_seen_ms = 10});
  index.Insert({0, 2}, {.sequence = 2, .first_seen_ms = 20});
  index.Erase({0, 1});
  EXPECT_EQ(index.PopOldest(15), std::nullopt);
  EXPECT_EQ(index.PopOldest(20), (DedupRowId{2, {0, 2}}));
  EXPECT_EQ(index.size(), 0u);
}

TEST(DedupIndexTest, KeySeenAnewIsNotForgottenWithItsFirstLife) {
  DedupIndex index;
  index.Insert({0, 1}, {.sequence = 1, .first_seen_ms = 10});
  EXPECT_EQ(index.Find({0, 1}, 11), nullptr) << "outside its window";
  EXPECT_EQ(index.Insert({0, 1}, {.sequence = 9, .first_seen_ms = 50}), 1u) << "replaced";
  EXPECT_EQ(index.PopOldest(49), std::nullopt);
  EXPECT_EQ(index.Find({0, 1}, 50)->sequence, 9u);
}

TEST(DedupIndexTest, PendingKeysAreNeitherEvictedNorCleared) {
  DedupIndex index;
  index.Insert({0, 1}, {.sequence = 1, .first_seen_ms = 10, .pending = 3});
  index.Insert({0, 2}, {.sequence = 2, .first_seen_ms = 20});
  index.Insert({0, 3}, {.sequence = 3, .first_seen_ms = 30});
  EXPECT_EQ(index.PopOldest(100), (DedupRowId{2, {0, 2}})) << "the next one makes room";
  EXPECT_THAT(index.Clear(), ElementsAre(DedupRowId{3, {0, 3}}));
  index.Settle({0, 1}, 4);
  EXPECT_EQ(index.PopOldest(100), std::nullopt) << "another transaction ended";
  index.Settle({0, 1}, 3);
  EXPECT_EQ(index.PopOldest(100), (DedupRowId{1, {0, 1}}));
}

// ---- Producer

TEST(ProducerTest, AnsweredIdsAreForgottenAndOthersFound) {
  Producer producer;
  for (std::uint64_t id = 1; id <= 10; ++id) producer.Add(id, 100 + id);
  EXPECT_THAT(producer.record.ranges, SizeIs(1));
  producer.Trim(4);
  EXPECT_EQ(producer.Find(4), std::nullopt);
  EXPECT_EQ(producer.Find(5), 105u);
  EXPECT_EQ(producer.Find(11), std::nullopt);
  producer.Trim(10);
  EXPECT_THAT(producer.record.ranges, IsEmpty());
  EXPECT_EQ(producer.record.last_publish_id, 10u);
}

TEST(ProducerTest, IdThatIsStoredLaterFindsItsPlace) {
  Producer producer;
  producer.Add(1, 11);
  producer.Add(4, 12);
  producer.Add(2, 13);  // it was refused before
  EXPECT_EQ(producer.Find(1), 11u);
  EXPECT_EQ(producer.Find(2), 13u);
  EXPECT_EQ(producer.Find(3), std::nullopt);
  EXPECT_EQ(producer.Find(4), 12u);
}

TEST(ProducerTableTest, OnlyWhoIsGoneLongEnoughIsForgotten) {
  ProducerTable table;
  table.Insert({1}).connected = 5;
  table.Insert({2}).record.last_seen_ms = 1'000;
  EXPECT_THAT(table.Expire(1'000 + kProducerRetentionMs - 1), IsEmpty());
  EXPECT_THAT(table.Expire(1'000 + kProducerRetentionMs), ElementsAre(ProducerId{2}));
  EXPECT_NE(table.Find({1}), nullptr);
}

TEST(ProducerTableTest, TooManyLoseTheLongestGoneFirst) {
  ProducerTable table;
  for (std::size_t i = 0; i <= kProducersMax; ++i) {
    const ProducerId id{static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(i >> 8)};
    table.Insert(id).record.last_seen_ms = static_cast<WallMs>(i);
  }
  EXPECT_THAT(table.Expire(10), ElementsAre(ProducerId{0}));
  EXPECT_EQ(table.size(), kProducersMax);
}

}  // namespace
}  // namespace mqd::queue
