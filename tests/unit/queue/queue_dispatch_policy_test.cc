// Who gets the next message: each dispatch policy, the delivery rate, and AT_MOST_ONCE.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

QueueHarness With(DispatchPolicy policy) {
  QueueHarness queue(QueueSettings{.dispatch_policy = policy});
  queue.AttachPublisher("ann");
  return queue;
}

void Publish(QueueHarness& queue, int count, const std::string& key = "") {
  for (int i = 0; i < count; ++i) queue.PublishOne("ann", "x", {.ordering_key = key});
  queue.CommitAll();
}

std::vector<std::string> Takers(QueueHarness& queue) {
  std::vector<std::string> takers;
  for (const Seen& seen : queue.TakeDeliveries()) takers.push_back(seen.consumer);
  return takers;
}

// ---- policies

TEST(LeastLoadedTest, TheMostIdleCreditGoesFirst) {
  QueueHarness queue = With(DispatchPolicy::kLeastLoaded);
  queue.AttachConsumer("cat", {.messages = 2});
  queue.AttachConsumer("dan", {.messages = 5});
  Publish(queue, 1);
  EXPECT_THAT(Takers(queue), ElementsAre("dan"));
}

TEST(RoundRobinTest, EachWithCreditGetsOneInTurn) {
  QueueHarness queue = With(DispatchPolicy::kRoundRobin);
  queue.AttachConsumer("cat", {.messages = 10});
  queue.AttachConsumer("dan", {.messages = 1});
  queue.AttachConsumer("eve", {.messages = 10});
  Publish(queue, 5);
  EXPECT_THAT(Takers(queue), ElementsAre("cat", "dan", "eve", "cat", "eve"));
  Publish(queue, 1);
  EXPECT_THAT(Takers(queue), ElementsAre("cat"));
}

TEST(RoundRobinTest, NobodyLosesItsTurnToADeliveryThatDidNotHappen) {
  QueueHarness queue = With(DispatchPolicy::kRoundRobin);
  queue.Change([](QueueSettings& settings) { settings.max_delivery_rate = 1; });
  queue.AttachConsumer("cat", {.messages = 10});
  queue.AttachConsumer("dan", {.messages = 10});
  Publish(queue, 3);
  EXPECT_THAT(Takers(queue), ElementsAre("cat"));
  queue.Advance(500);  // no token yet
  queue.Advance(500);
  EXPECT_THAT(Takers(queue), ElementsAre("dan"));
}

