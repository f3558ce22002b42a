// Recall: unstarted deliveries are asked back when another consumer is idle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Meg holds `count` deliveries that she has not begun.
QueueHarness Hoarded(int count) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.AttachConsumer("meg", {.messages = 100, .marks_started = true});
  queue.Publish("ann", std::vector<std::string>(static_cast<std::size_t>(count), "x"));
  queue.CommitAll();
  return queue;
}

std::uint64_t Asked(const std::vector<SendRecall>& recalls) {
  std::uint64_t asked = 0;
  for (const SendRecall& recall : recalls) {
    for (const DeliveryRange& range : recall.ranges) asked += range.last - range.first + 1;
  }
  return asked;
}

TEST(RecallTest, AtMostHalfOfTheLargestHolderIsAskedBack) {
  QueueHarness queue = Hoarded(10);
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
  queue.AttachConsumer("dan", {.messages = 10});
  const auto recalls = queue.Take<SendRecall>();
  ASSERT_THAT(recalls, SizeIs(1));
  EXPECT_EQ(recalls[0].consumer, queue.ConsumerIdOf("meg"));
  EXPECT_GE(Asked(recalls), 1u);
  EXPECT_LE(Asked(recalls), 5u);
  EXPECT_EQ(queue.Stats().recalled, Asked(recalls));
}

TEST(RecallTest, TheNextIsAskedBackInTimeAlthoughNothingHappens) {
  QueueHarness queue = Hoarded(10);
  queue.AttachConsumer("dan", {.messages = 10});
  EXPECT_THAT(queue.Take<SendRecall>(), SizeIs(1));
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + 100 * kNsPerMs);
  queue.Advance(100);
  EXPECT_THAT(queue.Take<SendRecall>(), SizeIs(1));
}

TEST(RecallTest, WhatIsReleasedGoesToTheIdleOne) {
  QueueHarness queue = Hoarded(10);
  queue.TakeDeliveries();
  queue.AttachConsumer("dan", {.messages = 10});
  for (const SendRecall& recall : queue.Take<SendRecall>()) {
    for (const DeliveryRange& range : recall.ranges) queue.Settle(range, ReleaseOutcome{});
  }
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, ::testing::Not(IsEmpty()));
  EXPECT_EQ(seen[0].consumer, "dan");
  EXPECT_EQ(seen[0].attempt, 1u);  // nothing was charged
}

TEST(RecallTest, EachDeliveryIsAskedForOnceAndNotWithoutPause) {
  QueueHarness queue = Hoarded(8);
  queue.AttachConsumer("dan", {.messages = 10});
  std::set<DeliveryId> asked;
  for (const SendRecall& recall : queue.Take<SendRecall>()) {
    for (const auto& range : recall.ranges) {
      for (DeliveryId id = range.first; id <= range.last; ++id) asked.insert(id);
    }
  }
  queue.Advance(99);
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
  for (int i = 0; i < 20; ++i) {
    queue.Advance(100);
    for (const SendRecall& recall : queue.Take<SendRecall>()) {
      for (const auto& range : recall.ranges) {
        for (DeliveryId id = range.first; id <= range.last; ++id) {
          EXPECT_TRUE(asked.insert(id).second) << id;
        }
      }
    }
  }
}

TEST(RecallTest, StartedDeliveriesAreLeftAlone) {
  QueueHarness queue = Hoarded(6);
  const auto seen = queue.TakeDeliveries();
  queue.Step(MarkStarted{{{seen.front().id, seen.back().id}}});
  queue.AttachConsumer("dan", {.messages = 10});
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
}

TEST(RecallTest, ASilentConsumerHasStartedEverything) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 100});
  queue.Publish("ann", {"a", "b", "c", "d"});
  queue.CommitAll();
  queue.AttachConsumer("dan", {.messages = 10});
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
}

TEST(RecallTest, AConsumerWhoseOwnMessagesAreReadFromDiskIsNotIdle) {
  QueueHarness queue = Hoarded(6);
  queue.Change([](QueueSettings& s) { s.dispatch_policy = DispatchPolicy::kSticky; });
  queue.AttachConsumer("dan", {});
  queue.StopReading();
  queue.around().cache_full = true;
  for (int i = 0; i < 8; ++i) {
    queue.PublishOne("ann", "y", {.ordering_key = "k" + std::to_string(i)});
  }
  queue.CommitAll();
  queue.Grant("dan", 10);
  EXPECT_EQ(queue.Stats().ready, 8u);
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
}

TEST(RecallTest, NobodyIsIdleWithoutCreditOnStandbyOrWhilePaused) {
  QueueHarness queue = Hoarded(6);
  queue.AttachConsumer("dan", {});
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
  queue.Change([](QueueSettings& settings) { settings.paused = Paused::kConsume; });
  queue.Grant("dan", 10);
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
  queue.Change([](QueueSettings& settings) {
    settings.paused = Paused::kNone;
    settings.single_active = true;
  });
  EXPECT_THAT(queue.Take<SendRecall>(), IsEmpty());
}

}  // namespace
}  // namespace mqd::queue::testing
