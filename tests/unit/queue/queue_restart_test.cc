// What a queue still knows after a crash, and what becomes of chunks with little left in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

TEST(QueueRestartTest, UncommittedMessagesAreGoneAndCommittedOnesAreBack) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"kept"});
  queue.CommitAll();
  queue.Publish("ann", {"lost"});
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-kept#1"));
}

TEST(QueueRestartTest, SettledMessagesStayAwayAndNoNumberIsUsedTwice) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "c"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 10});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen[1].range(), AckOutcome{});
  queue.Restart();
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"d"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 10});
  const auto again = queue.TakeDeliveries();
  ASSERT_THAT(Payloads(again), ElementsAre("a", "c", "d"));
  EXPECT_GT(again[2].sequence, seen[2].sequence);
  EXPECT_GT(again[0].id, seen[2].id);
}

TEST(QueueRestartTest, UncommittedSettleIsUndone) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 10});
  queue.AskSettle({{queue.TakeDeliveries()[0].range(), AckOutcome{}}});
  queue.Restart();
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueRestartTest, RebuiltQueueGoesOnCountingDeliveries) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 10});
  const DeliveryId first = queue.TakeDeliveries()[0].id;
  queue.Rebuild();
  EXPECT_EQ(queue.Settle({first, first}, AckOutcome{}).settled, 0u);
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_EQ(queue.TakeDeliveries()[0].id, first + 1);
}

TEST(QueueRestartTest, ChargedAttemptsDelaysAndParkedMessagesAreRemembered) {
  QueueHarness queue({.max_attempts = 3});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"tried", "delayed", "parked"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 3});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen[0].range(), RetryOutcome{0, "boom"});
  queue.Settle(seen[1].range(), RetryOutcome{5'000 * kNsPerMs, "boom"});
  queue.Settle(seen[2].range(), DeadLetterOutcome{"bad"});
  queue.Restart();
  EXPECT_EQ(queue.Stats().delayed, 1u);
  EXPECT_EQ(queue.Stats().parked, 1u);
  queue.AttachConsumer("cat", {.messages = 10});
  const auto again = queue.TakeDeliveries();
  ASSERT_THAT(Names(again), ElementsAre("cat<-tried#2"));
  queue.Settle(again[0].range(), RetryOutcome{0, "boom"});
  queue.Settle(queue.TakeDeliveries()[0].range(), RetryOutcome{0, "boom"});
  EXPECT_EQ(queue.Stats().parked, 2u);
  queue.Advance(4'999);
  EXPECT_EQ(queue.Stats().delayed, 1u);
  queue.Advance(1);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-delayed#2"));
}

TEST(QueueRestartTest, RetryWaitsNoLongerThanItWasToWhenTheWallClockIsSetBack) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"delayed"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Settle(queue.TakeDeliveries()[0].range(), RetryOutcome{5'000 * kNsPerMs, "boom"});
  queue.JumpWall(-3'600'000);
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Advance(4'999);
  EXPECT_EQ(queue.Stats().delayed, 1u);
  queue.Advance(1);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-delayed#2"));
}

// Else one attempt number could be seen twice, on both sides of a crash.
TEST(QueueRestartTest, NextAttemptIsNotSeenBeforeTheChargeIsOnDisk) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 2});
  queue.AskSettle({{queue.TakeDeliveries()[0].range(), RetryOutcome{0, ""}}});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(0));
  queue.CommitAll();
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#2"));
}

TEST(QueueRestartTest, MoveToTheDeadLetterQueueThatWasCutShortIsAskedForAgain) {
  QueueHarness queue({.dead_letter_queue = "default/dead"});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 2});
  queue.Settle(queue.TakeDeliveries()[0].range(), DeadLetterOutcome{"bad"});
  queue.Restart();
  const auto moves = queue.Take<MoveToDeadLetter>();
  ASSERT_THAT(moves, SizeIs(1));
  EXPECT_EQ(moves[0].items[0].origin.reason, "bad");
}

TEST(QueueRestartTest, RefusedMoveHoldsUpNoOther) {
  QueueHarness queue({.dead_letter_queue = "default/dead"});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "c"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 3});
  const auto seen = queue.TakeDeliveries();
  queue.AskSettle({{{seen[0].id, seen[2].id}, DeadLetterOutcome{"bad"}}});
  EXPECT_THAT(queue.Take<MoveToDeadLetter>(), SizeIs(3)) << "each moves by itself";
}

// ---- chunks with little left

