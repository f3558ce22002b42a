// Priorities: the highest first, and none starves longer than the ageing floor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;

QueueSettings Floor(std::int64_t ms) { return {.ageing_floor = std::chrono::milliseconds(ms)}; }

/// "p5" has priority 5.
void Publish(QueueHarness& queue, const std::vector<std::string>& payloads) {
  for (const std::string& payload : payloads) {
    queue.PublishOne("ann", payload, {.priority = static_cast<std::uint32_t>(payload[1] - '0')});
  }
  queue.CommitAll();
}

QueueHarness Attached(QueueSettings settings) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {});
  return queue;
}

std::vector<std::string> TakeNext(QueueHarness& queue, std::uint64_t messages) {
  queue.Grant("cat", messages);
  return Payloads(queue.TakeDeliveries());
}

TEST(PriorityTest, TheHighestLaneGoesFirstAndEachInOrder) {
  QueueHarness queue = Attached(Floor(30'000));
  Publish(queue, {"p0", "p5a", "p9", "p5b", "p0b"});
  EXPECT_THAT(TakeNext(queue, 10), ElementsAre("p9", "p5a", "p5b", "p0", "p0b"));
}

TEST(PriorityTest, ARetriedMessageKeepsItsLane) {
  QueueHarness queue = Attached(Floor(30'000));
  Publish(queue, {"p9", "p0"});
  queue.Grant("cat", 1);
  queue.Settle(queue.TakeDeliveries().at(0).range(), RetryOutcome{0, ""});
  EXPECT_THAT(TakeNext(queue, 2), ElementsAre("p9", "p0"));
}

TEST(PriorityTest, ALaneThatGotNothingForTheFloorGetsOne) {
  QueueHarness queue = Attached(Floor(1'000));
  Publish(queue, {"p0a", "p0b", "p9a", "p9b", "p9c", "p9d"});
  queue.Advance(10);
  EXPECT_THAT(TakeNext(queue, 1), ElementsAre("p9a"));
  queue.Advance(990);
  EXPECT_THAT(TakeNext(queue, 2), ElementsAre("p0a", "p9b"));
  queue.Advance(999);
  EXPECT_THAT(TakeNext(queue, 1), ElementsAre("p9c"));
  queue.Advance(1);
  EXPECT_THAT(TakeNext(queue, 2), ElementsAre("p0b", "p9d"));
}

TEST(PriorityTest, NothingStarvesLongerThanTheFloorUnderSteadyLoad) {
  QueueHarness queue = Attached(Floor(1'000));
  Publish(queue, {"p0", "p3"});
  std::map<std::string, int> taken;
  for (int turn = 0; turn < 30; ++turn) {
    Publish(queue, {"p9"});
    for (const std::string& payload : TakeNext(queue, 1)) taken.emplace(payload, turn);
    queue.Advance(100);
  }
  ASSERT_TRUE(taken.contains("p0") && taken.contains("p3"));
  EXPECT_LE(taken["p0"], 11);
  EXPECT_LE(taken["p3"], 11);
}

TEST(PriorityTest, ALaneThatWasEmptyAgesFromWhenItHasSomethingAgain) {
  QueueSettings settings = Floor(1'000);
  settings.durability = Durability::kMemory;  // what is published is ready in the same turn
  QueueHarness queue = Attached(settings);
  Publish(queue, {"p0"});
  EXPECT_THAT(TakeNext(queue, 2), ElementsAre("p0"));
  queue.around().now.steady_ns += 60'000 * kNsPerMs;
  queue.Publish("ann", {"p0b", "p9"}, {.extras = {{}, {.priority = 9}}});
  EXPECT_THAT(Payloads(queue.TakeDeliveries()), ElementsAre("p9"));
}

TEST(PriorityTest, LanesAgeAnewWhenOrderingOrDispatchChanges) {
  QueueHarness queue = Attached(Floor(1'000));
  Publish(queue, {"p0"});
  queue.Advance(500);
  Publish(queue, {"p9"});
  queue.Change([](QueueSettings& settings) { settings.ordering = Ordering::kKeyed; });
  queue.Advance(900);
  EXPECT_THAT(TakeNext(queue, 2), ElementsAre("p9", "p0"));
}

TEST(PriorityTest, OutlivesARestart) {
  QueueHarness queue = Attached(Floor(30'000));
  Publish(queue, {"p0", "p9"});
  queue.Restart();
  queue.AttachConsumer("cat", {});
  EXPECT_THAT(TakeNext(queue, 2), ElementsAre("p9", "p0"));
}

}  // namespace
}  // namespace mqd::queue::testing
