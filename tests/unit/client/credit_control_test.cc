#include "client/credit_control.h"

#include <gtest/gtest.h>

#include <random>

namespace mqd::client {
namespace {

using std::chrono::milliseconds;

constexpr CreditControl::Options kOptions = {.messages_initial = 16,
                                             .messages_max = 128,
                                             .bytes_initial = 1'000'000,
                                             .bytes_max = 4'000'000};

class CreditControlTest : public ::testing::Test {
 protected:
  CreditControlTest() { credit_.OnOpened(0, 0, now_); }

  std::uint64_t Granted() {
    const auto grant = credit_.TakeGrant();
    return grant ? grant->messages : 0;
  }

  /// Lets the broker send all credit and the handlers work it off, taking `time`.
  void Turn(milliseconds time) {
    const std::uint64_t messages = Granted();
    credit_.OnDelivered(messages, messages);
    now_ += time;
    credit_.OnFinished(messages, messages, now_);
  }

  Time now_ = Time() + std::chrono::hours(1);
  CreditControl credit_{kOptions};
};

TEST_F(CreditControlTest, GrantsTheInitialCreditOnceAStreamStands) {
  const auto grant = credit_.TakeGrant();
  ASSERT_TRUE(grant.has_value());
  EXPECT_EQ(grant->messages, 16u);
  EXPECT_EQ(grant->bytes, 1'000'000u);
  EXPECT_FALSE(credit_.TakeGrant().has_value());
}

TEST_F(CreditControlTest, ANewStreamIsGrantedWhatTheLostOneHadLeft) {
  EXPECT_EQ(Granted(), 16u);
  credit_.OnDelivered(5, 500);
  credit_.OnOpened(0, 0, now_);
  EXPECT_EQ(Granted(), 11u) << "five are still here";
}

TEST_F(CreditControlTest, BufferedMessagesAreNotRepaidBeforeTheyAreFinished) {
  EXPECT_EQ(Granted(), 16u);
  credit_.OnDelivered(16, 1'600);
  EXPECT_FALSE(credit_.TakeGrant().has_value());
  credit_.OnFinished(16, 1'600, now_ + milliseconds(500));
  EXPECT_EQ(Granted(), 16u);
}

TEST_F(CreditControlTest, SmallRepaymentsAreGathered) {
  EXPECT_EQ(Granted(), 16u);
  credit_.OnDelivered(8, 800);
  credit_.OnFinished(3, 300, now_);
  EXPECT_FALSE(credit_.TakeGrant().has_value()) << "3 of 16 are not worth a frame";
  credit_.OnFinished(1, 100, now_);
  EXPECT_EQ(Granted(), 4u);
}

TEST_F(CreditControlTest, FastHandlersDoubleItUpToTheMaximum) {
  for (const std::uint64_t expected : {32, 64, 128, 128, 128}) {
    Turn(milliseconds(1));
    EXPECT_EQ(credit_.target_messages(), expected);
  }
}

TEST_F(CreditControlTest, SlowHandlersLeaveItAlone) {
  for (int i = 0; i < 5; ++i) Turn(milliseconds(60));
  EXPECT_EQ(credit_.target_messages(), 16u);
}

TEST_F(CreditControlTest, LateMessagesHalveItDownToOne) {
  for (int i = 0; i < 10; ++i) credit_.OnLate(now_);
  EXPECT_EQ(credit_.target_messages(), 1u);
  EXPECT_GE(credit_.target_bytes(), 1u);
}

TEST_F(CreditControlTest, TheBrokersLimitIsKept) {
  credit_.OnOpened(20, 500'000, now_);
  const auto grant = credit_.TakeGrant();
  ASSERT_TRUE(grant.has_value());
  EXPECT_LE(grant->messages, 20u);
  EXPECT_LE(grant->bytes, 500'000u);
}

TEST_F(CreditControlTest, AnOversizedMessageIsRepaidExactly) {
  EXPECT_EQ(Granted(), 16u);
  credit_.OnDelivered(1, 3'000'000);  // the balance is at -2,000,000
  credit_.OnFinished(1, 3'000'000, now_ + milliseconds(500));
  const auto grant = credit_.TakeGrant();
  ASSERT_TRUE(grant.has_value());
  EXPECT_EQ(grant->bytes, 3'000'000u);
}

TEST_F(CreditControlTest, AnApplicationThatGathersGetsMore) {
  EXPECT_EQ(Granted(), 16u);
  credit_.OnDelivered(16, 1'600);
  credit_.OnStarved();
  EXPECT_EQ(Granted(), 16u) << "the target is 32, of which it holds 16";
}

TEST_F(CreditControlTest, GrantedAndHeldNeverPassTheMaximum) {
  constexpr unsigned kSeed = 7;
  std::mt19937 random(kSeed);
  std::uint64_t granted = 0;
  std::uint64_t held = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (const auto grant = credit_.TakeGrant()) granted += grant->messages;
    ASSERT_LE(granted + held, 128u) << "seed " << kSeed << " step " << step;
    const std::uint64_t in = granted == 0 ? 0 : random() % (granted + 1);
    credit_.OnDelivered(in, in * 10);
    granted -= in;
    held += in;
    const std::uint64_t out = held == 0 ? 0 : random() % (held + 1);
    now_ += milliseconds(random() % 20);
    credit_.OnFinished(out, out * 10, now_);
    held -= out;
    if (random() % 50 == 0) credit_.OnLate(now_);
  }
}

}  // namespace
}  // namespace mqd::client
