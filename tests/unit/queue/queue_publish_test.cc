// Publishing: commits, bounds, waiting, producers that resume. One broken promise a name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr ProducerId kProducer{4, 2};

// ---- commits

TEST(QueuePublishTest, NothingIsConfirmedOrDeliveredBeforeItsCommit) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a"});
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#1"));
}

TEST(QueuePublishTest, SyncQueueAsksForAFlush) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  EXPECT_EQ(queue.LastSync(), storage::Sync::kFlush);
}

TEST(QueuePublishTest, AckAloneAsksForNoFlush) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.AckAll();
  EXPECT_EQ(queue.LastSync(), storage::Sync::kWritten);
}

TEST(QueuePublishTest, AsyncQueueAsksForNoFlush) {
  QueueHarness queue({.durability = Durability::kAsync});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  EXPECT_EQ(queue.LastSync(), storage::Sync::kWritten);
}

TEST(QueuePublishTest, MemoryQueueWritesNoMessageKeyAttemptOrProducer) {
  QueueHarness queue({.durability = Durability::kMemory});
  queue.AttachPublisher("ann", kProducer);
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();  // the first publish promises sequences
  queue.Publish("ann", {"b"}, {.keys = {"other"}});
  EXPECT_EQ(queue.disk().waiting(), 0u);
  const auto seen = queue.TakeDeliveries();
  EXPECT_THAT(Payloads(seen), ElementsAre("a", "b"));
  queue.Settle(seen[0].range(), RetryOutcome{0, "again"});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#2"));
  EXPECT_EQ(queue.disk().rows(), 1u);
  queue.Restart();
  EXPECT_EQ(queue.Stats().backlog_bytes, 0u);
}

TEST(QueuePublishTest, LargeBatchKeepsItsOrderOverSeveralChunksAndCommits) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  std::vector<std::string> sent;
  for (int i = 0; i < 12; ++i) sent.push_back(std::to_string(i) + std::string(1 << 20, 'x'));
  queue.Publish("ann", sent);
  EXPECT_GT(queue.disk().waiting(), 1u);
  queue.AttachConsumer("cat", {.messages = 100, .bytes = 1 << 30});
  queue.CommitNext();
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(::testing::Lt(12u)));
  queue.Restart();  // one commit is on disk, the other is not
  const std::uint64_t kept = queue.Stats().ready;
  EXPECT_GT(kept, 0u);
  EXPECT_LT(kept, 12u);
  queue.AttachConsumer("cat", {.messages = 100, .bytes = 1 << 30});
  const auto seen = queue.TakeDeliveries();
  ASSERT_EQ(seen.size(), kept);
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_TRUE(seen[i].payload == sent[i]) << i;
}

// ---- the bound

TEST(QueuePublishTest, BoundInMessagesCountsEveryState) {
  QueueHarness queue({.max_messages = 5, .max_attempts = 2});
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 4});
  queue.Publish("ann", {"parked", "delayed", "settling", "flight", "ready"});
  queue.CommitAll();
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen[0].range(), DeadLetterOutcome{"bad"});
  queue.Settle(seen[1].range(), RetryOutcome{1'000 * kNsPerMs, ""});
  queue.AskSettle({{seen[2].range(), AckOutcome{}}});
  queue.TakeResults();
  queue.Publish("ann", {"no"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("6 QUEUE_FULL"));
  queue.Publish("ann", {"yes", "no"});  // the settle is on disk by now
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("7 stored as 6", "8 QUEUE_FULL"));
}

TEST(QueuePublishTest, BoundInBytesIsExact) {
  QueueHarness queue({.max_bytes = 200});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {std::string(36, 'a'), std::string(37, 'b'), std::string(36, 'c'), ""});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(),
              ElementsAre("1 stored as 1", "2 QUEUE_FULL", "3 stored as 2", "4 QUEUE_FULL"));
  EXPECT_EQ(queue.Stats().backlog_bytes, 200u);
}

TEST(QueuePublishTest, FullErrorNamesLimitAndCurrent) {
  QueueHarness queue({.max_messages = 2});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "c"});
  queue.CommitAll();
  const auto errors = queue.TakeErrors();
  ASSERT_THAT(errors, SizeIs(1));
  const ErrorInfo& error = errors.begin()->second;
  EXPECT_EQ(error.limit, 2u);
  EXPECT_EQ(error.current, 2u);
  EXPECT_EQ(error.resource, "queue default/q");
}

