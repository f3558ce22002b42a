#include "server/rpc/select_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <string>

namespace mqd::rpc {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 40;

constexpr std::int64_t kSecond = 1'000'000'000;

std::vector<SelectScheduler::Queue> Weights(const std::vector<std::uint32_t>& weights) {
  std::vector<SelectScheduler::Queue> queues;
  for (const std::uint32_t weight : weights) queues.push_back({.weight = weight});
  return queues;
}

/// Queues that always have more: each grant is used up at once, and then they ask again.
class BusyQueues {
 public:
  explicit BusyQueues(const std::vector<std::uint32_t>& weights)
      : delivered_(weights.size(), 0), scheduler_(Weights(weights)) {
    for (std::uint32_t slot = 0; slot < weights.size(); ++slot) scheduler_.OnWant(slot);
  }

  void Credit(std::uint64_t messages) {
    credit_ += messages;
    scheduler_.AddCredit(messages, kPlenty);
    while (const auto grant = scheduler_.Next(0)) {
      delivered_[grant->slot] += grant->messages;
      scheduler_.OnReturned(grant->slot, 0, 0, true);
      ASSERT_LE(total(), credit_);
    }
  }

  std::uint64_t total() const {
    return std::accumulate(delivered_.begin(), delivered_.end(), std::uint64_t{0});
  }
  const std::vector<std::uint64_t>& delivered() const { return delivered_; }

 private:
  std::uint64_t credit_ = 0;
  std::vector<std::uint64_t> delivered_;
  SelectScheduler scheduler_;
};

void ExpectShares(const std::vector<std::uint32_t>& weights, std::uint64_t piece) {
  SCOPED_TRACE("credit in pieces of " + std::to_string(piece));
  constexpr std::uint64_t kDeliveries = 100'000;
  BusyQueues queues(weights);
  while (queues.total() < kDeliveries) queues.Credit(piece);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double expected = static_cast<double>(queues.total()) * weights[i] / sum;
    EXPECT_NEAR(static_cast<double>(queues.delivered()[i]), expected, expected * 0.05)
        << "queue " << i;
  }
}

TEST(SelectSchedulerTest, SharesFollowWeightsWithinFivePercent) {
  const std::vector<std::uint32_t> weights = {8, 7, 6, 5, 4, 3, 2, 1};
  for (const std::uint64_t piece : {1, 7, 100, 1'000, 100'000}) ExpectShares(weights, piece);
}

TEST(SelectSchedulerTest, EqualWeightsGetEqualShares) {
  ExpectShares({1, 1, 1}, 1);
  ExpectShares({1'000, 1'000}, 50);
}

TEST(SelectSchedulerTest, VeryDifferentWeightsAreHonoured) { ExpectShares({100, 1}, 10); }

/// The largest grant while two busy queues use up `pool` messages.
std::uint64_t LargestGrant(std::uint64_t pool, std::uint32_t weight = 1) {
  SelectScheduler scheduler(Weights({1, weight}));
  for (const std::uint32_t slot : {0, 1}) scheduler.OnWant(slot);
  scheduler.AddCredit(pool, kPlenty);
  std::uint64_t largest = 0;
  while (const auto grant = scheduler.Next(0)) {
    largest = std::max(largest, grant->messages);
    scheduler.OnReturned(grant->slot, 0, 0, true);
  }
  return largest;
}

