// Consuming: credit, order, leases, settles, drain, select, bodies that are not in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint64_t kSmall = kOverheadBytes + 1;  // what a message of one letter counts

/// A queue with three messages committed.
QueueHarness WithThree(QueueSettings settings = {}) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a", "b", "c"});
  queue.CommitAll();
  return queue;
}

// ---- credit and order

TEST(QueueCreditTest, CreditInMessagesIsNeverExceeded) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 2});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#1", "cat<-b#1"));
  queue.Grant("cat", 1, 0);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-c#1"));
}

TEST(QueueCreditTest, CreditInBytesIsPassedByAtMostOneMessageAndTheDebtIsPaidFirst) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 10, .bytes = kSmall + 1});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a", "b"));
  queue.Grant("cat", 1, kSmall - 1);  // that is what it owes
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Grant("cat", 0, 1);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("c"));
}

TEST(QueueCreditTest, SeveralConsumersShareAndNoneHoards) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 100});
  queue.AttachConsumer("dan", {.messages = 100});
  queue.Publish("ann", std::vector<std::string>(100, "x"));
  queue.CommitAll();
  std::map<std::string, int> got;
  for (const Seen& seen : queue.TakeDeliveries()) ++got[seen.consumer];
  EXPECT_GE(got["cat"], 30);
  EXPECT_GE(got["dan"], 30);
}

TEST(QueueOrderTest, ReleasedMessageIsNextInLineAgain) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Settle(queue.TakeDeliveries()[0].range(), ReleaseOutcome{});
  queue.Grant("cat", 3);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#1", "cat<-b#1", "cat<-c#1"));
}

// ---- leases

TEST(QueueLeaseTest, ExpiredLeaseIsToldRefusedChargedAndRedeliveredAfterBackoff) {
  QueueSettings settings;
  settings.retry_backoff.jitter = 0;
  QueueHarness queue = WithThree(settings);
  queue.AttachConsumer("cat", {.messages = 1});
  const Seen late = queue.TakeDeliveries()[0];
  queue.Advance(29'999);
  EXPECT_THAT(queue.Take<SendLeaseLost>(), IsEmpty());
  queue.Advance(1);
  const auto lost = queue.Take<SendLeaseLost>();
  ASSERT_THAT(lost, SizeIs(1));
  EXPECT_THAT(lost[0].ranges, ElementsAre(late.range()));
  EXPECT_EQ(lost[0].code, LeaseLostCode::kExpired);
  const SettleResult result = queue.Settle(late.range(), AckOutcome{});
  ASSERT_THAT(result.exceptions, SizeIs(1));
  EXPECT_EQ(result.exceptions[0].second.reason, Reason::kStaleDelivery);
  queue.AttachConsumer("dan", {.messages = 3});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-b#1", "dan<-c#1"));
  queue.Advance(999);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Advance(1);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-a#2"));
}

TEST(QueueLeaseTest, UnstartedDeliveryIsNotChargedWhenItsLeaseEnds) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 1, .marks_started = true});
  queue.TakeDeliveries();
  queue.Advance(30'000);
  queue.AttachConsumer("dan", {.messages = 1});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-a#1"));
}

TEST(QueueLeaseTest, ExtendedPartOfARunLivesAndTheRestEnds) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 3});
  const auto seen = queue.TakeDeliveries();
  queue.Advance(20'000);
  EXPECT_EQ(queue.Settle(seen[1].range(), ExtendOutcome{}).settled, 1u);
  queue.Advance(10'000);
  const auto lost = queue.Take<SendLeaseLost>();
  ASSERT_THAT(lost, SizeIs(1));
  EXPECT_THAT(lost[0].ranges, ElementsAre(seen[0].range(), seen[2].range()));
  queue.Advance(19'999);
  EXPECT_EQ(queue.Settle(seen[1].range(), AckOutcome{}).settled, 1u);
}

TEST(QueueLeaseTest, ConsumersLeaseGoesBeforeTheQueues) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 1, .lease_ms = 2'000});
  EXPECT_EQ(queue.Take<ConsumerAttached>()[0].lease_ms, 2'000);
  queue.Advance(2'000);
  EXPECT_THAT(queue.Take<SendLeaseLost>(), SizeIs(1));
}

// ---- settles

TEST(QueueSettleTest, RangeSettlesWhatIsHeldAndNamesTheRest) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 3});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen[1].range(), AckOutcome{});
  const SettleResult result = queue.Settle({seen[0].id, seen[2].id + 5}, AckOutcome{});
  EXPECT_EQ(result.settled, 2u);
  ASSERT_THAT(result.exceptions, SizeIs(2));
  EXPECT_EQ(result.exceptions[0].first, seen[1].range());
  EXPECT_EQ(result.exceptions[1].first, (DeliveryRange{seen[2].id + 1, seen[2].id + 5}));
  EXPECT_EQ(queue.Stats().backlog_bytes, 0u);
  EXPECT_EQ(queue.disk().rows(), 1u) << "the chunk stays on disk";
}

