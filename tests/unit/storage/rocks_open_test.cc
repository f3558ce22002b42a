// What a start finds, and what it says when it must not go on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "storage/disk_watch.h"
#include "storage/node_rows.h"
#include "storage/record_codec.h"
#include "storage/rocks_database.h"
#include "storage/rocks_file_system.h"
#include "storage/rocks_store.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/storage/small_volume.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 9;
constexpr std::uint64_t kMiB = 1u << 20;

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

Batch OneChunk(Sequence first) {
  Body::Builder body;
  body.Append("\x7a\x01x");
  Batch batch;
  batch.PutChunk(kQueue, {.key = {first, 0}, .charges = {65}, .count = 1, .body_bytes = 3},
                 std::move(body).Finish());
  return batch;
}

CommitResult Commit(Store& store, Batch batch, Sync sync = Sync::kFlush) {
  std::promise<CommitResult> done;
  store.Append(kShard, store.CurrentEpoch(), std::move(batch), sync,
               [&](CommitResult result) { done.set_value(result); });
  return done.get_future().get();
}

absl::Status ScanChunks(const Store& store, int* rows = nullptr) {
  return store.Scan(kShard, Table::kChunks, QueuePrefix(kQueue), [&](auto, auto) {
    if (rows != nullptr) ++*rows;
    return absl::OkStatus();
  });
}

class RocksOpenTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<RocksStore>> Open(bool accept_data_loss = false) {
    return RocksStore::Open(
        {.data_dir = path_, .disk_low_watermark_bytes = 0, .accept_data_loss = accept_data_loss});
  }

  /// A directory that holds the chunks 1 .. `chunks`, each confirmed after a sync of its own.
  void Fill(Sequence chunks) {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << MessageOf(store.status());
    for (Sequence first = 1; first <= chunks; ++first) {
      ASSERT_EQ(Commit(**store, OneChunk(first)).outcome, Outcome::kCommitted);
    }
  }

  /// Changes rows behind the store's back.
  void Alter(const std::function<void(RocksDatabase&)>& change) {
    auto database = RocksDatabase::Open({.path = path_ + "/db"});
    ASSERT_TRUE(database.ok()) << MessageOf(database.status());
    change(**database);
  }

  void AlterNodeRow(const std::string& key, const std::string& value) {
    Alter([&](RocksDatabase& database) {
      rocksdb::WriteOptions options;
      ASSERT_TRUE(database.db().Put(options, database.node_family(), key, value).ok());
    });
  }

  fs::path FileWith(const std::string& extension) {
    fs::path found;
    for (const auto& entry : fs::directory_iterator(path_ + "/db")) {
      if (entry.path().extension() == extension && entry.file_size() > 0) found = entry.path();
    }
    EXPECT_FALSE(found.empty()) << extension;
    return found;
  }

  test::TemporaryDirectory directory_;
  const std::string path_ = directory_.path("data");
};

TEST_F(RocksOpenTest, DamagedRowIsNamedAndNotServed) {
  Fill(1);
  const std::string row = ShardPrefix(kShard) + ChunkRowKey(kQueue, 1);
  Alter([&](RocksDatabase& database) {
    std::string value;
    ASSERT_TRUE(database.db().Get({}, database.family(Table::kChunks), row, &value).ok());
    value[1] = static_cast<char>(value[1] ^ 1);
    ASSERT_TRUE(database.db().Put({}, database.family(Table::kChunks), row, value).ok());
  });
  auto store = Open();
  ASSERT_TRUE(store.ok());
  int rows = 0;
  const absl::Status status = ScanChunks(**store, &rows);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(MessageOf(status),
              AllOf(HasSubstr("table chunks"), HasSubstr(absl::BytesToHexString(row))));
  EXPECT_EQ(rows, 0);
}

TEST_F(RocksOpenTest, DamagedBodyIsNamedAndNotServed) {
  Fill(1);
  const std::string row = ShardPrefix(kShard) + BodyRowKey(kQueue, {1, 0});
  Alter([&](RocksDatabase& database) {
    ASSERT_TRUE(database.db().Put({}, database.family(Table::kBodies), row, "short").ok());
  });
  auto store = Open();
  ASSERT_TRUE(store.ok());
  std::promise<absl::Status> done;
  (*store)->ReadBody(kShard, kQueue, {1, 0}, [&](auto body) { done.set_value(body.status()); });
  const absl::Status status = done.get_future().get();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(MessageOf(status),
              AllOf(HasSubstr("table bodies"), HasSubstr(absl::BytesToHexString(row))));
}

