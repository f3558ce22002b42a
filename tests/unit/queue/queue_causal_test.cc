// deliver_after: a message waits until the messages that it names are settled.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

struct TwoQueues {
  std::shared_ptr<TestDisk> disk = std::make_shared<TestDisk>();
  QueueHarness a;
  QueueHarness b;
  TwoQueues() : a({}, {disk, 7, "default/a"}), b({}, {disk, 9, "default/b"}) {
    for (QueueHarness* queue : {&a, &b}) queue->AttachPublisher("ann");
  }
  void Settle() {
    for (int i = 0; i < 4; ++i) {
      disk->CommitAll();
      QueueHarness::ExchangeRefs({&a, &b});
    }
  }
};

TEST(DeliverAfterTest, WaitsUntilTheNamedMessageOfTheSameQueueIsSettled) {
  TwoQueues two;
  two.a.Publish("ann", {"first"});
  two.Settle();
  two.a.PublishOne("ann", "then", {.deliver_after = {{7, 1}}});
  two.Settle();
  EXPECT_EQ(two.a.Stats().delayed, 1u);
  two.a.AttachConsumer("cat", {.messages = 10});
  const auto seen = two.a.TakeDeliveries();
  EXPECT_THAT(Payloads(seen), ElementsAre("first"));
  two.a.AskSettle({{seen[0].range(), AckOutcome{}}});
  QueueHarness::ExchangeRefs({&two.a, &two.b});
  EXPECT_THAT(two.a.TakeDeliveries(), IsEmpty());  // the ack is not on disk
  two.Settle();
  EXPECT_THAT(Payloads(two.a.TakeDeliveries()), ElementsAre("then"));
}

TEST(DeliverAfterTest, WaitsForMessagesOfOtherQueuesAndForAllOfThem) {
  TwoQueues two;
  two.a.Publish("ann", {"a1"});
  two.b.Publish("ann", {"b1"});
  two.Settle();
  two.b.PublishOne("ann", "b2", {.deliver_after = {{7, 1}, {9, 1}}});
  two.Settle();
  EXPECT_THAT(two.b.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2"));
  two.b.AttachConsumer("cat", {.messages = 10});
  two.b.Settle(two.b.TakeDeliveries().at(0).range(), AckOutcome{});
  two.Settle();
  EXPECT_THAT(two.b.TakeDeliveries(), IsEmpty());
  two.a.AttachConsumer("dan", {.messages = 10});
  two.a.Settle(two.a.TakeDeliveries().at(0).range(), AckOutcome{});
  two.Settle();
  EXPECT_THAT(Payloads(two.b.TakeDeliveries()), ElementsAre("b2"));
}

TEST(DeliverAfterTest, HoweverTheNamedMessageLeaves) {
  TwoQueues two;
  two.a.Publish("ann", {"a1"});
  two.Settle();
  two.b.PublishOne("ann", "b1", {.deliver_after = {{7, 1}}});
  two.b.AttachConsumer("cat", {.messages = 10});
  two.Settle();
  EXPECT_THAT(two.b.TakeDeliveries(), IsEmpty());
  two.a.Ask<std::uint64_t>(PurgeQueue{});
  two.Settle();
  EXPECT_THAT(Payloads(two.b.TakeDeliveries()), ElementsAre("b1"));
}

TEST(DeliverAfterTest, ARetryOfTheNamedMessageIsNoSettle) {
  TwoQueues two;
  two.a.Publish("ann", {"a1"});
  two.Settle();
  two.b.PublishOne("ann", "b1", {.deliver_after = {{7, 1}}});
  two.b.AttachConsumer("cat", {.messages = 10});
  two.a.AttachConsumer("dan", {.messages = 10});
  two.Settle();
  two.a.Settle(two.a.TakeDeliveries().at(0).range(), RetryOutcome{});
  two.Settle();
  EXPECT_THAT(two.b.TakeDeliveries(), IsEmpty());
}

TEST(DeliverAfterTest, ASequenceNeverGivenIsRefusedAndSoIsItself) {
  TwoQueues two;
  for (const Sequence unknown : {Sequence{1}, Sequence{99}}) {
    two.a.PublishOne("ann", "a", {.deliver_after = {{7, unknown}}});
    two.Settle();
  }
  const auto errors = two.a.TakeErrors();
  ASSERT_THAT(errors, SizeIs(2));
  for (const auto& [id, error] : errors) {
    EXPECT_EQ(error.reason, Reason::kBadField);
    EXPECT_EQ(error.resource, "field deliver_after");
  }
}

TEST(DeliverAfterTest, ADeletedQueueCountsAsSettled) {
  TwoQueues two;
  two.b.PublishOne("ann", "b1", {.deliver_after = {{5, 1}}});  // no queue has this id
  two.b.AttachConsumer("cat", {.messages = 10});
  two.Settle();
  EXPECT_THAT(Payloads(two.b.TakeDeliveries()), ElementsAre("b1"));
}

TEST(DeliverAfterTest, WhatIsStoredIsNotRefusedWhenItsQueueHasGoneSince) {
  const Extras gone = {.fault = std::make_shared<ErrorInfo>(ErrorInfo{
                           .reason = Reason::kQueueNotFound, .message = "no queue default/gone"})};
  QueueHarness queue;
  queue.AttachPublisher("ann", ProducerId{1, 2});
  queue.Publish("ann", {"a"}, {.first_id = 1});
  queue.Publish("ann", {"b"}, {.keys = {"key"}, .first_id = 2});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2"));
  queue.Restart();
  queue.AttachPublisher("ann", ProducerId{1, 2});
  queue.Publish("ann", {"a", "b"}, {.extras = {gone}, .first_id = 1});
  queue.AttachPublisher("bob");
  queue.Publish("bob", {"b"}, {.keys = {"key"}, .extras = {gone}, .first_id = 1});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(),
              UnorderedElementsAre("1 stored as 1", "2 stored as 2", "1 duplicate of 2 READY"));
  queue.Publish("ann", {"new"}, {.extras = {gone}, .first_id = 3});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("3 QUEUE_NOT_FOUND"));
}

