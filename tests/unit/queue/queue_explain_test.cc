// Every cause of the closed list: something stands still for it, and is asked why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "tests/support/queue_harness.h"
#include "tests/support/test_ledger.h"

namespace mqd::queue::testing {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;

TestLedger& UsedUp() {
  static TestLedger ledger;
  ledger.full = true;
  return ledger;
}

struct Stuck {
  std::string name;
  Cause cause;
  std::function<void(QueueSettings&)> settings;
  /// Brings the queue there; what is asked.
  std::function<ExplainSubject(QueueHarness&)> stick;
};

void Plain(QueueSettings&) {}
void KeyedQueue(QueueSettings& settings) { settings.ordering = Ordering::kKeyed; }
void OneAttempt(QueueSettings& settings) { settings.max_attempts = 1; }
void WithDeadLetters(QueueSettings& settings) {
  settings.max_attempts = 1;
  settings.dead_letter_queue = "default/dead";
}
void FullAtOne(QueueSettings& settings) {
  settings.max_messages = 1;
  settings.overflow_policy = OverflowPolicy::kBlock;
}

/// Ann has published these, and they are on disk.
void Store(QueueHarness& queue, const std::vector<std::string>& payloads, Extras extras = {}) {
  queue.AttachPublisher("ann");
  queue.Publish("ann", payloads, {.extras = {std::move(extras)}});
  queue.CommitAll();
}

ExplainSubject Ann(QueueHarness& queue) {
  return ExplainPublisher{.id = queue.PublisherIdOf("ann")};
}
ExplainSubject Cat(QueueHarness& queue) { return ExplainConsumer{.id = queue.ConsumerIdOf("cat")}; }

/// Cat holds the first of two messages of key k.
void HoldKey(QueueHarness& queue) {
  Store(queue, {"a", "b"}, {.ordering_key = "k"});
  queue.AttachConsumer("cat", {.messages = 10});
}
/// Cat has failed with the first message; it waits, or is parked.
void FailFirst(QueueHarness& queue) {
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{5'000 * kNsPerMs, "broken"});
}
/// The consumer that got a message of key k has no more credit, the other has.
void StickToBusy(QueueHarness& queue) {
  queue.AttachConsumer("cat", {.messages = 1});
  queue.AttachConsumer("dan", {.messages = 1});
  Store(queue, {"a", "b"}, {.ordering_key = "k"});
}

std::vector<Stuck> OfConsumers() {
  return {
      {"QueueWithoutConsumers", Cause::kNoConsumers, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         return ExplainQueue{};
       }},
      {"MessageWithoutConsumers", Cause::kNoConsumers, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         return ExplainMessage{1};
       }},
      {"QueueWithoutCredit", Cause::kNoCredit, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("cat", {});
         return ExplainQueue{};
       }},
      {"ConsumerWithoutCredit", Cause::kNoCredit, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("cat", {});
         return Cat(queue);
       }},
      {"ConsumerThatSpentItsBytes", Cause::kCreditBytesSpent, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a", "b"});
         queue.AttachConsumer("cat", {.messages = 10, .bytes = 1});
         return Cat(queue);
       }},
      {"ConsumerThatDrains", Cause::kDraining, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("cat", {});
         queue.Step(DrainConsumer{queue.ConsumerIdOf("cat")});
         return Cat(queue);
       }},
      {"ConsumerOnStandby", Cause::kStandby,
       [](QueueSettings& settings) { settings.single_active = true; },
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("dan", {});
         queue.AttachConsumer("cat", {.messages = 10});
         return Cat(queue);
       }},
      {"SelectThatServesOthers", Cause::kSelectBusy, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("cat", {.on_demand = true});
         return Cat(queue);
       }},
      {"ConsumerOfAPausedQueue", Cause::kConsumePaused,
       [](QueueSettings& settings) { settings.paused = Paused::kConsume; },
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("cat", {.messages = 10});
         return Cat(queue);
       }},
      {"ConsumerOfAnEmptyQueue", Cause::kEmpty, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachConsumer("cat", {.messages = 10});
         return Cat(queue);
       }},
  };
}

