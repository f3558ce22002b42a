// A queue's side of an atomic request, and two queues together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TransactionPrepared Prepare(QueueHarness& queue, TransactionId transaction,
                            const std::vector<std::string>& payloads,
                            const std::vector<std::string>& keys = {}) {
  queue.Step(
      PrepareTransaction{.transaction = transaction, .batch = queue.BatchOf(payloads, keys)});
  auto prepared = queue.Take<TransactionPrepared>();
  EXPECT_THAT(prepared, SizeIs(1));
  return prepared.empty() ? TransactionPrepared{} : std::move(prepared[0]);
}

TEST(QueueTransactionTest, PreparedMessageIsReadyOnlyWhenTheTransactionCommits) {
  QueueHarness queue;
  queue.AttachConsumer("cat", {.messages = 10});
  const TransactionPrepared prepared = Prepare(queue, 3, {"p"});
  EXPECT_TRUE(prepared.accepted);
  EXPECT_TRUE(prepared.flush);
  EXPECT_FALSE(prepared.part.empty());
  queue.CommitAll();
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Step(EndTransaction{3, true});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-p#1"));
}

TEST(QueueTransactionTest, ReservedRoomCountsAndAbortGivesItBack) {
  QueueHarness queue({.max_messages = 1});
  queue.AttachPublisher("ann");
  EXPECT_TRUE(Prepare(queue, 3, {"p"}).accepted);
  const TransactionPrepared refused = Prepare(queue, 4, {"q"});
  EXPECT_FALSE(refused.accepted);
  EXPECT_EQ(std::get<ErrorInfo>(refused.results.at(0)).reason, Reason::kQueueFull);
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 QUEUE_FULL"));
  queue.Step(EndTransaction{3, false});
  EXPECT_EQ(queue.Stats().backlog_bytes, 0u);
  EXPECT_TRUE(Prepare(queue, 5, {"r"}).accepted);
}

