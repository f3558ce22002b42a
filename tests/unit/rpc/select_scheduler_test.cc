#include "server/rpc/select_scheduler.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>

namespace mqd::rpc {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 40;

/// Queues that always have more: each grant is used up at once, and then they ask again.
class BusyQueues {
 public:
  explicit BusyQueues(const std::vector<std::uint32_t>& weights)
      : delivered_(weights.size(), 0), scheduler_(weights) {
    for (std::uint32_t slot = 0; slot < weights.size(); ++slot) scheduler_.OnWant(slot);
  }

  void Credit(std::uint64_t messages) {
    credit_ += messages;
    scheduler_.AddCredit(messages, kPlenty);
    while (const auto grant = scheduler_.Next()) {
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

TEST(SelectSchedulerTest, AnIdleQueueLeavesItsShareToTheOthers) {
  SelectScheduler scheduler({8, 1});
  scheduler.OnWant(1);
  scheduler.AddCredit(5, kPlenty);
  const auto grant = scheduler.Next();
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->slot, 1u);
  EXPECT_EQ(grant->messages, 5u);
}

TEST(SelectSchedulerTest, AQueueThatWasIdleHasSavedNothingUp) {
  SelectScheduler scheduler({1, 1});
  std::uint64_t first = 0;
  for (int i = 0; i < 1'000; ++i) {
    scheduler.OnWant(0);
    scheduler.AddCredit(10, 10);
    while (scheduler.Next()) scheduler.OnReturned(0, 0, 0, false);
  }
  scheduler.OnWant(0);
  scheduler.OnWant(1);
  for (int i = 0; i < 1'000; ++i) {
    scheduler.AddCredit(1, 1);
    const auto grant = scheduler.Next();
    ASSERT_TRUE(grant);
    if (grant->slot == 0) ++first;
    scheduler.OnReturned(grant->slot, 0, 0, true);
  }
  EXPECT_NEAR(static_cast<double>(first), 500, 50);
}

TEST(SelectSchedulerTest, WhatIsReturnedCanBeGrantedAgain) {
  SelectScheduler scheduler({1, 1});
  scheduler.OnWant(0);
  scheduler.AddCredit(4, 1'000);
  ASSERT_EQ(scheduler.Next()->messages, 4u);
  scheduler.OnWant(1);
  EXPECT_FALSE(scheduler.Next()) << "the grant of queue 0 is open";
  scheduler.OnReturned(0, 3, 900, false);
  const auto grant = scheduler.Next();
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->slot, 1u);
  EXPECT_EQ(grant->messages, 3u);
  EXPECT_EQ(grant->bytes, 900u);
}

TEST(SelectSchedulerTest, ADebtInBytesIsRepaidBeforeTheNextGrant) {
  SelectScheduler scheduler({1});
  scheduler.OnWant(0);
  scheduler.AddCredit(10, 100);
  ASSERT_TRUE(scheduler.Next());
  scheduler.OnReturned(0, 9, -400, true);
  EXPECT_FALSE(scheduler.Next());
  scheduler.AddCredit(0, 400);
  EXPECT_FALSE(scheduler.Next());
  scheduler.AddCredit(0, 1);
  EXPECT_TRUE(scheduler.Next());
}

TEST(SelectSchedulerTest, RandomHistoriesNeverPassThePool) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  SelectScheduler scheduler({3, 1, 5, 2});
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
    while (const auto grant = scheduler.Next()) {
      open[grant->slot] += grant->messages;
      granted += static_cast<std::int64_t>(grant->messages);
    }
    ASSERT_GE(scheduler.pool_messages(), 0);
    ASSERT_EQ(granted - returned + scheduler.pool_messages(), credit);
  }
}

}  // namespace
}  // namespace mqd::rpc
