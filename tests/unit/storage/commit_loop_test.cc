// Group commit: who shares a write, who gets a sync, and what everybody is told when it fails.
#include "storage/commit_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <limits>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"

namespace mqd::storage {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr ShardId kShard{0};
constexpr Epoch kEpoch = 7;
constexpr std::chrono::hours kNever{1};

/// Writes down what it is told: "write 2", "flush". Can be held up and can fail.
class ScriptedWriter final : public LogWriter {
 public:
  bool HasRoomFor(const Batch&) const override {
    base::MutexLock lock(mutex_);
    return has_room_;
  }

  Index Add(ShardId shard, const Batch&) override {
    ++added_;
    return ++indexes_[shard];
  }

  absl::Status Commit() override {
    return Say(absl::StrCat("write ", std::exchange(added_, 0)), commit_fails_);
  }
  absl::Status Flush() override {
    base::MutexLock lock(mutex_);
    said_.push_back("flush");
    changed_.notify_all();
    const int number = ++flushes_;
    while (held_ || number > flushes_let_through_) lock.Wait(changed_);
    return Answer(flush_fails_);
  }
  absl::Status Maintain() override { return Say("", maintain_fails_); }

  /// Until Release(), the next write does not return.
  void Hold() {
    base::MutexLock lock(mutex_);
    held_ = true;
  }
  /// Until Release(), only the first `count` flushes return; writes do.
  void LetFlushesThrough(int count) {
    base::MutexLock lock(mutex_);
    flushes_let_through_ = count;
    changed_.notify_all();
  }
  void HoldFlushes() { LetFlushesThrough(0); }
  void Release() {
    base::MutexLock lock(mutex_);
    held_ = false;
    flushes_let_through_ = kAll;
    changed_.notify_all();
  }
  void WaitFor(std::size_t lines) {
    base::MutexLock lock(mutex_);
    while (said_.size() < lines) lock.Wait(changed_);
  }
  std::vector<std::string> said() {
    base::MutexLock lock(mutex_);
    return said_;
  }
  void SetRoom(bool has_room) {
    base::MutexLock lock(mutex_);
    has_room_ = has_room;
  }

  // Set before the loop runs.
  bool commit_fails_ = false;
  bool flush_fails_ = false;
  bool maintain_fails_ = false;

 private:
  absl::Status Say(std::string line, bool fails) {
    base::MutexLock lock(mutex_);
    if (!line.empty()) said_.push_back(std::move(line));
    changed_.notify_all();
    while (held_) lock.Wait(changed_);
    return Answer(fails);
  }
  static absl::Status Answer(bool fails) {
    return fails ? absl::UnavailableError("the disk is gone") : absl::OkStatus();
  }

  static constexpr int kAll = std::numeric_limits<int>::max();

  int added_ = 0;
  std::map<ShardId, Index> indexes_;
  mutable base::Mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> said_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  int flushes_ ABSL_GUARDED_BY(mutex_) = 0;
  int flushes_let_through_ ABSL_GUARDED_BY(mutex_) = kAll;
  bool has_room_ ABSL_GUARDED_BY(mutex_) = true;
};

Batch Small() {
  Batch batch;
  batch.DeleteAttempt(1, 1);
  return batch;
}

/// Made of one body of 5 MiB, `times` over: memory for one.
Batch Large(int times) {
  static const std::shared_ptr<const Body> body = [] {
    Body::Builder builder;
    builder.Append(std::string(5u << 20, 'x'));
    return std::move(builder).Finish();
  }();
  Batch batch;
  for (int i = 0; i < times; ++i) {
    batch.PutChunk(1, {.key = {static_cast<Sequence>(i) + 1, 0}, .charges = {1}, .count = 1}, body);
  }
  return batch;
}

class CommitLoopTest : public ::testing::Test {
 protected:
  void Start(std::chrono::milliseconds sync_interval = kNever,
             std::size_t write_ahead_bytes = CommitLoop::kWriteAheadBytes) {
    loop_.emplace(writer_, CommitLoop::Options{.epoch = kEpoch,
                                               .sync_interval = sync_interval,
                                               .write_ahead_bytes = write_ahead_bytes,
                                               .on_fatal = [this](absl::Status status) {
                                                 fatal_.set_value(std::move(status));
                                               }});
  }

  /// The second is written while the first is synced. Syncs are held until the test lets them go.
  void AppendDuringASync(Batch first, Batch second, Sync sync) {
    writer_.HoldFlushes();
    Append(std::move(first), Sync::kFlush);
    writer_.WaitFor(2);
    Append(std::move(second), sync);
    writer_.WaitFor(3);
  }

  void Append(Batch batch, Sync sync, Epoch epoch = kEpoch) {
    const std::size_t number = appended_++;
    loop_->Append(kShard, epoch, std::move(batch), sync, [this, number](CommitResult result) {
      base::MutexLock lock(mutex_);
      results_.emplace_back(number, result);
      changed_.notify_all();
    });
  }

