#include "client/settle_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mqd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SettleBookTest : public ::testing::Test {
 protected:
  /// The next frame; fails the test when there is none.
  v1::SettleBatch Next() {
    const std::optional<std::string> bytes = book_.NextFrame();
    EXPECT_TRUE(bytes.has_value());
    v1::ConsumeStreamRequest frame;
    EXPECT_TRUE(frame.ParseFromString(bytes.value_or("")));
    EXPECT_TRUE(frame.has_settle());
    return frame.settle();
  }

  v1::SettleResults Results(const v1::SettleBatch& batch) {
    v1::SettleResults results;
    results.set_settle_id(batch.settle_id());
    results.set_queue_index(batch.queue_index());
    return results;
  }

  /// Writes what the callback was told to told_.
  SettleCallback Told() {
    return [this](const absl::StatusOr<SettleResult>& result) {
      told_.push_back(result.ok() ? "settled " + std::to_string(result->settled)
                                  : ReasonName(ReasonOf(result.status())));
    };
  }

  void Call() {
    for (auto& call : std::exchange(answers_.calls, {})) {
      if (call.callback) call.callback(call.result);
    }
  }

  SettleBook book_{2};
  SettleBook::Answers answers_;
  std::vector<std::string> told_;
};

TEST_F(SettleBookTest, AcksOfManyThreadsAreOneEntry) {
  for (std::uint64_t id = 1; id <= 99; id += 2) book_.Ack(0, {id, id});
  for (std::uint64_t id = 2; id <= 100; id += 2) book_.Ack(0, {id, id});
  const v1::SettleBatch batch = Next();
  ASSERT_EQ(batch.entries_size(), 1);
  EXPECT_EQ(batch.entries(0).range().first_delivery_id(), 1u);
  EXPECT_EQ(batch.entries(0).range().last_delivery_id(), 100u);
  EXPECT_TRUE(batch.entries(0).has_ack());
  EXPECT_TRUE(book_.sent());
  EXPECT_FALSE(book_.idle());
  book_.OnResults(Results(batch), answers_);
  EXPECT_EQ(answers_.settled, 100u);
  EXPECT_TRUE(book_.idle());
}

