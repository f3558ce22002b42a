#include "client/delivery_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

namespace mqd::client {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;

class DeliveryBufferTest : public ::testing::Test {
 protected:
  /// `count` messages from `first_id` on, charged with 10 bytes each and 3 more.
  void Push(std::uint64_t first_id, std::uint64_t count, std::uint32_t queue_index = 0,
            std::int64_t lease_ms = 30'000) {
    auto frame = std::make_shared<DeliveryFrame>();
    frame->scanned.queue_index = queue_index;
    frame->scanned.charged_messages = count;
    frame->scanned.charged_bytes = count * 10 + (count > 3 ? 3 : 0);
    wire::ScannedRun run;
    run.first_delivery_id = first_id;
    run.lease_ms = lease_ms;
    run.messages.resize(count);
    frame->scanned.runs.push_back(std::move(run));
    frame->arrived = now_;
    frame->SplitCharge();
    buffer_.Push(frame);
  }

  /// Takes everything; "1-3" for each piece.
  std::vector<std::string> TakeAll(std::uint32_t max) {
    std::vector<std::string> pieces;
    while (const auto piece = buffer_.Take(max)) {
      pieces.push_back(std::to_string(piece->id(piece->begin)) + "-" +
                       std::to_string(piece->id(piece->end - 1)));
    }
    return pieces;
  }

  Time now_ = Time() + std::chrono::hours(1);
  DeliveryBuffer buffer_;
};

TEST_F(DeliveryBufferTest, TakesInOrderAndNoMoreThanAskedFor) {
  Push(1, 5);
  Push(10, 2);
  EXPECT_EQ(buffer_.messages(), 7u);
  EXPECT_THAT(TakeAll(3), ElementsAre("1-3", "4-5", "10-11"));
  EXPECT_EQ(buffer_.messages(), 0u);
}

TEST_F(DeliveryBufferTest, SharesOfTheChargeAddUp) {
  Push(1, 5);
  std::uint64_t bytes = 0;
  while (const auto piece = buffer_.Take(2)) bytes += piece->bytes();
  EXPECT_EQ(bytes, 53u);
}

TEST_F(DeliveryBufferTest, WhatIsPutBackComesFirst) {
  Push(1, 3);
  Push(10, 1);
  buffer_.PutBack(*buffer_.Take(2));
  EXPECT_EQ(buffer_.messages(), 4u);
  EXPECT_THAT(TakeAll(9), ElementsAre("1-2", "3-3", "10-10"));
}

TEST_F(DeliveryBufferTest, DroppedRangesLeaveTheRest) {
  Push(1, 6);
  Push(1, 6, 1);
  const auto dropped = buffer_.Drop(0, {{3, 4}});
  EXPECT_EQ(dropped.messages, 2u);
  EXPECT_EQ(dropped.bytes, 20u);
  EXPECT_THAT(dropped.ranges, ElementsAre(IdRange{3, 4}));
  EXPECT_THAT(TakeAll(9), ElementsAre("1-2", "5-6", "1-6")) << "the other queue is not concerned";
}

TEST_F(DeliveryBufferTest, DroppingAcrossPiecesTellsWhatWasHere) {
  Push(1, 3);
  Push(7, 3);
  const auto dropped = buffer_.Drop(0, {{2, 8}});
  EXPECT_THAT(dropped.ranges, ElementsAre(IdRange{2, 3}, IdRange{7, 8}));
  EXPECT_THAT(TakeAll(9), ElementsAre("1-1", "9-9"));
}

TEST_F(DeliveryBufferTest, LeasesAreExtendedAtHalfAndOnce) {
  Push(1, 3);
  EXPECT_TRUE(buffer_.ExtendDue(now_ + seconds(14)).empty());
  const auto due = buffer_.ExtendDue(now_ + seconds(16));
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].range, (IdRange{1, 3}));
  EXPECT_TRUE(buffer_.ExtendDue(now_ + seconds(17)).empty());
  EXPECT_EQ(buffer_.ExtendDue(now_ + seconds(32)).size(), 1u);
}

TEST_F(DeliveryBufferTest, LateIsAShareOfTheLease) {
  EXPECT_FALSE(buffer_.Late(now_, 0.25));
  Push(1, 3);
  EXPECT_FALSE(buffer_.Late(now_ + seconds(7), 0.25));
  EXPECT_TRUE(buffer_.Late(now_ + seconds(8), 0.25));
}

TEST_F(DeliveryBufferTest, ClearTellsWhatWasThere) {
  Push(1, 5);
  buffer_.Take(2);
  const auto dropped = buffer_.Clear();
  EXPECT_EQ(dropped.messages, 3u);
  EXPECT_EQ(dropped.bytes, 30u);
  EXPECT_TRUE(buffer_.empty());
}

TEST_F(DeliveryBufferTest, WhatHasNoLeaseIsNeitherProlongedNorLateNorDroppedWithTheStream) {
  Push(1, 2, 0, 0);
  Push(3, 1);
  now_ += std::chrono::hours(1);
  const auto due = buffer_.ExtendDue(now_);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].range.first, 3u);
  EXPECT_FALSE(buffer_.Late(now_, 0.25));
  EXPECT_EQ(buffer_.ClearLeased().messages, 1u);
  EXPECT_EQ(buffer_.messages(), 2u);
  const DeliveryBuffer::Dropped rest = buffer_.Clear();
  EXPECT_EQ(rest.messages, 2u);
  EXPECT_EQ(rest.leaseless, 2u);
}

// ---- lines of ordering keys

