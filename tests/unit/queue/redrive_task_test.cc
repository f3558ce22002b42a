// Which messages a redrive moves, where and how fast, and what it makes of every way to be refused.
#include "server/queue/redrive_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/limits.h"

namespace mqd::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr storage::WallMs kMorning = 1'700'000'000'000;

PeekedMessage Dead(Sequence sequence, std::string origin = "default/jobs",
                   std::string reason = "max_attempts",
                   MessageStatus status = MessageStatus::kReady) {
  PeekedMessage message{.sequence = sequence, .status = status};
  message.dead_letter =
      storage::DeadLetterOrigin{.queue = std::move(origin),
                                .sequence = sequence,
                                .reason = std::move(reason),
                                .time_ms = kMorning + static_cast<storage::WallMs>(sequence)};
  return message;
}

std::vector<PeekedMessage> DeadFrom(Sequence first, std::size_t count) {
  std::vector<PeekedMessage> messages;
  for (std::size_t i = 0; i < count; ++i) messages.push_back(Dead(first + i));
  return messages;
}

ErrorInfo Error(Reason reason) { return {.reason = reason, .message = ToString(reason)}; }

TransactionResult Committed() { return {.committed = true}; }
TransactionResult RefusedBecause(Reason reason) {
  TransactionResult result;
  result.error = Error(reason);
  return result;
}
TransactionResult RefusedAtSource() { return {.refused_at_source = true}; }

/// A task with a clock that is moved by hand.
class Redrive {
 public:
  explicit Redrive(storage::RedriveRecord record) : task_(Complete(std::move(record))) {}

  RedriveTask& task() { return task_; }
  const storage::RedriveRecord& record() { return task_.record(); }
  void Advance(std::int64_t ms) { now_.steady_ns += ms * kNsPerMs; }

  /// The next step must be a look; answers it.
  void Look(std::vector<PeekedMessage> found) {
    const RedriveTask::Step step = task_.NextStep(now_);
    ASSERT_TRUE(std::holds_alternative<RedriveTask::Look>(step)) << step.index();
    EXPECT_LE(std::get<RedriveTask::Look>(step).peek.limit, 100u) << "of one peek";
    looked_from_ = std::get<RedriveTask::Look>(step).peek.from_sequence;
    task_.OnLooked(std::move(found), now_);
  }
  /// The next step must be a move; gives its messages and ends it.
  std::vector<Sequence> Move(const TransactionResult& result) {
    const RedriveTask::Step step = task_.NextStep(now_);
    const auto* move = std::get_if<RedriveTask::Move>(&step);
    EXPECT_NE(move, nullptr) << "step " << step.index();
    if (move == nullptr) return {};
    target_ = move->target;
    std::vector<Sequence> sequences;
    for (const PeekedMessage& message : move->messages) sequences.push_back(message.sequence);
    task_.OnMoved(result, now_);
    return sequences;
  }
  /// How long it waits; -1 when it does not.
  std::int64_t WaitMs() {
    const RedriveTask::Step step = task_.NextStep(now_);
    const auto* wait = std::get_if<RedriveTask::Wait>(&step);
    return wait == nullptr ? -1 : (wait->until_ns - now_.steady_ns) / kNsPerMs;
  }
  bool Ends() { return std::holds_alternative<RedriveTask::End>(task_.NextStep(now_)); }

  Sequence looked_from() const { return looked_from_; }
  const std::string& target() const { return target_; }
  const Now& now() const { return now_; }

 private:
  static storage::RedriveRecord Complete(storage::RedriveRecord record) {
    record.queue = "default/dead";
    if (record.end_sequence == 0) record.end_sequence = 1'000'000;
    return record;
  }

  Now now_{.steady_ns = 1'000'000'000'000, .wall_ms = kMorning + 1'000'000};
  RedriveTask task_;
  Sequence looked_from_ = 0;
  std::string target_;
};

// ---- which messages

TEST(RedriveTaskTest, MovesWhatMayLeaveToWhereItCameFromAndSkipsTheRest) {
  Redrive redrive({});
  PeekedMessage published = {.sequence = 5, .status = MessageStatus::kReady};
  redrive.Look({Dead(1), Dead(2, "default/jobs", "r", MessageStatus::kInFlight),
                Dead(3, "default/jobs", "r", MessageStatus::kParked),
                Dead(4, "default/jobs", "r", MessageStatus::kDelayed), published,
                Dead(6, "default/dead")});
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(1, 3, 4));
  EXPECT_EQ(redrive.target(), "default/jobs");
  redrive.Look({});
  EXPECT_EQ(redrive.looked_from(), 7u);
  EXPECT_TRUE(redrive.Ends());
  EXPECT_EQ(redrive.task().state(), RedriveState::kDone);
  EXPECT_EQ(redrive.record().matched, 6u);
  EXPECT_EQ(redrive.record().moved, 3u);
  EXPECT_EQ(redrive.record().skipped, 3u) << "in flight; from nowhere; from the queue itself";
  EXPECT_EQ(redrive.record().end_time_ms, redrive.now().wall_ms);
}