TEST(QueueTransactionTest, ExpiredKeyOfAPreparedMessageHasNoRowWhateverBecomesOfIt) {
  for (const bool committed : {true, false}) {
    QueueHarness queue({.dedup_window = std::chrono::seconds(10)});
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"}, {.keys = {"key"}});
    queue.CommitAll();
    queue.PassTime(11'000);
    const TransactionPrepared prepared = Prepare(queue, 3, {"p"}, {"key"});
    queue.CommitAll();
    if (committed) queue.disk().Apply(prepared.part);
    queue.Step(EndTransaction{3, committed});
    queue.CommitAll();
    EXPECT_EQ(queue.disk().rows(storage::Table::kDedup), committed ? 1u : 0u);
  }
}

TEST(QueueTransactionTest, AbortLetsWhoWaitsIn) {
  QueueHarness queue({.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.AttachPublisher("ann");
  Prepare(queue, 3, {"p"});
  queue.Publish("ann", {"a"});
  queue.Step(PrepareTransaction{.transaction = 4, .batch = queue.BatchOf({"q"})});
  queue.Step(EndTransaction{3, false});
  queue.CommitAll();
  const auto results = queue.TakeResults();
  EXPECT_THAT(results, SizeIs(1));
  EXPECT_THAT(queue.Take<TransactionPrepared>(), IsEmpty()) << "it came later";
}

TEST(QueueTransactionTest, WaitThatTimesOutAnswersForEveryMessage) {
  QueueHarness queue({.max_messages = 3, .overflow_policy = OverflowPolicy::kBlock});
  Prepare(queue, 3, {"p"});
  PublishBatch batch = queue.BatchOf({"q", "r", "s"});
  batch.deadline_ns = queue.around().now.steady_ns + 1'000 * kNsPerMs;
  queue.Step(PrepareTransaction{.transaction = 4, .batch = std::move(batch)});
  queue.Advance(1'000);
  const auto prepared = queue.Take<TransactionPrepared>();
  ASSERT_THAT(prepared, SizeIs(1));
  EXPECT_FALSE(prepared[0].accepted);
  ASSERT_THAT(prepared[0].results, SizeIs(3));
  for (const auto& result : prepared[0].results) {
    ASSERT_TRUE(std::holds_alternative<ErrorInfo>(result));
    EXPECT_EQ(std::get<ErrorInfo>(result).reason, Reason::kBlockedTimeout);
  }
}

TEST(QueueTransactionTest, OneRefusedMessageRefusesAllAndReservesNothing) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  const TransactionPrepared prepared = Prepare(queue, 3, {"p", "other body"}, {"", "key"});
  EXPECT_FALSE(prepared.accepted);
  EXPECT_EQ(std::get<ErrorInfo>(prepared.results.at(1)).reason, Reason::kIdempotencyConflict);
  EXPECT_TRUE(prepared.part.empty());
  EXPECT_EQ(queue.Stats().committing, 0u);
  EXPECT_FALSE(Prepare(queue, 4, {"p", "p"}, {"twice", "twice"}).accepted);
}

TEST(QueueTransactionTest, KeyIsHeldWhileTheTransactionIsPending) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  Prepare(queue, 3, {"p"}, {"key"});
  queue.Publish("ann", {"p"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.Step(EndTransaction{3, true});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 duplicate of 1 READY"));
}

TEST(QueueTransactionTest, KeyOfAnAbortedTransactionIsFree) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  Prepare(queue, 3, {"p"}, {"key"});
  queue.Publish("ann", {"other"}, {.keys = {"key"}});
  queue.Step(EndTransaction{3, false});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 2"));
}

TEST(QueueTransactionTest, AKeyWaitsForItsTransactionAlthoughTheWindowPasses) {
  QueueHarness queue({.dedup_window = std::chrono::milliseconds(1'000)});
  queue.AttachPublisher("ann");
  Prepare(queue, 3, {"p"}, {"key"});
  queue.Advance(1'001);
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  queue.Step(EndTransaction{3, false});
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 2", "2 duplicate of 2 READY"));
}

TEST(QueueTransactionTest, ExpiredKeysMakeRoomAndOthersDoNot) {
  QueueHarness queue({.dedup_window = std::chrono::milliseconds(1'000),
                      .dedup_max_entries = 1,
                      .dedup_full_policy = DedupFullPolicy::kReject});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  const TransactionPrepared early = Prepare(queue, 3, {"p"}, {"new"});
  EXPECT_EQ(std::get<ErrorInfo>(early.results.at(0)).reason, Reason::kDedupFull);
  queue.around().now.steady_ns += 1'001 * kNsPerMs;  // and no turn that forgets keys by itself
  EXPECT_TRUE(Prepare(queue, 4, {"p"}, {"new"}).accepted);
}

TEST(QueueTransactionTest, DuplicateInsideIsASuccessAndStoresNothing) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"key"}});
  queue.CommitAll();
  const TransactionPrepared prepared = Prepare(queue, 3, {"a"}, {"key"});
  EXPECT_TRUE(prepared.accepted);
  EXPECT_EQ(std::get<Duplicate>(prepared.results.at(0)).sequence, 1u);
  EXPECT_TRUE(prepared.part.empty());
  queue.Step(EndTransaction{3, true});
  EXPECT_EQ(queue.Stats().ready, 1u);
}

// A key that is not remembered would let its message in twice.
TEST(QueueTransactionTest, EveryAcceptedKeyIsRemembered) {
  QueueHarness queue({.dedup_max_entries = 2});
  EXPECT_FALSE(Prepare(queue, 3, {"a", "b", "c"}, {"k1", "k2", "k3"}).accepted);
  EXPECT_TRUE(Prepare(queue, 4, {"a", "b"}, {"k1", "k2"}).accepted);
  const TransactionPrepared third = Prepare(queue, 5, {"c"}, {"k3"});
  EXPECT_FALSE(third.accepted);
  EXPECT_EQ(std::get<ErrorInfo>(third.results.at(0)).reason, Reason::kDedupFull);
}

TEST(QueueTransactionTest, EndOfAnUnknownTransactionAsksForARebuild) {
  QueueHarness queue;
  queue.Step(EndTransaction{9, false});
  EXPECT_FALSE(queue.wants_rebuild());
  queue.Step(EndTransaction{9, true});
  EXPECT_TRUE(queue.wants_rebuild());
}

TEST(QueueTransactionTest, AbortBehindItInOneTurnDoesNotTakeTheRebuildBack) {
  QueueHarness queue;
  queue.Turn({EndTransaction{9, true}, EndTransaction{10, false}});
  EXPECT_TRUE(queue.wants_rebuild());
}

// The source may commit what an earlier core of the target prepared.
TEST(QueueTransactionTest, SequencesThatWerePreparedAreNotUsedAgainAfterARebuild) {
  QueueHarness queue;
  TransactionPrepared prepared = Prepare(queue, 3, {"p"});
  queue.Rebuild();  // the batch that promised sequences is lost
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 2"));
  queue.disk().Apply(prepared.part);
  queue.Step(EndTransaction{3, true});
  ASSERT_TRUE(queue.wants_rebuild());
  queue.Rebuild();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-p#1", "cat<-a#1"));
}

/// A source with two deliveries out, and a target on the same disk.
class TwoQueuesTest : public ::testing::Test {
 protected:
  TwoQueuesTest() {
    source.AttachPublisher("ann");
    source.Publish("ann", {"a", "b"});
    disk->CommitAll();
    source.AttachConsumer("cat", {.messages = 2});
    seen = source.TakeDeliveries();
  }

  void Commit(TransactionPrepared prepared, std::vector<SettleEntry> entries) {
    source.Step(CommitTransaction{.transaction = prepared.transaction,
                                  .entries = std::move(entries),
                                  .parts = std::move(prepared.part),
                                  .flush = prepared.flush});
  }

  std::shared_ptr<TestDisk> disk = std::make_shared<TestDisk>();
  QueueHarness source{{}, {disk, 7, "default/source"}};
  QueueHarness target{{}, {disk, 9, "default/target"}};
  std::vector<Seen> seen;
};

TEST_F(TwoQueuesTest, SettleAndPublishAreOnDiskTogetherOrNotAtAll) {
  TransactionPrepared prepared = Prepare(target, 3, {"result"}, {"key"});
  disk->CommitAll();
  Commit(std::move(prepared), {{seen[0].range(), AckOutcome{}}});
  EXPECT_EQ(disk->waiting(), 1u) << "all rows in one batch";
  EXPECT_EQ(source.LastSync(), storage::Sync::kFlush);
  EXPECT_THAT(source.Take<TransactionDone>(), IsEmpty());
  disk->DropWaiting();
  source.Recover();
  target.Recover();
  EXPECT_EQ(source.Stats().ready, 2u);
  EXPECT_EQ(target.Stats().ready, 0u);
  EXPECT_EQ(target.Stats().dedup_entries, 0u);
}

TEST_F(TwoQueuesTest, CommittedRequestSurvivesACrashBeforeTheTargetHearsOfIt) {
  TransactionPrepared prepared = Prepare(target, 3, {"result"}, {"key"});
  Commit(std::move(prepared), {{seen[0].range(), AckOutcome{}}});
  disk->CommitAll();
  const auto done = source.Take<TransactionDone>();
  ASSERT_THAT(done, SizeIs(1));
  EXPECT_TRUE(done[0].committed);
  EXPECT_EQ(done[0].result.settled, 1u);
  source.Recover();
  target.Recover();
  EXPECT_EQ(source.Stats().ready, 1u);
  EXPECT_EQ(target.Stats().ready, 1u);
  EXPECT_EQ(target.Stats().dedup_entries, 1u);
  target.AttachConsumer("dan", {.messages = 1});
  EXPECT_THAT(Names(target.TakeDeliveries()), ElementsAre("dan<-result#1"));
}

TEST_F(TwoQueuesTest, OneLostLeaseRefusesTheWholeRequest) {
  source.Settle(seen[0].range(), AckOutcome{});
  TransactionPrepared prepared = Prepare(target, 3, {"result"});
  Commit(std::move(prepared), {{{seen[0].id, seen[1].id}, AckOutcome{}}});
  const auto done = source.Take<TransactionDone>();
  ASSERT_THAT(done, SizeIs(1));
  EXPECT_FALSE(done[0].committed);
  ASSERT_THAT(done[0].result.exceptions, SizeIs(1));
  EXPECT_EQ(done[0].result.exceptions[0].second.reason, Reason::kStaleDelivery);
  EXPECT_EQ(source.Stats().in_flight, 1u);
  disk->CommitAll();
  EXPECT_EQ(disk->rows(storage::Table::kBodies), 1u) << "only the source's own";
}

TEST_F(TwoQueuesTest, DeliverySettledTwiceInOneRequestIsRefused) {
  TransactionPrepared prepared = Prepare(target, 3, {"result"});
  Commit(std::move(prepared),
         {{{seen[0].id, seen[1].id}, AckOutcome{}}, {seen[1].range(), AckOutcome{}}});
  const auto done = source.Take<TransactionDone>();
  ASSERT_THAT(done, SizeIs(1));
  EXPECT_EQ(done[0].result.exceptions.at(0).second.reason, Reason::kBadField);
}

TEST_F(TwoQueuesTest, DeadLetterKeepsItsBodyAndTellsWhereItCameFrom) {
  PublishBatch batch = target.BatchOf({"poison"});
  target.Step(PrepareTransaction{.transaction = 4,
                                 .batch = std::move(batch),
                                 .bypass_dedup = true,
                                 .origins = {{"default/source", 1, "bad", 3, 99}}});
  auto prepared = target.Take<TransactionPrepared>();
  ASSERT_THAT(prepared, SizeIs(1));
  Commit(std::move(prepared[0]), {{seen[0].range(), AckOutcome{}}});
  disk->CommitAll();
  target.Recover();
  target.AttachConsumer("dan", {.messages = 1});
  const auto moved = target.TakeDeliveries();
  ASSERT_THAT(Names(moved), ElementsAre("dan<-poison#1"));
  ASSERT_TRUE(moved[0].origin.has_value());
  EXPECT_EQ(moved[0].origin->queue, "default/source");
  EXPECT_EQ(moved[0].origin->attempts, 3u);
}

}  // namespace
}  // namespace mqd::queue::testing
