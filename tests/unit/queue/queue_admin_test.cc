// Closing, purging, deleting, changing settings, and looking without touching.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using storage::Table;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

QueueHarness WithThree(QueueSettings settings = {}) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "c"});
  queue.CommitAll();
  queue.TakeResults();
  return queue;
}

Reason ErrorOf(QueueHarness& queue) { return queue.TakeAnswer<ErrorInfo>().reason; }

// ---- close

TEST(QueueCloseTest, EndOfQueueComesOnceAfterTheLastSettleIsOnDisk) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 3});
  const auto seen = queue.TakeDeliveries();
  queue.Step(CloseQueue{77});
  queue.CommitAll();
  EXPECT_TRUE(queue.TakeAnswer<QueueInfo>().closed);
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
  queue.AskSettle({{{seen[0].id, seen[2].id}, AckOutcome{}}});
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), SizeIs(1));
  queue.Advance(60'000);
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
  queue.AttachConsumer("late", {});
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), SizeIs(1));
}

// A crash would bring the queue back open, and its consumers have gone home.
TEST(QueueCloseTest, EndOfQueueWaitsForTheCloseToBeOnDisk) {
  QueueHarness queue;
  queue.AttachConsumer("cat", {});
  queue.Step(CloseQueue{77});
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), SizeIs(1));
}

TEST(QueueCloseTest, ClosedQueueStaysClosedOverARestartAndRefusesASecondClose) {
  QueueHarness queue = WithThree();
  queue.Step(CloseQueue{1});
  queue.CommitAll();
  queue.Restart();
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"d"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 QUEUE_CLOSED"));
  queue.Step(CloseQueue{2});
  EXPECT_EQ(ErrorOf(queue), Reason::kAlreadyClosed);
  queue.Step(ReopenQueue{3});
  queue.Publish("ann", {"e"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 4u);
}

// ---- purge

TEST(QueuePurgeTest, LeavesOnlyWhatIsInFlightAlsoOnDisk) {
  QueueHarness queue = WithThree();
  queue.Publish("ann", {"delayed", "parked"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 5});
  const auto seen = queue.TakeDeliveries();
  queue.Settle({seen[1].id, seen[2].id}, ReleaseOutcome{});
  queue.Settle(seen[3].range(), RetryOutcome{1'000 * kNsPerMs, ""});
  queue.Settle(seen[4].range(), DeadLetterOutcome{"bad"});
  queue.Step(PurgeQueue{5});
  queue.CommitAll();
  EXPECT_EQ(queue.TakeAnswer<std::uint64_t>(), 4u);
  const QueueStats stats = queue.Stats();
  EXPECT_EQ(stats.in_flight, 1u);
  EXPECT_EQ(stats.ready + stats.delayed + stats.parked, 0u);
  EXPECT_EQ(queue.disk().rows(Table::kAttempts), 0u);
  queue.Restart();
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueuePurgeTest, TakesTheKeysOnlyWhenAsked) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  queue.Step(PurgeQueue{1});
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(Table::kDedup), 1u);
  queue.Step(PurgeQueue{.request = 2, .purge_dedup = true});
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(Table::kDedup), 0u);
  EXPECT_EQ(queue.Stats().dedup_entries, 0u);
}

// ---- delete

TEST(QueueDeleteTest, QueueThatHoldsMessagesIsDeletedOnlyByForceAndLeavesNoRow) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Step(DeleteQueue{1});
  EXPECT_EQ(ErrorOf(queue), Reason::kQueueNotEmpty);
  queue.Step(DeleteQueue{.request = 2, .force = true});
  EXPECT_FALSE(queue.deleted());
  queue.CommitAll();
  EXPECT_TRUE(queue.deleted());
  EXPECT_EQ(queue.TakeAnswer<std::uint64_t>(), 3u);
  EXPECT_EQ(queue.disk().rows(), 0u);
  EXPECT_THAT(queue.Take<PublisherGone>(), SizeIs(1));
  EXPECT_THAT(queue.Take<ConsumerGone>(), SizeIs(1));
}

TEST(QueueDeleteTest, WhoWaitsIsRefused) {
  QueueHarness queue({.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b"});
  queue.Step(DeleteQueue{.request = 2, .force = true});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 QUEUE_NOT_FOUND"));
}

// A row written behind the deletion would bring the queue back, or stay for ever.
TEST(QueueDeleteTest, NothingIsWrittenBehindTheDeletion) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 2});
  queue.Step(DeleteQueue{.request = 2, .force = true});
  queue.Step(CloseQueue{3});
  queue.Step(UpdateSettings{.request = 4, .settings = {.max_messages = 7}});
  queue.DetachConsumer("cat");
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(), 0u);
  queue.Advance(60'000);
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(), 0u);
}

