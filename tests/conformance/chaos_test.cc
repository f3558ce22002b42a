// A store that answers "unknown": what may have happened, and what may not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <latch>

#include "absl/strings/str_cat.h"
#include "storage/chaos_commit_log.h"
#include "storage/memory_store.h"
#include "storage/record_codec.h"

namespace mqd::storage {
namespace {

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 9;
constexpr std::uint64_t kSeeds = 300;

/// One row, which says that the batch is there.
Batch Numbered(Sequence number) {
  Batch batch;
  batch.PutAttempt(kQueue, number, {.attempts = 1});
  return batch;
}

std::vector<Sequence> NumbersIn(const Store& store, ShardId shard = kShard) {
  std::vector<Sequence> numbers;
  const absl::Status status =
      store.Scan(shard, Table::kAttempts, QueuePrefix(kQueue), [&](auto key, auto) {
        numbers.push_back(*SequenceOfRowKey(key));
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok());
  return numbers;
}

std::unique_ptr<ChaosCommitLog> OpenChaos(std::uint64_t seed, std::uint32_t unknown_percent) {
  return std::make_unique<ChaosCommitLog>(
      std::make_unique<MemoryStore>(),
      ChaosCommitLog::Options{
          .seed = seed, .unknown_percent = unknown_percent, .delay_percent = 20});
}

/// Appends first .. last without waiting in between; their outcomes, in that order.
std::vector<Outcome> AppendAll(Store& store, Sequence first, Sequence last) {
  const std::size_t count = last - first + 1;
  std::vector<Outcome> outcomes(count);
  std::latch all(static_cast<std::ptrdiff_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    store.Append(kShard, store.CurrentEpoch(), Numbered(first + i), Sync::kFlush,
                 [&, i](CommitResult result) {
                   outcomes[i] = result.outcome;
                   all.count_down();
                 });
  }
  all.wait();
  return outcomes;
}

std::size_t CountCommitted(const std::vector<Outcome>& outcomes) {
  return static_cast<std::size_t>(std::find(outcomes.begin(), outcomes.end(), Outcome::kUnknown) -
                                  outcomes.begin());
}

TEST(ChaosTest, AfterAnUnknownBatchNothingIsCommittedUntilTheShardIsReadAgain) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const auto store = OpenChaos(seed, 20);
    const std::vector<Outcome> outcomes = AppendAll(*store, 1, 12);
    const std::size_t committed = CountCommitted(outcomes);
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      ASSERT_EQ(outcomes[i], i < committed ? Outcome::kCommitted : Outcome::kUnknown);
    }
    if (committed < outcomes.size()) {
      ASSERT_THAT(AppendAll(*store, 13, 14), ::testing::Each(Outcome::kUnknown));
    }
    const std::vector<Sequence> there = NumbersIn(*store);
    ASSERT_GE(there.size(), committed) << "a committed batch is lost";
    ASSERT_LE(there.size(), outcomes.size()) << "a batch behind the loss was applied";
    for (std::size_t i = 0; i < there.size(); ++i) ASSERT_EQ(there[i], i + 1) << "a hole";
  }
}

TEST(ChaosTest, UnknownBatchMayBeThereAndMayNot) {
  int applied = 0;
  int not_applied = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const auto store = OpenChaos(seed, 100);
    ASSERT_EQ(AppendAll(*store, 1, 1).front(), Outcome::kUnknown) << "seed " << seed;
    ++(NumbersIn(*store).empty() ? not_applied : applied);
  }
  EXPECT_GT(applied, static_cast<int>(kSeeds) / 4);
  EXPECT_GT(not_applied, static_cast<int>(kSeeds) / 4);
}

TEST(ChaosTest, ReadingTheShardEndsItsLoss) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const auto store = OpenChaos(seed, 50);
    Sequence next = 1;
    std::size_t there = 0;
    bool went_on = false;
    for (int round = 0; round < 40 && !went_on; ++round, ++next) {
      const Outcome outcome = AppendAll(*store, next, next).front();
      const std::size_t now = NumbersIn(*store).size();
      ASSERT_GE(now, there);
      went_on = round > 0 && outcome == Outcome::kCommitted;
      there = now;
    }
    ASSERT_TRUE(went_on) << "never committed again";
  }
}

// Shard 0 is lost sooner or later; shard 1 goes on at its own chance, as if nothing had happened.
TEST(ChaosTest, LossOfOneShardDoesNotTouchAnother) {
  int went_on = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const auto store = OpenChaos(seed, 20);
    if (CountCommitted(AppendAll(*store, 1, 12)) == 12) continue;
    std::promise<Outcome> done;
    store->Append(ShardId{1}, store->CurrentEpoch(), Numbered(1), Sync::kFlush,
                  [&](CommitResult result) { done.set_value(result.outcome); });
    went_on += done.get_future().get() == Outcome::kCommitted;
  }
  EXPECT_GT(went_on, static_cast<int>(kSeeds) / 2);
}

TEST(ChaosTest, ShardsOvertakeEachOtherAndBatchesOfOneShardDoNot) {
  bool overtaken = false;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const auto store = OpenChaos(seed, 0);
    std::vector<int> order;
    std::latch all(20);
    for (int i = 0; i < 20; ++i) {
      store->Append(ShardId{static_cast<std::uint16_t>(i % 2)}, store->CurrentEpoch(),
                    Numbered(static_cast<Sequence>(i) + 1), Sync::kFlush, [&, i](CommitResult) {
                      order.push_back(i);
                      all.count_down();
                    });
    }
    all.wait();
    for (const int shard : {0, 1}) {
      std::vector<int> of_shard;
      std::copy_if(order.begin(), order.end(), std::back_inserter(of_shard),
                   [&](int i) { return i % 2 == shard; });
      ASSERT_TRUE(std::is_sorted(of_shard.begin(), of_shard.end())) << "seed " << seed;
    }
    overtaken |= !std::is_sorted(order.begin(), order.end());
  }
  EXPECT_TRUE(overtaken) << "in none of " << kSeeds << " runs";
}

}  // namespace
}  // namespace mqd::storage
