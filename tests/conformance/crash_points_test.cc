// Every operation of a scenario as the moment at which the power goes, in every way in which a disk
// may be left. The scenario runs once for each way; then each state of it becomes a directory, and
// a start on that directory must succeed by itself, lose nothing that was confirmed and bring back
// nothing that was taken away.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/byte_codec.h"
#include "storage/rocks_file_system.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/figures.h"
#include "tests/support/store_history.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;
using test::Bytes;
using test::CrashFileSystem;
using test::Entries;
using test::kQueue;
using test::kShard;
using test::kShortLivedQueue;
using test::Remains;

constexpr std::size_t kSmall = 700;
constexpr std::size_t kLarge = 30'000;  // three of them fill the memtable of the bodies

/// Of the bodies, and of what a cut leaves; MQD_CRASH_SEED gives another.
std::uint64_t Seed() {
  static const char* const seed = std::getenv("MQD_CRASH_SEED");
  return seed == nullptr ? 7 : std::strtoull(seed, nullptr, 10);
}

absl::StatusOr<std::unique_ptr<RocksStore>> Open(const std::string& data_dir,
                                                 std::shared_ptr<rocksdb::FileSystem> files) {
  RocksStore::Options options{.data_dir = data_dir,
                              .sync_interval = std::chrono::hours(1),
                              .disk_low_watermark_bytes = 0,
                              .memtable_bytes = 160u << 10,
                              .write_ahead_bytes = 1};
  return RocksStoreOpener::Open(std::move(options), std::move(files));
}

std::string ManifestMark(const std::string& data_dir) {
  const std::string path = data_dir + "/MANIFEST-SYNCED";
  return fs::exists(path) ? test::ReadFile(path) : "";
}

/// The scenario, once through, with all that is needed to go back to each of its operations.
class Recording {
 public:
  Recording() {
    fs::create_directory(attic_);
    files_ = std::make_shared<CrashFileSystem>(data_ + "/db", attic_);
    files_->RecordPoints([this] { NoteFilesBesideTheDatabase(); });
    PublishSettleAndRewrite();
    DeleteAQueueAndFlush();
    for (int life = 0; life < 2; ++life) StartAgain();
  }

  std::uint64_t points() const { return files_->operations(); }
  const test::History& history() const { return history_; }

  /// Makes `target` what a cut in front of operation `point` leaves.
  void Materialise(std::uint64_t point, Remains remains, const std::string& target) const {
    const Beside& beside = beside_.at(point - 1);
    fs::create_directory(target);
    if (beside.kept_logs) fs::create_directory(target + "/kept-logs");
    test::WriteFile(target + "/FORMAT", beside.format);
    test::WriteFile(target + "/MANIFEST-SYNCED", beside.manifest_mark);
    // Only the first one is synced, before FORMAT says ready: any of those behind may be there.
    const bool lags = remains.bytes != Bytes::kWritten && (Seed() + point) % 3 == 0;
    const std::size_t version =
        lags && beside.watermark > 0 ? 1 + point % beside.watermark : beside.watermark;
    if (!watermarks_.at(version).empty()) {
      test::WriteFile(target + "/WATERMARK", watermarks_[version]);
    }
    files_->MaterialisePoint(point, remains, Seed() + point, target + "/db");
  }

  /// Batches that must be there after a cut of the power, or the end of the process, at `point`.
  std::size_t ConfirmedAt(std::uint64_t point, bool power) const {
    return CountBefore(point, power ? flushed_ : written_);
  }
  std::size_t PossibleAt(std::uint64_t point) const { return CountBefore(point, given_); }

 private:
  /// So many batches, once this operation was done.
  using Milestones = std::vector<std::pair<std::uint64_t, std::size_t>>;

  struct Beside {
    std::string format;
    std::string manifest_mark;
    std::size_t watermark = 0;  // index of watermarks_
    bool kept_logs = false;
  };

  static std::size_t CountBefore(std::uint64_t point, const Milestones& milestones) {
    std::size_t count = 0;
    for (const auto& [operation, batches] : milestones) {
      if (operation < point) count = std::max(count, batches);
    }
    return count;
  }

  void NoteFilesBesideTheDatabase() {
    const std::string path = data_ + "/WATERMARK";
    const std::string watermark = fs::exists(path) ? test::ReadFile(path) : "";
    if (watermark != watermarks_.back()) watermarks_.push_back(watermark);
    beside_.push_back({test::ReadFile(data_ + "/FORMAT"), ManifestMark(data_),
                       watermarks_.size() - 1, fs::exists(data_ + "/kept-logs")});
  }

  void Start() {
    auto store = Open(data_, files_);
    ASSERT_TRUE(store.ok()) << std::string(store.status().message());
    store_ = *std::move(store);
    ReachedAll();
  }

  void End() {
    store_.reset();
    ReachedAll();
  }