TEST(DeliverAfterTest, TheWaitOutlivesARestart) {
  TwoQueues two;
  two.a.Publish("ann", {"a1"});
  two.Settle();
  two.b.PublishOne("ann", "b1", {.deliver_after = {{7, 1}}});
  two.Settle();
  two.a.Restart();
  two.b.Restart();
  two.b.AttachConsumer("cat", {.messages = 10});
  two.Settle();
  EXPECT_THAT(two.b.TakeDeliveries(), IsEmpty());
  two.a.AttachConsumer("dan", {.messages = 10});
  two.a.Settle(two.a.TakeDeliveries().at(0).range(), AckOutcome{});
  two.Settle();
  EXPECT_THAT(Payloads(two.b.TakeDeliveries()), ElementsAre("b1"));
}

TEST(DeliverAfterTest, ALostAnswerIsAskedForAgain) {
  TwoQueues two;
  two.a.Publish("ann", {"a1"});
  two.Settle();
  two.b.PublishOne("ann", "b1", {.deliver_after = {{7, 1}}});
  two.Settle();
  two.a.Restart();  // who watched is forgotten
  two.a.AttachConsumer("dan", {.messages = 10});
  two.a.Settle(two.a.TakeDeliveries().at(0).range(), AckOutcome{});
  two.b.AttachConsumer("cat", {.messages = 10});
  for (int i = 0; i < 12; ++i) two.b.Advance(1'000);
  two.Settle();
  EXPECT_THAT(Payloads(two.b.TakeDeliveries()), ElementsAre("b1"));
}

TEST(DeliverAfterTest, OthersGoOnMeanwhile) {
  TwoQueues two;
  two.a.Publish("ann", {"a1"});
  two.Settle();
  two.b.PublishOne("ann", "b1", {.deliver_after = {{7, 1}}});
  two.b.Publish("ann", {"b2"});
  two.b.AttachConsumer("cat", {.messages = 10});
  two.Settle();
  EXPECT_THAT(Payloads(two.b.TakeDeliveries()), ElementsAre("b2"));
}

}  // namespace
}  // namespace mqd::queue::testing