TEST(RandomTest, IsEvenAndTheSameTwice) {
  std::vector<std::string> before;
  for (int run = 0; run < 2; ++run) {
    QueueHarness queue = With(DispatchPolicy::kRandom);
    queue.AttachConsumer("cat", {.messages = 1'000});
    queue.AttachConsumer("dan", {.messages = 500});
    queue.AttachConsumer("eve", {.messages = 500});
    queue.Publish("ann", std::vector<std::string>(900, "x"));
    queue.CommitAll();
    const std::vector<std::string> takers = Takers(queue);
    ASSERT_THAT(takers, SizeIs(900));
    std::map<std::string, int> shares;
    for (const std::string& taker : takers) ++shares[taker];
    for (const auto& [taker, share] : shares) EXPECT_NEAR(share, 300, 75) << taker;
    if (run == 1) {
      EXPECT_EQ(takers, before);
    }
    before = takers;
  }
}

TEST(StickyTest, AKeyStaysWithItsConsumerAndWaitsForIt) {
  QueueHarness queue = With(DispatchPolicy::kSticky);
  queue.AttachConsumer("cat", {.messages = 1});
  queue.AttachConsumer("dan", {.messages = 1});
  Publish(queue, 3, "k");
  const auto owner = Takers(queue);
  ASSERT_THAT(owner, SizeIs(1));
  queue.Grant(owner[0] == "cat" ? "dan" : "cat", 10);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Grant(owner[0], 10);
  EXPECT_THAT(Takers(queue), ElementsAre(owner[0], owner[0]));
}

TEST(StickyTest, APausedQueueAsksForNoCreditToServeKeys) {
  QueueHarness queue = With(DispatchPolicy::kSticky);
  queue.Change([](QueueSettings& settings) { settings.paused = Paused::kConsume; });
  queue.AttachConsumer("sam", {.on_demand = true});
  Publish(queue, 1, "k");
  EXPECT_THAT(queue.Take<WantCredit>(), IsEmpty());
  queue.Change([](QueueSettings& settings) { settings.paused = Paused::kNone; });
  EXPECT_THAT(queue.Take<WantCredit>(), SizeIs(1));
}

TEST(StickyTest, AMessageWithoutAKeyGoesToAnybody) {
  QueueHarness queue = With(DispatchPolicy::kSticky);
  queue.AttachConsumer("cat", {.messages = 1});
  queue.AttachConsumer("dan", {.messages = 1});
  Publish(queue, 2);
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(2));
}

/// Who has each of 64 keys now.
std::map<std::string, std::string> Owners(QueueHarness& queue) {
  std::map<std::string, std::string> owners;
  std::vector<SettleEntry> entries;
  for (int i = 0; i < 64; ++i) {
    const std::string key = "k" + std::to_string(i);
    queue.PublishOne("ann", key, {.ordering_key = key});
  }
  queue.CommitAll();
  for (const Seen& seen : queue.TakeDeliveries()) {
    owners[seen.payload] = seen.consumer;
    entries.push_back({seen.range(), AckOutcome{}});
  }
  queue.AskSettle(entries);
  queue.CommitAll();
  return owners;
}

TEST(StickyTest, OnlyTheKeysOfWhoCameOrWentMove) {
  QueueHarness queue = With(DispatchPolicy::kSticky);
  for (const char* name : {"cat", "dan", "eve"}) queue.AttachConsumer(name, {.messages = 1'000});
  const auto three = Owners(queue);
  ASSERT_THAT(three, SizeIs(64));
  std::set<std::string> used;
  for (const auto& [key, owner] : three) used.insert(owner);
  EXPECT_THAT(used, SizeIs(3));
  queue.AttachConsumer("fay", {.messages = 1'000});
  const auto four = Owners(queue);
  for (const auto& [key, owner] : four) {
    if (owner != "fay") {
      EXPECT_EQ(owner, three.at(key)) << key;
    }
  }
  queue.DetachConsumer("dan");
  for (const auto& [key, owner] : Owners(queue)) {
    if (four.at(key) != "dan") {
      EXPECT_EQ(owner, four.at(key)) << key;
    }
  }
}

TEST(StickyTest, AHigherPriorityGoesFirstWithinAKeyToo) {
  QueueHarness queue = With(DispatchPolicy::kSticky);
  queue.PublishOne("ann", "low", {.ordering_key = "k"});
  queue.PublishOne("ann", "high", {.ordering_key = "k", .priority = 9});
  queue.PublishOne("ann", "low too", {.ordering_key = "k"});
  queue.CommitAll();
  queue.AttachConsumer("cat", {.messages = 1});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("high"));
  queue.AttachConsumer("dan", {.messages = 10});
  queue.DetachConsumer("cat");
  queue.CommitAll();
  EXPECT_THAT(Names(queue.TakeDeliveries()),
              ElementsAre("dan<-low#1", "dan<-low too#1", "dan<-high#2"));
}

TEST(StickyTest, MessagesOfAConsumerThatLeftGoToTheNextOwner) {
  QueueHarness queue = With(DispatchPolicy::kSticky);
  queue.AttachConsumer("cat", {.messages = 1});
  Publish(queue, 2, "k");
  EXPECT_THAT(Takers(queue), ElementsAre("cat"));
  queue.AttachConsumer("dan", {.messages = 10});
  queue.DetachConsumer("cat");
  queue.CommitAll();
  EXPECT_THAT(Takers(queue), ElementsAre("dan", "dan"));
}

TEST(StickyTest, WithASingleActiveConsumerNoKeyWaitsForOneOnStandby) {
  QueueHarness queue = With(DispatchPolicy::kSticky);
  queue.Change([](QueueSettings& settings) { settings.single_active = true; });
  for (const char* name : {"cat", "dan", "eve"}) queue.AttachConsumer(name, {.messages = 1'000});
  EXPECT_THAT(Owners(queue), SizeIs(64));
}

// ---- the delivery rate

TEST(DeliveryRateTest, TheBurstGoesAtOnceAndThenOneAnInterval) {
  QueueHarness queue(QueueSettings{.max_delivery_rate = 20});  // a burst of two; one every 50 ms
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 100});
  Publish(queue, 4);
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(2));
  EXPECT_EQ(queue.core().next_wake_ns(), queue.around().now.steady_ns + 50 * kNsPerMs);
  queue.Advance(49);
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Advance(1);
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(1));
}

TEST(DeliveryRateTest, ALiveChangeCountsAtOnce) {
  QueueHarness queue(QueueSettings{.max_delivery_rate = 1});
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 100});
  Publish(queue, 4);
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(1));
  queue.Change([](QueueSettings& settings) { settings.max_delivery_rate = kUnlimited; });
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(3));
}