TEST(RedriveTaskTest, OneTargetTakesAllAlsoWhatCameFromNowhere) {
  Redrive redrive({.target = "default/hospital"});
  redrive.Look({Dead(1), {.sequence = 2, .status = MessageStatus::kReady}});
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(1, 2));
  EXPECT_EQ(redrive.target(), "default/hospital");
}

TEST(RedriveTaskTest, MessagesOfOneTargetMoveTogetherThoughOthersLieBetween) {
  Redrive redrive({});
  redrive.Look({Dead(1, "default/a"), Dead(2, "default/b"), Dead(3, "default/a")});
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(1, 3));
  EXPECT_EQ(redrive.task().ToStore().cursor, 2u) << "what lies between is not done";
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(2));
  EXPECT_EQ(redrive.target(), "default/b");
  EXPECT_EQ(redrive.task().ToStore().cursor, 4u);
}

TEST(RedriveTaskTest, EveryConditionOfTheFilterMustBeMet) {
  const std::vector<PeekedMessage> dead = {Dead(1),
                                           Dead(2, "default/other"),
                                           Dead(3, "default/jobs", "poison: max"),
                                           Dead(4),
                                           {.sequence = 5, .status = MessageStatus::kReady}};
  const auto moved = [&](storage::RedriveRecord record) {
    record.target = "default/hospital";
    Redrive redrive(std::move(record));
    redrive.Look(dead);
    redrive.Look({});
    return redrive.Ends() ? std::vector<Sequence>{} : redrive.Move(Committed());
  };
  const auto all = [&](storage::RedriveRecord record) {
    record.target = "default/hospital";
    Redrive redrive(std::move(record));
    redrive.Look(dead);
    return redrive.Move(Committed());
  };
  EXPECT_THAT(all({}), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(all({.origin_filter = "default/jobs"}), ElementsAre(1, 3, 4));
  EXPECT_THAT(all({.reason_filter = "max"}), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(all({.reason_filter = "max_attempts"}), ElementsAre(1, 2, 4));
  EXPECT_THAT(all({.before_ms = kMorning + 3}), ElementsAre(1, 2));
  EXPECT_THAT(all({.after_ms = kMorning + 3}), ElementsAre(3, 4));
  EXPECT_THAT(all({.origin_filter = "default/jobs", .after_ms = kMorning + 2, .max_messages = 1}),
              ElementsAre(3));
  EXPECT_THAT(moved({.origin_filter = "default/nobody"}), IsEmpty());
}

TEST(RedriveTaskTest, MessagesThatCameLaterAreNotPartOfIt) {
  Redrive redrive({.end_sequence = 3});
  redrive.Look({Dead(1), Dead(2), Dead(3), Dead(4)});
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(1, 2));
  EXPECT_TRUE(redrive.Ends());
  EXPECT_EQ(redrive.record().matched, 2u);
}

TEST(RedriveTaskTest, MovesItsNumberAndNoMore) {
  Redrive redrive({.max_messages = 3});
  redrive.Look(
      {Dead(1), Dead(2, "default/jobs", "r", MessageStatus::kInFlight), Dead(3), Dead(4), Dead(5)});
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(1, 3, 4));
  EXPECT_TRUE(redrive.Ends());
}

TEST(RedriveTaskTest, MessageThatSlipsAwayIsReplacedByTheNextOne) {
  Redrive redrive({.max_messages = 1});
  redrive.Look({Dead(1), Dead(2)});
  EXPECT_THAT(redrive.Move(RefusedAtSource()), ElementsAre(1));
  redrive.Look({Dead(2)});
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(2));
  EXPECT_TRUE(redrive.Ends());
  EXPECT_EQ(redrive.record().moved, 1u);
}

TEST(RedriveTaskTest, DryRunCountsAndMovesNothing) {
  Redrive redrive({.dry_run = true});
  const RedriveTask::Step step = redrive.task().NextStep(redrive.now());
  EXPECT_FALSE(std::get<RedriveTask::Look>(step).peek.bodies) << "nothing is read from disk";
  redrive.Look({Dead(1), Dead(2, "default/jobs", "r", MessageStatus::kInFlight), Dead(3)});
  redrive.Look({});
  EXPECT_TRUE(redrive.Ends());
  EXPECT_EQ(redrive.record().matched, 3u);
  EXPECT_EQ(redrive.record().skipped, 1u);
  EXPECT_EQ(redrive.record().moved, 0u);
}

