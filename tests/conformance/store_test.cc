// The promises of storage/store.h, held against every implementation.
#include "storage/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <map>

#include "storage/chaos_commit_log.h"
#include "storage/memory_store.h"
#include "storage/record_codec.h"
#include "storage/rocks_store.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

using test::TemporaryDirectory;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 9;

/// A store that can be closed and opened again on what it left.
class Bench {
 public:
  virtual ~Bench() = default;
  virtual std::unique_ptr<Store> Open() = 0;
};

class MemoryBench final : public Bench {
 public:
  std::unique_ptr<Store> Open() override { return std::make_unique<MemoryStore>(disk_); }

 private:
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
};

RocksStore::Options OptionsFor(const TemporaryDirectory& directory) {
  return {.data_dir = directory.path("data"), .disk_low_watermark_bytes = 1};
}

class RocksBench final : public Bench {
 public:
  std::unique_ptr<Store> Open() override {
    auto store = RocksStore::Open(OptionsFor(directory_));
    EXPECT_TRUE(store.ok()) << std::string(store.status().message());
    return *std::move(store);
  }

 private:
  TemporaryDirectory directory_;
};

/// Delays and reorders what may be reordered; keeps every promise.
template <class Inner>
class ChaosBench final : public Bench {
 public:
  std::unique_ptr<Store> Open() override {
    return std::make_unique<ChaosCommitLog>(inner_.Open(),
                                            ChaosCommitLog::Options{.seed = ++seed_});
  }

 private:
  Inner inner_;
  std::uint64_t seed_ = 0;
};

std::unique_ptr<Bench> MakeMemory() { return std::make_unique<MemoryBench>(); }
std::unique_ptr<Bench> MakeRocks() { return std::make_unique<RocksBench>(); }
std::unique_ptr<Bench> MakeChaosMemory() { return std::make_unique<ChaosBench<MemoryBench>>(); }
std::unique_ptr<Bench> MakeChaosRocks() { return std::make_unique<ChaosBench<RocksBench>>(); }

class StoreTest : public ::testing::TestWithParam<std::unique_ptr<Bench> (*)()> {
 protected:
  CommitResult Commit(Batch batch, Sync sync = Sync::kFlush, Epoch epoch = 0) {
    std::promise<CommitResult> done;
    store_->Append(kShard, epoch == 0 ? store_->CurrentEpoch() : epoch, std::move(batch), sync,
                   [&](CommitResult result) { done.set_value(result); });
    return done.get_future().get();
  }

  std::vector<Sequence> Chunks() {
    std::vector<Sequence> found;
    const absl::Status status = store_->Scan(kShard, Table::kChunks, QueuePrefix(kQueue),
                                             [&](std::string_view key, std::string_view) {
                                               found.push_back(*SequenceOfRowKey(key));
                                               return absl::OkStatus();
                                             });
    EXPECT_TRUE(status.ok());
    return found;
  }

  absl::StatusOr<std::shared_ptr<const Body>> Read(ChunkKey key) {
    std::promise<absl::StatusOr<std::shared_ptr<const Body>>> done;
    store_->ReadBody(kShard, kQueue, key, [&](auto body) { done.set_value(std::move(body)); });
    return done.get_future().get();
  }

  void Reopen() {
    store_.reset();
    store_ = bench_->Open();
  }

  std::unique_ptr<Bench> bench_ = GetParam()();
  std::unique_ptr<Store> store_ = bench_->Open();
};

Batch OneChunk(Sequence first, const std::string& element = "\x7a\x01x") {
  Body::Builder body;
  body.Append(element);
  const std::shared_ptr<const Body> built = std::move(body).Finish();
  Batch batch;
  batch.PutChunk(kQueue, {.key = {first, 0}, .charges = {65}, .count = 1, .body_bytes = 3}, built);
  return batch;
}

constexpr const char* kNames[] = {"Memory", "Rocks", "ChaosMemory", "ChaosRocks"};

INSTANTIATE_TEST_SUITE_P(EveryStore, StoreTest,
                         ::testing::Values(MakeMemory, MakeRocks, MakeChaosMemory, MakeChaosRocks),
                         [](const auto& bench) { return std::string(kNames[bench.index]); });

TEST_P(StoreTest, CommittedBatchIsThereAfterReopening) {
  EXPECT_EQ(Commit(OneChunk(5)).outcome, Outcome::kCommitted);
  Reopen();
  EXPECT_THAT(Chunks(), ElementsAre(5));
  const auto body = Read({5, 0});
  ASSERT_TRUE(body.ok());
  EXPECT_EQ((*body)->Element(0), "\x7a\x01x");
}

