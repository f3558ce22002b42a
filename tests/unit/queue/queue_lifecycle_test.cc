// Pause, close, purge, cancel, find, dedup, history, live updates, and dead letters that wait.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

QueueHarness With(const std::vector<std::string>& payloads, QueueSettings settings = {}) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  if (!payloads.empty()) queue.Publish("ann", payloads);
  queue.CommitAll();
  queue.TakeResults();
  return queue;
}

void Pause(QueueHarness& queue, Paused paused) {
  queue.Change([paused](QueueSettings& settings) { settings.paused = paused; });
}

// ---- pause

TEST(PauseTest, NothingIsDeliveredWhatIsInFlightMaySettle) {
  QueueHarness queue = With({"a", "b"});
  queue.AttachConsumer("cat", {.messages = 1});
  const Seen seen = queue.TakeDeliveries().at(0);
  Pause(queue, Paused::kConsume);
  queue.Grant("cat", 10);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  EXPECT_EQ(queue.Settle(seen.range(), AckOutcome{}).settled, 1u);
  Pause(queue, Paused::kNone);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("b"));
}

TEST(PauseTest, APausedPublisherGetsItsReasonAndAWaitingOneToo) {
  QueueHarness queue = With({"a"}, {.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.Publish("ann", {"b"});
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  Pause(queue, Paused::kPublish);
  EXPECT_THAT(queue.TakeResults(), ElementsAre("2 QUEUE_PAUSED"));
}

TEST(PauseTest, OutlivesARestart) {
  QueueHarness queue = With({"a"});
  Pause(queue, Paused::kBoth);
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
}

TEST(PauseTest, ASelectIsNotAskedAndGetsItsCreditBack) {
  QueueHarness queue = With({"a", "b"});
  queue.AttachConsumer("sam", {.on_demand = true});
  queue.Take<WantCredit>();
  Pause(queue, Paused::kConsume);
  queue.Grant("sam", 5);
  const auto back = queue.Take<CreditReturned>();
  ASSERT_THAT(back, SizeIs(1));
  EXPECT_EQ(back[0].messages, 5u);
  EXPECT_FALSE(back[0].more);
}

// ---- close

TEST(CloseTest, EndOfQueueComesOnceAfterTheLastMessage) {
  QueueHarness queue = With({"a"});
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Ask<QueueInfo>(CloseQueue{});
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
  queue.Settle(queue.TakeDeliveries().at(0).range(), AckOutcome{});
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), SizeIs(1));
  queue.Advance(60'000);
  EXPECT_THAT(queue.Take<SendEndOfQueue>(), IsEmpty());
  EXPECT_EQ(queue.Ask<ErrorInfo>(CloseQueue{}).reason, Reason::kAlreadyClosed);
}

TEST(CloseTest, AWaitingPublisherIsToldAtOnce) {
  QueueHarness queue = With({"a"}, {.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.Publish("ann", {"b"});
  queue.Ask<QueueInfo>(CloseQueue{});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("2 QUEUE_CLOSED"));
}

// ---- purge, cancel, find

TEST(PurgeTest, TakesWhatLiesAndLeavesWhatIsInFlight) {
  QueueHarness queue = With({"a", "b"});
  queue.PublishOne("ann", "late", {.delay_ms = 9'000});
  queue.AttachConsumer("cat", {.messages = 1});
  queue.CommitAll();
  EXPECT_EQ(queue.Ask<std::uint64_t>(PurgeQueue{}), 2u);
  EXPECT_EQ(queue.Stats().in_flight, 1u);
  EXPECT_EQ(queue.Stats().purged, 2u);
}

TEST(PurgeTest, KeysStayUnlessAskedFor) {
  for (const bool forget : {false, true}) {
    QueueHarness queue;
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    queue.CommitAll();
    queue.Ask<std::uint64_t>(PurgeQueue{.purge_dedup = forget});
    queue.Publish("ann", {"a"}, {.keys = {"i"}});
    queue.CommitAll();
    EXPECT_THAT(
        queue.TakeResults(),
        ElementsAre("1 stored as 1", forget ? "2 stored as 2" : "2 duplicate of 1 SETTLED"));
  }
}

TEST(CancelTest, WhatIsInFlightOrGoneIsAnException) {
  QueueHarness queue = With({"a", "b"});
  queue.AttachConsumer("cat", {.messages = 1});
  const CancelResult result = queue.Ask<CancelResult>(CancelMessages{.sequences = {1, 2, 99}});
  EXPECT_EQ(result.cancelled, 1u);
  ASSERT_THAT(result.exceptions, SizeIs(2));
  EXPECT_EQ(result.exceptions[0].first, 1u);
  EXPECT_EQ(result.exceptions[1].first, 99u);
  EXPECT_EQ(result.exceptions[1].second.reason, Reason::kMessageNotFound);
  EXPECT_EQ(queue.Stats().ready, 0u);
}

TEST(CancelTest, OutlivesARestart) {
  QueueHarness queue = With({"a", "b"});
  queue.Ask<CancelResult>(CancelMessages{.sequences = {1}});
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("b"));
}

TEST(FindTest, BySequenceAndByKeyInEveryState) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.CommitAll();
  const KeyHash key = queue.BatchOf({"a"}, {"i"}).messages[0].key_hash;
  const auto status = [&] {
    return queue.Ask<std::vector<PeekedMessage>>(FindMessage{.key = key}).at(0).status;
  };
  EXPECT_EQ(status(), MessageStatus::kReady);
  queue.AttachConsumer("cat", {.messages = 1});
  EXPECT_EQ(status(), MessageStatus::kInFlight);
  const Seen seen = queue.TakeDeliveries().at(0);
  const auto found = queue.Ask<std::vector<PeekedMessage>>(FindMessage{.sequence = 1});
  EXPECT_EQ(found.at(0).delivery_id, seen.id);
  queue.Settle(seen.range(), AckOutcome{});
  EXPECT_EQ(status(), MessageStatus::kSettled);
  EXPECT_EQ(queue.Ask<ErrorInfo>(FindMessage{.sequence = 99}).reason, Reason::kMessageNotFound);
}

TEST(DedupTest, IsShownAndForgotten) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.CommitAll();
  const KeyHash key = queue.BatchOf({"a"}, {"i"}).messages[0].key_hash;
  const DedupInfo info = queue.Ask<DedupInfo>(GetDedup{.key = key});
  EXPECT_EQ(info.sequence, 1u);
  EXPECT_EQ(info.expires_ms, info.first_seen_ms + 600'000);
  queue.Ask<DedupInfo>(ForgetDedup{.key = key});
  EXPECT_EQ(queue.Ask<ErrorInfo>(GetDedup{.key = key}).reason, Reason::kMessageNotFound);
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2"));
}

TEST(DedupTest, AFullTableEvictsTheOldestOrRefuses) {
  QueueHarness queue(QueueSettings{.dedup_max_entries = 1});
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.Advance(1);
  queue.Publish("ann", {"b"}, {.keys = {"j"}});
  queue.CommitAll();
  EXPECT_EQ(queue.Stats().dedup_evicted, 1u);
  queue.Change([](QueueSettings& s) { s.dedup_full_policy = DedupFullPolicy::kReject; });
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.Publish("ann", {"b"}, {.keys = {"j"}});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("1 stored as 1", "2 stored as 2", "3 DEDUP_FULL",
                                               "4 duplicate of 2 READY"));
}

// ---- history

TEST(HistoryTest, IsOffByDefaultAndBounded) {
  QueueHarness off = With({"a"});
  EXPECT_THAT(off.Ask<std::vector<HistoryEntry>>(GetHistory{.limit = 10}), IsEmpty());
  QueueHarness queue = With({}, {.history_entries = 3});
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  const Seen first = queue.TakeDeliveries().at(0);
  queue.Settle(first.range(), RetryOutcome{0, "broken"});
  queue.Settle(queue.TakeDeliveries().at(0).range(), AckOutcome{});
  const auto history = queue.Ask<std::vector<HistoryEntry>>(GetHistory{.sequence = 1, .limit = 10});
  ASSERT_THAT(history, SizeIs(3));
  EXPECT_EQ(history[0].transition, Transition::kRetried);
  EXPECT_EQ(history[0].text, "broken");
  EXPECT_EQ(history[0].client_name, "cat");
  EXPECT_EQ(history[1].transition, Transition::kDelivered);
  EXPECT_EQ(history[2].transition, Transition::kAcked);
}

// ---- live updates

TEST(UpdateTest, ALoweredBoundDropsNothingAndTakesNothing) {
  QueueHarness queue = With({"a", "b", "c"});
  queue.Change([](QueueSettings& settings) { settings.max_messages = 2; });
  EXPECT_EQ(queue.Stats().ready, 3u);
  queue.Publish("ann", {"d"});
  EXPECT_THAT(queue.TakeResults(), ElementsAre("4 QUEUE_FULL"));
}

TEST(UpdateTest, ARaisedBoundLetsTheWaitingIn) {
  QueueHarness queue = With({"a"}, {.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.Publish("ann", {"b"});
  queue.Change([](QueueSettings& settings) { settings.max_messages = 2; });
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), ElementsAre("2 stored as 2"));
}

TEST(UpdateTest, APolicyThatDoesNotWaitEndsTheWait) {
  QueueHarness queue = With({"a"}, {.max_messages = 1, .overflow_policy = OverflowPolicy::kBlock});
  queue.Publish("ann", {"b"});
  queue.Change([](QueueSettings& s) { s.overflow_policy = OverflowPolicy::kReject; });
  EXPECT_THAT(queue.TakeResults(), ElementsAre("2 QUEUE_FULL"));
}

TEST(UpdateTest, AnOldGenerationIsRefused) {
  QueueHarness queue = With({});
  QueueSettings settings = queue.core().settings();
  settings.max_messages = 5;
  queue.Update(settings);
  settings.max_messages = 6;
  const auto error =
      queue.Ask<ErrorInfo>(UpdateSettings{.settings = settings, .expected_generation = 1});
  EXPECT_EQ(error.reason, Reason::kQueueExistsDifferent);
  EXPECT_EQ(error.current, 2u);
}

TEST(UpdateTest, DurabilityChangesToOrFromMemoryOnlyWhileEmpty) {
  QueueHarness queue = With({"a"});
  QueueSettings settings = queue.core().settings();
  settings.durability = Durability::kMemory;
  EXPECT_EQ(queue.Ask<ErrorInfo>(UpdateSettings{.settings = settings}).reason,
            Reason::kQueueNotEmpty);
  queue.Ask<std::uint64_t>(PurgeQueue{});
  EXPECT_EQ(queue.Ask<QueueInfo>(UpdateSettings{.settings = settings}).settings.durability,
            Durability::kMemory);
}

// ---- dead letters

struct WithDeadLetters {
  std::shared_ptr<TestDisk> disk = std::make_shared<TestDisk>();
  QueueHarness dead;
  QueueHarness queue;
  explicit WithDeadLetters(QueueSettings of_dead = {})
      : dead(std::move(of_dead), {disk, 9, "default/dead"}),
        queue({.max_attempts = 6, .dead_letter_queue = "default/dead"}, {disk, 7, "default/q"}) {
    queue.AttachPublisher("ann");
    queue.Publish("ann", {"a"});
    queue.CommitAll();
  }
  /// The consumer fails this often, each time with another text.
  void Fail(int times) {
    queue.AttachConsumer("cat", {.messages = 100, .client_name = "billing-1"});
    for (int i = 1; i <= times; ++i) {
      queue.Settle(queue.TakeDeliveries().at(0).range(),
                   RetryOutcome{0, "broken " + std::to_string(i)});
    }
  }
};

TEST(DeadLetterTest, CarriesItsReasonAndTheLatestAttempts) {
  WithDeadLetters two;
  two.Fail(6);
  EXPECT_EQ(two.queue.MoveTo(two.dead), 1u);
  two.dead.AttachConsumer("eve", {.messages = 1});
  const Seen seen = two.dead.TakeDeliveries().at(0);
  ASSERT_TRUE(seen.origin.has_value());
  EXPECT_EQ(seen.origin->queue, "default/q");
  EXPECT_EQ(seen.origin->sequence, 1u);
  EXPECT_EQ(seen.origin->reason, "broken 6");
  EXPECT_EQ(seen.origin->attempts, 6u);
  ASSERT_THAT(seen.origin->notes, SizeIs(4));
  EXPECT_EQ(seen.origin->notes[0].attempt, 3u);
  EXPECT_EQ(seen.origin->notes[0].error, "broken 3");
  EXPECT_EQ(seen.origin->notes[3].consumer, "billing-1");
}

TEST(DeadLetterTest, NotesOutliveARestart) {
  WithDeadLetters two;
  two.Fail(2);
  two.queue.Restart();
  const auto peeked = two.queue.PeekAll(MessageStatus::kReady);
  ASSERT_THAT(peeked, SizeIs(1));
  ASSERT_THAT(peeked[0].notes, SizeIs(2));
  EXPECT_EQ(peeked[0].notes[1].error, "broken 2");
}

TEST(DeadLetterTest, WithoutRoomItStaysParkedRaisesAnAlarmAndTriesAgain) {
  WithDeadLetters two({.max_messages = 1});
  two.dead.AttachPublisher("bob");
  two.dead.Publish("bob", {"x"});
  two.Fail(6);
  EXPECT_EQ(two.queue.MoveTo(two.dead), 0u);
  EXPECT_EQ(two.queue.Stats().parked, 1u);
  EXPECT_EQ(two.queue.Stats().dead_letter_waiting, 1u);
  EXPECT_THAT(two.queue.Stats().alarms, ElementsAre(HasSubstr("default/dead")));
  two.dead.Ask<std::uint64_t>(PurgeQueue{});
  EXPECT_THAT(two.queue.Take<MoveToDeadLetter>(), IsEmpty());
  two.queue.Advance(1'000);
  EXPECT_EQ(two.queue.MoveTo(two.dead), 1u);
  EXPECT_EQ(two.queue.Stats().dead_letter_waiting, 0u);
  EXPECT_THAT(two.queue.Stats().alarms, IsEmpty());
}

TEST(DeadLetterTest, IsTriedAgainAtEveryStart) {
  WithDeadLetters two;
  two.Fail(6);
  two.queue.Take<MoveToDeadLetter>();  // and the broker stops
  two.queue.Restart();
  EXPECT_EQ(two.queue.MoveTo(two.dead), 1u);
}

TEST(RedriveTest, AReadyADelayedAndAParkedMessageMayLeave) {
  WithDeadLetters two;
  QueueHarness& queue = two.queue;
  queue.PublishOne("ann", "late", {.delay_ms = 9'000});
  queue.CommitAll();
  for (const Sequence sequence : {Sequence{1}, Sequence{2}}) {
    two.dead.Step(PrepareTransaction{
        .transaction = sequence, .batch = two.dead.BatchOf({"moved"}), .bypass_dedup = true});
    auto prepared = two.dead.Take<TransactionPrepared>();
    queue.Step(CommitTransaction{
        .transaction = sequence, .leaving = {sequence}, .parts = std::move(prepared.at(0).part)});
    queue.CommitAll();
    EXPECT_TRUE(queue.Take<TransactionDone>().at(0).committed);
    two.dead.Step(EndTransaction{sequence, true});
  }
  EXPECT_EQ(queue.Stats().ready + queue.Stats().delayed, 0u);
  EXPECT_EQ(two.dead.Stats().ready, 2u);
}

}  // namespace
}  // namespace mqd::queue::testing
