// The rules of a queue while it runs: one broken promise per name.
#include "server/queue/queue_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/queue/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr PublisherId kAnn = 1;
constexpr PublisherId kBen = 2;
constexpr ConsumerId kCat = 11;
constexpr ConsumerId kDan = 12;

std::vector<std::string> Payloads(const std::vector<Seen>& seen) {
  std::vector<std::string> payloads;
  for (const Seen& one : seen) payloads.push_back(one.payload);
  return payloads;
}

/// A queue with a publisher that has three messages committed.
QueueHarness WithThree(QueueSettings settings = {}) {
  QueueHarness queue(std::move(settings));
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a", "b", "c"});
  queue.CommitAll();
  return queue;
}

TEST(QueueCoreTest, NothingIsConfirmedOrDeliveredBeforeItsCommit) {
  QueueHarness queue;
  queue.Publisher(kAnn);
  queue.Consumer(kCat, 10);
  queue.Publish(kAnn, {"a"});
  EXPECT_THAT(queue.Take<SendConfirms>(), IsEmpty());
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  EXPECT_EQ(queue.LastSync(), storage::Sync::kFlush);
  queue.CommitAll();
  EXPECT_THAT(queue.Take<SendConfirms>(), SizeIs(1));
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a"));
}

TEST(QueueCoreTest, AsyncQueueAsksForNoFlush) {
  QueueHarness queue({.durability = Durability::kAsync});
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a"});
  EXPECT_EQ(queue.LastSync(), storage::Sync::kWritten);
}

TEST(QueueCoreTest, MemoryQueueWritesNoMessage) {
  QueueHarness queue({.durability = Durability::kMemory});
  queue.CommitAll();
  queue.Publisher(kAnn);
  queue.Consumer(kCat, 10);
  queue.Publish(kAnn, {"a"}, {"key"});
  queue.CommitAll();  // the first publish promises sequences
  queue.Publish(kAnn, {"b"}, {"other"});
  EXPECT_EQ(queue.CommitsWaiting(), 0u);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a", "b"));
  EXPECT_EQ(queue.rows(), 1u);
}

TEST(QueueCoreTest, CreditInMessagesIsNeverExceeded) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 2);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a", "b"));
}

TEST(QueueCoreTest, CreditInBytesIsPassedByAtMostOneMessage) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 10, false, 66);  // each counts 65
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("a", "b"));
  queue.Step(GrantCredit{kCat, 1, 64});  // owes 64
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
}

TEST(QueueCoreTest, BoundCountsMessagesInEveryState) {
  QueueHarness queue({.max_messages = 2});
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a", "b", "c"});
  queue.CommitAll();
  const auto confirms = queue.Take<SendConfirms>();
  ASSERT_THAT(confirms, SizeIs(1));
  ASSERT_THAT(confirms[0].confirms.exceptions, SizeIs(1));
  const auto& error = std::get<ErrorInfo>(confirms[0].confirms.exceptions[0].result);
  EXPECT_EQ(error.reason, Reason::kQueueFull);
  EXPECT_EQ(error.limit, 2u);
  queue.Consumer(kCat, 2);
  const auto seen = queue.TakeDeliveries();
  queue.Publish(kAnn, {"d"});  // both are in flight: still full
  EXPECT_EQ(queue.Stats().rejected, 2u);
  queue.Settle({seen[0].id, seen[0].id}, AckOutcome{});
  queue.Publish(kAnn, {"e"});
  EXPECT_EQ(queue.Stats().rejected, 2u);
}

TEST(QueueCoreTest, SlotIsFreeOnlyAfterTheSettleIsCommitted) {
  QueueHarness queue({.max_messages = 1});
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a"});
  queue.CommitAll();
  queue.Consumer(kCat, 1);
  const DeliveryId id = queue.TakeDeliveries()[0].id;
  struct Settle settle {
    .request = 99
  };
  settle.entries.push_back({{id, id}, AckOutcome{}});
  queue.Step(std::move(settle));
  queue.Publish(kAnn, {"b"});
  EXPECT_EQ(queue.Stats().rejected, 1u);
  queue.CommitAll();
  queue.Publish(kAnn, {"c"});
  EXPECT_EQ(queue.Stats().rejected, 1u);
}