TEST_F(RocksOpenTest, DamagedRowOfTheNodeIsNamedAndTheStartRefused) {
  Fill(1);
  for (const std::string& key : {HeadRowKey(), IdentityRowKey(), AppliedRowKey(kShard)}) {
    std::string good;
    Alter([&](RocksDatabase& database) {
      ASSERT_TRUE(database.db().Get({}, database.node_family(), key, &good).ok());
    });
    std::string bad = good;
    bad[1] = static_cast<char>(bad[1] ^ 1);
    AlterNodeRow(key, bad);
    const absl::Status status = Open().status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << key;
    EXPECT_THAT(MessageOf(status),
                AllOf(HasSubstr("table node"), HasSubstr(absl::BytesToHexString(key)),
                      HasSubstr("restore"), HasSubstr(path_)));
    AlterNodeRow(key, good);
  }
  EXPECT_TRUE(Open().ok());
}

TEST_F(RocksOpenTest, DatabaseOfANewerFormatIsRefused) {
  Fill(1);
  Identity identity = (*Open())->identity();
  AlterNodeRow(IdentityRowKey(), EncodeIdentityRow({kFormatVersion + 1, identity}));
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), AllOf(HasSubstr("format 2"), HasSubstr("start the newer mqd")));
}

TEST_F(RocksOpenTest, DatabaseOfAnotherDirectoryIsRefused) {
  Fill(1);
  test::TemporaryDirectory other;
  ASSERT_TRUE(RocksStore::Open({.data_dir = other.path("data")}).ok());
  fs::remove_all(path_ + "/db");
  fs::copy(other.path("data/db"), path_ + "/db", fs::copy_options::recursive);
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), HasSubstr("two data directories have been mixed"));
}

TEST_F(RocksOpenTest, MissingDatabaseIsNotMadeAnew) {
  Fill(1);
  fs::remove_all(path_ + "/db");
  const absl::Status status = Open().status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(MessageOf(status), HasSubstr(path_));
  EXPECT_FALSE(Open(true).ok()) << "not even on request: there is nothing left to accept";
}

TEST_F(RocksOpenTest, FirstOpenThatWasCutShortIsDoneAgain) {
  Fill(0);
  std::string format = test::ReadFile(path_ + "/FORMAT");
  format.replace(format.find("ready"), 5, "initialising");
  for (const char* missing : {"/WATERMARK", "/db"}) {
    fs::remove_all(path_ + missing);
    test::WriteFile(path_ + "/FORMAT", format);
    const auto store = Open();
    ASSERT_TRUE(store.ok()) << missing << ": " << MessageOf(store.status());
  }
}

TEST_F(RocksOpenTest, MissingOrDamagedWatermarkNeedsAnOperator) {
  Fill(3);
  const std::string watermark = path_ + "/WATERMARK";
  for (const bool missing : {true, false}) {
    if (missing) {
      fs::remove(watermark);
    } else {
      test::WriteFile(watermark, "");
    }
    const absl::Status status = Open().status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(MessageOf(status),
                AllOf(HasSubstr(watermark), HasSubstr("backup"), HasSubstr("accept_data_loss")));
    EXPECT_TRUE(Open(true).ok());
    int rows = 0;
    auto store = Open();
    ASSERT_TRUE(store.ok()) << MessageOf(store.status());
    EXPECT_TRUE(ScanChunks(**store, &rows).ok());
    EXPECT_EQ(rows, 3);
  }
}

TEST_F(RocksOpenTest, LogThatEndsBeforeAConfirmedGroupIsRefusedUntilAccepted) {
  Fill(20);
  Epoch epoch = (*Open())->CurrentEpoch();
  Fill(0);
  {
    auto store = Open();
    for (Sequence first = 21; first <= 40; ++first) Commit(**store, OneChunk(first));
    epoch = (*store)->CurrentEpoch();
  }
  const fs::path log = FileWith(".log");
  test::DamageFile(log, static_cast<long>(fs::file_size(log) / 2));
  for (int start = 0; start < 2; ++start) {  // the first one must not tidy the evidence away
    const absl::Status status = Open().status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(MessageOf(status),
                AllOf(HasSubstr("groups of confirmed messages are missing"),
                      HasSubstr(path_ + "/kept-logs"), HasSubstr("accept_data_loss")));
    EXPECT_TRUE(fs::exists(path_ + "/kept-logs/" + log.filename().string()));
  }
  {
    auto store = Open(true);
    ASSERT_TRUE(store.ok()) << MessageOf(store.status());
    EXPECT_GT((*store)->CurrentEpoch(), epoch);
    int rows = 0;
    EXPECT_TRUE(ScanChunks(**store, &rows).ok());
    EXPECT_GE(rows, 20);
    EXPECT_LT(rows, 40);
    EXPECT_EQ(Commit(**store, OneChunk(100)).outcome, Outcome::kCommitted);
  }
  EXPECT_TRUE(Open().ok()) << "what was accepted once is not asked again";
  EXPECT_FALSE(fs::exists(path_ + "/kept-logs"));
}

