#include "client/publish_window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "mqd/errors.h"
#include "mqd/v1/broker.pb.h"

namespace mqd::client {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr PublishWindow::Limits kLimits = {
    .batch_messages = 4, .batch_bytes = 10'000, .overhead_bytes = 0};
constexpr std::uint64_t kPlenty = 1'000'000;

class PublishWindowTest : public ::testing::Test {
 protected:
  void Open(bool known, std::uint64_t messages = kPlenty, std::uint64_t bytes = kPlenty) {
    window_.OnOpened(known, kLimits, messages, bytes, done_);
  }

  std::uint64_t Append(const std::string& payload, const std::string& key = {}) {
    return window_.Append({.payload = payload, .idempotency_key = key}, payload.size(), nullptr,
                          now_);
  }

  /// The payloads of the next frame, after its first id: "3:a,b"; "" when there is none.
  std::string Next() {
    const auto frame = window_.NextFrame();
    if (!frame) return "";
    v1::PublishBatch batch;
    EXPECT_TRUE(batch.ParseFromString(frame->elements->substr(frame->offset, frame->bytes)));
    EXPECT_EQ(static_cast<std::uint64_t>(batch.messages_size()), frame->count);
    std::string text = std::to_string(frame->first_id) + ":";
    for (const v1::Message& message : batch.messages()) text += message.payload() + ",";
    text.pop_back();
    return text;
  }

  std::vector<std::string> Results() {
    std::vector<std::string> texts;
    for (const PublishWindow::Completion& one : std::exchange(done_, {})) {
      texts.push_back(one.result.ok() ? std::to_string(one.result->sequence)
                                      : ReasonName(ReasonOf(one.result.status())));
    }
    return texts;
  }

  void Confirm(std::uint64_t first, std::uint64_t count, std::uint64_t sequence) {
    window_.OnConfirmed(first, count, sequence, done_);
  }