TEST(QueueCoreTest, BlockedPublishersAreLetInFirstComeFirstServed) {
  QueueHarness queue({.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.Publisher(kAnn);
  queue.Publisher(kBen);
  queue.Consumer(kCat, 10);
  queue.Publish(kAnn, {"a1", "a2"});
  queue.Publish(kBen, {"b1"});
  EXPECT_EQ(queue.Stats().blocked_publishers, 2u);
  std::vector<std::string> order;
  for (int i = 0; i < 3; ++i) {
    queue.CommitAll();
    const auto seen = queue.TakeDeliveries();
    ASSERT_THAT(seen, SizeIs(1));
    order.push_back(seen[0].payload);
    queue.Settle({seen[0].id, seen[0].id}, AckOutcome{});
  }
  EXPECT_THAT(order, ElementsAre("a1", "a2", "b1"));
}

TEST(QueueCoreTest, BlockedPublisherIsRefusedAtItsDeadline) {
  QueueHarness queue({.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a", "b"}, {}, 0, 500);
  queue.CommitAll();
  queue.Take<SendConfirms>();
  queue.Advance(500);
  const auto confirms = queue.Take<SendConfirms>();
  ASSERT_THAT(confirms, SizeIs(1));
  const auto& error = std::get<ErrorInfo>(confirms[0].confirms.exceptions[0].result);
  EXPECT_EQ(error.reason, Reason::kBlockedTimeout);
}

TEST(QueueCoreTest, ExpiredLeaseIsTakenAwayChargedAndRedeliveredAfterBackoff) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 1);
  const DeliveryId late = queue.TakeDeliveries()[0].id;
  queue.Advance(29'999);
  EXPECT_THAT(queue.Take<SendLeaseLost>(), IsEmpty());
  queue.Advance(1);
  EXPECT_THAT(queue.Take<SendLeaseLost>(), SizeIs(1));
  EXPECT_THAT(queue.Settle({late, late}, AckOutcome{}).exceptions, SizeIs(1));
  queue.Advance(2'000);
  queue.Consumer(kDan, 1);
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(Payloads(seen), ElementsAre("a"));
  EXPECT_EQ(seen[0].attempt, 2u);
}

TEST(QueueCoreTest, ExtendedLeaseLives) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 1);
  const DeliveryId id = queue.TakeDeliveries()[0].id;
  queue.Advance(20'000);
  EXPECT_EQ(queue.Settle({id, id}, ExtendOutcome{}).settled, 1u);
  queue.Advance(20'000);
  EXPECT_THAT(queue.Take<SendLeaseLost>(), IsEmpty());
  EXPECT_EQ(queue.Settle({id, id}, AckOutcome{}).settled, 1u);
}

TEST(QueueCoreTest, RangeSettleSettlesWhatIsHeldAndNamesTheRest) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 3);
  const auto seen = queue.TakeDeliveries();
  queue.Settle({seen[1].id, seen[1].id}, AckOutcome{});
  const SettleResult result = queue.Settle({seen[0].id, seen[2].id + 5}, AckOutcome{});
  EXPECT_EQ(result.settled, 2u);
  ASSERT_THAT(result.exceptions, SizeIs(2));
  EXPECT_EQ(result.exceptions[0].first, (DeliveryRange{seen[1].id, seen[1].id}));
  EXPECT_EQ(result.exceptions[1].first, (DeliveryRange{seen[2].id + 1, seen[2].id + 5}));
  EXPECT_EQ(queue.Stats().backlog_bytes, 0u);
  EXPECT_EQ(queue.rows(), 1u) << "the chunk stays on disk";
}

TEST(QueueCoreTest, ConsumerDeathChargesWhatItStartedAndReleasesTheRestAtOnce) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 3, true);
  const auto seen = queue.TakeDeliveries();
  queue.Step(MarkStarted{{{seen[0].id, seen[0].id}}});
  queue.Step(DetachConsumer{kCat});
  queue.CommitAll();
  queue.Consumer(kDan, 3);
  const auto again = queue.TakeDeliveries();
  ASSERT_THAT(Payloads(again), ElementsAre("a", "b", "c"));
  EXPECT_EQ(again[0].attempt, 2u);
  EXPECT_EQ(again[1].attempt, 1u);
}

// A crash in between would give the same number to two deliveries.
TEST(QueueCoreTest, NextAttemptIsNotDeliveredBeforeTheChargeIsCommitted) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 1);
  const DeliveryId id = queue.TakeDeliveries()[0].id;
  struct Settle settle {
    .request = 99
  };
  settle.entries.push_back({{id, id}, RetryOutcome{0, ""}});
  queue.Step(std::move(settle));
  queue.Consumer(kDan, 3);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("b", "c"));
  EXPECT_EQ(queue.Stats().in_flight, 3u);
  queue.CommitAll();
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(Payloads(seen), ElementsAre("a"));
  EXPECT_EQ(seen[0].attempt, 2u);
}