TEST(QueueSettleTest, OverlappingEntriesSettleEachDeliveryOnce) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 3});
  const auto seen = queue.TakeDeliveries();
  queue.AskSettle(
      {{{seen[0].id, seen[1].id}, AckOutcome{}}, {{seen[1].id, seen[2].id}, ReleaseOutcome{}}});
  queue.CommitAll();
  const auto result = queue.TakeAnswer<SettleResult>();
  EXPECT_EQ(result.settled, 3u);
  ASSERT_THAT(result.exceptions, SizeIs(1));
  EXPECT_EQ(result.exceptions[0].first, seen[1].range());
  EXPECT_EQ(queue.Stats().acked, 2u);
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueSettleTest, SettleIsAnsweredAndItsSlotFreeOnlyAfterItsCommit) {
  QueueHarness queue = WithThree({.max_messages = 3});
  queue.AttachConsumer("cat", {.messages = 1});
  queue.AskSettle({{queue.TakeDeliveries()[0].range(), AckOutcome{}}});
  EXPECT_THAT(queue.Take<RequestDone>(), IsEmpty());
  queue.Publish("ann", {"d"});
  EXPECT_EQ(queue.Stats().rejected, 1u);
  queue.CommitAll();
  EXPECT_THAT(queue.Take<RequestDone>(), SizeIs(1));
  queue.Publish("ann", {"e"});
  EXPECT_EQ(queue.Stats().rejected, 1u);
}

TEST(QueueSettleTest, RetryWaitsItsDelayAndIsCharged) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Settle(queue.TakeDeliveries()[0].range(), RetryOutcome{500 * kNsPerMs, "boom"});
  EXPECT_EQ(queue.Stats().delayed, 1u);
  queue.Advance(499);
  queue.AttachConsumer("dan", {.messages = 3});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-b#1", "dan<-c#1"));
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + kNsPerMs);
  queue.Advance(1);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-a#2"));
}

TEST(QueueSettleTest, BackoffGrowsToItsLimit) {
  QueueSettings settings;
  settings.retry_backoff = {.initial = std::chrono::milliseconds(100),
                            .multiplier = 3,
                            .max = std::chrono::milliseconds(500),
                            .jitter = 0};
  QueueHarness queue(settings);
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  for (const std::int64_t wait : {100, 300, 500, 500}) {
    const auto seen = queue.TakeDeliveries();
    ASSERT_THAT(seen, SizeIs(1));
    queue.Settle(seen[0].range(), RetryOutcome{});
    queue.Advance(wait - 1);
    EXPECT_EQ(queue.Stats().delayed, 1u) << wait;
    queue.Advance(1);
  }
}

TEST(QueueSettleTest, EachMessageOfARangeHasAJitterOfItsOwn) {
  for (const bool lease_ends : {false, true}) {
    QueueHarness queue;
    queue.AttachPublisher("ann");
    queue.AttachConsumer("cat", {.messages = 10});
    queue.Publish("ann", std::vector<std::string>(10, "a"));
    queue.CommitAll();
    if (lease_ends) {
      queue.Advance(30'000);
      queue.CommitAll();
    } else {
      const auto seen = queue.TakeDeliveries();
      queue.Settle({seen.front().id, seen.back().id}, RetryOutcome{});
    }
    std::set<WallMs> times;
    for (const PeekedMessage& delayed : queue.PeekAll(MessageStatus::kDelayed)) {
      times.insert(delayed.deliver_at_ms);
    }
    EXPECT_GT(times.size(), 5u);
  }
}

TEST(QueueSettleTest, LastAttemptParksTheMessageAndKeepsItsError) {
  QueueHarness queue({.max_attempts = 2});
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  queue.Settle(queue.TakeDeliveries()[0].range(), RetryOutcome{0, "first"});
  queue.Settle(queue.TakeDeliveries()[0].range(), RetryOutcome{0, "second"});
  EXPECT_EQ(queue.Stats().parked, 1u);
  queue.Advance(3'600'000);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  const auto parked = queue.PeekAll(MessageStatus::kParked);
  ASSERT_THAT(parked, SizeIs(1));
  EXPECT_EQ(parked[0].attempts, 2u);
  EXPECT_EQ(parked[0].notes.back().error, "second");
}

TEST(QueueSettleTest, DeadLetteredMessageIsHandedToTheMoverWithItsOrigin) {
  QueueHarness queue = WithThree({.dead_letter_queue = "default/dead"});
  queue.AttachConsumer("cat", {.messages = 2});
  queue.AskSettle({{{queue.TakeDeliveries()[0].range()}, DeadLetterOutcome{"poison"}}});
  const auto moves = queue.Take<MoveToDeadLetter>();
  ASSERT_THAT(moves, SizeIs(1));
  ASSERT_THAT(moves[0].items, SizeIs(1));
  const MoveToDeadLetter::Item& item = moves[0].items[0];
  EXPECT_EQ(item.origin.queue, "default/q");
  EXPECT_EQ(item.origin.sequence, 1u);
  EXPECT_EQ(item.origin.reason, "poison");
  EXPECT_EQ(item.origin.attempts, 1u);
  EXPECT_EQ(item.charge_bytes, kSmall);
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().parked, 1u) << "it leaves only when it is stored there";
  queue.Step(CommitTransaction{.transaction = 5, .leaving = {item.sequence}});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().parked, 0u);
  EXPECT_EQ(queue.Stats().dead_lettered, 1u);
  EXPECT_EQ(queue.disk().rows(storage::Table::kAttempts), 0u);
}