  void ReachedAll() {
    flushed_.emplace_back(files_->operations(), history_.size());
    written_.emplace_back(files_->operations(), history_.size());
  }

  CommitResult Append(Batch batch, Sync sync) {
    given_.emplace_back(files_->operations(), history_.size() + 1);
    std::promise<CommitResult> done;
    store_->Append(kShard, store_->CurrentEpoch(), history_.Add(std::move(batch)), sync,
                   [&](CommitResult result) {
                     written_.emplace_back(files_->operations(), history_.size());
                     if (sync == Sync::kFlush) flushed_.push_back(written_.back());
                     done.set_value(result);
                   });
    const CommitResult result = done.get_future().get();
    EXPECT_EQ(result.outcome, Outcome::kCommitted);
    return result;
  }

  std::shared_ptr<const Body> RandomBody(std::size_t bytes) {
    std::string element(bytes, '\0');
    for (char& byte : element) byte = static_cast<char>(random_());
    Body::Builder body;
    body.Append(element);
    return std::move(body).Finish();
  }

  ChunkRecord Record(ChunkKey key) { return {.key = key, .charges = {65}, .count = 1}; }

  Batch Publish(QueueId queue, Sequence first, std::size_t bytes) {
    Batch batch;
    batch.PutChunk(queue, Record({first, 0}), RandomBody(bytes));
    batch.PutDedup(queue, {first, first}, {.sequence = first, .key = "k"});
    return batch;
  }

  void PublishSettleAndRewrite() {
    Start();
    Batch queue;
    queue.PutQueue({.id = kQueue, .name = "default/jobs", .sequence_limit = 4097});
    Append(std::move(queue), Sync::kFlush);
    Append(Publish(kQueue, 1, kSmall), Sync::kFlush);
    Append(Publish(kQueue, 2, kSmall), Sync::kWritten);
    Append(Publish(kQueue, 3, kSmall), Sync::kWritten);
    Batch settle;
    settle.PutSettles(kQueue, 1, {{{0, 1}}});
    settle.PutAttempt(kQueue, 2, {.attempts = 1});
    Append(std::move(settle), Sync::kWritten);
    Append(Publish(kQueue, 4, kSmall), Sync::kFlush);
    Batch rewrite;
    rewrite.RewriteChunk(kQueue, {2, 0}, Record({2, 1}), RandomBody(kSmall));
    Append(std::move(rewrite), Sync::kFlush);
    Batch settled;
    settled.DeleteChunk(kQueue, {1, 0});
    Append(std::move(settled), Sync::kFlush);
    Batch expired;
    expired.DeleteDedup(kQueue, {1, {1, 1}});
    expired.DeleteDedup(kQueue, {2, {2, 2}});
    Append(std::move(expired), Sync::kWritten);
    for (Sequence first = 10; first < 14; ++first) {
      Append(Publish(kShortLivedQueue, first, kSmall), Sync::kWritten);
    }
    End();
  }

  void DeleteAQueueAndFlush() {
    Start();
    Batch batch;
    batch.DeleteQueue(kShortLivedQueue);
    Append(std::move(batch), Sync::kFlush);
    for (Sequence first = 20; first < 32; ++first) {
      Batch next = Publish(kQueue, first, kLarge);
      if (first > 24) next.DeleteChunk(kQueue, {first - 4, 0});  // 21 to 27
      Append(std::move(next), first % 4 == 0 ? Sync::kFlush : Sync::kWritten);
    }
    End();
  }

  /// Each start leaves a file in each table, so that compactions come.
  void StartAgain() {
    Start();
    const Sequence first = 40 + 10 * history_.size();
    Append(Publish(kQueue, first, kSmall), Sync::kFlush);
    Batch batch;
    batch.PutSettles(kQueue, first, {{{0, 1}}});
    batch.DeleteChunk(kQueue, {first, 0});
    Append(std::move(batch), Sync::kWritten);
    End();
  }

  test::TemporaryDirectory directory_;
  const std::string data_ = directory_.path("data");
  const std::string attic_ = directory_.path("attic");
  std::mt19937_64 random_{Seed()};
  test::History history_;
  Milestones given_, written_, flushed_;
  std::vector<std::string> watermarks_{""};  // all that there were, in order
  std::vector<Beside> beside_;               // by operation
  std::shared_ptr<CrashFileSystem> files_;
  std::unique_ptr<RocksStore> store_;
};

/// Equal for directories with equal files.
std::uint64_t DigestOf(const std::string& directory) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::string all;
  for (const std::string& path : paths) {
    const std::string bytes = test::ReadFile(path);
    absl::StrAppend(&all, path, " ", bytes.size(), " ", bytes);
  }
  return Checksum(all);
}

struct Way {
  std::string name;
  Remains remains;
  std::uint64_t first;  // operation
};