TEST(QueuePublishTest, MessageLargerThanTheQueueIsRefusedForGood) {
  QueueHarness queue({.max_bytes = 100, .overflow_policy = OverflowPolicy::kBlock});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {std::string(100, 'x')});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 MESSAGE_TOO_LARGE"));
}

TEST(QueuePublishTest, LowDiskRefusesPublishesAndTakesSettles) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.TakeResults();
  queue.around().disk_low = true;
  queue.Publish("ann", {"b"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("2 DISK_LOW"));
  EXPECT_EQ(queue.Settle(queue.TakeDeliveries()[0].range(), AckOutcome{}).settled, 1u);
}

TEST(QueuePublishTest, ResultsGiveTheWholeWindowBack) {
  QueueHarness queue({.max_messages = 2});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "a", "rejected"}, {.keys = {"k", "k", ""}});
  queue.Publish("ann", {"b", "rejected"});
  queue.CommitAll();
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  for (const SendConfirms& send : queue.Take<SendConfirms>()) {
    messages += send.confirms.messages;
    bytes += send.confirms.bytes;
  }
  EXPECT_EQ(messages, 5u);
  EXPECT_EQ(bytes, 5 * kOverheadBytes + 3 * 1 + 2 * 8);
}

// ---- BLOCK

QueueSettings Blocking(std::uint64_t max_messages) {
  return {.max_messages = max_messages, .overflow_policy = OverflowPolicy::kBlock};
}

TEST(QueueBlockTest, PublishersAreLetInFirstComeFirstServedAndKeepTheirOrder) {
  QueueHarness queue(Blocking(1));
  queue.AttachPublisher("ann");
  queue.AttachPublisher("ben");
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a1", "a2"});
  queue.Publish("ben", {"b1"});
  queue.Publish("ann", {"a3"});
  EXPECT_EQ(queue.Stats().blocked_publishers, 2u);
  std::vector<std::string> order;
  for (int i = 0; i < 4; ++i) {
    queue.CommitAll();
    const auto seen = queue.TakeDeliveries();
    ASSERT_THAT(seen, SizeIs(1));
    order.push_back(seen[0].payload);
    queue.Settle(seen[0].range(), AckOutcome{});
  }
  EXPECT_THAT(order, ElementsAre("a1", "a2", "b1", "a3"));
}

TEST(QueueBlockTest, PublisherIsToldWhenItsWaitBeginsAndEnds) {
  QueueHarness queue(Blocking(1));
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a", "b"});
  auto blocked = queue.Take<SendBlocked>();
  ASSERT_THAT(blocked, SizeIs(1));
  EXPECT_EQ(blocked[0].first_publish_id, 2u);
  EXPECT_EQ(blocked[0].reason->reason, Reason::kQueueFull);
  queue.CommitAll();
  queue.AckAll();
  blocked = queue.Take<SendBlocked>();
  ASSERT_THAT(blocked, SizeIs(1));
  EXPECT_FALSE(blocked[0].reason.has_value());
}

TEST(QueueBlockTest, RestOfABatchIsRefusedAtItsDeadlineAndNotBefore) {
  QueueHarness queue(Blocking(1));
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "c"}, {.wait_ms = 500});
  queue.CommitAll();
  queue.Advance(499);
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + kNsPerMs);
  queue.Advance(1);
  EXPECT_THAT(queue.TakeResults(), ElementsAre("2 BLOCKED_TIMEOUT", "3 BLOCKED_TIMEOUT"));
  EXPECT_EQ(queue.Stats().blocked_publishers, 0u);
}

TEST(QueueBlockTest, PublisherThatLeavesGivesItsPlaceInLineAway) {
  QueueHarness queue(Blocking(1));
  queue.AttachPublisher("ann");
  queue.AttachPublisher("ben");
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a1", "a2"}, {.wait_ms = 100});
  queue.Publish("ben", {"b1"});
  queue.DetachPublisher("ann");
  queue.CommitAll();
  queue.AckAll();
  queue.CommitAll();
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-b1#1"));
  queue.Advance(200);
}