std::vector<Stuck> OfMessages() {
  return {
      {"MessageOfAPausedQueue", Cause::kConsumePaused,
       [](QueueSettings& settings) { settings.paused = Paused::kBoth; },
       [](QueueHarness& queue) -> ExplainSubject {
         queue.Change([](QueueSettings& settings) { settings.paused = Paused::kNone; });
         Store(queue, {"a"});
         queue.Change([](QueueSettings& settings) { settings.paused = Paused::kConsume; });
         queue.AttachConsumer("cat", {.messages = 10});
         return ExplainMessage{1};
       }},
      {"DelayedMessage", Cause::kDelayed, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"}, {.delay_ms = 5'000});
         return ExplainMessage{1};
       }},
      {"RetriedMessage", Cause::kRetryWait, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         FailFirst(queue);
         return ExplainMessage{1};
       }},
      {"MessageThatWaitsForAnother", Cause::kWaitsForMessage, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.PublishOne("ann", "b", {.deliver_after = {{queue.id(), 1}}});
         QueueHarness::ExchangeRefs({&queue});
         queue.CommitAll();
         QueueHarness::ExchangeRefs({&queue});
         return ExplainMessage{2};
       }},
      {"ParkedMessage", Cause::kParked, OneAttempt,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         FailFirst(queue);
         return ExplainMessage{1};
       }},
      {"DeadLetterWithoutRoom", Cause::kDeadLetterQueueFull, WithDeadLetters,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         FailFirst(queue);
         queue.Step(MoveFailed{1});
         return ExplainMessage{1};
       }},
      {"DeadLetterOnItsWay", Cause::kMoving, WithDeadLetters,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         FailFirst(queue);
         return ExplainMessage{1};
       }},
  };
}

std::vector<Stuck> OfMoreMessages() {
  return {
      {"MessageInFlight", Cause::kInFlight, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("cat", {.messages = 10});
         return ExplainMessage{1};
       }},
      {"MessageWhoseBodyIsRead", Cause::kLoading, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.StopReading();
         Store(queue, {"a"});
         queue.Restart();
         queue.AttachConsumer("cat", {.messages = 10});
         return ExplainMessage{1};
       }},
      {"MessageNotYetOnDisk", Cause::kCommitting, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachPublisher("ann");
         queue.Publish("ann", {"a"});
         return ExplainMessage{1};
       }},
      {"MessageBehindAnother", Cause::kBehindOthers, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a", "b"});
         queue.AttachConsumer("cat", {});
         return ExplainMessage{2};
       }},
      {"SettledMessage", Cause::kSettled, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         queue.AttachConsumer("cat", {.messages = 10});
         queue.Settle(queue.TakeDeliveries().at(0).range(), AckOutcome{});
         return ExplainMessage{1};
       }},
      {"MessageBeyondTheDeliveryRate", Cause::kDeliveryRate,
       [](QueueSettings& settings) { settings.max_delivery_rate = 1; },
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a", "b"});
         queue.AttachConsumer("cat", {.messages = 10});
         return ExplainMessage{2};
       }},
  };
}

std::vector<Stuck> OfKeys() {
  return {
      {"KeyInFlight", Cause::kKeyHeld, KeyedQueue,
       [](QueueHarness& queue) -> ExplainSubject {
         HoldKey(queue);
         return ExplainKey{"k"};
       }},
      {"MessageOfAKeyInFlight", Cause::kKeyHeld, KeyedQueue,
       [](QueueHarness& queue) -> ExplainSubject {
         HoldKey(queue);
         return ExplainMessage{2};
       }},
      {"KeyThatWaitsForARetry", Cause::kKeyWaitsForRetry, KeyedQueue,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a", "b"}, {.ordering_key = "k"});
         FailFirst(queue);
         return ExplainKey{"k"};
       }},
      {"MessageOfAKeyThatWaitsForARetry", Cause::kKeyWaitsForRetry, KeyedQueue,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a", "b"}, {.ordering_key = "k"});
         FailFirst(queue);
         queue.Grant("cat", 10);
         return ExplainMessage{2};
       }},
      {"PausedQueueWhoseKeysBelongToAConsumer", Cause::kConsumePaused,
       [](QueueSettings& settings) {
         settings.dispatch_policy = DispatchPolicy::kSticky;
         settings.paused = Paused::kConsume;
       },
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachPublisher("ann");
         queue.PublishOne("ann", "a", {.ordering_key = "k"});
         queue.CommitAll();
         queue.AttachConsumer("cat", {.messages = 10});
         return ExplainQueue{};
       }},
      {"KeyOfABusyConsumer", Cause::kStickyOwnerBusy,
       [](QueueSettings& settings) { settings.dispatch_policy = DispatchPolicy::kSticky; },
       [](QueueHarness& queue) -> ExplainSubject {
         StickToBusy(queue);
         return ExplainKey{"k"};
       }},
      {"MessageOfABusyConsumer", Cause::kStickyOwnerBusy,
       [](QueueSettings& settings) { settings.dispatch_policy = DispatchPolicy::kSticky; },
       [](QueueHarness& queue) -> ExplainSubject {
         StickToBusy(queue);
         return ExplainMessage{2};
       }},
      {"KeyThatNobodyUses", Cause::kIdle, KeyedQueue,
       [](QueueHarness&) -> ExplainSubject { return ExplainKey{"k"}; }},
  };
}

