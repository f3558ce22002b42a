// A sync of the log that does not come back for a while.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/rocks_file_system.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

using test::Call;
using test::CrashFileSystem;
using test::FaultKind;

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 9;

class SlowSyncTest : public ::testing::Test {
 protected:
  SlowSyncTest() {
    std::filesystem::create_directory(attic_);
    files_ = std::make_shared<CrashFileSystem>(data_ + "/db", attic_);
    auto store = RocksStoreOpener::Open({.data_dir = data_, .disk_low_watermark_bytes = 0}, files_);
    EXPECT_TRUE(store.ok());
    store_ = *std::move(store);
  }

  std::future<CommitResult> Append(Sequence sequence) {
    auto done = std::make_shared<std::promise<CommitResult>>();
    Batch batch;
    batch.PutSettles(kQueue, sequence, {{{0, 1}}});
    store_->Append(kShard, store_->CurrentEpoch(), std::move(batch), Sync::kFlush,
                   [done](CommitResult result) { done->set_value(result); });
    return done->get_future();
  }

  static bool IsReady(const std::future<CommitResult>& result) {
    return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

  test::TemporaryDirectory directory_;
  const std::string data_ = directory_.path("data");
  const std::string attic_ = directory_.path("attic");
  std::shared_ptr<CrashFileSystem> files_;
  std::unique_ptr<RocksStore> store_;
};

TEST_F(SlowSyncTest, NothingIsConfirmedWhileTheSyncIsUnderWayAndWhatWaitsSharesTheNext) {
  std::promise<void> reached, release;
  files_->Inject({.call = Call::kSync, .kind = FaultKind::kStall, .stall = [&] {
                    reached.set_value();
                    release.get_future().wait();
                  }});
  const std::uint64_t flushes = store_->Stats().flushes;
  std::future<CommitResult> first = Append(1);
  reached.get_future().wait();
  std::vector<std::future<CommitResult>> behind;
  for (Sequence sequence = 2; sequence <= 10; ++sequence) behind.push_back(Append(sequence));
  EXPECT_FALSE(IsReady(first));
  for (const auto& result : behind) EXPECT_FALSE(IsReady(result));
  release.set_value();
  EXPECT_EQ(first.get().outcome, Outcome::kCommitted);
  for (auto& result : behind) EXPECT_EQ(result.get().outcome, Outcome::kCommitted);
  EXPECT_EQ(store_->Stats().flushes, flushes + 2);
}

}  // namespace
}  // namespace mqd::storage
