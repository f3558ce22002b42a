// What a queue still knows after a crash, and how atomic requests end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/queue/queue_core.h"
#include "tests/unit/queue/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr PublisherId kAnn = 1;
constexpr ConsumerId kCat = 11;

TEST(QueueRestartTest, UncommittedMessagesAreGoneAndConfirmedOnesAreBack) {
  QueueHarness queue;
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"kept"});
  queue.CommitAll();
  queue.Publish(kAnn, {"lost"});
  queue.Restart();
  queue.Consumer(kCat, 10);
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(1));
  EXPECT_EQ(seen[0].payload, "kept");
}

TEST(QueueRestartTest, SettledMessagesDoNotReturnAndSequencesAreNotUsedTwice) {
  QueueHarness queue;
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a", "b", "c"});
  queue.CommitAll();
  queue.Consumer(kCat, 10);
  const auto seen = queue.TakeDeliveries();
  queue.Settle({seen[1].id, seen[1].id}, AckOutcome{});
  queue.Restart();
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"d"});
  queue.CommitAll();
  queue.Consumer(kCat, 10);
  const auto again = queue.TakeDeliveries();
  ASSERT_THAT(again, SizeIs(3));
  EXPECT_EQ(again[1].payload, "c");
  EXPECT_GT(again[2].sequence, seen[2].sequence);
  EXPECT_GT(again[0].id, seen[2].id) << "a delivery id was used twice";
}

TEST(QueueRestartTest, ChargedAttemptsAreRemembered) {
  QueueHarness queue({.max_attempts = 2});
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a"});
  queue.CommitAll();
  queue.Consumer(kCat, 1);
  const DeliveryId first = queue.TakeDeliveries()[0].id;
  queue.Settle({first, first}, RetryOutcome{0, "boom"});
  queue.Restart();
  queue.Consumer(kCat, 1);
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(1));
  EXPECT_EQ(seen[0].attempt, 2u);
  queue.Settle({seen[0].id, seen[0].id}, RetryOutcome{0, "boom"});
  EXPECT_EQ(queue.Stats().parked, 1u);
  queue.Restart();
  EXPECT_EQ(queue.Stats().parked, 1u);
}

TEST(QueueRestartTest, KeysAreRemembered) {
  QueueHarness queue;
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a"}, {"key"});
  queue.CommitAll();
  queue.Restart();
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a"}, {"key"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().duplicates, 1u);
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueRestartTest, ResendOfAProducerIsAnsweredFromItsRecord) {
  const ProducerId producer{4, 2};
  QueueHarness queue({.max_messages = 2});
  queue.Publisher(kAnn, producer);
  queue.Publish(kAnn, {"a", "b", "rejected"});
  queue.CommitAll();
  queue.Restart();
  queue.Publisher(kAnn, producer);
  const auto attached = queue.Take<PublisherAttached>();
  ASSERT_THAT(attached, SizeIs(1));
  EXPECT_TRUE(attached[0].attached.resumed);
  EXPECT_EQ(attached[0].attached.last_publish_id, 2u);
  queue.Publish(kAnn, {"a", "b"}, {}, 1);
  queue.CommitAll();
  const auto confirms = queue.Take<SendConfirms>();
  ASSERT_THAT(confirms, SizeIs(1));
  ASSERT_THAT(confirms[0].confirms.ranges, SizeIs(1));
  EXPECT_EQ(confirms[0].confirms.ranges[0].count, 2u);
  EXPECT_EQ(queue.Stats().ready, 2u);
}

TEST(QueueRestartTest, SecondStreamOfAProducerFencesTheFirst) {
  const ProducerId producer{4, 2};
  QueueHarness queue;
  queue.Publisher(kAnn, producer);
  queue.Publisher(kAnn + 1, producer);
  EXPECT_THAT(queue.Take<PublisherGone>(), SizeIs(1));
  queue.Publish(kAnn, {"from the old stream"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 0u);
}

PublishBatch OneMessage() {
  auto element = std::make_shared<std::string>("\x7a\x03\x7a\x01p");
  PublishBatch batch{.owner = element};
  batch.messages.push_back({.element = *element, .charge_bytes = 65});
  return batch;
}

TEST(QueueTransactionTest, PreparedMessageIsReadyOnlyWhenTheTransactionCommits) {
  QueueHarness queue;
  queue.Consumer(kCat, 10);
  queue.Step(PrepareTransaction{.transaction = 3, .batch = OneMessage()});
  const auto prepared = queue.Take<TransactionPrepared>();
  ASSERT_THAT(prepared, SizeIs(1));
  EXPECT_TRUE(prepared[0].accepted);
  EXPECT_FALSE(prepared[0].part.empty());
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Step(EndTransaction{3, true});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(1));
}

TEST(QueueTransactionTest, AbortGivesTheRoomBack) {
  QueueHarness queue({.max_messages = 1});
  queue.Step(PrepareTransaction{.transaction = 3, .batch = OneMessage()});
  queue.Step(PrepareTransaction{.transaction = 4, .batch = OneMessage()});
  auto prepared = queue.Take<TransactionPrepared>();
  ASSERT_THAT(prepared, SizeIs(2));
  EXPECT_FALSE(prepared[1].accepted);
  queue.Step(EndTransaction{3, false});
  queue.Step(PrepareTransaction{.transaction = 5, .batch = OneMessage()});
  EXPECT_TRUE(queue.Take<TransactionPrepared>()[0].accepted);
}

TEST(QueueTransactionTest, LostLeaseRefusesTheWholeRequest) {
  QueueHarness queue;
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a", "b"});
  queue.CommitAll();
  queue.Consumer(kCat, 2);
  const auto seen = queue.TakeDeliveries();
  queue.Settle({seen[0].id, seen[0].id}, AckOutcome{});
  CommitTransaction commit{.transaction = 8};
  commit.entries.push_back({{seen[0].id, seen[1].id}, AckOutcome{}});
  queue.Step(std::move(commit));
  const auto done = queue.Take<TransactionDone>();
  ASSERT_THAT(done, SizeIs(1));
  EXPECT_FALSE(done[0].committed);
  EXPECT_EQ(queue.Stats().in_flight, 1u);
}

}  // namespace
}  // namespace mqd::queue::testing