// ---- AT_MOST_ONCE

QueueHarness AtMostOnce() {
  QueueHarness queue(QueueSettings{.delivery = DeliveryMode::kAtMostOnce});
  queue.AttachPublisher("ann");
  Publish(queue, 1);
  return queue;
}

TEST(AtMostOnceTest, IsSentWhenItsSettleIsOnDiskAndWithoutALease) {
  QueueHarness queue = AtMostOnce();
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(seen, SizeIs(1));
  EXPECT_EQ(seen[0].lease_ms, 0);
  EXPECT_EQ(queue.Stats().backlog_bytes, 0u);
  EXPECT_EQ(queue.Stats().acked, 1u);
}

TEST(AtMostOnceTest, AnAckIsAcceptedAndDoesNothing) {
  QueueHarness queue = AtMostOnce();
  queue.AttachConsumer("cat", {.messages = 10});
  queue.CommitAll();
  const SettleResult result = queue.Settle(queue.TakeDeliveries().at(0).range(), AckOutcome{});
  EXPECT_THAT(result.exceptions, IsEmpty());
  EXPECT_EQ(queue.Stats().acked, 1u);
}

TEST(AtMostOnceTest, IsNeverDeliveredTwiceWhateverBreaks) {
  QueueHarness queue = AtMostOnce();
  queue.AttachConsumer("cat", {.messages = 10});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(1));
  queue.DetachConsumer("cat");
  queue.Restart();
  queue.AttachConsumer("dan", {.messages = 10});
  queue.Advance(3'600'000);
  queue.CommitAll();
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
}

TEST(AtMostOnceTest, WithoutADiskTheNextOfAKeyComesInTheSameTurn) {
  QueueHarness queue(QueueSettings{.durability = Durability::kMemory,
                                   .delivery = DeliveryMode::kAtMostOnce,
                                   .ordering = Ordering::kKeyed});
  queue.AttachPublisher("ann");
  Publish(queue, 3, "k");
  queue.AttachConsumer("cat", {.messages = 10});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(3));
}

TEST(AtMostOnceTest, ACrashBeforeTheCommitLosesNothing) {
  QueueHarness queue = AtMostOnce();
  queue.AttachConsumer("cat", {.messages = 10});
  queue.Restart();
  queue.AttachConsumer("dan", {.messages = 10});
  queue.CommitAll();
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-x#1"));
}

}  // namespace
}  // namespace mqd::queue::testing