TEST_F(RocksOpenTest, DamageInATableFileIsFoundAndNamed) {
  Fill(50);
  ASSERT_TRUE(Open().ok());  // moves the rows from the log into table files
  for (const auto& entry : fs::directory_iterator(path_ + "/db")) {
    if (entry.path().extension() == ".sst") test::DamageFile(entry.path(), 10);
  }
  auto store = Open();
  const absl::Status status = store.ok() ? ScanChunks(**store) : store.status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << MessageOf(status);
  EXPECT_THAT(MessageOf(status), HasSubstr(".sst"));
}

TEST_F(RocksOpenTest, DamagedManifestIsRefusedWithAdvice) {
  Fill(1);
  std::string current = test::ReadFile(path_ + "/db/CURRENT");
  current.pop_back();
  test::DamageFile(path_ + "/db/" + current, 50);
  const absl::Status status = Open().status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(MessageOf(status), AllOf(HasSubstr("cannot open the database " + path_ + "/db"),
                                       HasSubstr("restore it from a backup")));
}

// Behind its last sync a power cut may leave anything; in front of it nothing may be missing.
TEST_F(RocksOpenTest, GarbageBehindTheLastSyncOfTheManifestNeedsNoOperator) {
  Fill(3);
  std::string current = test::ReadFile(path_ + "/db/CURRENT");
  current.pop_back();
  const std::string manifest = path_ + "/db/" + current;
  const std::string good = test::ReadFile(manifest);
  // Checksum, length and type of a record, and too few bytes to be taken for one that is cut off.
  const std::string torn = good + std::string("ZZZZ\x08\0\x01", 7) + "garbage!";

  test::WriteFile(manifest, torn);
  test::DamageFile(manifest, 50);
  EXPECT_TRUE(absl::IsDataLoss(Open().status())) << "damage in front of it";

  test::WriteFile(manifest, torn);
  const std::string mark = path_ + "/MANIFEST-SYNCED";
  const std::string marked = test::ReadFile(mark);
  fs::remove(mark);
  EXPECT_TRUE(absl::IsDataLoss(Open().status())) << "nobody knows what was synced";
  EXPECT_EQ(test::ReadFile(manifest), torn);

  test::WriteFile(mark, marked);
  auto store = Open();
  ASSERT_TRUE(store.ok()) << MessageOf(store.status());
  int rows = 0;
  EXPECT_TRUE(ScanChunks(**store, &rows).ok());
  EXPECT_EQ(rows, 3);
}

/// A log of single-message batches, one of which ends where a block of the log does.
class LogHoleTest : public RocksOpenTest {
 protected:
  static constexpr std::uint64_t kBlockBytes = 32'768;  // of RocksDB's log format

  static Batch OfSize(Sequence first, std::size_t bytes) {
    Body::Builder body;
    body.Append(std::string(bytes, 'x'));
    Batch batch;
    batch.PutChunk(kQueue, {.key = {first, 0}, .charges = {65}, .count = 1},
                   std::move(body).Finish());
    return batch;
  }

  std::uint64_t LogBytes() { return fs::file_size(FileWith(".log")); }

  /// Leaves the directory as the end of the process would, in `copy_`. The record in front of the
  /// second block is batch 3; batch 4 begins that block.
  void WriteUpToABlock(Sync sync) {
    Fill(0);  // the rows of a new database are not in this log any more
    auto store = RocksStore::Open(
        {.data_dir = path_, .sync_interval = std::chrono::hours(1), .disk_low_watermark_bytes = 0});
    ASSERT_TRUE(store.ok()) << MessageOf(store.status());
    ASSERT_EQ(Commit(**store, OfSize(1, 9000), sync).outcome, Outcome::kCommitted);
    const std::uint64_t begin = LogBytes();
    ASSERT_EQ(Commit(**store, OfSize(2, 9000), sync).outcome, Outcome::kCommitted);
    hole_begin_ = LogBytes();
    const std::uint64_t overhead = hole_begin_ - begin - 9000;
    ASSERT_LT(hole_begin_ + overhead, kBlockBytes);
    Commit(**store, OfSize(3, kBlockBytes - hole_begin_ - overhead), sync);
    ASSERT_EQ(LogBytes(), kBlockBytes);
    Commit(**store, OfSize(4, 100), sync);
    fs::copy(path_, copy_, fs::copy_options::recursive);
  }