/// A hundred messages of 100 bytes in one chunk. Of them these are left, after their neighbours
/// are settled: 10 in flight, 20 tried once and ready, 30 delayed, 40 parked, 95 .. 99 fresh.
class SparseChunkTest : public ::testing::Test {
 protected:
  SparseChunkTest() {
    queue.AttachPublisher("ann");
    std::vector<std::string> many;
    for (int i = 0; i < 100; ++i) many.push_back(std::to_string(i) + "." + std::string(96, 'x'));
    queue.Publish("ann", many);
    queue.CommitAll();
    queue.AttachConsumer("cat", {.messages = 95});
    seen = queue.TakeDeliveries();
    queue.Settle(seen[20].range(), RetryOutcome{0, "once"});
    queue.Settle(seen[30].range(), RetryOutcome{600'000 * kNsPerMs, "once"});
    queue.Settle(seen[40].range(), DeadLetterOutcome{"bad"});
    const std::size_t left[] = {10, 20, 30, 40, 95};
    std::size_t from = 0;
    for (const std::size_t index : left) {
      queue.Settle({seen[from].id, seen[index - 1].id}, AckOutcome{});
      from = index + 1;
    }
    queue.Advance(1'000);
  }

  std::vector<std::string> Numbers(const std::vector<Seen>& list) {
    std::vector<std::string> numbers;
    for (const Seen& one : list) {
      numbers.push_back(one.payload.substr(0, one.payload.find('.')) + "#" +
                        std::to_string(one.attempt));
    }
    return numbers;
  }

  /// Every message is where it was, under its sequence.
  void ExpectAll(QueueHarness& at) {
    at.AttachConsumer("dan", {.messages = 100});
    const auto rest = at.TakeDeliveries();
    for (const Seen& one : rest) {
      EXPECT_EQ(one.payload.substr(0, one.payload.find('.')), std::to_string(one.sequence - 1));
    }
    const auto parked = at.PeekAll(MessageStatus::kParked);
    ASSERT_THAT(parked, SizeIs(1));
    EXPECT_EQ(parked[0].sequence, 41u);
    const auto delayed = at.PeekAll(MessageStatus::kDelayed);
    ASSERT_THAT(delayed, SizeIs(1));
    EXPECT_EQ(delayed[0].sequence, 31u);
    delivered = Numbers(rest);
  }

  QueueHarness queue;
  std::vector<Seen> seen;
  std::vector<std::string> delivered;
};

TEST_F(SparseChunkTest, IsWrittenAnewAndEveryMessageKeepsItsPlace) {
  const std::uint64_t before = queue.core().resident_body_bytes();
  queue.CommitAll();
  EXPECT_LT(queue.core().resident_body_bytes(), before / 2 + 5'000);
  EXPECT_EQ(queue.disk().rows(storage::Table::kBodies), 1u);
  EXPECT_EQ(queue.disk().rows(storage::Table::kSettles), 0u);
  ExpectAll(queue);
  EXPECT_THAT(delivered, ElementsAre("20#2", "95#1", "96#1", "97#1", "98#1", "99#1"));
  EXPECT_EQ(queue.Settle(seen[10].range(), AckOutcome{}).settled, 1u) << "its delivery id lives";
  queue.Advance(600'000);
  EXPECT_EQ(
      queue.Stats().delayed + queue.Stats().parked + queue.Stats().ready + queue.Stats().in_flight,
      8u);
}

TEST_F(SparseChunkTest, IsReadBackWithEverythingThatWasLeft) {
  queue.CommitAll();
  queue.Restart();
  ExpectAll(queue);
  EXPECT_THAT(delivered, ElementsAre("10#1", "20#2", "95#1", "96#1", "97#1", "98#1", "99#1"));
}

TEST_F(SparseChunkTest, CrashBeforeTheRewriteIsOnDiskLosesNothing) {
  ASSERT_GT(queue.disk().waiting(), 0u);
  queue.Restart();
  ExpectAll(queue);
  EXPECT_THAT(delivered, ElementsAre("10#1", "20#2", "95#1", "96#1", "97#1", "98#1", "99#1"));
}

// Until the new body is on disk the one in memory is the only one.
TEST_F(SparseChunkTest, FullCacheKeepsTheNewBodyUntilItIsOnDisk) {
  queue.around().cache_full = true;
  const std::size_t loads = queue.loads();
  queue.AttachConsumer("dan", {.messages = 6});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(6));
  EXPECT_EQ(queue.loads(), loads);
  queue.CommitAll();
  EXPECT_EQ(queue.core().resident_body_bytes(), 0u);
}

TEST_F(SparseChunkTest, GoesFromDiskWithItsLastMessage) {
  queue.CommitAll();
  queue.AttachConsumer("dan", {.messages = 100});
  for (const Seen& one : queue.TakeDeliveries()) queue.Settle(one.range(), AckOutcome{});
  queue.Settle(seen[10].range(), AckOutcome{});
  queue.Step(PurgeQueue{1});
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(), 1u);
}

}  // namespace
}  // namespace mqd::queue::testing