// ---- how fast

TEST(RedriveTaskTest, MovesABatchAtATime) {
  Redrive redrive({});
  redrive.Look(DeadFrom(1, 64));
  EXPECT_EQ(redrive.Move(Committed()).size(), 64u);
  redrive.Look(DeadFrom(65, 10));
  EXPECT_EQ(redrive.looked_from(), 65u);
  EXPECT_EQ(redrive.Move(Committed()).size(), 10u);
}

TEST(RedriveTaskTest, RateIsHeldOverAnyTime) {
  Redrive redrive({.max_rate = 50});
  Sequence next = 1;
  std::size_t moved = 0;
  for (int ms = 0; ms < 10'000; ++ms, redrive.Advance(1)) {
    for (;;) {
      const RedriveTask::Step step = redrive.task().NextStep(redrive.now());
      if (std::holds_alternative<RedriveTask::Wait>(step)) break;
      if (std::holds_alternative<RedriveTask::Look>(step)) {
        redrive.task().OnLooked(DeadFrom(next, 64), redrive.now());
        next += 64;
        continue;
      }
      moved += std::get<RedriveTask::Move>(step).messages.size();
      redrive.task().OnMoved(Committed(), redrive.now());
    }
    ASSERT_LE(moved, 5u + 50u * static_cast<unsigned>(ms) / 1'000u) << "at " << ms << " ms";
  }
  EXPECT_GE(moved, 495u);
}

// ---- refusals

TEST(RedriveTaskTest, FullTargetIsTriedInSmallerBatchesAndThenEverySecond) {
  Redrive redrive({});
  redrive.Look(DeadFrom(1, 64));
  for (const std::size_t size : {64u, 32u, 16u, 8u, 4u, 2u, 1u}) {
    EXPECT_EQ(redrive.Move(RefusedBecause(Reason::kQueueFull)).size(), size);
  }
  EXPECT_EQ(redrive.task().state(), RedriveState::kWaiting);
  EXPECT_EQ(redrive.WaitMs(), 1'000);
  EXPECT_EQ(redrive.record().error_reason, static_cast<int>(Reason::kQueueFull));
  EXPECT_THAT(redrive.record().error, HasSubstr("QUEUE_FULL"));
  redrive.Advance(999);
  EXPECT_EQ(redrive.WaitMs(), 1);
  redrive.Advance(1);
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(1));
  EXPECT_EQ(redrive.task().state(), RedriveState::kRunning);
  EXPECT_EQ(redrive.record().error, "");
  EXPECT_EQ(redrive.record().error_reason, 0);
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(2, 3)) << "room is found again step by step";
  EXPECT_EQ(redrive.Move(Committed()).size(), 4u);
}

TEST(RedriveTaskTest, ClosedOrMissingTargetIsWaitedForAtOnce) {
  for (const Reason reason : {Reason::kQueueClosed, Reason::kQueuePaused, Reason::kQueueNotFound,
                              Reason::kDiskLow, Reason::kDraining}) {
    Redrive redrive({});
    redrive.Look(DeadFrom(1, 64));
    redrive.Move(RefusedBecause(reason));
    EXPECT_EQ(redrive.task().state(), RedriveState::kWaiting) << ToString(reason);
    EXPECT_EQ(redrive.WaitMs(), 1'000);
    redrive.Advance(1'000);
    EXPECT_EQ(redrive.Move(Committed()).size(), 64u);
  }
}

TEST(RedriveTaskTest, MessageThatTheTargetNeverTakesIsSkippedAndTheOthersGoOn) {
  Redrive redrive({});
  redrive.Look({Dead(1), Dead(2)});
  redrive.Move(RefusedBecause(Reason::kMessageTooLarge));
  EXPECT_THAT(redrive.Move(RefusedBecause(Reason::kMessageTooLarge)), ElementsAre(1));
  EXPECT_EQ(redrive.record().skipped, 1u);
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(2));
}

TEST(RedriveTaskTest, BatchOfWhichOneIsGoneIsLookedAtAgain) {
  Redrive redrive({});
  redrive.Look({Dead(1), Dead(2), Dead(3)});
  EXPECT_THAT(redrive.Move(RefusedAtSource()), ElementsAre(1, 2, 3));
  redrive.Look({Dead(1), Dead(3)});
  EXPECT_EQ(redrive.looked_from(), 1u);
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(1));
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(3));
  EXPECT_EQ(redrive.record().matched, 2u);
  EXPECT_EQ(redrive.record().moved, 2u);
}

