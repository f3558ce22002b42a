// Confirm levels: when a publish id is told, and what its deadline ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr ProducerId kProducer{9};

QueueHarness Attached(QueueSettings settings = {}) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  return queue;
}

void Publish(QueueHarness& queue, ConfirmLevel level, std::int64_t wait_ms = -1) {
  queue.Publish("ann", {"a"}, {.level = level, .wait_ms = wait_ms});
}

TEST(ConfirmLevelTest, AcceptedIsToldInTheSameTurn) {
  QueueHarness queue = Attached();
  Publish(queue, ConfirmLevel::kAccepted);
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
}

TEST(ConfirmLevelTest, DurableIsToldWithTheCommit) {
  QueueHarness queue = Attached();
  Publish(queue, ConfirmLevel::kDurable);
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
}

TEST(ConfirmLevelTest, DeliveredIsToldWhenAConsumerHasIt) {
  QueueHarness queue = Attached();
  Publish(queue, ConfirmLevel::kDelivered);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  EXPECT_EQ(queue.Stats().awaited_confirms, 1u);
  queue.AttachConsumer("cat", {.messages = 1});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
  EXPECT_EQ(queue.Stats().awaited_confirms, 0u);
}

TEST(ConfirmLevelTest, SettledIsToldAfterTheCommitThatFreesTheSlot) {
  QueueHarness queue = Attached();
  queue.AttachConsumer("cat", {.messages = 1});
  Publish(queue, ConfirmLevel::kSettled);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.AskSettle({{queue.TakeDeliveries().at(0).range(), AckOutcome{}}});
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
}

TEST(ConfirmLevelTest, ARetryIsNoSettle) {
  QueueHarness queue = Attached();
  queue.AttachConsumer("cat", {.messages = 1});
  Publish(queue, ConfirmLevel::kSettled);
  queue.CommitAll();
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{});
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
}

TEST(ConfirmLevelTest, APurgedCancelledOrDroppedMessageIsSettled) {
  for (const ConfirmLevel level : {ConfirmLevel::kDelivered, ConfirmLevel::kSettled}) {
    QueueHarness queue = Attached();
    Publish(queue, level);
    queue.CommitAll();
    queue.Ask<std::uint64_t>(PurgeQueue{});
    EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));

    Publish(queue, level);
    queue.CommitAll();
    queue.Ask<CancelResult>(CancelMessages{.sequences = {2}});
    EXPECT_THAT(queue.TakeResults(), ElementsAre("2 stored as 2"));

    queue.Change([](QueueSettings& settings) {
      settings.max_messages = 1;
      settings.overflow_policy = OverflowPolicy::kDropOldest;
    });
    Publish(queue, level);
    queue.CommitAll();
    Publish(queue, ConfirmLevel::kAccepted);
    queue.CommitAll();
    EXPECT_THAT(queue.TakeResults(), ElementsAre("3 stored as 3", "4 stored as 4"));
  }
}

TEST(ConfirmLevelTest, AnExpiredMessageIsSettled) {
  QueueHarness queue = Attached();
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000}, ConfirmLevel::kSettled);
  queue.CommitAll();
  queue.Advance(1'000);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
}

TEST(ConfirmLevelTest, TheDeadlineEndsTheWaitAndTheMessageStays) {
  QueueHarness queue = Attached();
  Publish(queue, ConfirmLevel::kDelivered, 1'000);
  queue.CommitAll();
  queue.Advance(999);
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.Advance(1);
  const auto errors = queue.TakeErrors();
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors.at(1).reason, Reason::kBlockedTimeout);
  EXPECT_EQ(errors.at(1).current, 1u);
  EXPECT_THAT(errors.at(1).message, HasSubstr("sequence 1"));
  EXPECT_EQ(queue.Stats().ready, 1u);
  queue.AttachConsumer("cat", {.messages = 1});
  EXPECT_THAT(queue.TakeResults(), IsEmpty());  // it was told
}

TEST(ConfirmLevelTest, TheDeadlineIsAskedForInTime) {
  QueueHarness queue = Attached();
  Publish(queue, ConfirmLevel::kSettled, 700);
  queue.CommitAll();
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + 700 * kNsPerMs);
}

TEST(ConfirmLevelTest, AResentPublishIdWaitsAgain) {
  QueueHarness queue;
  queue.AttachPublisher("pia", kProducer);
  queue.Publish("pia", {"a"}, {.level = ConfirmLevel::kSettled});
  queue.CommitAll();
  queue.AttachPublisher("pia", kProducer);
  queue.Publish("pia", {"a"}, {.level = ConfirmLevel::kSettled, .first_id = 1});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.AttachConsumer("cat", {.messages = 10});
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(1));  // and is not stored twice
  queue.Settle(seen[0].range(), AckOutcome{});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
}

TEST(ConfirmLevelTest, AResendOfWhatIsSettledIsToldAtOnce) {
  QueueHarness queue;
  queue.AttachPublisher("pia", kProducer);
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("pia", {"a"}, {.level = ConfirmLevel::kSettled});
  queue.CommitAll();
  queue.Settle(queue.TakeDeliveries().at(0).range(), AckOutcome{});
  queue.AttachPublisher("pia", kProducer);
  queue.TakeResults();
  queue.Publish("pia", {"a"}, {.level = ConfirmLevel::kSettled, .first_id = 1});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
}

TEST(ConfirmLevelTest, APublisherThatLeftWaitsForNothing) {
  QueueHarness queue = Attached();
  Publish(queue, ConfirmLevel::kSettled);
  queue.CommitAll();
  queue.DetachPublisher("ann");
  EXPECT_EQ(queue.Stats().awaited_confirms, 0u);
}

TEST(ConfirmLevelTest, EveryPublishIdIsToldOnceWhateverItsLevel) {
  QueueHarness queue = Attached();
  queue.AttachConsumer("cat", {.messages = 10});
  for (const ConfirmLevel level : {ConfirmLevel::kAccepted, ConfirmLevel::kDurable,
                                   ConfirmLevel::kDelivered, ConfirmLevel::kSettled}) {
    Publish(queue, level);
  }
  queue.CommitAll();
  const auto seen = queue.TakeDeliveries();
  queue.Settle({seen.front().id, seen.back().id}, AckOutcome{});
  EXPECT_THAT(queue.TakeResults(),
              ElementsAre("1 stored as 1", "2 stored as 2", "3 stored as 3", "4 stored as 4"));
}

}  // namespace
}  // namespace mqd::queue::testing
