// KEYED order: one message of a key at a time, in order, through retries, releases, lost leases,
// deaths and restarts; and the fence of each delivery.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

QueueSettings Keyed() { return {.ordering = Ordering::kKeyed}; }

/// "k1" has the key k, "-1" has none.
void Publish(QueueHarness& queue, const std::vector<std::string>& payloads) {
  std::vector<Extras> extras;
  for (const std::string& payload : payloads) {
    extras.push_back({.ordering_key = payload[0] == '-' ? "" : payload.substr(0, 1)});
  }
  queue.Publish("ann", payloads, {.extras = extras});
  queue.CommitAll();
}

QueueHarness With(const std::vector<std::string>& payloads, QueueSettings settings = Keyed()) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  Publish(queue, payloads);
  return queue;
}

TEST(KeyedTest, OneOfAKeyIsInFlightAndTheOthersGoOn) {
  QueueHarness queue = With({"k1", "k2", "l1", "-1", "l2"});
  queue.AttachConsumer("cat", {.messages = 10});
  const auto seen = queue.TakeDeliveries();
  EXPECT_THAT(Payloads(seen), ElementsAre("k1", "l1", "-1"));
  queue.Settle(seen[0].range(), AckOutcome{});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k2"));
}

TEST(KeyedTest, TheNextWaitsForTheCommitOfTheSettle) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 10});
  queue.AskSettle({{queue.TakeDeliveries().at(0).range(), AckOutcome{}}});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k2"));
}

TEST(KeyedTest, ARetryKeepsItsKeyWaitingAndNoOther) {
  QueueHarness queue = With({"k1", "k2", "l1"});
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{1'000 * kNsPerMs, ""});
  queue.Grant("cat", 10);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("l1"));
  queue.Advance(1'000);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#2"));
}

TEST(KeyedTest, AReleasedMessageIsTheNextOfItsKey) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Settle(queue.TakeDeliveries().at(0).range(), ReleaseOutcome{});
  queue.Grant("cat", 10);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#1"));
}

TEST(KeyedTest, ALostLeaseAndADeadConsumerKeepTheOrder) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(1));
  queue.Advance(30'000);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());  // backoff
  queue.Advance(2'000);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#2"));
  queue.DetachConsumer("cat");
  queue.AttachConsumer("dan", {.messages = 10});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());  // its charge is not on disk
  queue.CommitAll();
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-k1#3"));
}

TEST(KeyedTest, AParkedMessageLetsItsKeyGo) {
  QueueSettings settings = Keyed();
  settings.max_attempts = 1;
  QueueHarness queue = With({"k1", "k2"}, settings);
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k2"));
}

TEST(KeyedTest, ACancelledRetryLetsItsKeyGo) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 1});
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{9'000 * kNsPerMs, ""});
  queue.Grant("cat", 10);
  queue.Ask<CancelResult>(CancelMessages{.sequences = {1}});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k2"));
}

TEST(KeyedTest, ADelayedPublishJoinsItsKeyWhenItIsReady) {
  QueueHarness queue(Keyed());
  queue.AttachPublisher("ann");
  queue.PublishOne("ann", "k1", {.ordering_key = "k", .delay_ms = 1'000});
  Publish(queue, {"k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 10});
  const auto first = queue.TakeDeliveries();
  EXPECT_THAT(Payloads(first), ElementsAre("k2"));
  queue.Advance(1'000);
  queue.Settle(first[0].range(), AckOutcome{});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k1"));
}

TEST(KeyedTest, AKeyIsRememberedWhileOnlyADelayedOrAParkedMessageHasIt) {
  QueueSettings settings = Keyed();
  settings.max_attempts = 1;
  QueueHarness queue(settings);
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 10});
  queue.PublishOne("ann", "k1", {.ordering_key = "k", .delay_ms = 1'000});
  Publish(queue, {"k2", "k3"});
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{});  // parked
  queue.Settle(queue.TakeDeliveries().at(0).range(), AckOutcome{});
  queue.Advance(1'000);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k1"));
  EXPECT_EQ(queue.Ask<std::uint64_t>(PurgeQueue{}), 1u);
  EXPECT_EQ(queue.Stats().parked, 0u);
}

TEST(KeyedTest, TheOrderOutlivesARestart) {
  QueueHarness queue = With({"k1", "k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{5'000 * kNsPerMs, ""});
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Advance(5'000);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#2"));
}

TEST(KeyedTest, AHigherPriorityDoesNotPassItsOwnKey) {
  QueueHarness queue(Keyed());
  queue.AttachPublisher("ann");
  queue.PublishOne("ann", "k1", {.ordering_key = "k", .priority = 1});
  queue.PublishOne("ann", "k2", {.ordering_key = "k", .priority = 9});
  queue.PublishOne("ann", "l1", {.ordering_key = "l", .priority = 5});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("l1", "k1"));
}

TEST(KeyedTest, SwitchingItOnKeepsOneOfAKeyFromThenOn) {
  QueueHarness queue(QueueSettings{.dispatch_policy = DispatchPolicy::kSticky});
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {});
  Publish(queue, {"k1", "k2", "k3"});
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kKeyed; });
  queue.Grant("cat", 10);
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k1"));
}

TEST(KeyedTest, SwitchingItOnWhileSeveralOfAKeyAreInFlightWaitsForAllOfThem) {
  QueueHarness queue(QueueSettings{.dispatch_policy = DispatchPolicy::kSticky});
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 2});
  Publish(queue, {"k1", "k2", "k3"});
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(2));
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kKeyed; });
  queue.Grant("cat", 10);
  queue.Settle(seen[0].range(), AckOutcome{});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Settle(seen[1].range(), AckOutcome{});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k3"));
}