/// Of so many operations one is taken, so that a run stays short; with two firsts, each is in
/// some of the ways. MQD_CRASH_STRIDE=1 takes all.
std::uint64_t Stride() {
  const char* stride = std::getenv("MQD_CRASH_STRIDE");
  return stride == nullptr ? 2 : std::strtoull(stride, nullptr, 10);
}

class CrashPointsTest : public ::testing::TestWithParam<Way> {
 protected:
  bool power() const { return GetParam().name != "EndOfTheProcess"; }

  /// A start on `data_dir`, and a batch behind it. With `again`, the power goes during that too.
  void Recover(std::uint64_t point, const std::string& data_dir, bool again, bool second = false) {
    const std::string attic = data_dir + ".attic";
    fs::create_directory(attic);
    auto files = std::make_shared<CrashFileSystem>(data_dir + "/db", attic);
    std::vector<std::string> marks;
    if (again) files->RecordPoints([&] { marks.push_back(ManifestMark(data_dir)); });
    test::History possible = recording_.history();
    possible.Keep(recording_.PossibleAt(point));
    {
      auto store = Open(data_dir, files);
      ASSERT_TRUE(store.ok()) << "refused: " << std::string(store.status().message());
      const std::size_t found =
          ExpectABeginningOf(possible, recording_.ConfirmedAt(point, power()), **store);
      if (!second) found_ = found;
      std::promise<CommitResult> done;
      (*store)->Append(kShard, (*store)->CurrentEpoch(), Batch(), Sync::kFlush,
                       [&](CommitResult result) { done.set_value(result); });
      const Index index = done.get_future().get().index;
      EXPECT_TRUE(index == found + 1 || (second && index == found + 2)) << index;
    }
    ++starts_;
    if (!again) return;
    const std::string second_dir = data_dir + ".again";
    fs::create_directory(second_dir);
    for (const char* file : {"/FORMAT", "/WATERMARK"}) {
      if (fs::exists(before_ + file)) fs::copy(before_ + file, second_dir + file);
    }
    const std::uint64_t cut_at = 1 + point * 7 % files->operations();
    test::WriteFile(second_dir + "/MANIFEST-SYNCED", marks.at(cut_at - 1));
    files->MaterialisePoint(cut_at, GetParam().remains, point, second_dir + "/db");
    Recover(point, second_dir, false, true);
  }

  const Recording recording_;
  test::TemporaryDirectory directory_;
  const std::string before_ = directory_.path("before");  // FORMAT and WATERMARK of the first start
  int starts_ = 0;
  std::size_t found_ = 0;                                  // batches, at the last start
  std::unordered_map<std::uint64_t, std::size_t> states_;  // seen, and what was found in them
};

INSTANTIATE_TEST_SUITE_P(
    Every, CrashPointsTest,
    ::testing::Values(Way{"OnlySynced", {Bytes::kSynced, Entries::kSynced}, 1},
                      Way{"OnlySyncedOfAllEntries", {Bytes::kSynced, Entries::kWritten}, 2},
                      Way{"AllOfSyncedEntries", {Bytes::kWritten, Entries::kSynced}, 1},
                      Way{"Prefix", {Bytes::kPrefix, Entries::kPrefix}, 2},
                      Way{"Pages", {Bytes::kPages, Entries::kWritten}, 1},
                      Way{"Torn", {Bytes::kTorn, Entries::kWritten}, 2},
                      Way{"EndOfTheProcess", test::kProcessEnd, 1}),
    [](const auto& way) { return way.param.name; });

TEST_P(CrashPointsTest, StartsByItselfWithAllThatWasConfirmed) {
  ASSERT_FALSE(HasFailure());
  std::uint64_t tried = 0;
  for (std::uint64_t point = GetParam().first; point <= recording_.points(); point += Stride()) {
    SCOPED_TRACE(
        absl::StrCat("seed ", Seed(), ", at operation ", point, " of ", recording_.points()));
    const std::string data_dir = directory_.path("data");
    recording_.Materialise(point, GetParam().remains, data_dir);
    const auto [state, is_new] = states_.try_emplace(DigestOf(data_dir));
    if (is_new) {
      const bool again = point % 16 < 2;
      if (again) fs::copy(data_dir, before_);
      Recover(point, data_dir, again);
      state->second = found_;
    } else {
      EXPECT_GE(state->second, recording_.ConfirmedAt(point, power()));
    }
    ++tried;
    if (HasFailure()) break;
    for (const auto& entry : fs::directory_iterator(directory_.path())) fs::remove_all(entry);
  }
  RecordProperty("points", static_cast<int>(recording_.points()));
  RecordProperty("starts", starts_);
  mqd::testing::AddFigure({.promise = "R2", .trials = tried, .violations = HasFailure() ? 1u : 0u});
}

}  // namespace
}  // namespace mqd::storage
