#include "server/rpc/credit_gate.h"

#include <gtest/gtest.h>

#include "server/rpc/publish_window.h"

namespace mqd::rpc {
namespace {

constexpr std::uint64_t kRoom = limits::kOutboxBytesMax;

TEST(CreditGateTest, SmallCreditIsPassedOnWhole) {
  CreditGate gate;
  gate.AddCredit(10, 1'000);
  const auto grant = gate.Take(0);
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->messages, 10u);
  EXPECT_EQ(grant->bytes, 1'000u);
  EXPECT_FALSE(gate.Take(0)) << "granted twice";
}

TEST(CreditGateTest, ASlowReaderDoesNotFillTheOutboxBeyondItsLimit) {
  CreditGate gate;
  gate.AddCredit(1'000'000, 100 * kRoom);
  std::uint64_t outbox = 0;
  std::uint64_t granted = 0;
  for (int i = 0; i < 100; ++i) {
    if (const auto grant = gate.Take(outbox)) {
      granted += grant->bytes;
      gate.OnDelivered(grant->bytes);
      outbox += grant->bytes;
    }
    ASSERT_LE(outbox, kRoom);
  }
  EXPECT_EQ(granted, kRoom);
  outbox = 0;  // the reader has caught up
  EXPECT_TRUE(gate.Take(outbox));
}

TEST(CreditGateTest, ADebtAtTheQueueIsRepaid) {
  CreditGate gate;
  gate.AddCredit(2, 100);
  ASSERT_EQ(gate.Take(0)->bytes, 100u);
  gate.OnDelivered(5'000);  // one message, larger than what was left
  gate.AddCredit(0, 5'000);
  EXPECT_EQ(gate.Take(0)->bytes, 5'000u);
}

TEST(PublishWindowTest, OneMessageLargerThanWhatIsLeftIsAllowed) {
  PublishWindow window;
  const std::uint64_t large = 2 * limits::kPublishWindowBytes;
  EXPECT_TRUE(window.Use(1, large, large));
  EXPECT_LT(window.bytes(), 0);
  EXPECT_FALSE(window.Use(1, 1, 1)) << "the balance is negative";
  window.GiveBack(1, large);
  EXPECT_TRUE(window.worth_granting());
  window.TakeGrant();
  EXPECT_TRUE(window.Use(1, 1, 1));
}

TEST(PublishWindowTest, MessagesBeforeTheLastMustFit) {
  PublishWindow window;
  const std::uint64_t all = limits::kPublishWindowBytes;
  EXPECT_FALSE(window.Use(2, all + 1, 1));
  EXPECT_TRUE(window.Use(2, all + 1, 2));
}

TEST(PublishWindowTest, NoMoreMessagesThanGranted) {
  PublishWindow window;
  EXPECT_FALSE(window.Use(limits::kPublishWindowMessages + 1, 1'000, 1));
  EXPECT_TRUE(window.Use(limits::kPublishWindowMessages, 1'000, 1));
  EXPECT_FALSE(window.Use(1, 1, 1));
}

TEST(PublishWindowTest, WhatIsHeldBackIsLessThanAQuarter) {
  PublishWindow window;
  const std::uint64_t quarter = limits::kPublishWindowMessages / 4;
  window.GiveBack(quarter - 1, 0);
  EXPECT_FALSE(window.worth_granting());
  window.GiveBack(1, 0);
  EXPECT_TRUE(window.worth_granting());
}

}  // namespace
}  // namespace mqd::rpc
