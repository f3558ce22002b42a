// A queue without room: each overflow policy, the publish rate, the rendezvous, and the dead-letter
// queue that takes the newcomer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"
#include "tests/support/test_ledger.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

QueueSettings Bounded(OverflowPolicy policy, std::uint64_t max_messages = 2) {
  return {.max_messages = max_messages, .overflow_policy = policy};
}

QueueHarness Attached(QueueSettings settings) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  return queue;
}

// ---- DROP_OLDEST

TEST(DropOldestTest, TheLowestSequenceGoesInTheCommitOfTheNewcomer) {
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kDropOldest));
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  queue.Publish("ann", {"c"});
  EXPECT_EQ(queue.disk().waiting(), 1u);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2", "3 stored as 3"));
  EXPECT_EQ(queue.Stats().dropped, 1u);
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("b", "c"));
}

TEST(DropOldestTest, ACrashBeforeTheCommitKeepsTheOldOne) {
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kDropOldest));
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  queue.Publish("ann", {"c"});
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a", "b"));
}

TEST(DropOldestTest, WhatIsInFlightStaysAndTheNewcomerIsRefused) {
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kDropOldest));
  queue.Publish("ann", {"a", "b"});
  queue.AttachConsumer("cat", {.messages = 2});
  queue.CommitAll();
  queue.TakeResults();
  queue.Publish("ann", {"c"});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("3 QUEUE_FULL"));
  EXPECT_EQ(queue.Stats().in_flight, 2u);
}

TEST(DropOldestTest, AParkedMessageIsNeverDropped) {
  QueueSettings settings = Bounded(OverflowPolicy::kDropOldest);
  settings.max_attempts = 1;
  QueueHarness queue = Attached(settings);
  queue.Publish("ann", {"a", "b"});
  queue.AttachConsumer("cat", {.messages = 1});
  queue.CommitAll();
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{});
  queue.Publish("ann", {"c"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().parked, 1u);
  queue.Grant("cat", 10);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("c"));
}

TEST(DropOldestTest, ADelayedMessageIsDroppedInItsTurn) {
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kDropOldest));
  queue.PublishOne("ann", "a", {.delay_ms = 5'000});
  queue.Publish("ann", {"b"});
  queue.CommitAll();
  queue.Publish("ann", {"c"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().delayed, 0u);
  EXPECT_EQ(queue.Stats().ready, 2u);
}

TEST(DropOldestTest, WaitsForTheCommitOfWhatItWouldDropAndSaysNothingOfIt) {
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kDropOldest));
  queue.Publish("ann", {"a", "b"});
  queue.Publish("ann", {"c"});  // a and b are not on disk
  EXPECT_THAT(queue.Take<SendBlocked>(), IsEmpty());
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2", "3 stored as 3"));
}

TEST(DropOldestTest, NothingIsDroppedForANewcomerThatIsTooMuchAfterAll) {
  QueueSettings settings = Bounded(OverflowPolicy::kDropOldest, 10);
  settings.max_bytes = 3 * (kOverheadBytes + 1);
  QueueHarness queue = Attached(settings);
  queue.Publish("ann", {"a", "b", "c"});
  queue.AttachConsumer("cat", {.messages = 2});
  queue.CommitAll();
  queue.Publish("ann", {std::string(kOverheadBytes + 2, 'x')});  // two slots' worth of bytes
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().dropped, 0u);
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(DropOldestTest, NothingIsDroppedForANewcomerBeyondTheQuota) {
  TestLedger ledger;
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kDropOldest));
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  ledger.full = true;
  queue.around().ledger = &ledger;
  queue.Publish("ann", {"c"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().dropped, 0u);
  EXPECT_EQ(queue.Stats().ready, 2u);
}

// ---- DROP_NEWEST

TEST(DropNewestTest, TheNewcomerIsConfirmedAsDroppedAndCounted) {
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kDropNewest, 1));
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 dropped DROP_NEWEST"));
  EXPECT_EQ(queue.Stats().dropped, 1u);
}

// ---- DEAD_LETTER

