// The promises of storage/store.h, held against every implementation.
#include "storage/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <map>

#include "storage/memory_store.h"
#include "storage/record_codec.h"
#include "storage/rocks_store.h"

namespace mqd::storage {
namespace {

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

class Directory {
 public:
  Directory() {
    std::string name = std::filesystem::temp_directory_path() / "mqd-store-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_ + "/data"; }

 private:
  std::string path_;
};

RocksStore::Options OptionsFor(const Directory& directory) {
  return {.data_dir = directory.path(), .disk_low_watermark_bytes = 1};
}

class RocksBench final : public Bench {
 public:
  std::unique_ptr<Store> Open() override {
    auto store = RocksStore::Open(OptionsFor(directory_));
    EXPECT_TRUE(store.ok()) << std::string(store.status().message());
    return *std::move(store);
  }

 private:
  Directory directory_;
};

std::unique_ptr<Bench> MakeMemory() { return std::make_unique<MemoryBench>(); }
std::unique_ptr<Bench> MakeRocks() { return std::make_unique<RocksBench>(); }

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

INSTANTIATE_TEST_SUITE_P(EveryStore, StoreTest, ::testing::Values(MakeMemory, MakeRocks),
                         [](const auto& bench) { return bench.index == 0 ? "Memory" : "Rocks"; });

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

TEST(RocksStoreTest, SecondOpenOfADirectoryIsRefusedWithThePid) {
  Directory directory;
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

TEST(RecordCodecTest, EveryCutOrFlippedByteIsDetected) {
  const std::string good = EncodeDedupRecord(
      {.sequence = 300, .digest = 7, .first_seen_ms = 1'700'000'000'000, .key = "key"});
  ASSERT_TRUE(DecodeDedupRecord(good).ok());
  for (std::size_t at = 0; at < good.size(); ++at) {
    EXPECT_FALSE(DecodeDedupRecord(good.substr(0, at)).ok()) << at;
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    EXPECT_FALSE(DecodeDedupRecord(flipped).ok()) << at;
  }
}

}  // namespace
}  // namespace mqd::storage