std::vector<Stuck> OfPublishers() {
  return {
      {"PublisherAtAFullQueue", Cause::kQueueFull, FullAtOne,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a", "b"});
         return Ann(queue);
       }},
      {"QueueThatIsFull", Cause::kQueueFull, FullAtOne,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachConsumer("cat", {.messages = 1});
         Store(queue, {"a", "b"});
         return ExplainQueue{};
       }},
      {"PublisherAtAClosedQueue", Cause::kClosed, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachPublisher("ann");
         queue.Ask<QueueInfo>(CloseQueue{});
         return Ann(queue);
       }},
      {"PublisherAtAPausedQueue", Cause::kPublishPaused,
       [](QueueSettings& settings) { settings.paused = Paused::kPublish; },
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachPublisher("ann");
         return Ann(queue);
       }},
      {"PublisherWithALowDisk", Cause::kDiskLow, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachPublisher("ann");
         queue.around().disk_low = true;
         return Ann(queue);
       }},
      {"PublisherBeyondItsRate", Cause::kPublishRate,
       [](QueueSettings& settings) {
         settings.max_publish_rate = 1;
         settings.overflow_policy = OverflowPolicy::kThrottle;
       },
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a", "b"});
         return Ann(queue);
       }},
  };
}

std::vector<Stuck> OfMorePublishers() {
  return {
      {"PublisherWithoutATaker", Cause::kNoRendezvous,
       [](QueueSettings& settings) {
         settings.max_messages = 0;
         settings.overflow_policy = OverflowPolicy::kBlock;
       },
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         return Ann(queue);
       }},
      {"PublisherBeyondTheQuota", Cause::kQuota, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachPublisher("ann");
         queue.around().ledger = &UsedUp();
         return Ann(queue);
       }},
      {"PublisherWithoutRoomForKeys", Cause::kDedupFull,
       [](QueueSettings& settings) {
         settings.dedup_max_entries = 1;
         settings.dedup_full_policy = DedupFullPolicy::kReject;
       },
       [](QueueHarness& queue) -> ExplainSubject {
         queue.AttachPublisher("ann");
         queue.Publish("ann", {"a"}, {.keys = {"i"}});
         queue.CommitAll();
         return Ann(queue);
       }},
      {"PublisherOfAPendingKey", Cause::kKeyPending, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         queue.Step(PrepareTransaction{.transaction = 3, .batch = queue.BatchOf({"a"}, {"i"})});
         queue.AttachPublisher("ann");
         queue.Publish("ann", {"a"}, {.keys = {"i"}});
         return Ann(queue);
       }},
      {"PublisherThatIsDone", Cause::kIdle, Plain,
       [](QueueHarness& queue) -> ExplainSubject {
         Store(queue, {"a"});
         return Ann(queue);
       }},
      {"EmptyQueue", Cause::kEmpty, Plain,
       [](QueueHarness&) -> ExplainSubject { return ExplainQueue{}; }},
  };
}