// ---- consumers leave

TEST(QueueDetachTest, DeathChargesWhatWasStartedAndReleasesTheRestAtOnce) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 3, .marks_started = true});
  const auto seen = queue.TakeDeliveries();
  queue.Step(MarkStarted{{seen[1].range()}});
  queue.AttachConsumer("dan", {.messages = 3});
  queue.DetachConsumer("cat");
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-a#1", "dan<-c#1"));
  queue.CommitAll();  // the charge is on disk
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-b#2"));
}

TEST(QueueDetachTest, SilentClientIsChargedForEverything) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 2});
  queue.TakeDeliveries();
  queue.DetachConsumer("cat");
  queue.CommitAll();
  queue.AttachConsumer("dan", {.messages = 3});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-a#2", "dan<-b#2", "dan<-c#1"));
}

TEST(QueueDetachTest, UnaryReceiveLeavesItsDeliveriesLeased) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 1});
  const Seen seen = queue.TakeDeliveries()[0];
  queue.DetachConsumer("cat", true);
  EXPECT_EQ(queue.Stats().in_flight, 1u);
  EXPECT_EQ(queue.Settle(seen.range(), AckOutcome{}).settled, 1u);
}

TEST(QueueDetachTest, DrainReleasesUnstartedTakesSettlesAndSendsNothingNew) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("cat", {.messages = 2, .marks_started = true});
  const auto seen = queue.TakeDeliveries();
  queue.Step(MarkStarted{{seen[0].range()}});
  queue.Step(DrainConsumer{queue.ConsumerIdOf("cat")});
  const auto drained = queue.Take<ConsumerDrained>();
  ASSERT_THAT(drained, SizeIs(1));
  EXPECT_EQ(drained[0].released, 1u);
  EXPECT_EQ(drained[0].in_flight, 1u);
  queue.Grant("cat", 10);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  EXPECT_EQ(queue.Settle(seen[0].range(), AckOutcome{}).settled, 1u);
  EXPECT_EQ(queue.Settle(seen[1].range(), AckOutcome{}).settled, 0u);
  queue.AttachConsumer("dan", {.messages = 10});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-b#1", "dan<-c#1"));
}

// ---- select