  /// Waits for everything appended so far and gives the outcomes, in the order of completion.
  std::vector<Outcome> Outcomes() {
    base::MutexLock lock(mutex_);
    while (results_.size() < appended_) lock.Wait(changed_);
    std::vector<Outcome> outcomes;
    for (std::size_t i = 0; i < results_.size(); ++i) {
      EXPECT_EQ(results_[i].first, i) << "completions are out of order";
      outcomes.push_back(results_[i].second.outcome);
    }
    return outcomes;
  }

  std::size_t completed() {
    base::MutexLock lock(mutex_);
    return results_.size();
  }

  /// Holds the writer up in the write of a first batch, so that what comes next gathers.
  void HoldUp(Sync sync = Sync::kFlush) {
    writer_.Hold();
    Append(Small(), sync);
    writer_.WaitFor(1);
  }

  ScriptedWriter writer_;
  std::promise<absl::Status> fatal_;
  std::size_t appended_ = 0;
  base::Mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<std::size_t, CommitResult>> results_ ABSL_GUARDED_BY(mutex_);
  std::optional<CommitLoop> loop_;  // last: its thread uses all of the above
};

TEST_F(CommitLoopTest, BatchesThatWaitShareOneWriteAndOneSync) {
  Start();
  HoldUp();
  for (int i = 0; i < 50; ++i) Append(Small(), Sync::kFlush);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush", "write 50", "flush"));
  const CommitLoop::Counts counts = loop_->counts();
  EXPECT_EQ(counts.committed_batches, 51u);
  EXPECT_EQ(counts.groups, 2u);
  EXPECT_EQ(counts.flushes, 2u);
}

TEST_F(CommitLoopTest, GroupIsSyncedOnlyWhenSomebodyAsks) {
  Start();
  HoldUp(Sync::kWritten);
  Append(Small(), Sync::kWritten);
  Append(Small(), Sync::kWritten);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "write 2"));
  EXPECT_EQ(loop_->counts().flushes, 0u);
}

TEST_F(CommitLoopTest, OneWhoAsksGetsASyncForTheWholeGroup) {
  Start();
  HoldUp(Sync::kWritten);
  Append(Small(), Sync::kWritten);
  Append(Small(), Sync::kFlush);
  Append(Small(), Sync::kWritten);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "write 3", "flush"));
}

TEST_F(CommitLoopTest, WrittenBatchIsFlushedAfterTheIntervalWithoutFurtherTraffic) {
  Start(std::chrono::milliseconds(1));
  Append(Small(), Sync::kWritten);
  writer_.WaitFor(2);
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush"));
}

TEST_F(CommitLoopTest, SyncedGroupLeavesNothingToFlush) {
  Start();
  Append(Small(), Sync::kWritten);
  Append(Small(), Sync::kFlush);
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  loop_.reset();
  EXPECT_THAT(writer_.said(), Contains("flush").Times(1));
}

TEST_F(CommitLoopTest, EndFlushesWhatWasOnlyWritten) {
  Start();
  Append(Small(), Sync::kWritten);
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kCommitted));
  loop_.reset();
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush"));
}

TEST_F(CommitLoopTest, EndCommitsWhatWasAcceptedBefore) {
  Start();
  HoldUp();
  for (int i = 0; i < 5; ++i) Append(Small(), Sync::kFlush);
  std::thread end([this] { loop_.reset(); });
  writer_.Release();
  end.join();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush", "write 5", "flush"));
}

TEST_F(CommitLoopTest, FailedWriteIsUnknownAndEverythingBehindItIsRefused) {
  writer_.commit_fails_ = true;
  Start();
  HoldUp();
  Append(Small(), Sync::kFlush);
  Append(Small(), Sync::kWritten);
  writer_.Release();
  EXPECT_THAT(Outcomes(),
              ElementsAre(Outcome::kUnknown, Outcome::kShuttingDown, Outcome::kShuttingDown));
  EXPECT_EQ(fatal_.get_future().get().message(), "the disk is gone");
  Append(Small(), Sync::kFlush);
  EXPECT_EQ(Outcomes().back(), Outcome::kShuttingDown);
  loop_.reset();
  EXPECT_THAT(writer_.said(), ElementsAre("write 1")) << "a failed log is not written again";
}

TEST_F(CommitLoopTest, WholeGroupOfAFailedWriteIsUnknown) {
  Start();
  HoldUp();
  for (int i = 0; i < 3; ++i) Append(Small(), Sync::kWritten);
  writer_.commit_fails_ = true;  // the write that is held up has not looked yet
  writer_.Release();
  EXPECT_THAT(Outcomes(), Contains(Outcome::kUnknown).Times(3));
}

