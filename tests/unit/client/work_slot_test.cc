#include "client/work_slot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mqd::client {
namespace {

using std::chrono::microseconds;
using ::testing::ElementsAre;

constexpr std::size_t kAll = 1'000;

class WorkSlotTest : public ::testing::Test {
 protected:
  DeliveryPiece Piece(std::uint32_t count) {
    auto frame = std::make_shared<DeliveryFrame>();
    frame->scanned.charged_bytes = count * 10;
    wire::ScannedRun run;
    run.first_delivery_id = 100;
    run.messages.resize(count);
    frame->scanned.runs.push_back(std::move(run));
    frame->SplitCharge();
    return {.frame = frame, .run = 0, .begin = 0, .end = count};
  }

  static WorkSlot::Done Acked() { return {}; }

  Time now_ = Time() + std::chrono::hours(1);
  WorkSlot slot_;
};

TEST_F(WorkSlotTest, OutcomesBecomeRangesAndEntries) {
  slot_.Load(Piece(4), now_);
  EXPECT_EQ(slot_.Next({}), 0u);
  EXPECT_EQ(slot_.Next(Acked()), 1u);
  EXPECT_EQ(slot_.Next(Acked()), 2u);
  EXPECT_EQ(slot_.Next(WorkSlot::Done{.outcome = Outcome::Retry("no")}), 3u);
  EXPECT_EQ(slot_.Next(WorkSlot::Done{.handed_off = true}), std::nullopt);
  WorkSlot::Report report = slot_.TakeReport();
  EXPECT_THAT(report.acks.Take(kAll), ElementsAre(IdRange{100, 101}));
  ASSERT_EQ(report.others.size(), 1u);
  EXPECT_EQ(report.others[0].range, (IdRange{102, 102}));
  EXPECT_THAT(report.handed_off, ElementsAre(103));
  EXPECT_EQ(report.finished, 3u);
  EXPECT_EQ(report.finished_bytes, 30u);
  EXPECT_TRUE(slot_.TakeReport().empty());
}

TEST_F(WorkSlotTest, AHangingHandlerHoldsNeitherOutcomesNorMessages) {
  slot_.Load(Piece(4), now_);
  slot_.Next({});
  slot_.Next(Acked());  // 101 hangs
  EXPECT_EQ(slot_.TakeReport().finished, 1u);
  const auto rest = slot_.Reclaim();
  ASSERT_TRUE(rest.has_value());
  EXPECT_EQ(rest->id(rest->begin), 102u);
  EXPECT_EQ(rest->count(), 2u);
  const auto running = slot_.running();
  ASSERT_TRUE(running.has_value());
  EXPECT_EQ(running->piece.id(running->piece.begin), 101u);
  EXPECT_EQ(slot_.Next(Acked()), std::nullopt) << "the rest is no longer this thread's";
  EXPECT_EQ(slot_.TakeReport().finished, 1u);
}

TEST_F(WorkSlotTest, AMessageIsMarkedOnce) {
  slot_.Load(Piece(2), now_);
  EXPECT_FALSE(slot_.TakeMark()) << "nothing runs yet";
  slot_.Next({});
  EXPECT_TRUE(slot_.TakeMark());
  EXPECT_FALSE(slot_.TakeMark());
  slot_.Next(Acked());
  EXPECT_TRUE(slot_.TakeMark());
}

TEST_F(WorkSlotTest, PiecesGrowWithFastHandlersOnly) {
  const auto work = [&](std::uint32_t count, microseconds each) {
    slot_.Load(Piece(count), now_);
    std::optional<WorkSlot::Done> before;
    while (slot_.Next(before)) before = Acked();
    slot_.TakeReport();
    now_ += each * count;
    slot_.Unload(now_);
  };
  EXPECT_EQ(slot_.PieceSize(), 1u);
  for (const std::uint32_t expected : {4, 16, 64, 128, 128}) {
    work(slot_.PieceSize(), microseconds(0));
    EXPECT_EQ(slot_.PieceSize(), expected);
  }
  work(128, microseconds(20));
  EXPECT_EQ(slot_.PieceSize(), 10u);
  work(10, microseconds(1'000));
  EXPECT_EQ(slot_.PieceSize(), 1u);
}

}  // namespace
}  // namespace mqd::client
