// A bit that has turned over, anywhere in a file of the database: what was confirmed is there, or
// the damage is told with the name of the file. Nothing is left out without a word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/record_codec.h"
#include "storage/rocks_file_system.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/figures.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;
using test::CrashFileSystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 9;
constexpr QueueId kDeletedQueue = 10;
constexpr Sequence kChunks = 40;
constexpr std::size_t kCasesPerFile = 60;

class CorruptionTest : public ::testing::Test {
 protected:
  void TearDown() override {
    mqd::testing::AddFigure(
        {.promise = "R12", .trials = cases_, .violations = HasFailure() ? 1u : 0u});
  }

  absl::StatusOr<std::unique_ptr<RocksStore>> Open(const std::string& data_dir) {
    const std::string attic = absl::StrCat(directory_.path(), "/attic", ++attics_);
    fs::create_directory(attic);
    return RocksStoreOpener::Open({.data_dir = data_dir, .disk_low_watermark_bytes = 0},
                                  std::make_shared<CrashFileSystem>(data_dir + "/db", attic));
  }

  static void Commit(RocksStore& store, Batch batch) {
    std::promise<CommitResult> done;
    store.Append(kShard, store.CurrentEpoch(), std::move(batch), Sync::kFlush,
                 [&](CommitResult result) { done.set_value(result); });
    ASSERT_EQ(done.get_future().get().outcome, Outcome::kCommitted);
  }

  static Batch OneChunk(QueueId queue, Sequence first) {
    Body::Builder body;
    body.Append(std::string(200 + first, static_cast<char>('a' + first % 26)));
    Batch batch;
    batch.PutChunk(queue, {.key = {first, 0}, .charges = {65}, .count = 1},
                   std::move(body).Finish());
    batch.PutDedup(queue, {first, first}, {.sequence = first});
    return batch;
  }

  /// Rows of a queue, and the marks of another one's deletion, in each table; all confirmed.
  void Fill() {
    auto store = Open(data_);
    ASSERT_TRUE(store.ok());
    for (Sequence first = 1; first <= kChunks; ++first) {
      Commit(**store, OneChunk(kQueue, first));
      Commit(**store, OneChunk(kDeletedQueue, first));
    }
    Batch batch;
    batch.DeleteQueue(kDeletedQueue);
    Commit(**store, std::move(batch));
  }

  std::vector<std::string> FilesWith(std::string_view part) {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(data_ + "/db")) {
      const std::string name = entry.path().filename();
      if (absl::StrContains(name, std::string(part)) && entry.file_size() > 0) {
        found.push_back(name);
      }
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  /// OK when all is there that was confirmed; fails the test when it is not and nobody says so.
  absl::Status Read(const std::string& data_dir) {
    auto store = Open(data_dir);
    if (!store.ok()) return store.status();
    for (const auto table : {Table::kChunks, Table::kBodies, Table::kDedup}) {
      Sequence rows = 0;
      const absl::Status status = (*store)->Scan(kShard, table, "", [&](auto key, auto) {
        EXPECT_TRUE(key.starts_with(QueuePrefix(kQueue))) << "a deleted row is back";
        ++rows;
        return absl::OkStatus();
      });
      if (!status.ok()) return status;
      EXPECT_EQ(rows, kChunks) << "rows are gone from " << std::string(TableName(table));
    }
    return absl::OkStatus();
  }

  int TurnBitsOver(const std::string& name) {
    return Damage(name,
                  [](const std::string& path, long offset) { test::DamageFile(path, offset); });
  }

  int CutOff(const std::string& name) {
    return Damage(name, [](const std::string& path, long offset) {
      fs::resize_file(path, static_cast<std::uintmax_t>(offset));
    });
  }

  /// Does `damage` at many offsets, one at a time, and returns how often that was told.
  int Damage(const std::string& name, void (*damage)(const std::string& path, long offset)) {
    const std::string copy = directory_.path("copy");
    const std::uint64_t size = fs::file_size(data_ + "/db/" + name);
    int told = 0;
    for (std::size_t i = 0; i < kCasesPerFile; ++i) {
      const auto offset =
          static_cast<long>(size * i / kCasesPerFile + i % 7) % static_cast<long>(size);
      SCOPED_TRACE(absl::StrCat(name, " of ", size, " bytes, offset ", offset));
      fs::copy(data_, copy, fs::copy_options::recursive);
      damage(copy + "/db/" + name, offset);
      ++cases_;
      const absl::Status status = Read(copy);
      if (!status.ok()) {
        EXPECT_THAT(std::string(status.message()),
                    AnyOf(HasSubstr(name), HasSubstr("ends at group"), HasSubstr("not whole")));
        ++told;
      }
      fs::remove_all(copy);
      if (HasFailure()) break;
    }
    return told;
  }

  test::TemporaryDirectory directory_;
  const std::string data_ = directory_.path("data");
  int attics_ = 0;
  std::uint64_t cases_ = 0;
};

TEST_F(CorruptionTest, ConfirmedRecordsOfTheLogAreNotLeftOut) {
  Fill();
  for (const std::string& log : FilesWith(".log")) {
    EXPECT_EQ(TurnBitsOver(log), static_cast<int>(kCasesPerFile)) << log;
  }
}

TEST_F(CorruptionTest, RowsOfATableFileAreNotLeftOut) {
  Fill();
  ASSERT_TRUE(Open(data_).ok());  // moves the rows from the log into table files
  const std::vector<std::string> tables = FilesWith(".sst");
  ASSERT_GE(tables.size(), 4u);
  int told = 0;
  for (const std::string& table : tables) told += TurnBitsOver(table);
  EXPECT_GT(told, static_cast<int>(tables.size() * kCasesPerFile / 2));
}

TEST_F(CorruptionTest, FilesOfTheManifestAreNotLeftOut) {
  Fill();
  ASSERT_TRUE(Open(data_).ok());
  for (const std::string& manifest : FilesWith("MANIFEST")) {
    EXPECT_GT(TurnBitsOver(manifest), 0) << manifest;
  }
}

TEST_F(CorruptionTest, EndOfAFileThatWasCutOffIsMissed) {
  Fill();
  for (const std::string& log : FilesWith(".log")) EXPECT_GT(CutOff(log), 0) << log;
  ASSERT_TRUE(Open(data_).ok());  // moves the rows from the log into table files
  for (const char* kind : {".sst", "MANIFEST"}) {
    for (const std::string& name : FilesWith(kind)) EXPECT_GT(CutOff(name), 0) << name;
  }
}

TEST_F(CorruptionTest, MissingFileIsNamed) {
  Fill();
  {
    auto store = Open(data_);  // moves the rows from the log into table files
    ASSERT_TRUE(store.ok());
    Batch batch;
    batch.PutSettles(kQueue, 1, {{{0, 1}}});
    Commit(**store, std::move(batch));
  }
  const std::string copy = directory_.path("copy");
  for (const char* kind : {".log", ".sst", "MANIFEST", "CURRENT"}) {
    for (const std::string& name : FilesWith(kind)) {
      fs::copy(data_, copy, fs::copy_options::recursive);
      fs::remove(copy + "/db/" + name);
      ++cases_;
      const absl::Status status = Read(copy);
      EXPECT_FALSE(status.ok()) << name;
      EXPECT_THAT(std::string(status.message()),
                  AnyOf(HasSubstr(name), HasSubstr("ends at group")));
      fs::remove_all(copy);
    }
  }
}

}  // namespace
}  // namespace mqd::storage