// A client grants as soon as all queues have answered; one that asks later would miss its share.
TEST(QueueSelectTest, QueueThatHasSomethingAsksBeforeItAnswersTheAttach) {
  QueueHarness queue = WithThree();
  queue.TakeSends();
  queue.Step(AttachConsumer{.consumer = 1'000, .on_demand = true});
  const std::vector<Effect> sends = queue.TakeSends();
  ASSERT_THAT(sends, SizeIs(2));
  EXPECT_TRUE(std::holds_alternative<WantCredit>(sends[0]));
  EXPECT_TRUE(std::holds_alternative<ConsumerAttached>(sends[1]));
}

TEST(QueueSelectTest, UnusedCreditComesBackWithTheDeliveriesItPaidFor) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("sam", {.on_demand = true});
  EXPECT_THAT(queue.Take<WantCredit>(), SizeIs(1));
  queue.Grant("sam", 5, 1'000);
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(3));
  const auto returned = queue.Take<CreditReturned>();
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_EQ(returned[0].messages, 2u);
  EXPECT_EQ(returned[0].bytes, static_cast<std::int64_t>(1'000 - 3 * kSmall));
  EXPECT_FALSE(returned[0].more);
}

// Bytes kept by a queue that has nothing would starve the other queues of the select.
TEST(QueueSelectTest, BytesComeBackAlsoWhenTheMessagesAreUsedUp) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("sam", {.on_demand = true});
  queue.Grant("sam", 3, 1'000);
  const auto returned = queue.Take<CreditReturned>();
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_EQ(returned[0].messages, 0u);
  EXPECT_EQ(returned[0].bytes, static_cast<std::int64_t>(1'000 - 3 * kSmall));
}

TEST(QueueSelectTest, DebtInBytesComesBackAsANegativeNumber) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("sam", {.on_demand = true});
  queue.Grant("sam", 5, 1);
  const auto returned = queue.Take<CreditReturned>();
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_EQ(returned[0].messages, 4u);
  EXPECT_EQ(returned[0].bytes, 1 - static_cast<std::int64_t>(kSmall));
  EXPECT_TRUE(returned[0].more);
}

TEST(QueueSelectTest, GrantThatComesTooLateComesBackWhole) {
  QueueHarness queue = WithThree();
  queue.AttachConsumer("sam", {.on_demand = true});
  queue.AttachConsumer("cat", {.messages = 3});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(3));
  queue.Grant("sam", 5, 1'000);
  const auto returned = queue.Take<CreditReturned>();
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_EQ(returned[0].messages, 5u);
  EXPECT_EQ(returned[0].bytes, 1'000);
  queue.Publish("ann", {"d"});
  queue.CommitAll();
  EXPECT_THAT(queue.Take<WantCredit>(), SizeIs(2)) << "at attach, and again now";
}

TEST(QueueSelectTest, ConsumersAreAskedInTheSameOrderInEveryRun) {
  const auto order = [] {
    QueueHarness queue;
    for (int i = 0; i < 40; ++i) queue.AttachConsumer(std::to_string(i), {.on_demand = true});
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"});
    queue.CommitAll();
    std::vector<ConsumerId> asked;
    for (const WantCredit& want : queue.Take<WantCredit>()) asked.push_back(want.consumer);
    return asked;
  };
  const auto first = order();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(order(), first);
}

// ---- bodies

TEST(QueueBodyTest, BodiesDroppedFromMemoryAreReadBackInOrder) {
  QueueHarness queue;
  queue.around().cache_full = true;
  queue.AttachPublisher("ann");
  std::vector<std::string> sent;
  for (int i = 0; i < 30; ++i) {
    sent.push_back("m" + std::to_string(i));
    queue.Publish("ann", {sent.back()});
    queue.CommitAll();
  }
  EXPECT_LT(queue.core().resident_body_bytes(), 30 * 20u);
  queue.AttachConsumer("cat", {.messages = 100});
  const auto seen = queue.TakeDeliveries();
  EXPECT_EQ(Payloads(seen), sent);
  EXPECT_GT(queue.loads(), 0u);
  EXPECT_EQ(queue.core().resident_body_bytes(), 0u) << "all are handed over";
  queue.Settle({seen[0].id, seen[4].id}, ReleaseOutcome{});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("m0", "m1", "m2", "m3", "m4"));
}

TEST(QueueBodyTest, FullCacheKeepsBodiesOfAMemoryQueue) {
  QueueHarness queue({.durability = Durability::kMemory});
  queue.around().cache_full = true;
  queue.AttachPublisher("ann");
  for (int i = 0; i < 30; ++i) queue.Publish("ann", {"m"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 100});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(30));
  EXPECT_EQ(queue.loads(), 0u);
}

// A damaged or missing body must not make the queue ask for it without pause.
TEST(QueueBodyTest, FailedReadIsTriedAgainAfterAPauseAndNotAtOnce) {
  QueueHarness queue = WithThree();
  queue.Restart();
  queue.AttachConsumer("cat", {});
  queue.TakeDeliveries();
  QueueCore core(*RecoverQueue(queue.disk(), storage::ShardId{0},
                               *FindQueueRecord(queue.disk(), storage::ShardId{0}, queue.id())),
                 1, queue.around().now);
  const auto step = [&](Event event) {
    Effects effects;
    core.Step(std::move(event), queue.around(), effects);
    core.EndTurn(queue.around(), effects);
    return effects.loads.size();
  };
  EXPECT_EQ(step(AttachConsumer{.consumer = 1}), 1u);
  EXPECT_EQ(step(GrantCredit{1, 1, 1'000}), 0u);
  EXPECT_EQ(step(BodyLoaded{{1, 0}, nullptr}), 0u);
  const std::int64_t wake = core.next_wake_ns();
  ASSERT_NE(wake, kNever);
  EXPECT_GT(wake, queue.around().now.steady_ns);
  queue.around().now.steady_ns = wake;
  EXPECT_EQ(step(Tick{}), 1u);
}

}  // namespace
}  // namespace mqd::queue::testing