TEST(KeyedTest, SwitchingItOnHeedsWhatIsInFlightOfAPlainQueue) {
  QueueHarness queue = With({"k1", "k2"});
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kFifo; });
  queue.AttachConsumer("cat", {.messages = 1});
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(1));
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kKeyed; });
  queue.Grant("cat", 10);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Settle(seen[0].range(), AckOutcome{});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k2"));
}

/// A plain queue whose first delivery has just got `outcome`, and that became KEYED before the
/// commit of that.
QueueHarness SwitchedOnBehind(const SettleOutcome& outcome) {
  QueueHarness queue = With({"k1", "k2"});
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kFifo; });
  queue.AttachConsumer("cat", {.messages = 1});
  queue.AskSettle({{queue.TakeDeliveries().at(0).range(), outcome}});
  QueueSettings keyed = queue.core().settings();
  keyed.ordering = Ordering::kKeyed;
  queue.Step(UpdateSettings{.request = 99, .settings = keyed});
  queue.Grant("cat", 10);
  return queue;
}

TEST(KeyedTest, SwitchingItOnWaitsForTheCommitOfASettle) {
  QueueHarness queue = SwitchedOnBehind(AckOutcome{});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k2"));
}

TEST(KeyedTest, SwitchingItOnPassesNothingThatComesBack) {
  QueueHarness queue = SwitchedOnBehind(RetryOutcome{.delay_ns = 0});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k1"));
}

TEST(KeyedTest, SwitchingItOnWaitsForTheCommitOfADeadLetter) {
  QueueHarness queue = SwitchedOnBehind(DeadLetterOutcome{"no"});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k2"));
}

TEST(KeyFieldTest, AKeyNeedsAQueueThatHeedsIt) {
  QueueHarness queue;
  queue.AttachPublisher("ann");
  queue.PublishOne("ann", "a", {.ordering_key = "k"});
  const auto errors = queue.TakeErrors();
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors.at(1).reason, Reason::kBadField);
  EXPECT_EQ(errors.at(1).resource, "field ordering_key");
}

// ---- fences

TEST(FenceTest, RisesWhenAKeyGoesToAnotherConsumerAndStaysWhileItDoesNot) {
  QueueHarness queue = With({"k1", "k2", "k3", "k4"});
  queue.AttachConsumer("cat", {.messages = 2});
  const Seen first = queue.TakeDeliveries().at(0);
  EXPECT_EQ(first.fence, first.id);
  queue.Settle(first.range(), AckOutcome{});
  const Seen second = queue.TakeDeliveries().at(0);
  EXPECT_EQ(second.fence, first.fence);
  queue.AttachConsumer("dan", {.messages = 2});
  queue.Settle(second.range(), AckOutcome{});
  const Seen third = queue.TakeDeliveries().at(0);
  EXPECT_EQ(third.consumer, "dan");
  EXPECT_GT(third.fence, second.fence);
}

TEST(FenceTest, RisesOverARestart) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 2});
  const std::uint64_t before = queue.TakeDeliveries().at(0).fence;
  queue.Restart();
  queue.AttachConsumer("cat", {.messages = 2});
  EXPECT_GT(queue.TakeDeliveries().at(0).fence, before);
}

TEST(FenceTest, APlainDeliveryHasNone) {
  QueueHarness queue = With({"-1"});
  queue.AttachConsumer("cat", {.messages = 2});
  EXPECT_EQ(queue.TakeDeliveries().at(0).fence, 0u);
}

}  // namespace
}  // namespace mqd::queue::testing