  Time now_ = Time() + std::chrono::hours(1);
  PublishWindow window_;
  PublishWindow::Completions done_;
};

TEST_F(PublishWindowTest, WhatGathersGoesIntoOneFrame) {
  Open(false);
  EXPECT_EQ(Append("a"), 1u);
  EXPECT_EQ(Append("b"), 2u);
  EXPECT_EQ(Next(), "1:a,b");
  EXPECT_EQ(Next(), "");
  Append("c");
  EXPECT_EQ(Next(), "3:c");
}

TEST_F(PublishWindowTest, NothingIsSentBeforeAStreamStands) {
  Append("a");
  EXPECT_EQ(Next(), "");
  Open(false);
  EXPECT_EQ(Next(), "1:a");
}

TEST_F(PublishWindowTest, FramesKeepToTheBatchLimit) {
  Open(false);
  for (const char* payload : {"a", "b", "c", "d", "e"}) Append(payload);
  EXPECT_EQ(Next(), "1:a,b,c,d");
  EXPECT_EQ(Next(), "5:e");
}

TEST_F(PublishWindowTest, CreditInMessagesIsNeverPassed) {
  Open(false, 2);
  for (const char* payload : {"a", "b", "c"}) Append(payload);
  EXPECT_EQ(Next(), "1:a,b");
  EXPECT_EQ(Next(), "");
  window_.OnCredit(1, 0);
  EXPECT_EQ(Next(), "3:c");
}

TEST_F(PublishWindowTest, BytesMayGoNegativeByOneMessage) {
  Open(false, kPlenty, 5);
  Append("1234");
  Append("5678");
  Append("9");
  EXPECT_EQ(Next(), "1:1234,5678");
  EXPECT_EQ(Next(), "");
  window_.OnCredit(0, 3);
  EXPECT_EQ(Next(), "") << "the balance is at 0";
  window_.OnCredit(0, 1);
  EXPECT_EQ(Next(), "3:9");
}

TEST_F(PublishWindowTest, ConfirmsAnswerEachMessageOnce) {
  Open(false);
  for (const char* payload : {"a", "b", "c"}) Append(payload);
  Next();
  Confirm(1, 2, 10);
  EXPECT_THAT(Results(), ElementsAre("10", "11"));
  EXPECT_EQ(window_.answered_through(), 2u);
  Confirm(1, 3, 10);
  EXPECT_THAT(Results(), ElementsAre("12"));
  EXPECT_EQ(window_.unanswered(), 0u);
  EXPECT_EQ(window_.unanswered_bytes(), 0u);
}

TEST_F(PublishWindowTest, ResultsOutOfOrderHoldBackAnsweredThrough) {
  Open(false);
  for (const char* payload : {"a", "b", "c"}) Append(payload);
  Next();
  window_.OnResult(2, MakeStatus({.reason = Reason::kQueueFull}), done_);
  Confirm(3, 1, 7);
  EXPECT_THAT(Results(), ElementsAre("QUEUE_FULL", "7"));
  EXPECT_EQ(window_.answered_through(), 0u);
  Confirm(1, 1, 6);
  EXPECT_EQ(window_.answered_through(), 3u);
}

TEST_F(PublishWindowTest, AKnownProducerResendsTheSameIdsInOrder) {
  Open(false);
  for (const char* payload : {"a", "b", "c", "d", "e", "f"}) Append(payload);
  Next();
  Next();
  Confirm(1, 2, 1);
  window_.OnDown();
  Append("g");
  Open(true);
  EXPECT_EQ(Next(), "3:c,d");
  EXPECT_EQ(Next(), "5:e,f");
  EXPECT_EQ(Next(), "7:g");
  EXPECT_EQ(window_.resent(), 4u);
  Confirm(3, 5, 3);
  EXPECT_THAT(Results(), ElementsAre("1", "2", "3", "4", "5", "6", "7"));
}

TEST_F(PublishWindowTest, AResendLeavesOutWhatIsAnswered) {
  Open(false);
  for (const char* payload : {"a", "b", "c", "d"}) Append(payload);
  Next();
  Confirm(2, 1, 9);
  window_.OnDown();
  Open(true);
  EXPECT_EQ(Next(), "1:a");
  EXPECT_EQ(Next(), "3:c,d");
}

TEST_F(PublishWindowTest, BatchesAnsweredBehindAnOlderOneAreNotSentAgain) {
  Open(false);
  for (const char* payload : {"a", "b", "c"}) {
    Append(payload);
    Next();
  }
  Confirm(2, 2, 2);  // as the levels DELIVERED and SETTLED do
  EXPECT_EQ(window_.span(), 3u) << "what is behind the oldest is remembered";
  window_.OnDown();
  Open(true);
  EXPECT_EQ(Next(), "1:a");
  EXPECT_EQ(Next(), "");
  Append("d");
  EXPECT_EQ(Next(), "4:d");
  Confirm(1, 1, 1);
  EXPECT_EQ(window_.span(), 1u);
}

TEST_F(PublishWindowTest, AForgottenProducerResendsOnlyWhatIsSafe) {
  Open(false);
  Append("plain");
  Append("keyed", "k");
  Next();
  Append("never sent");
  window_.OnDown();
  Open(false);
  EXPECT_THAT(Results(), ElementsAre("OUTCOME_UNKNOWN"));
  EXPECT_EQ(Next(), "2:keyed");
  EXPECT_EQ(Next(), "3:never sent");
}

// The first stream never stood, so nothing that was taken in can have been stored.
TEST_F(PublishWindowTest, TheFirstOpenIsNeverALoss) {
  Append("a");
  window_.OnDown();
  Open(false);
  EXPECT_THAT(Results(), IsEmpty());
  EXPECT_EQ(Next(), "1:a");
}

TEST_F(PublishWindowTest, LateMessagesExpireByWhetherTheyWereSent) {
  Open(false, 1);
  Append("sent");
  Next();
  Append("unsent");
  now_ += seconds(10);
  window_.Expire(now_ - seconds(5), now_ - seconds(20), done_);
  EXPECT_THAT(Results(), ElementsAre("BLOCKED_TIMEOUT"));
  window_.Expire(now_ - seconds(5), now_ - seconds(5), done_);
  EXPECT_THAT(Results(), ElementsAre("OUTCOME_UNKNOWN"));
  EXPECT_EQ(window_.unanswered(), 0u);
  window_.OnCredit(10, 0);
  EXPECT_EQ(Next(), "") << "what has expired is not sent";
}

TEST_F(PublishWindowTest, FailAllTellsSentFromUnsent) {
  Open(false, 1);
  Append("sent");
  Next();
  Append("unsent");
  window_.FailAll(MakeStatus({.reason = Reason::kOutcomeUnknown}),
                  MakeStatus({.reason = Reason::kQueueClosed}), done_);
  EXPECT_THAT(Results(), ElementsAre("OUTCOME_UNKNOWN", "QUEUE_CLOSED"));
}

// Random breaks, credits and confirms against a model broker: every message is stored once, in
// order, and answered once.
TEST_F(PublishWindowTest, AnyHistoryOfBreaksStoresEachMessageOnceInOrder) {
  constexpr unsigned kSeed = 11;
  std::mt19937 random(kSeed);
  std::uint64_t stored = 0;     // highest id in the broker
  std::uint64_t confirmed = 0;  // told to the client
  std::uint64_t credit = 0;
  bool open = false;
  for (int step = 0; step < 20'000; ++step) {
    switch (random() % 6) {
      case 0:
        if (window_.last_id() < 3'000) Append("m" + std::to_string(window_.last_id() + 1));
        break;
      case 1:
        if (open) window_.OnDown();
        open = false;
        break;
      case 2:
        if (!open) Open(stored > 0, credit = random() % 8, kPlenty);
        open = true;
        confirmed = std::min(confirmed, window_.answered_through());
        break;
      case 3:
        if (open) window_.OnCredit(2, 0);
        if (open) credit += 2;
        break;
      case 4: {
        const auto frame = window_.NextFrame();
        if (!frame) break;
        ASSERT_TRUE(open) << "seed " << kSeed << " step " << step;
        ASSERT_LE(frame->count, credit);
        credit -= frame->count;
        ASSERT_LE(frame->first_id, stored + 1) << "a gap; seed " << kSeed << " step " << step;
        stored = std::max(stored, frame->first_id + frame->count - 1);
        break;
      }
      default:
        if (!open || window_.outstanding() == 0) break;
        Confirm(window_.answered_through() + 1, 1, window_.answered_through() + 1);
    }
  }
  for (std::size_t i = 0; i < done_.size(); ++i) {
    ASSERT_TRUE(done_[i].result.ok());
    ASSERT_EQ(done_[i].result->sequence, i + 1);
  }
  EXPECT_GT(done_.size(), 100u);
}

}  // namespace
}  // namespace mqd::client
