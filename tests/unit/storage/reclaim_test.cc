// Bodies that are deleted give their room on the disk back, though no other is written.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <random>
#include <string>

#include "storage/rocks_store.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 9;
constexpr std::uint64_t kMiB = 1u << 20;
constexpr Sequence kChunks = 96;

void Commit(Store& store, Batch batch) {
  std::promise<CommitResult> done;
  store.Append(kShard, store.CurrentEpoch(), std::move(batch), Sync::kFlush,
               [&](CommitResult result) { done.set_value(result); });
  ASSERT_EQ(done.get_future().get().outcome, Outcome::kCommitted);
}

std::uint64_t TableFileBytes(const std::string& data_dir) {
  std::uint64_t bytes = 0;
  for (const auto& file : fs::directory_iterator(data_dir + "/db")) {
    std::error_code gone;
    const std::uint64_t size = file.path().extension() == ".sst" ? file.file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

TEST(ReclaimTest, RoomOfDeletedBodiesComesBackThoughNoOtherIsWritten) {
  test::TemporaryDirectory directory;
  const std::string data_dir = directory.path("data");
  auto store = RocksStore::Open(
      {.data_dir = data_dir, .disk_low_watermark_bytes = 0, .memtable_bytes = 16 * kMiB});
  ASSERT_TRUE(store.ok()) << std::string(store.status().message());
  std::minstd_rand random(7);
  for (Sequence first = 1; first <= kChunks; ++first) {
    std::string element(kMiB, '\0');
    for (char& byte : element) byte = static_cast<char>(random());  // compresses not at all
    Body::Builder body;
    body.Append(element);
    Batch batch;
    batch.PutChunk(kQueue, {.key = {first, 0}, .charges = {65}, .count = 1, .body_bytes = kMiB},
                   std::move(body).Finish());
    Commit(**store, std::move(batch));
  }
  EXPECT_GT(TableFileBytes(data_dir), kChunks * kMiB / 2);
  for (Sequence first = 1; first <= kChunks; ++first) {
    Batch batch;
    batch.DeleteChunk(kQueue, {first, 0});
    Commit(**store, std::move(batch));
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(25);
  while (TableFileBytes(data_dir) > 60 * kMiB) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << TableFileBytes(data_dir);
    Commit(**store, Batch());  // no body
  }
}

}  // namespace
}  // namespace mqd::storage