TEST_F(CommitLoopTest, FailedFlushIsFatalToo) {
  writer_.flush_fails_ = true;
  Start(std::chrono::milliseconds(1));
  Append(Small(), Sync::kWritten);
  EXPECT_EQ(fatal_.get_future().get().message(), "the disk is gone");
  Append(Small(), Sync::kFlush);
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kCommitted, Outcome::kShuttingDown));
  loop_.reset();
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush"));
}

TEST_F(CommitLoopTest, FailedMaintenanceIsNoticedWithoutTraffic) {
  writer_.maintain_fails_ = true;
  Start();
  EXPECT_EQ(fatal_.get_future().get().message(), "the disk is gone");
  Append(Small(), Sync::kFlush);
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kShuttingDown));
  EXPECT_THAT(writer_.said(), IsEmpty());
}

TEST_F(CommitLoopTest, RefusedBatchesKeepTheirPlaceInLine) {
  Start();
  HoldUp();
  Append(Small(), Sync::kFlush, kEpoch - 1);
  Append(Small(), Sync::kFlush);
  Append(Large(13), Sync::kFlush);  // 65 MiB
  Append(Small(), Sync::kFlush, kEpoch + 1);
  Append(Small(), Sync::kFlush);
  writer_.Release();
  EXPECT_THAT(Outcomes(),
              ElementsAre(Outcome::kCommitted, Outcome::kNotLeader, Outcome::kCommitted,
                          Outcome::kTooLarge, Outcome::kNotLeader, Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush", "write 2", "flush"));
}

TEST_F(CommitLoopTest, GroupClosesBeforeItIsTooLarge) {
  Start();
  HoldUp();
  for (int i = 0; i < 3; ++i) Append(Large(1), Sync::kFlush);
  Append(Large(4), Sync::kFlush);  // larger than a group: alone
  Append(Small(), Sync::kFlush);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), Contains("write 1").Times(6));
}

TEST_F(CommitLoopTest, IntakeHasABoundAndTakesInAgainWhenItIsWritten) {
  Start();
  HoldUp();
  for (int i = 0; i < 18; ++i) Append(Large(12), Sync::kWritten);  // 18 * 60 MiB > 1 GiB
  writer_.Release();
  const std::vector<Outcome> outcomes = Outcomes();
  EXPECT_THAT(outcomes, Contains(Outcome::kNoSpace).Times(1));
  EXPECT_EQ(outcomes.back(), Outcome::kNoSpace);
  Append(Large(12), Sync::kWritten);
  EXPECT_EQ(Outcomes().back(), Outcome::kCommitted);
}

TEST_F(CommitLoopTest, FullDiskRefusesTheBatchAndNothingElse) {
  Start();
  writer_.SetRoom(false);
  Append(Small(), Sync::kFlush);
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kNoSpace));
  writer_.SetRoom(true);
  Append(Small(), Sync::kFlush);
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kNoSpace, Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush"));
}

TEST_F(CommitLoopTest, BehindABatchWithoutRoomNoneOfItsChainIsWritten) {
  Start();
  const auto chain = std::make_shared<BatchChain>();
  const auto link = [&] {
    Batch batch = Small();
    batch.Join(chain);
    return batch;
  };
  writer_.SetRoom(false);
  Append(link(), Sync::kFlush);
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kNoSpace));
  writer_.SetRoom(true);
  Append(link(), Sync::kFlush);
  Append(Small(), Sync::kFlush);
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kNoSpace, Outcome::kNoSpace, Outcome::kCommitted));
}

TEST_F(CommitLoopTest, NextGroupIsWrittenWhileALargeOneIsSynced) {
  Start();
  AppendDuringASync(Large(1), Large(1), Sync::kFlush);
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush", "write 1"));
  EXPECT_EQ(completed(), 0u);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush", "write 1", "flush"));
}

TEST_F(CommitLoopTest, SyncThatBeganBeforeAWriteDoesNotConfirmIt) {
  Start();
  AppendDuringASync(Large(1), Large(1), Sync::kFlush);
  writer_.LetFlushesThrough(1);
  writer_.WaitFor(4);
  EXPECT_EQ(completed(), 1u);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
}

TEST_F(CommitLoopTest, GroupsWrittenDuringASyncShareTheNext) {
  Start(kNever, 1);
  writer_.HoldFlushes();
  Append(Small(), Sync::kFlush);
  writer_.WaitFor(2);
  for (std::size_t i = 0; i < 5; ++i) {
    Append(Small(), Sync::kFlush);
    writer_.WaitFor(3 + i);
  }
  Append(Small(), Sync::kWritten);  // once it is written, all before it have been handed over
  writer_.WaitFor(8);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_EQ(loop_->counts().groups, 7u);
  EXPECT_EQ(loop_->counts().flushes, 2u);
}

