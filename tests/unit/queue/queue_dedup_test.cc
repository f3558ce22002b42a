// Idempotency keys: duplicates, conflicts, windows, a full table. One broken promise a name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(QueueDedupTest, DuplicateBeforeTheCommitIsAnsweredAfterTheOriginal) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "a"}, {.keys = {"key", "key"}});
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(),
              ElementsAre("1 stored as 1", "2 duplicate of 1 READY", "3 duplicate of 1 READY"));
  EXPECT_EQ(queue.Stats().ready, 1u);
  EXPECT_EQ(queue.Stats().duplicates, 2u);
}

TEST(QueueDedupTest, DuplicateNamesThePresentStatusInEveryState) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  const auto again = [&] {
    queue.TakeResults();
    queue.Publish("ann", {"a"}, {.keys = {"key"}});
    queue.CommitAll();
    const std::string result = queue.TakeResults().at(0);
    return result.substr(result.rfind(' ') + 1);
  };
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_EQ(again(), "READY");
  queue.AttachConsumer("cat", {.messages = 2});
  EXPECT_EQ(again(), "IN_FLIGHT");
  queue.Settle(queue.TakeDeliveries()[0].range(), RetryOutcome{1'000 * kNsPerMs, ""});
  EXPECT_EQ(again(), "DELAYED");
  queue.Advance(1'000);
  queue.Settle(queue.TakeDeliveries()[0].range(), DeadLetterOutcome{"bad"});
  EXPECT_EQ(again(), "PARKED");
  queue.Restart();
  queue.AttachPublisher("ann");
  EXPECT_EQ(again(), "PARKED");
  queue.Step(PurgeQueue{1});
  EXPECT_EQ(again(), "SETTLED");
}

TEST(QueueDedupTest, SameKeyWithAnotherBodyConflictsAndNamesTheOriginal) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b"}, {.keys = {"key", "key"}});
  queue.CommitAll();
  const auto errors = queue.TakeErrors();
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors.at(2).reason, Reason::kIdempotencyConflict);
  EXPECT_EQ(errors.at(2).current, 1u);
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueDedupTest, WindowRunsFromTheFirstAcceptanceAndDoesNotSlide) {
  QueueHarness queue({.dedup_window = std::chrono::seconds(10)});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  queue.Advance(10'000);
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.Advance(1);
  queue.Publish("ann", {"b"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(),
              ElementsAre("1 stored as 1", "2 duplicate of 1 READY", "3 stored as 2"));
}

TEST(QueueDedupTest, KeyOfASettledMessageIsKnownAfterARestart) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  queue.AckAll();
  queue.Restart();
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 duplicate of 1 SETTLED"));
}

TEST(QueueDedupTest, CrashBetweenAnyTwoCommitsLeavesNoSecondCopy) {
  bool all = false;
  for (int written = 0; !all; ++written) {
    QueueHarness queue;
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"}, {.keys = {"key"}});
    for (int i = 0; i < written; ++i) all = !queue.CommitNext();
    queue.Restart();
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"}, {.keys = {"key"}});
    queue.CommitAll();
    EXPECT_EQ(queue.Stats().ready, 1u) << "behind " << written << " commits";
  }
}

TEST(QueueDedupTest, UncommittedKeyIsForgottenWithItsMessage) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.Restart();
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueDedupTest, ExpiredKeysLeaveTheDisk) {
  QueueHarness queue({.dedup_window = std::chrono::seconds(10)});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b"}, {.keys = {"k1", "k2"}});
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(storage::Table::kDedup), 2u);
  queue.Advance(11'100);
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(storage::Table::kDedup), 0u);
  EXPECT_EQ(queue.Stats().dedup_entries, 0u);
}

