// Delay, deliver_at, time to live, idle expiry, and what a wall clock that jumps does to them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kHourMs = 3'600'000;

QueueHarness Consumed(QueueSettings settings = {}) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 100});
  return queue;
}

// ---- delay and deliver_at

TEST(DelayTest, IsReadyAtItsTimeAndNotBefore) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.delay_ms = 5'000});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().delayed, 1u);
  queue.Advance(4'999);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + kNsPerMs);
  queue.Advance(1);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#1"));
}

TEST(DelayTest, CountsFromWhenItWasAcceptedAndNotFromItsCommit) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.delay_ms = 5'000});
  queue.Advance(3'000);  // a slow disk
  queue.CommitAll();
  queue.Advance(2'000);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
}

TEST(DelayTest, ComesInTheOrderOfTheirTimes) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "late", {.delay_ms = 3'000});
  queue.PublishOne("ann", "soon", {.delay_ms = 1'000});
  queue.Publish("ann", {"now"});
  queue.CommitAll();
  queue.Advance(1'000);
  queue.Advance(2'000);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("now", "soon", "late"));
}

TEST(DelayTest, OutlivesARestart) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.delay_ms = 5'000});
  queue.CommitAll();
  queue.Advance(2'000);
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Advance(2'999);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Advance(1);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
}

TEST(DelayTest, AJumpOfTheWallClockDoesNotMoveIt) {
  for (const std::int64_t jump : {kHourMs, -kHourMs}) {
    QueueHarness queue = Consumed();
    queue.PublishOne("ann", "a", {.delay_ms = 5'000});
    queue.CommitAll();
    queue.JumpWall(jump);
    EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
    queue.Advance(5'000);
    EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
  }
}

TEST(DelayTest, ACancelledMessageIsNeverDelivered) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.delay_ms = 5'000});
  queue.CommitAll();
  EXPECT_EQ(queue.Ask<CancelResult>(CancelMessages{.sequences = {1}}).cancelled, 1u);
  queue.Advance(5'000);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  EXPECT_EQ(queue.Stats().cancelled, 1u);
  EXPECT_EQ(queue.Stats().delayed, 0u);
}

TEST(DeliverAtTest, FollowsTheWallClock) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.deliver_at_ms = queue.around().now.wall_ms + kHourMs});
  queue.CommitAll();
  queue.Advance(1'000);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.JumpWall(kHourMs);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
}

TEST(DeliverAtTest, IsLookedAtAgainInTimeAlthoughTheClockMayJump) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.deliver_at_ms = queue.around().now.wall_ms + kHourMs});
  queue.CommitAll();
  EXPECT_LE(queue.core().next_wake_ns(), queue.around().now.steady_ns + 10'000 * kNsPerMs);
}

TEST(DeliverAtTest, APastTimeMeansAtOnce) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.deliver_at_ms = queue.around().now.wall_ms - 1});
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
}

// ---- time to live

TEST(TtlTest, AReadyMessageIsGoneWhenItsTimeHasPassed) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000});
  queue.Publish("ann", {"b"});
  queue.CommitAll();
  queue.Advance(1'000);
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().expired, 1u);
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("b"));
}

TEST(TtlTest, AMessageInFlightIsNeverExpiredUnderItsConsumer) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000});
  queue.CommitAll();
  const Seen seen = queue.TakeDeliveries().at(0);
  queue.Advance(2'000);
  EXPECT_EQ(queue.Stats().in_flight, 1u);
  EXPECT_EQ(queue.Settle(seen.range(), AckOutcome{}).settled, 1u);
  EXPECT_EQ(queue.Stats().expired, 0u);
}

TEST(TtlTest, AMessageThatComesBackTooLateIsGone) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000});
  queue.CommitAll();
  const Seen seen = queue.TakeDeliveries().at(0);
  queue.Advance(2'000);
  queue.Settle(seen.range(), ReleaseOutcome{});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  EXPECT_EQ(queue.Stats().expired, 1u);
}

TEST(TtlTest, ADelayedMessageExpiresBeforeItsTime) {
  QueueHarness queue = Consumed();
  queue.PublishOne("ann", "a", {.delay_ms = 5'000, .ttl_ms = 1'000});
  queue.CommitAll();
  queue.Advance(1'000);
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().expired, 1u);
  EXPECT_EQ(queue.Stats().delayed, 0u);
}

TEST(TtlTest, AParkedMessageIsKept) {
  QueueHarness queue = Consumed({.max_attempts = 1});
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000});
  queue.CommitAll();
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{});
  queue.Advance(5'000);
  EXPECT_EQ(queue.Stats().parked, 1u);
}