QueueSettings Diverting() {
  QueueSettings settings = Bounded(OverflowPolicy::kDeadLetter, 1);
  settings.dead_letter_queue = "default/dead";
  return settings;
}

struct TwoQueues {
  std::shared_ptr<TestDisk> disk = std::make_shared<TestDisk>();
  QueueHarness dead;
  QueueHarness queue;
  explicit TwoQueues(QueueSettings of_dead = {})
      : dead(std::move(of_dead), {disk, 9, "default/dead"}),
        queue(Diverting(), {disk, 7, "default/q"}) {
    queue.AttachPublisher("ann");
  }
};

TEST(DivertTest, TheNewcomerGoesToTheDeadLetterQueueAndSaysWhy) {
  TwoQueues two;
  two.queue.Publish("ann", {"a", "b"});
  two.queue.CommitAll();
  EXPECT_THAT(two.queue.TakeResults(), ElementsAre("1 stored as 1"));
  EXPECT_EQ(two.queue.MoveTo(two.dead), 1u);
  EXPECT_THAT(two.queue.TakeResults(), ElementsAre("2 dropped DEAD_LETTER"));
  EXPECT_EQ(two.queue.Stats().diverted, 1u);
  two.dead.AttachConsumer("cat", {.messages = 10});
  const auto seen = two.dead.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(1));
  EXPECT_EQ(seen[0].payload, "b");
  ASSERT_TRUE(seen[0].origin.has_value());
  EXPECT_EQ(seen[0].origin->queue, "default/q");
  EXPECT_EQ(seen[0].origin->sequence, 0u);
  EXPECT_EQ(seen[0].origin->reason, "the queue was full");
}

TEST(DivertTest, AFullDeadLetterQueueMeansQueueFullAndIsNamed) {
  TwoQueues two({.max_messages = 1});
  two.dead.AttachPublisher("bob");
  two.dead.Publish("bob", {"x"});
  two.queue.Publish("ann", {"a", "b"});
  two.queue.CommitAll();
  two.queue.TakeResults();
  EXPECT_EQ(two.queue.MoveTo(two.dead), 0u);
  const auto errors = two.queue.TakeErrors();
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors.at(2).reason, Reason::kQueueFull);
  EXPECT_THAT(errors.at(2).message, HasSubstr("default/dead"));
}

TEST(DivertTest, ItsKeyIsRememberedAcrossARestart) {
  TwoQueues two;
  two.queue.Publish("ann", {"a"});
  two.queue.CommitAll();
  two.queue.Publish("ann", {"b"}, {.keys = {"i"}});
  EXPECT_EQ(two.queue.MoveTo(two.dead), 1u);
  two.queue.Restart();
  two.queue.AttachPublisher("ann");
  two.queue.Publish("ann", {"b"}, {.keys = {"i"}});
  two.queue.CommitAll();
  EXPECT_THAT(two.queue.TakeResults(), ElementsAre("1 duplicate of 0 SETTLED"));
}