TEST_F(SettleBookTest, OutcomesAreWrittenAsTheyAre) {
  book_.Add(
      {.range = {1, 1}, .outcome = Outcome::RetryAfter(std::chrono::milliseconds(1'500), "e")});
  book_.Add({.range = {2, 2}, .outcome = Outcome::DeadLetter("why")});
  book_.Add({.range = {3, 3}, .outcome = Outcome::Release()});
  book_.Add({.range = {4, 4}, .extend = true});
  const v1::SettleBatch batch = Next();
  ASSERT_EQ(batch.entries_size(), 4);
  EXPECT_EQ(batch.entries(0).retry().delay().nanos(), 500'000'000);
  EXPECT_EQ(batch.entries(0).retry().error(), "e");
  EXPECT_EQ(batch.entries(1).dead_letter().reason(), "why");
  EXPECT_TRUE(batch.entries(2).has_release());
  EXPECT_TRUE(batch.entries(3).has_extend());
  EXPECT_FALSE(batch.entries(3).extend().has_lease());
}

// A text from an exception must not break the stream.
TEST_F(SettleBookTest, TextsAreCutAndMended) {
  book_.Add({.range = {1, 1}, .outcome = Outcome::Retry(std::string(5'000, 'x'))});
  book_.Add({.range = {2, 2}, .outcome = Outcome::Retry("bad \xFF byte")});
  book_.Add({.range = {3, 3}, .outcome = Outcome::Retry(std::string(1'023, 'x') + "\xC3\xA9")});
  const v1::SettleBatch batch = Next();
  EXPECT_EQ(batch.entries(0).retry().error().size(), 1'024u);
  EXPECT_EQ(batch.entries(1).retry().error(), "bad ? byte");
  EXPECT_EQ(batch.entries(2).retry().error(), std::string(1'023, 'x'));
}

TEST_F(SettleBookTest, StaleDeliveriesAreToldOneByOne) {
  book_.Add({.range = {1, 1}, .outcome = {}, .callback = Told()});
  book_.Add({.range = {2, 2}, .outcome = {}, .callback = Told()});
  const v1::SettleBatch batch = Next();
  v1::SettleResults results = Results(batch);
  v1::SettleException& exception = *results.add_exceptions();
  exception.mutable_range()->set_first_delivery_id(2);
  exception.mutable_range()->set_last_delivery_id(2);
  exception.mutable_error()->set_reason(v1::REASON_STALE_DELIVERY);
  book_.OnResults(results, answers_);
  Call();
  EXPECT_THAT(told_, ElementsAre("settled 1", "STALE_DELIVERY"));
  EXPECT_EQ(answers_.settled, 1u);
  EXPECT_EQ(answers_.stale, 1u);
  ASSERT_EQ(answers_.errors.size(), 1u);
  EXPECT_EQ(answers_.errors[0].range, (IdRange{2, 2}));
}

// It may have been settled before the stream broke.
TEST_F(SettleBookTest, ASettleThatIsStaleWhenSentAgainIsUnknown) {
  book_.Add({.range = {2, 2}, .outcome = {}, .callback = Told()});
  Next();
  book_.OnDown(answers_);
  const v1::SettleBatch again = Next();
  v1::SettleResults results = Results(again);
  v1::SettleException& exception = *results.add_exceptions();
  *exception.mutable_range() = again.entries(0).range();
  exception.mutable_error()->set_reason(v1::REASON_STALE_DELIVERY);
  book_.OnResults(results, answers_);
  Call();
  EXPECT_THAT(told_, ElementsAre("OUTCOME_UNKNOWN"));
}

TEST_F(SettleBookTest, AnAtomicSettleIsAFrameOfItsOwn) {
  book_.Ack(0, {1, 5});
  book_.AddAtomic({.range = {6, 6}, .callback = Told()},
                  {{.queue = "out", .messages = {{.payload = "x"}, {.payload = "y"}}}});
  const v1::SettleBatch batch = Next();
  ASSERT_EQ(batch.entries_size(), 1);
  ASSERT_EQ(batch.publishes_size(), 1);
  EXPECT_EQ(batch.publishes(0).messages(1).payload(), "y");
  v1::SettleResults results = Results(batch);
  results.add_publish_results()->mutable_published()->set_sequence(1);
  results.add_publish_results()->mutable_error()->set_reason(v1::REASON_QUEUE_FULL);
  book_.OnResults(results, answers_);
  Call();
  EXPECT_THAT(told_, ElementsAre("QUEUE_FULL"));
  EXPECT_EQ(answers_.settled, 0u);
  EXPECT_EQ(Next().publishes_size(), 0);
}

TEST_F(SettleBookTest, ABrokenStreamResendsSettlesButNotAtomicOnes) {
  book_.Ack(1, {1, 5});
  Next();
  book_.Add({.queue_index = 1, .range = {6, 6}, .extend = true});
  Next();
  book_.AddAtomic({.range = {7, 7}, .callback = Told()}, {});
  Next();
  book_.OnDown(answers_);
  Call();
  EXPECT_THAT(told_, ElementsAre("OUTCOME_UNKNOWN"));
  const v1::SettleBatch again = Next();
  EXPECT_EQ(again.queue_index(), 1u);
  ASSERT_EQ(again.entries_size(), 1);
  EXPECT_EQ(again.entries(0).range().last_delivery_id(), 5u);
  EXPECT_FALSE(book_.NextFrame().has_value());
}

TEST_F(SettleBookTest, AcksGatherWhileManyFramesAreUnanswered) {
  std::vector<v1::SettleBatch> sent;
  for (std::uint64_t i = 0; i < SettleBook::kFramesMax; ++i) {
    book_.Ack(0, {i * 10, i * 10});
    sent.push_back(Next());
  }
  book_.Ack(0, {1'000, 1'000});
  book_.Ack(0, {1'001, 1'001});
  EXPECT_FALSE(book_.NextFrame().has_value());
  book_.OnResults(Results(sent.front()), answers_);
  EXPECT_EQ(Next().entries(0).range().last_delivery_id(), 1'001u);
}

TEST_F(SettleBookTest, QueuesTakeTurns) {
  book_.Ack(0, {1, 1});
  book_.Ack(1, {1, 1});
  EXPECT_EQ(Next().queue_index(), 0u);
  book_.Ack(0, {2, 2});
  EXPECT_EQ(Next().queue_index(), 1u);
}

TEST_F(SettleBookTest, FailAllForgetsNoCallback) {
  book_.Add({.range = {1, 1}, .callback = Told()});
  Next();
  book_.Add({.range = {2, 2}, .callback = Told()});
  book_.AddAtomic({.range = {3, 3}, .callback = Told()}, {});
  book_.FailAll(MakeStatus({.reason = Reason::kDraining}), answers_);
  Call();
  EXPECT_THAT(told_, ElementsAre("DRAINING", "DRAINING", "DRAINING"));
  EXPECT_TRUE(book_.idle());
}

// ---- lines of ordering keys that wait for an answer

SettleBook::Entry ReleaseThatHolds(std::uint64_t id, const std::string& line) {
  SettleBook::Entry entry{.range = {id, id}, .outcome = Outcome::Release()};
  entry.held.push_back(line);
  return entry;
}

TEST_F(SettleBookTest, ALineGoesOnWhenItsEntryIsAnswered) {
  book_.Add(ReleaseThatHolds(2, "k"));
  const v1::SettleBatch batch = Next();
  EXPECT_THAT(answers_.held, IsEmpty());
  book_.OnResults(Results(batch), answers_);
  EXPECT_THAT(answers_.held, ElementsAre("k"));
}

TEST_F(SettleBookTest, ALineOfARefusedAtomicSettleWaitsForItsLease) {
  book_.AddAtomic(ReleaseThatHolds(2, "k"), {});
  v1::SettleResults results = Results(Next());
  results.mutable_error()->set_reason(v1::REASON_QUEUE_FULL);
  book_.OnResults(results, answers_);
  EXPECT_THAT(answers_.held, IsEmpty());
  EXPECT_EQ(answers_.stuck.size(), 1u);
}

// The lines begin anew with the next stream, and other entries hold them then.
TEST_F(SettleBookTest, ABrokenStreamFreesALineOnlyOnce) {
  book_.Add(ReleaseThatHolds(1, "sent"));
  Next();
  book_.Add(ReleaseThatHolds(2, "waits"));
  book_.AddAtomic(ReleaseThatHolds(3, "atomic"), {});
  book_.OnDown(answers_);
  while (const auto bytes = book_.NextFrame()) {
    v1::ConsumeStreamRequest frame;
    ASSERT_TRUE(frame.ParseFromString(*bytes));
    book_.OnResults(Results(frame.settle()), answers_);
  }
  EXPECT_THAT(answers_.held, IsEmpty());
}

}  // namespace
}  // namespace mqd::client