TEST_P(StoreTest, BatchesTakeEffectAndCompleteInTheOrderGiven) {
  std::vector<int> order;
  std::promise<void> last;
  for (int i = 0; i < 200; ++i) {
    store_->Append(kShard, store_->CurrentEpoch(), OneChunk(static_cast<Sequence>(i) + 1),
                   i % 3 == 0 ? Sync::kFlush : Sync::kWritten, [&, i](CommitResult) {
                     order.push_back(i);
                     if (i == 199) last.set_value();
                   });
  }
  last.get_future().wait();
  ASSERT_EQ(order.size(), 200u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_P(StoreTest, IndexesAreDenseAndRiseAcrossEpochs) {
  const CommitResult first = Commit(OneChunk(1));
  const CommitResult second = Commit(OneChunk(2));
  EXPECT_EQ(second.index, first.index + 1);
  Reopen();
  const CommitResult third = Commit(OneChunk(3));
  EXPECT_GT(third.epoch, second.epoch);
  EXPECT_GT(third.index, second.index);
}

TEST_P(StoreTest, BatchOfAnotherEpochChangesNothing) {
  EXPECT_EQ(Commit(OneChunk(1), Sync::kFlush, store_->CurrentEpoch() + 1).outcome,
            Outcome::kNotLeader);
  EXPECT_THAT(Chunks(), IsEmpty());
}

TEST_P(StoreTest, DeletedChunkIsGoneWithItsBodyAndSettles) {
  Commit(OneChunk(1));
  Batch settles;
  settles.PutSettles(kQueue, 1, {{{0, 1}}});
  Commit(std::move(settles));
  Batch gone;
  gone.DeleteChunk(kQueue, {1, 0});
  Commit(std::move(gone));
  EXPECT_THAT(Chunks(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(Read({1, 0}).status()));
}

TEST_P(StoreTest, RewrittenChunkReplacesTheGenerationBefore) {
  Commit(OneChunk(1));
  Body::Builder body;
  body.Append("\x7a\x01y");
  Batch rewrite;
  rewrite.RewriteChunk(kQueue, {1, 0}, {.key = {1, 1}, .charges = {65}, .count = 1},
                       std::move(body).Finish());
  Commit(std::move(rewrite));
  Reopen();
  EXPECT_TRUE(absl::IsNotFound(Read({1, 0}).status()));
  ASSERT_TRUE(Read({1, 1}).ok());
}

TEST_P(StoreTest, DeletedQueueLeavesNothingAndHarmsNoNeighbour) {
  Commit(OneChunk(1));
  Batch other;
  other.PutQueue({.id = kQueue + 1, .name = "default/other"});
  other.PutAttempt(kQueue + 1, 4, {.attempts = 1});
  Commit(std::move(other));
  Batch gone;
  gone.DeleteQueue(kQueue);
  Commit(std::move(gone));
  EXPECT_THAT(Chunks(), IsEmpty());
  int rows = 0;
  EXPECT_TRUE(store_
                  ->Scan(kShard, Table::kAttempts, QueuePrefix(kQueue + 1),
                         [&](std::string_view, std::string_view) {
                           ++rows;
                           return absl::OkStatus();
                         })
                  .ok());
  EXPECT_EQ(rows, 1);
}

TEST_P(StoreTest, BatchAboveTheLimitIsRefusedAndTheNextOneIsNot) {
  Body::Builder body;
  body.Append(std::string(kBodyBytesMax, 'x'));
  const std::shared_ptr<const Body> large = std::move(body).Finish();
  Batch batch;
  for (Sequence first = 1; first <= 4; ++first) {
    batch.PutChunk(kQueue, {.key = {first, 0}, .charges = {1}, .count = 1}, large);
  }
  EXPECT_EQ(Commit(std::move(batch)).outcome, Outcome::kTooLarge);
  EXPECT_EQ(Commit(OneChunk(9)).outcome, Outcome::kCommitted);
  EXPECT_THAT(Chunks(), ElementsAre(9));
}

TEST_P(StoreTest, NothingOfAChainIsWrittenBehindARefusedBatch) {
  const auto chain = std::make_shared<BatchChain>();
  const auto link = [&](Batch batch) {
    batch.Join(chain);
    return Commit(std::move(batch)).outcome;
  };
  EXPECT_EQ(link(OneChunk(1)), Outcome::kCommitted);
  Batch huge = OneChunk(2);
  huge.PutAttempt(kQueue, 2, {.notes = {{.error = std::string(CommitLog::kBatchBytesMax, 'x')}}});
  EXPECT_EQ(link(std::move(huge)), Outcome::kTooLarge);
  EXPECT_EQ(link(OneChunk(3)), Outcome::kNoSpace);
  EXPECT_EQ(Commit(OneChunk(4)).outcome, Outcome::kCommitted) << "it is of no chain";
  EXPECT_THAT(Chunks(), ElementsAre(1, 4));
}

TEST_P(StoreTest, ScanGoesInKeyOrderThroughItsPrefixOnly) {
  Batch batch;
  for (const Sequence first : {300, 2, 1, 256}) batch.Append(OneChunk(first));
  // Neighbours on both sides of the prefix, one of which ends in the largest byte.
  for (const QueueId queue : {kQueue - 1, kQueue + 1, QueueId{0xff}}) {
    batch.PutAttempt(queue, UINT64_MAX, {.attempts = 1});
  }
  Commit(std::move(batch));
  EXPECT_THAT(Chunks(), ElementsAre(1, 2, 256, 300));
  int rows = 0;
  const auto count = [&](std::string_view, std::string_view) {
    ++rows;
    return absl::OkStatus();
  };
  EXPECT_TRUE(store_->Scan(kShard, Table::kAttempts, QueuePrefix(0xff), count).ok());
  EXPECT_EQ(rows, 1);
}

TEST_P(StoreTest, ScanStopsAtTheFirstErrorOfItsVisitor) {
  Batch batch = OneChunk(1);
  batch.Append(OneChunk(2));
  Commit(std::move(batch));
  int rows = 0;
  const absl::Status status =
      store_->Scan(kShard, Table::kChunks, "", [&](std::string_view, std::string_view) {
        ++rows;
        return absl::AbortedError("enough");
      });
  EXPECT_EQ(status, absl::AbortedError("enough"));
  EXPECT_EQ(rows, 1);
}

TEST_P(StoreTest, ShardsDoNotSeeEachOther) {
  Commit(OneChunk(1));
  for (const Table table : {Table::kChunks, Table::kBodies}) {
    EXPECT_TRUE(store_
                    ->Scan(ShardId{1}, table, "",
                           [](std::string_view, std::string_view) {
                             return absl::InternalError("a row of another shard");
                           })
                    .ok());
  }
}

TEST_P(StoreTest, CompletionMayAppend) {
  std::promise<Index> second;
  store_->Append(kShard, store_->CurrentEpoch(), OneChunk(1), Sync::kFlush, [&](CommitResult) {
    store_->Append(kShard, store_->CurrentEpoch(), OneChunk(2), Sync::kWritten,
                   [&](CommitResult result) { second.set_value(result.index); });
  });
  EXPECT_EQ(second.get_future().get(), 2u);
}

TEST_P(StoreTest, EndOfTheStoreCompletesEachBatchOnceAndKeepsWhatItSaid) {
  std::vector<int> calls(100);
  std::vector<Sequence> committed;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    store_->Append(kShard, store_->CurrentEpoch(), OneChunk(i + 1), Sync::kWritten,
                   [&, i](CommitResult result) {
                     ++calls[i];
                     if (result.outcome == Outcome::kCommitted) committed.push_back(i + 1);
                   });
  }
  Reopen();
  EXPECT_THAT(calls, Each(1));
  EXPECT_EQ(Chunks(), committed);
}

TEST_P(StoreTest, BodiesAreReadInTheOrderAskedFor) {
  for (Sequence first = 1; first <= 3; ++first)
    Commit(OneChunk(first, "\x7a\x01" + std::to_string(first)));
  std::vector<std::string> read;
  std::promise<void> last;
  for (const Sequence first : {3, 1, 4, 2}) {
    store_->ReadBody(kShard, kQueue, {first, 0}, [&, first](auto body) {
      read.push_back(body.ok() ? std::string((*body)->Element(0).substr(2)) : "none");
      if (first == 2) last.set_value();
    });
  }
  last.get_future().wait();
  EXPECT_THAT(read, ElementsAre("3", "1", "none", "2"));
}

TEST(RocksStoreTest, SecondOpenOfADirectoryIsRefusedWithThePid) {
  TemporaryDirectory directory;
  auto first = RocksStore::Open(OptionsFor(directory));
  ASSERT_TRUE(first.ok());
  const auto second = RocksStore::Open(OptionsFor(directory));
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(::getpid())));
}

TEST(RocksStoreTest, MissingParentDirectoryIsNamed) {
  const auto store = RocksStore::Open({.data_dir = "/nonexistent/mqd/data"});
  EXPECT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("/nonexistent/mqd"));
}

}  // namespace
}  // namespace mqd::storage