TEST(QueueDeleteTest, LeaseThatEndsLaterWritesNothing) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 2});
  queue.Step(DeleteQueue{.request = 2, .force = true});
  queue.CommitAll();
  queue.Advance(60'000);
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(), 0u);
}

TEST(QueueDeleteTest, RequestsThatComeTooLateAreToldSo) {
  QueueHarness queue = WithThree();
  queue.Step(DeleteQueue{.request = 2, .force = true});
  queue.Step(CloseQueue{3});
  EXPECT_EQ(ErrorOf(queue), Reason::kQueueNotFound);
  queue.Step(PurgeQueue{4});
  EXPECT_EQ(ErrorOf(queue), Reason::kQueueNotFound);
  queue.Step(UpdateSettings{.request = 5});
  EXPECT_EQ(ErrorOf(queue), Reason::kQueueNotFound);
  queue.Step(DeleteQueue{6});
  EXPECT_EQ(ErrorOf(queue), Reason::kQueueNotFound);
}

// ---- settings

TEST(QueueUpdateTest, ChangeRaisesTheGenerationAndSurvivesARestart) {
  QueueHarness queue;
  queue.Step(UpdateSettings{.request = 1, .settings = {.max_messages = 5}});
  queue.CommitAll();
  EXPECT_EQ(queue.TakeAnswer<QueueInfo>().generation, 2u);
  queue.Step(UpdateSettings{.request = 2, .settings = {.max_messages = 5}});
  EXPECT_EQ(queue.TakeAnswer<QueueInfo>().generation, 2u) << "nothing changed";
  queue.Restart();
  EXPECT_EQ(queue.core().settings().max_messages, 5u);
  queue.Step(
      UpdateSettings{.request = 3, .settings = {.max_messages = 6}, .expected_generation = 1});
  const auto error = queue.TakeAnswer<ErrorInfo>();
  EXPECT_EQ(error.reason, Reason::kQueueExistsDifferent);
  EXPECT_EQ(error.current, 2u);
}

TEST(QueueUpdateTest, LoweredBoundTakesNothingAwayAndLetsNothingIn) {
  QueueHarness queue = WithThree();
  queue.Step(UpdateSettings{.request = 1, .settings = {.max_messages = 2, .max_bytes = 100}});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 3u);
  queue.Publish("ann", {"d"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("4 QUEUE_FULL"));
}

TEST(QueueUpdateTest, DurabilityTurnsToMemoryOnlyWhileTheQueueIsEmpty) {
  QueueHarness queue = WithThree();
  queue.Step(UpdateSettings{.request = 1, .settings = {.durability = Durability::kMemory}});
  EXPECT_EQ(ErrorOf(queue), Reason::kQueueNotEmpty);
  queue.Step(UpdateSettings{.request = 2, .settings = {.durability = Durability::kAsync}});
  queue.CommitAll();
  EXPECT_EQ(queue.TakeAnswer<QueueInfo>().settings.durability, Durability::kAsync);
}

// ---- peek

TEST(QueuePeekTest, ShowsEveryStateAndTouchesNothing) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"flight", "delayed", "parked", "again", "fresh"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 4});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen[1].range(), RetryOutcome{5'000 * kNsPerMs, "later"});
  queue.Settle(seen[2].range(), DeadLetterOutcome{"bad"});
  queue.Settle(seen[3].range(), RetryOutcome{0, "now"});
  queue.Publish("ann", {"committing"});
  const std::uint64_t delivered = queue.Stats().delivered;
  const auto all = queue.PeekAll(MessageStatus::kUnspecified);
  ASSERT_THAT(all, SizeIs(5));
  using S = MessageStatus;
  const S statuses[] = {S::kInFlight, S::kDelayed, S::kParked, S::kReady, S::kReady};
  const std::uint32_t attempts[] = {1, 1, 1, 1, 0};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(all[i].sequence, i + 1);
    EXPECT_EQ(all[i].status, statuses[i]) << i;
    EXPECT_EQ(all[i].attempts, attempts[i]) << i;
    const auto same = queue.PeekAll(statuses[i]);
    EXPECT_THAT(same, SizeIs(statuses[i] == S::kReady ? 2 : 1));
  }
  EXPECT_EQ(all[0].delivery_id, seen[0].id);
  EXPECT_EQ(all[1].deliver_at_ms, queue.around().now.wall_ms + 5'000);
  EXPECT_EQ(all[1].notes.back().error, "later");
  EXPECT_THAT(queue.PeekAll(S::kSettled), IsEmpty());
  EXPECT_EQ(queue.Stats().delivered, delivered);
}

TEST(QueuePeekTest, BeginsAtASequenceAndEndsAtItsLimit) {
  QueueHarness queue = WithThree();
  queue.Step(Peek{.request = 1, .from_sequence = 2, .limit = 1});
  const auto found = queue.TakeAnswer<std::vector<PeekedMessage>>();
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].sequence, 2u);
}

}  // namespace
}  // namespace mqd::queue::testing