class KeyLinesTest : public ::testing::Test {
 protected:
  /// Deliveries 1, 2, 3, ... with these keys; "-" has none.
  void Push(const std::vector<std::string>& keys, std::int64_t lease_ms = 30'000) {
    auto frame = std::make_shared<DeliveryFrame>();
    frame->scanned.charged_messages = keys.size();
    frame->scanned.charged_bytes = keys.size() * 10;
    frame->arrived = now_;
    for (const std::string& key : keys) {
      wire::ScannedRun run;
      run.first_delivery_id = next_++;
      run.lease_ms = lease_ms;
      run.fence = key == "-" ? 0 : 1;
      run.messages.resize(1);
      if (key != "-") run.messages[0].ordering_key = *names_.insert(key).first;
      frame->scanned.runs.push_back(std::move(run));
    }
    frame->SplitCharge();
    buffer_.Push(frame);
  }
  std::vector<std::uint64_t> TakeAll() {
    std::vector<std::uint64_t> ids;
    while (const auto piece = buffer_.Take(8)) {
      ids.push_back(piece->id(piece->begin));
      taken_[ids.back()] = KeyLines::NameOf(*piece);
    }
    return ids;
  }
  void Finish(std::uint64_t id) { buffer_.Leave(taken_.at(id)); }
  void GiveBack(std::uint64_t id) {
    buffer_.Hold(taken_.at(id));
    Finish(id);
  }

  Time now_ = Time() + std::chrono::hours(1);
  std::set<std::string> names_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, std::string> taken_;
  DeliveryBuffer buffer_;
};

TEST_F(KeyLinesTest, OneOfAKeyIsOutAndTheOthersFollowInOrder) {
  Push({"k", "k", "l", "-", "-", "k"});
  EXPECT_THAT(TakeAll(), ElementsAre(1, 3, 4, 5));
  EXPECT_EQ(buffer_.messages(), 2u);
  Finish(1);
  EXPECT_THAT(TakeAll(), ElementsAre(2));
  Finish(2);
  EXPECT_THAT(TakeAll(), ElementsAre(6));
  EXPECT_EQ(buffer_.messages(), 0u);
}

TEST_F(KeyLinesTest, WhatComesLaterWaitsForTheOneThatIsOut) {
  Push({"k"});
  EXPECT_THAT(TakeAll(), ElementsAre(1));
  Push({"k"});
  EXPECT_THAT(TakeAll(), ElementsAre());
  Finish(1);
  EXPECT_THAT(TakeAll(), ElementsAre(2));
}

TEST_F(KeyLinesTest, AKeyIsHeldUntilWhatWasGivenBackIsAnswered) {
  Push({"k", "k", "k"});
  EXPECT_THAT(TakeAll(), ElementsAre(1));
  GiveBack(1);
  EXPECT_THAT(TakeAll(), ElementsAre());
  EXPECT_EQ(buffer_.Drop(0, {{2, 2}, {3, 3}}).messages, 2u);  // the broker took them back
  Push({"k"});
  EXPECT_THAT(TakeAll(), ElementsAre());
  buffer_.Unhold(taken_.at(1));
  EXPECT_THAT(TakeAll(), ElementsAre(4));
}

TEST_F(KeyLinesTest, ADroppedOneLetsTheNextOfItsKeyGo) {
  Push({"k", "k"});
  EXPECT_EQ(buffer_.Drop(0, {{1, 1}}).messages, 1u);
  EXPECT_THAT(TakeAll(), ElementsAre(2));
}

TEST_F(KeyLinesTest, WhatTheBrokerAsksBackHoldsItsKeys) {
  Push({"k", "l", "k"});
  const auto dropped = buffer_.Drop(0, {{2, 3}}, DeliveryBuffer::Then::kHold);
  EXPECT_EQ(dropped.messages, 2u);
  EXPECT_EQ(dropped.held.size(), 2u);
  EXPECT_THAT(TakeAll(), ElementsAre(1));
  Push({"l"});
  EXPECT_THAT(TakeAll(), ElementsAre());
  for (const std::string& line : dropped.held) buffer_.Unhold(line);
  EXPECT_THAT(TakeAll(), ElementsAre(4));
}

TEST_F(KeyLinesTest, ABrokenStreamLeavesNothingOfALineAndNoHold) {
  Push({"k", "k", "l"});
  const auto piece = buffer_.Take(8);
  buffer_.Hold(KeyLines::NameOf(*piece));
  EXPECT_EQ(buffer_.ClearLeased().messages, 2u);
  EXPECT_EQ(buffer_.messages(), 0u);
  Push({"k", "l"});
  EXPECT_THAT(TakeAll(), ElementsAre(5));  // k is with a handler still
  buffer_.Leave(KeyLines::NameOf(*piece));
  EXPECT_THAT(TakeAll(), ElementsAre(4));
}

TEST_F(KeyLinesTest, WhatHasNoLeaseStaysInLineOverABrokenStream) {
  Push({"k", "k"}, 0);
  EXPECT_EQ(buffer_.ClearLeased().messages, 0u);
  EXPECT_THAT(TakeAll(), ElementsAre(1));
  Finish(1);
  EXPECT_THAT(TakeAll(), ElementsAre(2));
}

TEST_F(KeyLinesTest, LeasesOfThoseInLineAreProlonged) {
  Push({"k", "k"});
  EXPECT_EQ(buffer_.ExtendDue(now_ + seconds(20)).size(), 2u);
}

}  // namespace
}  // namespace mqd::client