TEST(SelectSchedulerTest, ALargePoolMakesTurnsLongerAndASmallOneDoesNot) {
  constexpr std::uint64_t kTurn = SelectScheduler::kQuantum;
  EXPECT_EQ(LargestGrant(8'192), 256u);
  EXPECT_LE(LargestGrant(5 * kTurn), 2 * kTurn);
  EXPECT_EQ(LargestGrant(3 * kTurn), kTurn);
}

TEST(SelectSchedulerTest, AHeavyWeightIsNotMadeLongerByALargePool) {
  EXPECT_EQ(LargestGrant(100'000, 8), 256u);
  EXPECT_EQ(LargestGrant(100'000, 1'000), 1'000u);
}

TEST(SelectSchedulerTest, AnIdleQueueLeavesItsShareToTheOthers) {
  SelectScheduler scheduler(Weights({8, 1}));
  scheduler.OnWant(1);
  scheduler.AddCredit(5, kPlenty);
  const auto grant = scheduler.Next(0);
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->slot, 1u);
  EXPECT_EQ(grant->messages, 5u);
}

TEST(SelectSchedulerTest, AQueueThatWasIdleHasSavedNothingUp) {
  SelectScheduler scheduler(Weights({1, 1}));
  std::uint64_t first = 0;
  for (int i = 0; i < 1'000; ++i) {
    scheduler.OnWant(0);
    scheduler.AddCredit(10, 10);
    while (scheduler.Next(0)) scheduler.OnReturned(0, 0, 0, false);
  }
  scheduler.OnWant(0);
  scheduler.OnWant(1);
  for (int i = 0; i < 1'000; ++i) {
    scheduler.AddCredit(1, 1);
    const auto grant = scheduler.Next(0);
    ASSERT_TRUE(grant);
    if (grant->slot == 0) ++first;
    scheduler.OnReturned(grant->slot, 0, 0, true);
  }
  EXPECT_NEAR(static_cast<double>(first), 500, 50);
}

TEST(SelectSchedulerTest, WhatIsReturnedCanBeGrantedAgain) {
  SelectScheduler scheduler(Weights({1, 1}));
  scheduler.OnWant(0);
  scheduler.AddCredit(4, 1'000);
  ASSERT_EQ(scheduler.Next(0)->messages, 4u);
  scheduler.OnWant(1);
  EXPECT_FALSE(scheduler.Next(0)) << "the grant of queue 0 is open";
  scheduler.OnReturned(0, 3, 900, false);
  const auto grant = scheduler.Next(0);
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->slot, 1u);
  EXPECT_EQ(grant->messages, 3u);
  EXPECT_EQ(grant->bytes, 900u);
}

TEST(SelectSchedulerTest, ADebtInBytesIsRepaidBeforeTheNextGrant) {
  SelectScheduler scheduler(Weights({1}));
  scheduler.OnWant(0);
  scheduler.AddCredit(10, 100);
  ASSERT_TRUE(scheduler.Next(0));
  scheduler.OnReturned(0, 9, -400, true);
  EXPECT_FALSE(scheduler.Next(0));
  scheduler.AddCredit(0, 400);
  EXPECT_FALSE(scheduler.Next(0));
  scheduler.AddCredit(0, 1);
  EXPECT_TRUE(scheduler.Next(0));
}

TEST(SelectSchedulerTest, RandomHistoriesNeverPassThePool) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  SelectScheduler scheduler(Weights({3, 1, 5, 2}));
  std::int64_t granted = 0;
  std::int64_t returned = 0;
  std::int64_t credit = 0;
  std::vector<std::uint64_t> open(4, 0);
  for (int step = 0; step < 100'000; ++step) {
    const auto slot = static_cast<std::uint32_t>(random() % 4);
    switch (random() % 3) {
      case 0:
        scheduler.AddCredit(random() % 20, 1'000);
        credit = scheduler.pool_messages() + granted - returned;
        break;
      case 1:
        if (open[slot] == 0) scheduler.OnWant(slot);
        break;
      default: {
        if (open[slot] == 0) break;
        const std::uint64_t part = random() % (open[slot] + 1);
        scheduler.OnReturned(slot, part, 1, random() % 2 == 0);
        returned += static_cast<std::int64_t>(part);
        open[slot] = 0;
      }
    }
    while (const auto grant = scheduler.Next(0)) {
      open[grant->slot] += grant->messages;
      granted += static_cast<std::int64_t>(grant->messages);
    }
    ASSERT_GE(scheduler.pool_messages(), 0);
    ASSERT_EQ(granted - returned + scheduler.pool_messages(), credit);
  }
}

// ---- priorities

/// Queues of a stream at one moment of a made-up time, each with messages or without.
class PriorityQueues {
 public:
  PriorityQueues(const std::vector<SelectScheduler::Queue>& queues, std::int64_t floor_ns)
      : scheduler_(queues, std::chrono::milliseconds(floor_ns / 1'000'000)),
        messages_(queues.size(), 0),
        waits_since_(queues.size(), -1),
        longest_wait_(queues.size(), 0) {
    scheduler_.AddCredit(1 << 30, kPlenty);
  }

  void Fill(std::uint32_t slot, std::uint64_t messages) {
    if (messages_[slot] == 0 && messages > 0) {
      scheduler_.OnWant(slot);
      waits_since_[slot] = now_ns_;
    }
    messages_[slot] += messages;
  }

  /// One grant, used as far as the queue has messages, each of which takes `each_ns`. The slot, or
  /// -1.
  int Serve(std::int64_t each_ns) {
    const auto grant = scheduler_.Next(now_ns_);
    if (!grant) return -1;
    const std::uint32_t slot = grant->slot;
    const std::uint64_t used = std::min(grant->messages, messages_[slot]);
    messages_[slot] -= used;
    longest_wait_[slot] = std::max(longest_wait_[slot], now_ns_ - waits_since_[slot]);
    now_ns_ += each_ns * static_cast<std::int64_t>(used);
    waits_since_[slot] = now_ns_;
    scheduler_.OnReturned(slot, grant->messages - used, 0, messages_[slot] > 0);
    last_used_ = used;
    return static_cast<int>(slot);
  }

  std::uint64_t last_used() const { return last_used_; }
  std::int64_t now_ns() const { return now_ns_; }
  std::int64_t longest_wait_ns(std::uint32_t slot) const { return longest_wait_[slot]; }

 private:
  SelectScheduler scheduler_;
  std::vector<std::uint64_t> messages_;
  std::vector<std::int64_t> waits_since_;
  std::vector<std::int64_t> longest_wait_;
  std::int64_t now_ns_ = 0;
  std::uint64_t last_used_ = 0;
};

TEST(SelectPriorityTest, TheHigherQueueGoesFirstWhateverItsPlace) {
  PriorityQueues queues({{.priority = 0}, {.priority = 5}, {.priority = 2}}, 30 * kSecond);
  for (std::uint32_t slot = 0; slot < 3; ++slot) queues.Fill(slot, 100);
  std::vector<int> order;
  for (int slot = queues.Serve(1); slot >= 0; slot = queues.Serve(1)) {
    if (order.empty() || order.back() != slot) order.push_back(slot);
  }
  EXPECT_EQ(order, (std::vector<int>{1, 2, 0}));
}

TEST(SelectPriorityTest, ALowerQueueGivesWayAfterItsGrant) {
  PriorityQueues queues({{.priority = 1}, {.priority = 0}}, 30 * kSecond);
  queues.Fill(1, 1'000);
  EXPECT_EQ(queues.Serve(1), 1);
  EXPECT_LE(queues.last_used(), SelectScheduler::kQuantum);
  queues.Fill(0, 3);
  EXPECT_EQ(queues.Serve(1), 0);
  EXPECT_EQ(queues.Serve(1), 1);
}

TEST(SelectPriorityTest, AQueueThatWaitsForTheFloorGetsOneMessage) {
  PriorityQueues queues({{.priority = 9}, {.priority = 0}}, 10 * kSecond);
  queues.Fill(0, 1'000'000);
  queues.Fill(1, 10);
  int low = 0;
  while (queues.now_ns() < 100 * kSecond) {
    if (queues.Serve(kSecond / 100) != 1) continue;
    ++low;
    EXPECT_EQ(queues.last_used(), 1u);
  }
  EXPECT_GE(low, 9);
  EXPECT_LE(low, 10);
}

TEST(SelectPriorityTest, NothingStarvesLongerThanTheFloor) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::int64_t kFloor = kSecond;
  constexpr std::int64_t kEach = kSecond / 1'000;
  std::vector<SelectScheduler::Queue> wanted(8);
  for (auto& queue : wanted) {
    queue = {.weight = static_cast<std::uint32_t>(1 + random() % 4),
             .priority = static_cast<std::uint32_t>(random() % 5)};
  }
  PriorityQueues queues(wanted, kFloor);
  for (int step = 0; step < 100'000; ++step) {
    if (random() % 4 == 0) {
      queues.Fill(static_cast<std::uint32_t>(random() % 8), random() % 50);
    }
    queues.Serve(kEach);
  }
  // The grant that is open when the floor has passed, and one message of each other queue.
  constexpr std::int64_t kSlack = (SelectScheduler::kQuantum * 4 + 8) * kEach;
  for (std::uint32_t slot = 0; slot < 8; ++slot) {
    EXPECT_LE(queues.longest_wait_ns(slot), kFloor + kSlack) << "queue " << slot;
  }
}

TEST(SelectPriorityTest, QueuesOfOnePriorityShareByWeight) {
  PriorityQueues queues({{.priority = 1}, {.weight = 3}, {.weight = 1}}, 3'600 * kSecond);
  queues.Fill(1, 1'000'000);
  queues.Fill(2, 1'000'000);
  std::vector<std::uint64_t> used(3, 0);
  for (int i = 0; i < 1'000; ++i) {
    const int slot = queues.Serve(1);
    ASSERT_GE(slot, 1);
    used[static_cast<std::size_t>(slot)] += queues.last_used();
  }
  EXPECT_NEAR(static_cast<double>(used[1]), 3.0 * static_cast<double>(used[2]),
              0.05 * static_cast<double>(used[1]));
}

}  // namespace
}  // namespace mqd::rpc