TEST(DivertTest, TheWindowOfItsKeyBeginsWhenItWasPublishedAcrossARestartToo) {
  TwoQueues two;
  two.queue.Change([](QueueSettings& s) { s.dedup_window = std::chrono::milliseconds(10'000); });
  two.queue.Publish("ann", {"a"});
  two.queue.CommitAll();
  two.queue.Publish("ann", {"b"}, {.keys = {"i"}});
  two.queue.Advance(9'000);
  two.dead.Advance(9'000);
  EXPECT_EQ(two.queue.MoveTo(two.dead), 1u);
  two.queue.Restart();
  two.queue.Advance(1'001);
  two.queue.Change([](QueueSettings& s) { s.max_messages = 10; });
  two.queue.AttachPublisher("ann");
  two.queue.Publish("ann", {"b"}, {.keys = {"i"}});
  two.queue.CommitAll();
  EXPECT_THAT(two.queue.TakeResults(), ElementsAre("1 stored as 1000001"));
}

TEST(DivertTest, ItsKeyCountsAgainstDedupMaxEntries) {
  TwoQueues two;
  two.queue.Change([](QueueSettings& s) {
    s.dedup_max_entries = 1;
    s.dedup_full_policy = DedupFullPolicy::kReject;
  });
  two.queue.Publish("ann", {"a", "b"}, {.keys = {"i", "j"}});
  two.queue.CommitAll();
  EXPECT_THAT(two.queue.TakeResults(), ElementsAre("1 stored as 1", "2 DEDUP_FULL"));
  EXPECT_EQ(two.queue.Stats().dedup_entries, 1u);
}

TEST(DivertTest, KeysThatAreNotDecidedLeaveAnAtomicRequestNoRoom) {
  TwoQueues two;
  two.queue.Change([](QueueSettings& s) { s.dedup_max_entries = 1; });
  two.queue.Publish("ann", {"a"});
  two.queue.Publish("ann", {"b"}, {.keys = {"i"}});
  two.queue.Change([](QueueSettings& s) { s.max_messages = 10; });
  two.queue.Step(PrepareTransaction{.transaction = 3, .batch = two.queue.BatchOf({"c"}, {"j"})});
  const auto prepared = two.queue.Take<TransactionPrepared>();
  ASSERT_THAT(prepared, SizeIs(1));
  EXPECT_FALSE(prepared[0].accepted);
  EXPECT_EQ(std::get<ErrorInfo>(prepared[0].results.at(0)).reason, Reason::kDedupFull);
}

TEST(DivertTest, AProducerThatResumesIsToldTheSame) {
  constexpr ProducerId kProducer{1};
  TwoQueues two;
  two.queue.AttachPublisher("pia", kProducer);
  two.queue.Publish("pia", {"a", "b"});
  two.queue.CommitAll();
  two.queue.MoveTo(two.dead);
  two.queue.Restart();
  two.queue.AttachPublisher("pia", kProducer);
  two.queue.Publish("pia", {"a", "b"}, {.first_id = 1});
  two.queue.CommitAll();
  EXPECT_THAT(two.queue.TakeResults(), ElementsAre("1 stored as 1", "2 dropped DEAD_LETTER"));
}

TEST(DivertTest, TheSameKeyWaitsUntilItIsDecided) {
  TwoQueues two;
  two.queue.Publish("ann", {"a"});
  two.queue.CommitAll();
  two.queue.Publish("ann", {"b"}, {.keys = {"i"}});
  two.queue.Publish("ann", {"b"}, {.keys = {"i"}});
  two.queue.CommitAll();
  EXPECT_THAT(two.queue.TakeResults(), ElementsAre("1 stored as 1"));
  two.queue.MoveTo(two.dead);
  EXPECT_THAT(two.queue.TakeResults(),
              ElementsAre("2 dropped DEAD_LETTER", "3 duplicate of 0 SETTLED"));
}

// ---- rates

QueueSettings Throttled(std::uint64_t rate) {
  QueueSettings settings;
  settings.overflow_policy = OverflowPolicy::kThrottle;
  settings.max_publish_rate = rate;
  return settings;
}

TEST(PublishRateTest, ThrottleLetsThroughTheBurstAndThenOneAnInterval) {
  QueueHarness queue = Attached(Throttled(20));  // a burst of two, then one every 50 ms
  queue.Publish("ann", {"a", "b", "c", "d"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), SizeIs(2));
  EXPECT_EQ(queue.Take<SendBlocked>().at(0).reason->reason, Reason::kRateLimited);
  queue.Advance(50);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("3 stored as 3"));
  queue.Advance(49);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.Advance(1);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("4 stored as 4"));
}

TEST(PublishRateTest, TheNextTurnIsAskedForInTime) {
  QueueHarness queue = Attached(Throttled(10));
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + 100 * kNsPerMs);
}

TEST(PublishRateTest, WithoutWaitingItIsRateLimitedAndSaysWhenToComeBack) {
  QueueSettings settings = Bounded(OverflowPolicy::kReject, 100);
  settings.max_publish_rate = 10;
  QueueHarness queue = Attached(settings);
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  const auto errors = queue.TakeErrors();
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors.at(2).reason, Reason::kRateLimited);
  EXPECT_GT(errors.at(2).retry_after_ms, 0);
  EXPECT_LE(errors.at(2).retry_after_ms, 101);
}

TEST(PublishRateTest, ADeadlineEndsTheWait) {
  QueueHarness queue = Attached(Throttled(1));
  queue.Publish("ann", {"a", "b"}, {.wait_ms = 500});
  queue.CommitAll();
  queue.Advance(500);
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 BLOCKED_TIMEOUT"));
}

// ---- rendezvous

QueueSettings Rendezvous(OverflowPolicy policy) { return Bounded(policy, 0); }

TEST(RendezvousTest, NobodyTakesSoTheNewcomerIsRefusedAtOnce) {
  QueueHarness queue = Attached(Rendezvous(OverflowPolicy::kReject));
  queue.Publish("ann", {"a"});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 QUEUE_FULL"));
}

TEST(RendezvousTest, IsConfirmedWhenAConsumerHasIt) {
  QueueHarness queue = Attached(Rendezvous(OverflowPolicy::kReject));
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Publish("ann", {"a", "b"});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#1"));
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 QUEUE_FULL"));
}

TEST(RendezvousTest, ABlockedPublisherMeetsTheNextConsumer) {
  QueueHarness queue = Attached(Rendezvous(OverflowPolicy::kBlock));
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().blocked_publishers, 1u);
  queue.AttachConsumer("cat", {.messages = 1});
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1"));
  queue.Grant("cat", 1);
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("b"));
}

