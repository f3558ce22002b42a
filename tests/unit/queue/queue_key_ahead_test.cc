// KEYED with several messages of a key in flight with one consumer (in_flight_per_key): who gets
// them, and that whatever comes back takes all behind it in its key along.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// "k1" has the key k.
void Publish(QueueHarness& queue, const std::vector<std::string>& payloads) {
  std::vector<Extras> extras;
  for (const std::string& payload : payloads) extras.push_back({.ordering_key = {payload[0]}});
  queue.Publish("ann", payloads, {.extras = extras});
  queue.CommitAll();
}

QueueHarness With(const std::vector<std::string>& payloads) {
  QueueHarness queue(QueueSettings{.ordering = Ordering::kKeyed});
  queue.AttachPublisher("ann");
  Publish(queue, payloads);
  return queue;
}

/// "LEASE_LOST 1..3" of each range.
std::vector<std::string> Lost(QueueHarness& queue) {
  std::vector<std::string> out;
  for (const SendLeaseLost& lost : queue.Take<SendLeaseLost>()) {
    EXPECT_EQ(lost.code, LeaseLostCode::kRecalled);
    for (const DeliveryRange& range : lost.ranges) {
      for (DeliveryId id = range.first; id <= range.last; ++id) {
        out.push_back(std::to_string(id - FirstDelivery(1)));
      }
    }
  }
  return out;
}

TEST(KeyAheadTest, ItsHolderGetsTheNextOfAKeyBeforeTheFirstIsSettled) {
  QueueHarness queue = With({"k1", "k2", "k3", "l1"});
  queue.AttachConsumer("cat", {.messages = 10, .in_flight_per_key = 2});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k1", "l1", "k2"));
}

TEST(KeyAheadTest, NobodyElseGetsAMessageOfAKeyThatHasAHolder) {
  QueueHarness queue = With({"k1", "k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 1, .in_flight_per_key = 8});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#1"));
  queue.AttachConsumer("dan", {.messages = 10, .in_flight_per_key = 8});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
}

TEST(KeyAheadTest, AKeyIsLetGoWhileSomebodySitsIdle) {
  QueueHarness queue = With({"k1"});
  queue.AttachConsumer("cat", {.messages = 4, .in_flight_per_key = 8});
  const auto first = queue.TakeDeliveries();
  queue.AttachConsumer("dan", {.messages = 10, .in_flight_per_key = 8});
  Publish(queue, {"k2"});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Settle(first.at(0).range(), AckOutcome{});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-k2#1"));
}