// What is left of a grant in bytes must not stay with a queue that has nothing.
TEST(QueueCoreTest, SelectConsumerGetsBytesBackWhenItsMessagesAreSpent) {
  QueueHarness queue = WithThree();
  queue.Step(AttachConsumer{.consumer = kCat, .on_demand = true});
  queue.Step(GrantCredit{kCat, 3, 1'000});
  const auto returned = queue.Take<CreditReturned>();
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_EQ(returned[0].bytes, 1'000 - 3 * 65);
  EXPECT_FALSE(returned[0].more);
}

TEST(QueueCoreTest, DuplicateIsAnsweredWithTheOriginalAndItsStatus) {
  QueueHarness queue;
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a"}, {"key"});
  queue.Publish(kAnn, {"a"}, {"key"});  // the original is not yet committed
  EXPECT_THAT(queue.Take<SendConfirms>(), IsEmpty());
  queue.CommitAll();
  const auto confirms = queue.Take<SendConfirms>();
  ASSERT_THAT(confirms, SizeIs(2));
  const Sequence original = confirms[0].confirms.ranges[0].first_sequence;
  const auto& duplicate = std::get<Duplicate>(confirms[1].confirms.exceptions[0].result);
  EXPECT_EQ(duplicate.sequence, original);
  EXPECT_EQ(queue.Stats().ready, 1u);
}

TEST(QueueCoreTest, SameKeyWithAnotherBodyConflictsUntilTheWindowEnds) {
  QueueHarness queue({.dedup_window = std::chrono::seconds(10)});
  queue.Publisher(kAnn);
  queue.Publish(kAnn, {"a"}, {"key"});
  queue.CommitAll();
  queue.Publish(kAnn, {"b"}, {"key"});
  EXPECT_EQ(queue.Stats().rejected + queue.Stats().duplicates, 0u);
  EXPECT_EQ(queue.Stats().ready, 1u);
  queue.Advance(10'001);
  queue.Publish(kAnn, {"b"}, {"key"});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().ready, 2u);
}

TEST(QueueCoreTest, EndOfQueueComesOnceAfterTheLastSettle) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 3);
  const auto seen = queue.TakeDeliveries();
  queue.Step(CloseQueue{77});
  queue.CommitAll();
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
  queue.Take<RequestDone>();
  queue.Settle({seen[0].id, seen[2].id}, AckOutcome{});
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), SizeIs(1));
  queue.Advance(1'000);
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
}

TEST(QueueCoreTest, SelectConsumerGetsItsUnusedCreditBack) {
  QueueHarness queue = WithThree();
  queue.Step(AttachConsumer{.consumer = kCat, .on_demand = true});
  EXPECT_THAT(queue.Take<WantCredit>(), SizeIs(1));
  queue.Step(GrantCredit{kCat, 5, 1'000});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(3));
  const auto returned = queue.Take<CreditReturned>();
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_EQ(returned[0].messages, 2u);
  EXPECT_EQ(returned[0].bytes, 1'000 - 3 * 65);
}

TEST(QueueCoreTest, PurgeLeavesOnlyWhatIsInFlight) {
  QueueHarness queue = WithThree();
  queue.Consumer(kCat, 1);
  queue.TakeDeliveries();
  queue.Step(PurgeQueue{5});
  queue.CommitAll();
  const auto done = queue.Take<RequestDone>();
  ASSERT_THAT(done, SizeIs(1));
  EXPECT_EQ(std::get<std::uint64_t>(done[0].result), 2u);
  EXPECT_EQ(queue.Stats().in_flight, 1u);
  EXPECT_EQ(queue.Stats().ready, 0u);
}

TEST(QueueCoreTest, BodiesDroppedFromMemoryAreReadBackInOrder) {
  QueueHarness queue;
  queue.around().cache_full = true;
  queue.Publisher(kAnn);
  std::vector<std::string> sent;
  for (int i = 0; i < 30; ++i) {
    sent.push_back("m" + std::to_string(i));
    queue.Publish(kAnn, {sent.back()});
    queue.CommitAll();
  }
  queue.Consumer(kCat, 100);
  EXPECT_EQ(Payloads(queue.TakeDeliveries()), sent);
}

TEST(QueueCoreTest, SparseChunkIsWrittenAnewAndKeepsItsMessages) {
  QueueHarness queue;
  queue.Publisher(kAnn);
  std::vector<std::string> many(100, std::string(90, 'x'));
  many[50] = "survivor";
  queue.Publish(kAnn, many);
  queue.CommitAll();
  queue.Consumer(kCat, 100);
  const auto seen = queue.TakeDeliveries();
  queue.Settle({seen[0].id, seen[49].id}, AckOutcome{});
  queue.Settle({seen[51].id, seen[99].id}, AckOutcome{});
  queue.Advance(1'100);
  queue.CommitAll();
  EXPECT_EQ(queue.Settle({seen[50].id, seen[50].id}, RetryOutcome{0, ""}).settled, 1u);
  queue.Restart();
  queue.Consumer(kDan, 10);
  const auto again = queue.TakeDeliveries();
  ASSERT_THAT(Payloads(again), ElementsAre("survivor"));
  EXPECT_EQ(again[0].sequence, seen[50].sequence);
  EXPECT_EQ(again[0].attempt, 2u);
}

}  // namespace
}  // namespace mqd::queue::testing