std::vector<Stuck> All() {
  std::vector<Stuck> all = OfConsumers();
  for (const auto& more :
       {OfMessages(), OfMoreMessages(), OfKeys(), OfPublishers(), OfMorePublishers()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

class QueueExplainTest : public ::testing::TestWithParam<Stuck> {};

TEST_P(QueueExplainTest, NamesTheCauseFirstAndSaysItInASentence) {
  const Stuck& stuck = GetParam();
  QueueSettings settings;
  stuck.settings(settings);
  QueueHarness queue(settings);
  const ExplainSubject subject = stuck.stick(queue);
  const std::vector<Explanation> why = queue.Why(subject);
  ASSERT_FALSE(why.empty());
  EXPECT_EQ(static_cast<int>(why[0].cause), static_cast<int>(stuck.cause)) << why[0].text;
  EXPECT_NE(why[0].text, "");
}

INSTANTIATE_TEST_SUITE_P(All, QueueExplainTest, ::testing::ValuesIn(All()),
                         [](const auto& row) { return row.param.name; });

TEST(QueueExplainListTest, EveryCauseOfTheClosedListHasASituation) {
  std::set<Cause> shown;
  for (const Stuck& stuck : All()) shown.insert(stuck.cause);
  for (int cause = 1; cause <= static_cast<int>(Cause::kIdle); ++cause) {
    EXPECT_TRUE(shown.contains(static_cast<Cause>(cause))) << "cause " << cause;
  }
}

TEST(QueueExplainDetailTest, AHeldKeyNamesTheDeliveryAndItsConsumer) {
  QueueSettings settings;
  KeyedQueue(settings);
  QueueHarness queue(settings);
  HoldKey(queue);
  const DeliveryId held = queue.TakeDeliveries().at(0).id;
  const Explanation why = queue.Why(ExplainKey{"k"}).at(0);
  EXPECT_EQ(why.delivery_id, held);
  EXPECT_THAT(why.resource, HasSubstr("cat"));
}

TEST(QueueExplainDetailTest, ADelayedMessageNamesItsTime) {
  QueueHarness queue;
  Store(queue, {"a"}, {.delay_ms = 5'000});
  EXPECT_EQ(queue.Why(ExplainMessage{1}).at(0).until_ms, queue.around().now.wall_ms + 5'000);
}

TEST(QueueExplainDetailTest, AFullQueueNamesItsLimitAndSinceWhen) {
  QueueSettings settings;
  FullAtOne(settings);
  QueueHarness queue(settings);
  Store(queue, {"a", "b"});
  const WallMs since = queue.around().now.wall_ms;
  queue.Advance(3'000);
  const Explanation why = queue.Why(Ann(queue)).at(0);
  EXPECT_EQ(why.limit, 1u);
  EXPECT_EQ(why.current, 1u);
  EXPECT_EQ(why.since_ms, since);
}

TEST(QueueExplainDetailTest, ClientsAreFoundByName) {
  QueueHarness queue;
  Store(queue, {"a"});
  queue.AttachConsumer("cat", {.client_name = "billing-3"});
  const Explanation why = queue.Why(ExplainConsumer{.name = "billing-3"}).at(0);
  EXPECT_EQ(why.cause, Cause::kNoCredit);
  EXPECT_THAT(why.resource, HasSubstr("billing-3"));
}

TEST(QueueExplainDetailTest, AQueueSaysWhatHoldsBothItsEnds) {
  QueueSettings settings;
  FullAtOne(settings);
  QueueHarness queue(settings);
  Store(queue, {"a", "b"});
  const auto why = queue.Why(ExplainQueue{});
  EXPECT_THAT(why, Contains(Field(&Explanation::cause, Cause::kNoConsumers)));
  EXPECT_THAT(why, Contains(Field(&Explanation::cause, Cause::kQueueFull)));
  EXPECT_THAT(why, Not(Contains(Field(&Explanation::cause, Cause::kMoving))));
}

TEST(QueueExplainDetailTest, AQueueNamesTheKeysThatWaitLongestFirst) {
  QueueSettings settings;
  KeyedQueue(settings);
  QueueHarness queue(settings);
  queue.AttachPublisher("ann");
  for (int i = 0; i < 20; ++i) {
    queue.Publish("ann", {"a", "b"}, {.extras = {{.ordering_key = "k" + std::to_string(i)}}});
  }
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 100});
  const auto why = queue.Why(ExplainQueue{});
  ASSERT_EQ(why.size(), 3u);
  EXPECT_THAT(why[0].text, HasSubstr("\"k0\""));
  EXPECT_THAT(why[1].text, HasSubstr("\"k1\""));
  EXPECT_THAT(why[2].text, HasSubstr("\"k2\""));
}

TEST(QueueExplainDetailTest, AQueueNamesOnlyKeysThatHoldSomethingBack) {
  QueueSettings settings;
  KeyedQueue(settings);
  QueueHarness queue(settings);
  Store(queue, {"a"}, {.ordering_key = "k"});
  FailFirst(queue);
  queue.PublishOne("ann", "b", {.ordering_key = "l"});
  queue.PublishOne("ann", "c", {.ordering_key = "l"});
  queue.CommitAll();
  queue.Grant("cat", 10);
  const auto why = queue.Why(ExplainQueue{});
  ASSERT_EQ(why.size(), 1u);
  EXPECT_EQ(why[0].cause, Cause::kKeyHeld);
}

TEST(QueueExplainDetailTest, AKeyWhoseSettleIsBeingCommittedIsNotInFlight) {
  QueueSettings settings;
  settings.dispatch_policy = DispatchPolicy::kSticky;
  QueueHarness queue(settings);
  Store(queue, {"a", "b"}, {.ordering_key = "k"});
  queue.AttachConsumer("cat", {.messages = 10});
  const auto seen = queue.TakeDeliveries();
  queue.AskSettle({{seen.at(1).range(), AckOutcome{}}});
  EXPECT_EQ(queue.Why(ExplainKey{"k"}).at(0).delivery_id, seen.at(0).id);
  queue.PublishOne("ann", "c", {.ordering_key = "l"});
  queue.CommitAll();
  ASSERT_EQ(queue.TakeDeliveries().size(), 1u);
  queue.AskSettle({{seen.at(0).range(), AckOutcome{}}});
  EXPECT_EQ(queue.Why(ExplainKey{"k"}).at(0).cause, Cause::kCommitting);
}

TEST(QueueExplainDetailTest, AKeyHeldByTwoDeliveriesNamesTheOneThatIsInFlight) {
  QueueSettings settings;
  settings.dispatch_policy = DispatchPolicy::kSticky;
  QueueHarness queue(settings);
  Store(queue, {"a", "b", "c"}, {.ordering_key = "k"});
  queue.AttachConsumer("cat", {.messages = 2});
  const auto seen = queue.TakeDeliveries();
  queue.Change([](QueueSettings& s) { s.ordering = Ordering::kKeyed; });
  queue.AskSettle({{seen.at(1).range(), AckOutcome{}}});
  for (int i = 0; i < 2; ++i) {
    const Explanation why = queue.Why(ExplainKey{"k"}).at(0);
    EXPECT_EQ(why.cause, Cause::kKeyHeld);
    EXPECT_EQ(why.delivery_id, seen.at(0).id);
    queue.CommitAll();
  }
}

TEST(QueueExplainDetailTest, AHeldKeyNamesTheConsumerThatLeftItLeased) {
  QueueSettings settings;
  KeyedQueue(settings);
  QueueHarness queue(settings);
  HoldKey(queue);
  queue.DetachConsumer("cat", true);
  EXPECT_THAT(queue.Why(ExplainKey{"k"}).at(0).text, HasSubstr("(cat)"));
}

TEST(QueueExplainDetailTest, ExpiredKeysDoNotFillTheDedupTable) {
  QueueSettings settings;
  settings.dedup_max_entries = 1;
  settings.dedup_full_policy = DedupFullPolicy::kReject;
  settings.dedup_window = std::chrono::milliseconds(1'000);
  QueueHarness queue(settings);
  queue.AttachPublisher("ann");
  queue.Publish("ann", {"a"}, {.keys = {"i"}});
  queue.CommitAll();
  EXPECT_EQ(queue.Why(Ann(queue)).at(0).cause, Cause::kDedupFull);
  queue.Advance(1'001);
  EXPECT_EQ(queue.Why(Ann(queue)).at(0).cause, Cause::kIdle);
}

}  // namespace
}  // namespace mqd::queue::testing