  void ZeroInCopy(std::uint64_t begin, std::uint64_t end) {
    const std::string log = copy_ + "/db/" + FileWith(".log").filename().string();
    std::string bytes = test::ReadFile(log);
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
              bytes.begin() + static_cast<std::ptrdiff_t>(end), '\0');
    test::WriteFile(log, bytes);
  }

  std::vector<Sequence> ChunksOfCopy() {
    const auto store = RocksStore::Open({.data_dir = copy_, .disk_low_watermark_bytes = 0});
    EXPECT_TRUE(store.ok()) << MessageOf(store.status());
    std::vector<Sequence> found;
    if (!store.ok()) return found;
    const auto visit = [&](std::string_view key, std::string_view) {
      found.push_back(*SequenceOfRowKey(key));
      return absl::OkStatus();
    };
    EXPECT_TRUE((*store)->Scan(kShard, Table::kChunks, QueuePrefix(kQueue), visit).ok());
    return found;
  }

  const std::string copy_ = directory_.path("copy");
  std::uint64_t hole_begin_ = 0;
};

TEST_F(LogHoleTest, WholeLogIsTaken) {
  WriteUpToABlock(Sync::kWritten);
  EXPECT_THAT(ChunksOfCopy(), ElementsAre(1, 2, 3, 4));
}

// A file system may make a file longer before all of its bytes are written. RocksDB takes a record
// of zeroes for the rest of a preallocated block, and would go on behind it without a word.
TEST_F(LogHoleTest, NothingBehindAHoleIsTaken) {
  WriteUpToABlock(Sync::kWritten);
  ZeroInCopy(hole_begin_, kBlockBytes);
  EXPECT_THAT(ChunksOfCopy(), ElementsAre(1, 2));
}

TEST_F(LogHoleTest, HoleInWhatWasConfirmedIsRefused) {
  WriteUpToABlock(Sync::kFlush);
  for (const std::uint64_t begin : {hole_begin_, std::uint64_t{0}}) {
    ZeroInCopy(begin, kBlockBytes);
    const absl::Status status = RocksStore::Open({.data_dir = copy_}).status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(MessageOf(status), HasSubstr("groups of confirmed messages are missing"));
    fs::remove_all(copy_);
    fs::copy(path_, copy_, fs::copy_options::recursive);
  }
}

class DiskSpaceTest : public RocksOpenTest {
 protected:
  absl::StatusOr<std::unique_ptr<RocksStore>> OpenOn(std::shared_ptr<SmallVolume> volume) {
    return RocksStoreOpener::Open({.data_dir = path_, .disk_low_watermark_bytes = 1024 * kMiB},
                                  std::move(volume));
  }
};

TEST_F(DiskSpaceTest, LowIsToldAndSettlesStillGoThrough) {
  auto volume = std::make_shared<SmallVolume>(1000 * kMiB);
  auto store = OpenOn(volume);
  ASSERT_TRUE(store.ok()) << MessageOf(store.status());
  EXPECT_TRUE((*store)->DiskLow());
  EXPECT_EQ((*store)->Stats().disk_free_bytes, 1000 * kMiB);
  EXPECT_EQ((*store)->Stats().disk_low_watermark_bytes, 1024 * kMiB);
  // What was accepted before the disk became low is still written.
  EXPECT_EQ(Commit(**store, OneChunk(1)).outcome, Outcome::kCommitted);
}

TEST_F(DiskSpaceTest, BelowTheReserveNoBodyIsWrittenButSettlesAre) {
  auto store = OpenOn(std::make_shared<SmallVolume>(100 * kMiB));
  ASSERT_TRUE(store.ok()) << MessageOf(store.status());
  EXPECT_EQ(Commit(**store, OneChunk(1)).outcome, Outcome::kNoSpace);
  Batch settles;
  settles.PutSettles(kQueue, 1, {{{0, 1}}});
  EXPECT_EQ(Commit(**store, std::move(settles)).outcome, Outcome::kCommitted);
  int rows = 0;
  EXPECT_TRUE(ScanChunks(**store, &rows).ok());
  EXPECT_EQ(rows, 0);
}

TEST_F(DiskSpaceTest, WatermarkFollowsTheSizeOfTheVolumeUnlessItIsSet) {
  auto store = RocksStore::Open({.data_dir = path_});
  ASSERT_TRUE(store.ok()) << MessageOf(store.status());
  const std::uint64_t watermark = (*store)->Stats().disk_low_watermark_bytes;
  EXPECT_EQ(watermark, DiskWatch::DefaultWatermark(fs::space(path_).capacity));
  EXPECT_GT(watermark, 0u);
}

TEST_F(DiskSpaceTest, StartWithoutRoomToRecoverIsRefusedBeforeItTouchesTheLog) {
  Fill(1);
  const fs::path log = FileWith(".log");
  const absl::Status status = OpenOn(std::make_shared<SmallVolume>(10 * kMiB)).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_THAT(MessageOf(status),
              AllOf(HasSubstr("10 MiB free"), HasSubstr("64 MiB"), HasSubstr("free some space")));
  EXPECT_TRUE(fs::exists(log));
}

}  // namespace
}  // namespace mqd::storage