TEST(TtlTest, TheDefaultAppliesToTheBacklogWhenItIsSet) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.PublishOne("ann", "own", {.ttl_ms = kHourMs});
  queue.CommitAll();
  queue.Advance(2'000);
  queue.Change([](QueueSettings& s) { s.default_ttl = std::chrono::milliseconds(1'000); });
  EXPECT_EQ(queue.Stats().expired, 1u);
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(TtlTest, TheDefaultHoldsForEachMessageAfterTheClockWasSetBack) {
  QueueHarness queue({.default_ttl = std::chrono::milliseconds(1'000)});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.JumpWall(-kHourMs);
  queue.Publish("ann", {"b"});
  queue.CommitAll();
  queue.Advance(1'000);
  EXPECT_EQ(queue.Stats().expired, 1u) << "b, although a is in front of it";
  queue.Advance(kHourMs);
  EXPECT_EQ(queue.Stats().expired, 2u);
}

TEST(TtlTest, TheDefaultHoldsForAMessageThatComesBackAfterTheClockWasSetBack) {
  QueueHarness queue = Consumed({.default_ttl = std::chrono::milliseconds(1'000)});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(1));
  queue.Advance(1'000);  // its time has passed, in flight
  queue.JumpWall(-kHourMs);
  queue.DetachConsumer("cat");
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().expired, 0u) << "by the clock as it is now it has time";
  queue.Advance(kHourMs);
  EXPECT_EQ(queue.Stats().expired, 1u);
}

TEST(TtlTest, ExpiredMessagesGoToTheDeadLetterQueueWithTheirReason) {
  QueueHarness queue({.dead_letter_queue = "default/dead"});
  queue.AttachPublisher("ann");
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000});
  queue.CommitAll();
  queue.Advance(1'000);
  const auto moves = queue.Take<MoveToDeadLetter>();
  ASSERT_THAT(moves, SizeIs(1));
  EXPECT_EQ(moves[0].items.at(0).origin.reason, "ttl passed");
  EXPECT_EQ(moves[0].items.at(0).origin.attempts, 0u);
  EXPECT_EQ(queue.Stats().parked, 1u);
}

TEST(TtlTest, ExpiredMessagesAreGoneWhenTheDeadLetterQueueShallNotHaveThem) {
  QueueHarness queue({.dead_letter_queue = "default/dead", .expired_to_dead_letter = false});
  queue.AttachPublisher("ann");
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000});
  queue.CommitAll();
  queue.Advance(1'000);
  EXPECT_THAT(queue.Take<MoveToDeadLetter>(), IsEmpty());
  EXPECT_EQ(queue.Stats().expired, 1u);
}

TEST(TtlTest, OutlivesARestart) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.PublishOne("ann", "a", {.ttl_ms = 1'000});
  queue.CommitAll();
  queue.Advance(500);
  queue.Restart();
  queue.Advance(500);
  EXPECT_EQ(queue.Stats().expired, 1u);
}

// ---- leases, windows and retries do not heed the wall clock

TEST(WallClockTest, AJumpEndsNoLease) {
  QueueHarness queue = Consumed();
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.JumpWall(kHourMs);
  EXPECT_THAT(queue.Take<SendLeaseLost>(), IsEmpty());
  EXPECT_EQ(queue.Stats().in_flight, 1u);
}

TEST(WallClockTest, AJumpForgetsNoIdempotencyKey) {
  for (const std::int64_t jump : {kHourMs, -kHourMs}) {
    QueueHarness queue;
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    queue.CommitAll();
    queue.JumpWall(jump);
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 duplicate of 1 READY"));
    queue.Advance(600'001);
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    queue.CommitAll();
    EXPECT_THAT(queue.TakeResults(), ElementsAre("3 stored as 2"));
  }
}

TEST(WallClockTest, AJumpMovesNoRetry) {
  QueueHarness queue = Consumed();
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{2'000 * kNsPerMs, ""});
  queue.JumpWall(kHourMs);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Advance(2'000);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#2"));
}

// ---- idle expiry

TEST(IdleTest, AnUnusedQueueDeletesItselfWithWhatItHolds) {
  QueueHarness queue({.expires_after_idle = std::chrono::milliseconds(60'000)});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.DetachPublisher("ann");
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + 60'000 * kNsPerMs);
  queue.Advance(59'999);
  EXPECT_FALSE(queue.deleted());
  queue.Advance(1);
  queue.CommitAll();
  EXPECT_TRUE(queue.deleted());
  EXPECT_EQ(queue.disk().rows(), 0u);
}

TEST(IdleTest, AnyClientKeepsIt) {
  QueueHarness queue({.expires_after_idle = std::chrono::milliseconds(60'000)});
  queue.AttachConsumer("cat", {});
  queue.Advance(120'000);
  queue.CommitAll();
  EXPECT_FALSE(queue.deleted());
  queue.DetachConsumer("cat");
  queue.Advance(59'000);
  queue.AttachPublisher("ann");  // somebody came by
  queue.DetachPublisher("ann");
  queue.Advance(59'000);
  queue.CommitAll();
  EXPECT_FALSE(queue.deleted());
}

TEST(IdleTest, WhileAnAtomicRequestIsUnderWayNoTurnIsAskedForInVain) {
  QueueHarness queue({.expires_after_idle = std::chrono::milliseconds(60'000)});
  queue.Step(PrepareTransaction{.transaction = 3, .batch = queue.BatchOf({"a"})});
  queue.Advance(60'000);
  EXPECT_FALSE(queue.deleted());
  EXPECT_GT(queue.core().next_wake_ns(), queue.around().now.steady_ns);
}

TEST(IdleTest, ItsTimeStartsAnewWithTheBroker) {
  QueueHarness queue({.expires_after_idle = std::chrono::milliseconds(60'000)});
  queue.Advance(59'000);
  queue.Restart();
  queue.Advance(59'000);
  EXPECT_FALSE(queue.deleted());
  queue.Advance(1'000);
  queue.CommitAll();
  EXPECT_TRUE(queue.deleted());
}

}  // namespace
}  // namespace mqd::queue::testing