TEST(QueueDedupTest, ExpiredKeyThatIsPublishedAgainHasOneRow) {
  QueueHarness queue({.dedup_window = std::chrono::seconds(10)});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  queue.PassTime(11'000);
  queue.Publish("ann", {"b"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2"));
  EXPECT_EQ(queue.disk().rows(storage::Table::kDedup), 1u);
  queue.Restart();
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"b"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 2u) << "the second is remembered";
}

TEST(QueueDedupTest, RowsInTheOrderOfTheirHashesAreReadAndLeaveTheDisk) {
  QueueHarness queue({.dedup_window = std::chrono::seconds(10)});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b"}, {.keys = {"k1", "k2"}});
  queue.CommitAll();
  queue.disk().OrderDedupByHash();
  queue.Restart();
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"k1"}});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 2u);
  queue.Advance(11'100);
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(storage::Table::kDedup), 0u);
}

TEST(QueueDedupTest, KeyOfAPublishThatWaitedIsForgottenAlthoughNothingHappens) {
  QueueHarness queue({.max_messages = 1,
                      .overflow_policy = OverflowPolicy::kBlock,
                      .durability = Durability::kMemory,
                      .dedup_window = std::chrono::seconds(10)});
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Publish("ann", {"a", "b"}, {.keys = {"", "key"}});
  queue.CommitAll();
  queue.Settle(queue.TakeDeliveries().at(0).range(), AckOutcome{});
  EXPECT_EQ(queue.Stats().dedup_entries, 1u);
  EXPECT_LE(queue.core().next_wake_ns(), queue.around().now.steady_ns + 11'000 * kNsPerMs);
  queue.Advance(11'000);
  EXPECT_EQ(queue.Stats().dedup_entries, 0u);
}

TEST(QueueDedupTest, FullTableForgetsTheOldestAndCountsIt) {
  QueueHarness queue({.dedup_max_entries = 2});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "c"}, {.keys = {"k1", "k2", "k3"}});
  queue.CommitAll();
  queue.TakeResults();
  EXPECT_EQ(queue.Stats().dedup_entries, 2u);
  EXPECT_EQ(queue.Stats().dedup_evicted, 1u);
  EXPECT_EQ(queue.disk().rows(storage::Table::kDedup), 2u);
  queue.Publish("ann", {"c", "a"}, {.keys = {"k3", "k1"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("4 duplicate of 3 READY", "5 stored as 4"));
}

TEST(QueueDedupTest, FullTableForgetsInTheOrderOfAcceptanceAfterARestart) {
  QueueHarness queue({.dedup_max_entries = 20});
  queue.AttachPublisher("ann");
  std::vector<std::string> keys;
  for (int i = 0; i < 20; ++i) keys.push_back("k" + std::to_string(i));
  queue.Publish("ann", keys, {.keys = keys});
  queue.CommitAll();
  queue.Restart();
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"new"}, {.keys = {"new"}});
  queue.CommitAll();
  queue.TakeResults();
  queue.Publish("ann", {"k19", "k1", "k0"}, {.keys = {"k19", "k1", "k0"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("2 duplicate of 20 READY", "3 duplicate of 2 READY",
                                               "4 stored as 1000002"));
}

TEST(QueueDedupTest, UnknownCommitMovesNoWindowAlthoughTheClockWasSet) {
  for (const std::int64_t jump : {3'600'000, -3'600'000}) {
    QueueHarness queue({.dedup_window = std::chrono::seconds(10)});
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    queue.CommitAll();
    queue.JumpWall(jump);
    queue.Advance(9'000);
    queue.Rebuild();
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    EXPECT_THAT(queue.TakeResults(), ElementsAre("1 duplicate of 1 READY"));
    queue.Advance(1'001);
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    queue.CommitAll();
    EXPECT_THAT(queue.TakeResults(), ElementsAre("2 stored as 1000001"));
  }
}

TEST(QueueDedupTest, FullTableRefusesNewKeysUntilOneExpires) {
  QueueHarness queue({.dedup_window = std::chrono::seconds(10),
                      .dedup_max_entries = 1,
                      .dedup_full_policy = DedupFullPolicy::kReject});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "plain"}, {.keys = {"k1", "k2", ""}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 DEDUP_FULL", "3 stored as 2"));
  queue.Advance(10'001);
  queue.Publish("ann", {"b"}, {.keys = {"k2"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("4 stored as 3"));
}

}  // namespace
}  // namespace mqd::queue::testing