// What was stored before the connection broke must not be told to have failed.
TEST(QueueBlockTest, ResentMessageThatIsStoredIsConfirmedAtTheDeadlineToo) {
  QueueHarness queue(Blocking(1));
  queue.AttachPublisher("ann", kProducer);
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.AttachPublisher("ben");
  queue.Publish("ben", {"b"});  // waits for room
  queue.AttachPublisher("ann", kProducer);
  queue.TakeResults();
  queue.Publish("ann", {"a", "new"}, {.first_id = 1, .wait_ms = 500});
  queue.Advance(500);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 BLOCKED_TIMEOUT"));
}

TEST(QueueBlockTest, CloseRefusesWhoWaits) {
  QueueHarness queue(Blocking(1));
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b"});
  queue.Step(CloseQueue{1});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 QUEUE_CLOSED"));
}

TEST(QueueBlockTest, RaisedLimitLetsWhoWaitsIn) {
  QueueHarness queue(Blocking(1));
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b"});
  queue.Step(UpdateSettings{.request = 1, .settings = Blocking(2)});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2"));
}

// ---- producers that resume

TEST(QueueProducerTest, ResendAfterAReconnectIsAnsweredWithTheOriginalSequences) {
  QueueHarness queue;
  queue.AttachPublisher("ann", kProducer);
  queue.Publish("ann", {"a", "b"});
  queue.DetachPublisher("ann");
  queue.CommitAll();
  queue.AttachPublisher("ann", kProducer);
  const auto attached = queue.Take<PublisherAttached>();
  EXPECT_TRUE(attached.back().attached.resumed);
  EXPECT_EQ(attached.back().attached.last_publish_id, 2u);
  queue.Publish("ann", {"a", "b", "c"}, {.first_id = 1});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2", "3 stored as 3"));
  EXPECT_EQ(queue.Stats().ready, 3u);
}

TEST(QueueProducerTest, ResendAfterARestartAddsNoDuplicateAndARejectedIdCanBeSentAgain) {
  QueueHarness queue({.max_messages = 2});
  queue.AttachPublisher("ann", kProducer);
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Publish("ann", {"a", "b", "rejected"});
  queue.CommitAll();
  queue.AckAll();
  queue.TakeResults();
  queue.Restart();
  queue.AttachPublisher("ann", kProducer);
  EXPECT_EQ(queue.Take<PublisherAttached>().back().attached.last_publish_id, 2u);
  queue.Publish("ann", {"a", "b", "now it fits"}, {.first_id = 1});
  queue.CommitAll();
  const auto results = queue.TakeResults();
  ASSERT_THAT(results, SizeIs(3));
  EXPECT_EQ(results[0], "1 stored as 1");
  EXPECT_EQ(results[1], "2 stored as 2");
  EXPECT_EQ(results[2].substr(0, 11), "3 stored as");
  EXPECT_EQ(queue.Stats().ready, 2u);
}

TEST(QueueProducerTest, ConfirmOfAResendWaitsForTheCommitOfTheOriginal) {
  QueueHarness queue;
  queue.AttachPublisher("ann", kProducer);
  queue.Publish("ann", {"a"});
  queue.AttachPublisher("ann", kProducer);
  queue.Publish("ann", {"a"}, {.first_id = 1});
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueProducerTest, SecondStreamFencesTheFirst) {
  QueueHarness queue;
  queue.AttachPublisher("ann", kProducer);
  const PublisherId old = queue.PublisherIdOf("ann");
  queue.AttachPublisher("ann", kProducer);
  const auto gone = queue.Take<PublisherGone>();
  ASSERT_THAT(gone, SizeIs(1));
  EXPECT_EQ(gone[0].publisher, old);
  EXPECT_EQ(gone[0].code, GoAwayCode::kFenced);
  PublishBatch late = queue.BatchOf({"from the old stream"});
  late.publisher = old;
  late.first_publish_id = 1;
  queue.Step(std::move(late));
  queue.Step(DetachPublisher{old});  // must not cut the new stream off
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueProducerTest, ProducerThatIsGoneTooLongIsForgottenOnDiskToo) {
  QueueHarness queue;
  queue.AttachPublisher("ann", kProducer);
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.DetachPublisher("ann");
  queue.Advance(kProducerRetentionMs);
  queue.AttachPublisher("ben");
  queue.CommitAll();
  EXPECT_EQ(queue.disk().rows(storage::Table::kProducers), 0u);
}

}  // namespace
}  // namespace mqd::queue::testing