TEST(RendezvousTest, ASelectIsAskedForCreditWhenAPublisherWaits) {
  QueueHarness queue = Attached(Rendezvous(OverflowPolicy::kBlock));
  queue.AttachConsumer("sam", {.on_demand = true});
  queue.Publish("ann", {"a"});
  EXPECT_THAT(queue.Take<WantCredit>(), SizeIs(1));
  queue.Grant("sam", 1);
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
}

TEST(RendezvousTest, DropNewestDropsWhatNobodyTakes) {
  QueueHarness queue = Attached(Rendezvous(OverflowPolicy::kDropNewest));
  queue.Publish("ann", {"a"});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 dropped DROP_NEWEST"));
}

// ---- order of the refusals

TEST(AdmissionOrderTest, ADuplicateOfAStoredMessageIsOneEvenInAFullQueue) {
  QueueHarness queue = Attached(Bounded(OverflowPolicy::kReject, 1));
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.CommitAll();
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 duplicate of 1 READY"));
}

TEST(AdmissionOrderTest, APausedQueueRefusesAtOnceUnderEveryPolicy) {
  for (int policy = 1; policy <= 6; ++policy) {
    QueueSettings settings = Bounded(static_cast<OverflowPolicy>(policy), 5);
    settings.max_publish_rate = 100;
    settings.dead_letter_queue = "default/dead";
    settings.paused = Paused::kPublish;
    QueueHarness queue = Attached(settings);
    queue.Publish("ann", {"a"});
    EXPECT_THAT(queue.TakeResults(), ElementsAre("1 QUEUE_PAUSED")) << "policy " << policy;
  }
}

TEST(AdmissionOrderTest, ANewcomerBeyondTheQuotaForgetsNoKeyOfAnother) {
  QueueHarness queue = Attached(QueueSettings{.dedup_max_entries = 1});
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.CommitAll();
  TestLedger ledger;
  ledger.full = true;
  queue.around().ledger = &ledger;
  queue.Publish("ann", {"b", "a"}, {.keys = {"j", "i"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(),
              ElementsAre("1 stored as 1", "2 QUOTA_EXCEEDED", "3 duplicate of 1 READY"));
}

TEST(AdmissionOrderTest, TheQuotaOfTheNamespaceIsCountedOnceAMessage) {
  TestLedger ledger;
  QueueHarness queue = Attached({});
  queue.around().ledger = &ledger;
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  EXPECT_EQ(ledger.taken, 2u);
  ledger.full = true;
  queue.Publish("ann", {"c"});
  EXPECT_THAT(queue.TakeResults(),
              ElementsAre("1 stored as 1", "2 stored as 2", "3 QUOTA_EXCEEDED"));
}

}  // namespace
}  // namespace mqd::queue::testing