TEST(RedriveTaskTest, UnknownOutcomeIsLookedAtAgainBeforeAnythingElseMoves) {
  Redrive redrive({});
  redrive.Look({Dead(1), Dead(2)});
  redrive.Move(RefusedBecause(Reason::kOutcomeUnknown));
  EXPECT_EQ(redrive.WaitMs(), 1'000);
  redrive.Advance(1'000);
  redrive.Look({Dead(2)});
  EXPECT_EQ(redrive.looked_from(), 1u);
  EXPECT_THAT(redrive.Move(Committed()), ElementsAre(2));
}

TEST(RedriveTaskTest, QueueThatIsGoneEndsItAndOtherErrorsAreWaitedFor) {
  Redrive redrive({});
  redrive.task().OnLooked(ToStatus(Error(Reason::kOutcomeUnknown)), redrive.now());
  EXPECT_EQ(redrive.WaitMs(), 1'000);
  redrive.Advance(1'000);
  redrive.Look({Dead(1)});
  EXPECT_EQ(redrive.task().state(), RedriveState::kRunning);
  redrive.Move(Committed());
  redrive.task().OnLooked(ToStatus(Error(Reason::kQueueNotFound)), redrive.now());
  EXPECT_TRUE(redrive.Ends());
  EXPECT_EQ(redrive.task().state(), RedriveState::kFailed);
  EXPECT_EQ(redrive.record().error_reason, static_cast<int>(Reason::kQueueNotFound));
}

// ---- the end, and over a restart

TEST(RedriveTaskTest, CancelledItStopsAndCountsTheMoveUnderWay) {
  Redrive redrive({});
  redrive.Look(DeadFrom(1, 64));
  redrive.Move(RefusedBecause(Reason::kQueueFull));
  const RedriveTask::Step step = redrive.task().NextStep(redrive.now());
  ASSERT_EQ(std::get<RedriveTask::Move>(step).messages.size(), 32u);
  redrive.task().Cancel(redrive.now());
  redrive.task().OnMoved(Committed(), redrive.now());
  EXPECT_TRUE(redrive.Ends());
  EXPECT_EQ(redrive.task().state(), RedriveState::kCancelled);
  EXPECT_EQ(redrive.record().moved, 32u);
  EXPECT_EQ(redrive.record().matched, 32u) << "what was not tried is not counted";
  redrive.task().Cancel(redrive.now());
  EXPECT_EQ(redrive.task().state(), RedriveState::kCancelled);
}

TEST(RedriveTaskTest, CancelledWhileItsMoveIsRefusedItHasMovedNothing) {
  Redrive redrive({});
  redrive.Look({Dead(1)});
  redrive.task().NextStep(redrive.now());
  redrive.task().Cancel(redrive.now());
  redrive.task().OnMoved(RefusedBecause(Reason::kQueueFull), redrive.now());
  EXPECT_EQ(redrive.record().moved, 0u);
  EXPECT_EQ(redrive.record().matched, 0u);
  EXPECT_EQ(redrive.task().state(), RedriveState::kCancelled);
}

TEST(RedriveTaskTest, TakenUpAfterARestartItGoesOnAtItsCursorAndCountsNothingTwice) {
  Redrive before({});
  before.Look({Dead(1), Dead(2, "default/jobs", "r", MessageStatus::kInFlight)});
  before.Move(Committed());
  before.Look({Dead(3), Dead(4)});
  const storage::RedriveRecord stored = before.task().ToStore();
  EXPECT_EQ(stored.matched, 2u) << "3 and 4 come again";
  Redrive after(stored);
  after.Look({Dead(3), Dead(4)});
  EXPECT_EQ(after.looked_from(), 3u);
  after.Move(Committed());
  after.Look({});
  EXPECT_TRUE(after.Ends());
  EXPECT_EQ(after.record().matched, 4u);
  EXPECT_EQ(after.record().moved, 3u);
  EXPECT_EQ(after.record().skipped, 1u);
}

TEST(RedriveTaskTest, TaskThatWaitedBeforeARestartTriesAtOnce) {
  Redrive before({});
  before.Look({Dead(1)});
  before.Move(RefusedBecause(Reason::kQueueFull));
  Redrive after(before.task().ToStore());
  EXPECT_EQ(after.task().state(), RedriveState::kWaiting);
  after.Look({Dead(1)});
  EXPECT_THAT(after.Move(Committed()), ElementsAre(1));
  EXPECT_EQ(after.task().state(), RedriveState::kRunning);
}

}  // namespace
}  // namespace mqd::queue