TEST(KeyAheadTest, AnAckLetsTheNextGoBeforeItsCommit) {
  QueueHarness queue = With({"k1", "k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 10, .in_flight_per_key = 2});
  queue.AskSettle({{queue.TakeDeliveries().at(0).range(), AckOutcome{}}});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k3"));
}

TEST(KeyAheadTest, ARetryTakesBackWhatIsBehindItAndChargesThatNothing) {
  QueueHarness queue = With({"k1", "k2", "k3", "l1"});
  queue.AttachConsumer("cat", {.messages = 10, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  ASSERT_THAT(Payloads(seen), ElementsAre("k1", "l1", "k2", "k3"));
  queue.Settle(seen[2].range(), RetryOutcome{1'000 * kNsPerMs, ""});
  EXPECT_THAT(Lost(queue), ElementsAre("3"));
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());  // k1 is still in flight, k2 waits
  queue.Settle(seen[0].range(), AckOutcome{});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Advance(1'000);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k2#2", "cat<-k3#1"));
}

TEST(KeyAheadTest, WhatWaitsForCreditDoesNotPassARetryBeforeIt) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 1, .in_flight_per_key = 8});
  queue.AskSettle({{queue.TakeDeliveries().at(0).range(), RetryOutcome{1'000 * kNsPerMs, ""}}});
  queue.Grant("cat", 10);  // before the charge is on disk
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.CommitAll();
  queue.Advance(1'000);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#2", "cat<-k2#1"));
}

TEST(KeyAheadTest, AReleaseTakesBackWhatIsBehindIt) {
  QueueHarness queue = With({"k1", "k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 3, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen.at(0).range(), ReleaseOutcome{});
  EXPECT_THAT(Lost(queue), ElementsAre("1", "2"));
  queue.Grant("cat", 10);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#1", "cat<-k2#1", "cat<-k3#1"));
}

TEST(KeyAheadTest, WhatWasTakenBackIsStale) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 2, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen.at(0).range(), RetryOutcome{});
  const SettleResult late = queue.Settle(seen.at(1).range(), AckOutcome{});
  EXPECT_EQ(late.settled, 0u);
  EXPECT_THAT(late.exceptions, SizeIs(1));
}

TEST(KeyAheadTest, ReleasingSeveralAtOnceLosesNoneOfThem) {
  QueueHarness queue = With({"k1", "k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 3, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  const SettleResult result = queue.Settle({seen.at(0).id, seen.at(1).id}, ReleaseOutcome{});
  EXPECT_EQ(result.settled, 2u);
  EXPECT_THAT(Lost(queue), ElementsAre("2"));
  EXPECT_EQ(queue.Stats().ready, 3u);
}

TEST(KeyAheadTest, ALostLeaseTakesBackWhatIsBehindItThoughItsLeaseIsLonger) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 2, .marks_started = true, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen.at(1).range(), ExtendOutcome{60'000 * kNsPerMs});
  queue.Advance(30'000);
  EXPECT_EQ(queue.Take<SendLeaseLost>().size(), 2u);
  queue.Grant("cat", 2);
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-k1#1", "cat<-k2#1"));
}

TEST(KeyAheadTest, ADeadLetterTakesBackNothing) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 2, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen.at(0).range(), DeadLetterOutcome{"bad"});
  EXPECT_THAT(Lost(queue), IsEmpty());
  EXPECT_EQ(queue.Settle(seen.at(1).range(), AckOutcome{}).settled, 1u);
}

TEST(KeyAheadTest, WithoutKeyedOrderNothingIsTakenBack) {
  QueueHarness queue(QueueSettings{.dispatch_policy = DispatchPolicy::kSticky});
  queue.AttachPublisher("ann");
  Publish(queue, {"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 2, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  queue.Settle(seen.at(0).range(), RetryOutcome{});
  EXPECT_THAT(Lost(queue), IsEmpty());
  EXPECT_EQ(queue.Settle(seen.at(1).range(), AckOutcome{}).settled, 1u);
}

TEST(KeyAheadTest, NothingIsTakenBackFromAnotherConsumer) {
  QueueHarness queue = With({"k1", "k2"});
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kFifo; });
  queue.AttachConsumer("cat", {.messages = 1, .in_flight_per_key = 8});
  queue.AttachConsumer("dan", {.messages = 1, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  ASSERT_NE(seen.at(0).consumer, seen.at(1).consumer);
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kKeyed; });
  queue.Settle(seen.at(0).range(), RetryOutcome{});
  EXPECT_THAT(Lost(queue), IsEmpty());
}

TEST(KeyAheadTest, SwitchingItOnWaitsForAllThatIsInFlight) {
  QueueHarness queue(QueueSettings{.dispatch_policy = DispatchPolicy::kSticky});
  queue.AttachPublisher("ann");
  Publish(queue, {"k1", "k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 2, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kKeyed; });
  queue.Grant("cat", 10);
  queue.Settle(seen.at(0).range(), AckOutcome{});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Settle(seen.at(1).range(), AckOutcome{});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k3"));
}

TEST(KeyAheadTest, ADeadConsumerGivesAllBackInOrder) {
  QueueHarness queue = With({"k1", "k2", "k3"});
  queue.AttachConsumer("cat", {.messages = 3, .marks_started = true, .in_flight_per_key = 8});
  EXPECT_THAT(queue.TakeDeliveries(), SizeIs(3));
  queue.DetachConsumer("cat");
  queue.AttachConsumer("dan", {.messages = 3, .in_flight_per_key = 8});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-k1#1", "dan<-k2#1", "dan<-k3#1"));
}

TEST(KeyAheadTest, ADrainingConsumerGetsNoMoreOfItsKey) {
  QueueHarness queue = With({"k1", "k2"});
  queue.AttachConsumer("cat", {.messages = 1, .in_flight_per_key = 8});
  const auto seen = queue.TakeDeliveries();
  queue.Step(DrainConsumer{seen.at(0).stream});
  queue.Settle(seen.at(0).range(), AckOutcome{});
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.AttachConsumer("dan", {.messages = 3, .in_flight_per_key = 8});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-k2#1"));
}

TEST(KeyAheadTest, FreeKeysGoBeforeTheSecondMessageOfAnother) {
  QueueHarness queue = With({"k1", "k2", "l1"});
  queue.AttachConsumer("cat", {.messages = 2, .in_flight_per_key = 8});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("k1", "l1"));
}

/// A client of the promise: works on what comes in order, and drops what it is told that it lost.
class Worker {
 public:
  void Take(const std::vector<Seen>& seen) {
    for (const Seen& one : seen) mine_.emplace(one.id, one);
  }
  void Lose(const std::vector<SendLeaseLost>& all) {
    for (const SendLeaseLost& lost : all) {
      for (const DeliveryRange& range : lost.ranges) {
        mine_.erase(mine_.lower_bound(range.first), mine_.upper_bound(range.last));
      }
    }
  }
  /// The oldest of a key of its choice; none when it has nothing.
  std::optional<Seen> Next(std::mt19937_64& random) {
    if (mine_.empty()) return std::nullopt;
    auto chosen = mine_.begin();
    std::advance(chosen, random() % mine_.size());
    for (const auto& [id, seen] : mine_) {
      if (seen.payload[0] != chosen->second.payload[0] ||
          seen.consumer != chosen->second.consumer) {
        continue;
      }
      Seen out = seen;
      mine_.erase(id);
      return out;
    }
    return std::nullopt;
  }
  void Forget(const std::string& consumer) {
    std::erase_if(mine_, [&](const auto& entry) { return entry.second.consumer == consumer; });
  }

 private:
  std::map<DeliveryId, Seen> mine_;
};

/// Acks and gives back at random, with consumers that come and go; what is acked of a key is in
/// order, and all of it is acked once.
void PlayKeys(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  QueueHarness queue(QueueSettings{.max_attempts = 1'000, .ordering = Ordering::kKeyed});
  queue.AttachPublisher("ann");
  Worker worker;
  std::map<char, int> published;
  std::map<char, int> acked;
  const auto gather = [&] {
    worker.Lose(queue.Take<SendLeaseLost>());
    worker.Take(queue.TakeDeliveries());
  };
  for (const char* name : {"cat", "dan"}) {
    queue.AttachConsumer(name, {.messages = 6, .marks_started = true, .in_flight_per_key = 4});
  }
  for (int step = 0;
       step < 600 || queue.Stats().ready + queue.Stats().in_flight + queue.Stats().delayed > 0;
       ++step) {
    ASSERT_LT(step, 20'000) << "seed " << seed << " does not end";
    if (step < 600 && random() % 2 == 0) {
      const char key = static_cast<char>('a' + random() % 3);
      Publish(queue, {key + std::to_string(++published[key])});
    }
    gather();
    const auto next = worker.Next(random);
    if (!next) {  // what it lost, or what waits
      for (const char* name : {"cat", "dan"}) queue.Grant(name, 2);
      queue.CommitAll();
      queue.Advance(500);
      continue;
    }
    const std::uint64_t what = random() % 10;
    if (what == 0) {
      queue.AskSettle({{next->range(), RetryOutcome{100 * kNsPerMs, "no"}}});
    } else if (what == 1) {
      queue.AskSettle({{next->range(), ReleaseOutcome{}}});
    } else if (what == 2) {
      queue.DetachConsumer(next->consumer);
      queue.CommitAll();
      worker.Forget(next->consumer);
      queue.AttachConsumer(next->consumer,
                           {.messages = 6, .marks_started = true, .in_flight_per_key = 4});
      gather();
      continue;
    } else {
      ASSERT_EQ(std::stoi(next->payload.substr(1)), ++acked[next->payload[0]])
          << "seed " << seed << " " << next->payload;
      queue.AskSettle({{next->range(), AckOutcome{}}});
    }
    worker.Lose(queue.Take<SendLeaseLost>());
    if (random() % 2 == 0) queue.CommitAll();
    if (random() % 2 == 0) queue.Grant(next->consumer, 1 + random() % 2);
  }
  EXPECT_EQ(acked, published) << "seed " << seed;
}

TEST(KeyAheadTest, WhatIsAckedOfAKeyIsInOrderWhateverComesBack) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) PlayKeys(seed);
}

}  // namespace
}  // namespace mqd::queue::testing