TEST_F(CommitLoopTest, SmallBatchesGatherWhileTheDiskIsBusy) {
  Start();
  writer_.HoldFlushes();
  Append(Large(1), Sync::kFlush);
  writer_.WaitFor(2);
  for (int i = 0; i < 50; ++i) Append(Small(), Sync::kFlush);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush", "write 50", "flush"));
}

TEST_F(CommitLoopTest, WrittenBatchBehindAGroupThatIsSyncedKeepsItsPlaceInLine) {
  Start();
  AppendDuringASync(Large(1), Large(1), Sync::kWritten);
  EXPECT_EQ(completed(), 0u);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kCommitted));
}

TEST_F(CommitLoopTest, FailedSyncOfALargeGroupIsUnknownAndFatalOnce) {
  writer_.flush_fails_ = true;
  Start(kNever, 1);
  AppendDuringASync(Small(), Small(), Sync::kFlush);
  writer_.Release();
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kUnknown, Outcome::kUnknown));
  EXPECT_EQ(fatal_.get_future().get().message(), "the disk is gone");
  Append(Small(), Sync::kFlush);
  EXPECT_EQ(Outcomes().back(), Outcome::kShuttingDown);
  EXPECT_THAT(writer_.said(), ElementsAre("write 1", "flush", "write 1"));
}

TEST_F(CommitLoopTest, WhatIsWrittenDuringASyncThatFailsIsNotCommittedBehindIt) {
  writer_.flush_fails_ = true;
  Start(kNever, 1);
  AppendDuringASync(Small(), Small(), Sync::kWritten);
  writer_.Release();
  EXPECT_THAT(Outcomes(), Each(Outcome::kUnknown));
}

TEST_F(CommitLoopTest, EndWaitsForTheSyncOfALargeGroup) {
  Start(kNever, 1);
  writer_.HoldFlushes();
  Append(Small(), Sync::kFlush);
  writer_.WaitFor(2);
  std::thread end([this] { loop_.reset(); });
  writer_.Release();
  end.join();
  EXPECT_THAT(Outcomes(), ElementsAre(Outcome::kCommitted));
}

TEST_F(CommitLoopTest, CompletionMayAppend) {
  Start();
  std::promise<Index> second;
  loop_->Append(kShard, kEpoch, Small(), Sync::kFlush, [&](CommitResult) {
    loop_->Append(kShard, kEpoch, Small(), Sync::kFlush,
                  [&](CommitResult result) { second.set_value(result.index); });
  });
  EXPECT_EQ(second.get_future().get(), 2u);
}

// A completion that always appends again would otherwise keep the end from coming.
TEST_F(CommitLoopTest, WhatACompletionAppendsDuringTheEndIsRefused) {
  Start();
  CommitLoop& loop = *loop_;
  std::promise<Outcome> last;
  std::function<void(CommitResult)> again = [&](CommitResult result) {
    if (result.outcome != Outcome::kCommitted) return last.set_value(result.outcome);
    loop.Append(kShard, kEpoch, Small(), Sync::kWritten, again);
  };
  loop.Append(kShard, kEpoch, Small(), Sync::kWritten, again);
  writer_.WaitFor(3);
  loop_.reset();
  EXPECT_EQ(last.get_future().get(), Outcome::kShuttingDown);
}

class CommitLoopOrderTest : public CommitLoopTest,
                            public ::testing::WithParamInterface<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(WriteAheadBytes, CommitLoopOrderTest,
                         ::testing::Values(1, 2'000, CommitLoop::kWriteAheadBytes));

TEST_P(CommitLoopOrderTest, BatchesOfManyThreadsCompleteOnceEachInTheirThreadsOrder) {
  constexpr int kThreads = 4;
  constexpr int kEach = 2000;
  Start(kNever, GetParam());
  std::vector<std::vector<Index>> indexes(kThreads);
  std::latch all(kThreads * kEach);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kEach; ++i) {
        loop_->Append(kShard, kEpoch, Small(), i % 7 == 0 ? Sync::kFlush : Sync::kWritten,
                      [&, thread](CommitResult result) {
                        indexes[static_cast<std::size_t>(thread)].push_back(result.index);
                        all.count_down();
                      });
      }
    });
  }
  all.wait();
  for (std::thread& thread : threads) thread.join();
  std::vector<Index> seen;
  for (const std::vector<Index>& of_thread : indexes) {
    EXPECT_EQ(of_thread.size(), static_cast<std::size_t>(kEach));
    EXPECT_TRUE(std::is_sorted(of_thread.begin(), of_thread.end()));
    seen.insert(seen.end(), of_thread.begin(), of_thread.end());
  }
  std::sort(seen.begin(), seen.end());
  for (std::size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], i + 1);
}

}  // namespace
}  // namespace mqd::storage
