// Durable, atomic, ordered: what store.h promises for the moment at which the power goes.
//
// A life opens the store, checks what is there, appends, and ends with a cut at some operation of
// its file system: in the middle of a start, a commit, a flush or a compaction. The next life finds
// what that left. A row that every batch writes says how many batches are there; all tables must
// then hold exactly what as many batches leave behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <future>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "storage/memory_store.h"
#include "storage/record_codec.h"
#include "storage/rocks_file_system.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;
using test::CrashFileSystem;
using test::Remains;
using Random = std::mt19937_64;

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 9;
constexpr QueueId kShortLivedQueue = 10;
constexpr ProducerId kCounter{1};

/// Everything in the store, row by row.
absl::StatusOr<std::vector<std::string>> Dump(const Store& store) {
  std::vector<std::string> rows;
  for (std::size_t table = 0; table < kTableCount; ++table) {
    const absl::Status status =
        store.Scan(kShard, static_cast<Table>(table), "", [&](auto key, auto value) {
          rows.push_back(
              absl::StrCat(std::string(TableName(static_cast<Table>(table))), " ",
                           absl::BytesToHexString(std::string(key)), " ",
                           absl::BytesToHexString(std::string(value.substr(value.size() - 8)))));
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
  }
  return rows;
}

/// The rows that only one of both has: "+" when it is there and should not be, else "-".
std::vector<std::string> Difference(const std::vector<std::string>& rows,
                                    const std::vector<std::string>& expected) {
  std::vector<std::string> difference;
  for (const std::string& row : rows) {
    if (std::find(expected.begin(), expected.end(), row) == expected.end()) {
      difference.push_back("+ " + row);
    }
  }
  for (const std::string& row : expected) {
    if (std::find(rows.begin(), rows.end(), row) == rows.end()) difference.push_back("- " + row);
  }
  return difference;
}

/// How many batches the store has, by the row that each of them writes.
absl::StatusOr<std::size_t> CountBatches(const Store& store) {
  std::size_t count = 0;
  const absl::Status status =
      store.Scan(kShard, Table::kProducers, QueuePrefix(kQueue), [&](auto, auto value) {
        const absl::StatusOr<ProducerRecord> record = DecodeProducerRecord(value);
        if (record.ok()) count = record->last_publish_id;
        return record.status();
      });
  if (!status.ok()) return status;
  return count;
}

/// All batches that were ever accepted and may be there, in order.
class History {
 public:
  std::size_t size() const { return steps_.size(); }

  /// Forgets what did not survive.
  void Keep(std::size_t count) { steps_.resize(count); }

  const Batch& Add(Random& random) {
    Step step;
    step.live = steps_.empty() ? std::vector<ChunkKey>() : steps_.back().live;
    Change(random, step);
    if (random() % 3 == 0) Change(random, step);
    step.batch.PutProducer(kQueue, kCounter, {.last_publish_id = steps_.size() + 1});
    steps_.push_back(std::move(step));
    return steps_.back().batch;
  }

  /// What a store that never fails holds after the first `count` batches.
  std::vector<std::string> DumpAfter(std::size_t count) const {
    MemoryStore store;
    for (std::size_t i = 0; i < count; ++i) {
      store.Append(kShard, store.CurrentEpoch(), steps_[i].batch, Sync::kFlush,
                   [](CommitResult result) { EXPECT_EQ(result.outcome, Outcome::kCommitted); });
    }
    return *Dump(store);
  }

 private:
  struct Step {
    Batch batch;
    std::vector<ChunkKey> live;  // chunks, after this batch
  };

  std::shared_ptr<const Body> RandomBody(Random& random) {
    std::string bytes(50 + random() % (random() % 16 == 0 ? 40'000 : 4'000), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    Body::Builder body;
    body.Append(bytes);
    return std::move(body).Finish();
  }

  void Change(Random& random, Step& step) {
    // Sequences are never used again, so that a batch that comes back from the dead is seen.
    const Sequence fresh = ++last_sequence_;
    const std::size_t any = step.live.empty() ? 0 : random() % step.live.size();
    switch (step.live.empty() ? 0 : random() % 10) {
      case 6:
      case 7:
        step.batch.DeleteChunk(kQueue, step.live[any]);
        step.live.erase(step.live.begin() + static_cast<std::ptrdiff_t>(any));
        break;
      case 8: {
        const ChunkKey old_key = step.live[any];
        ++step.live[any].generation;
        step.batch.RewriteChunk(kQueue, old_key,
                                {.key = step.live[any], .charges = {65}, .count = 1},
                                RandomBody(random));
        break;
      }
      case 9:
        step.batch.DeleteQueue(kShortLivedQueue);
        break;
      default:
        step.batch.PutChunk(kQueue, {.key = {fresh, 0}, .charges = {65}, .count = 1},
                            RandomBody(random));
        step.batch.PutSettles(kQueue, fresh, {{{0, 1}}});
        step.batch.PutAttempt(kShortLivedQueue, fresh, {.attempts = 1});
        step.batch.PutDedup(kQueue, {fresh, fresh}, {.sequence = fresh});
        step.live.push_back({fresh, 0});
    }
  }

  std::vector<Step> steps_;
  Sequence last_sequence_ = 0;
};

/// What a life tells, from its own process, of what it has done before it was cut.
struct Report {
  static constexpr std::size_t kBatchesMax = 256;

  static constexpr std::uint64_t kNotOpened = UINT64_MAX;
  std::atomic<std::uint64_t> found{kNotOpened};  // batches, at the start
  std::atomic<std::uint64_t> operations_to_open{UINT64_MAX};
  std::atomic<std::size_t> given{0};
  struct Answer {
    std::atomic<bool> is_there{false};
    Outcome outcome;
    Index index;
  };
  std::array<Answer, kBatchesMax> answers;  // by number in this life
};

/// Memory that a forked process shares.
class SharedReport {
 public:
  SharedReport() {
    void* memory =
        ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MQD_ASSERT(memory != MAP_FAILED);
    report_ = new (memory) Report;
  }
  ~SharedReport() { ::munmap(report_, sizeof(Report)); }
  Report& operator*() const { return *report_; }
  Report* operator->() const { return report_; }

 private:
  Report* report_;
};

struct Life {
  std::uint64_t seed = 0;
  std::uint64_t cut_at = UINT64_MAX;  // operation; else behind the last batch
  std::size_t batches = 0;
  Remains remains = Remains::kNothing;
  std::uint64_t fail_after = UINT64_MAX;  // so many operations behind the open, all fail
};

/// One data directory through many cuts. A life is a process of its own and ends with its cut, so
/// that nothing of RocksDB sees errors that no power cut would show it.
class World {
 public:
  void Live(const Life& life) {
    const std::string watermark = fs::exists(watermark_) ? test::ReadFile(watermark_) : "";
    fs::create_directory(attic_);
    SharedReport report;
    InAProcess([&] { BeCut(life, *report); }, life.fail_after != UINT64_MAX);
    operations_to_open_ = report->operations_to_open;
    TakeIn(life, *report);
    // The watermark is not synced: it may fall behind, though never in front.
    if (report->found != Report::kNotOpened && !watermark.empty() && life.seed % 4 == 0) {
      test::WriteFile(watermark_, watermark);
    }
    fs::remove_all(attic_);
  }

  /// On the file system of the machine, to an orderly end.
  void CheckTheEnd() {
    InAProcess([&] {
      auto store = Open({}, rocksdb::FileSystem::Default());
      ASSERT_TRUE(store.ok()) << "refused: " << std::string(store.status().message());
      const std::size_t found = CheckWhatIsThere(**store);
      std::promise<CommitResult> done;
      (*store)->Append(kShard, (*store)->CurrentEpoch(), Batch(), Sync::kFlush,
                       [&](CommitResult result) { done.set_value(result); });
      EXPECT_EQ(done.get_future().get().index, found + 1);
    });
  }

  std::uint64_t operations_to_open() const { return operations_to_open_; }

 private:
  template <class Function>
  void InAProcess(Function body, bool may_abort = false) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      body();
      End();
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (may_abort && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) return;
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "see above";
  }

  static void End() { ::_exit(::testing::Test::HasFailure() ? 1 : 0); }

  absl::StatusOr<std::unique_ptr<RocksStore>> Open(const Life& life,
                                                   std::shared_ptr<rocksdb::FileSystem> files) {
    RocksStore::Options options{.data_dir = directory_.path("data"),
                                .disk_low_watermark_bytes = 0,
                                .memtable_bytes = 160u << 10};  // many flushes, some compactions
    options.sync_interval = std::chrono::milliseconds(life.seed % 2 ? 1 : 3'600'000);
    return RocksStoreOpener::Open(std::move(options), std::move(files));
  }

  void BeCut(const Life& life, Report& report) {
    auto files = std::make_shared<CrashFileSystem>(attic_);
    files->CutAt(life.cut_at, life.remains, life.seed, End);
    auto store = Open(life, files);
    ASSERT_TRUE(store.ok()) << "refused: " << std::string(store.status().message());
    report.operations_to_open = files->operations();
    const std::size_t found = CheckWhatIsThere(**store);
    if (::testing::Test::HasFailure()) End();
    history_.Keep(found);
    report.found = found;
    if (life.fail_after != UINT64_MAX) files->FailFrom(files->operations() + life.fail_after);
    Append(**store, life, report);
    files->CutNow();
  }

  /// How many batches there are.
  std::size_t CheckWhatIsThere(const Store& store) {
    const absl::StatusOr<std::size_t> count = CountBatches(store);
    const absl::StatusOr<std::vector<std::string>> rows = Dump(store);
    EXPECT_TRUE(count.ok()) << std::string(count.status().message());
    EXPECT_TRUE(rows.ok()) << std::string(rows.status().message());
    if (!count.ok() || !rows.ok()) return 0;
    EXPECT_GE(*count, confirmed_) << "confirmed batches are lost";
    EXPECT_LE(*count, history_.size()) << "batches that were never accepted, or were refused";
    if (*count <= history_.size()) {
      EXPECT_THAT(Difference(*rows, history_.DumpAfter(*count)), ::testing::IsEmpty())
          << "not what " << *count << " batches leave";
    }
    return *count;
  }

  struct Wish {
    Sync sync;
    bool wait;
  };
  static Wish Draw(Random& random) {
    return {random() % 3 == 0 ? Sync::kFlush : Sync::kWritten, random() % 3 == 0};
  }

  void Append(Store& store, const Life& life, Report& report) {
    Random random(life.seed);
    for (std::size_t i = 0; i < life.batches; ++i) {
      const Wish wish = Draw(random);
      const Batch& batch = history_.Add(random);
      report.given = i + 1;
      std::promise<void> done;
      store.Append(kShard, store.CurrentEpoch(), batch, wish.sync,
                   [&answer = report.answers[i],
                    promise = wish.wait ? &done : nullptr](CommitResult result) {
                     answer.outcome = result.outcome;
                     answer.index = result.index;
                     answer.is_there = true;
                     if (promise != nullptr) promise->set_value();
                   });
      if (wish.wait) done.get_future().wait();
    }
  }

  /// Draws again what the life has drawn, and believes what it was told.
  void TakeIn(const Life& life, const Report& report) {
    if (report.found == Report::kNotOpened) return;
    const std::size_t found = report.found;
    history_.Keep(found);
    confirmed_ = found;  // queues have seen it: it must stay
    Random random(life.seed);
    bool committing = true;
    std::size_t possible = found;
    for (std::size_t i = 0; i < report.given; ++i) {
      const Wish wish = Draw(random);
      history_.Add(random);
      const Report::Answer& answer = report.answers[i];
      if (answer.is_there && answer.outcome == Outcome::kCommitted) {
        EXPECT_TRUE(committing) << "committed behind one that is not";
        EXPECT_EQ(answer.index, found + i + 1) << "indexes are not dense";
        if (wish.sync == Sync::kFlush) confirmed_ = found + i + 1;
      } else {
        committing = false;
        EXPECT_TRUE(!answer.is_there || life.fail_after != UINT64_MAX) << "refused for no reason";
      }
      const bool refused = answer.is_there && answer.outcome == Outcome::kShuttingDown;
      if (!refused) possible = found + i + 1;
    }
    history_.Keep(possible);  // what was refused must not be there
  }

  test::TemporaryDirectory directory_;
  const std::string attic_ = directory_.path("attic");
  const std::string watermark_ = directory_.path("data/WATERMARK");
  History history_;
  std::size_t confirmed_ = 0;  // of history_, which must be there
  std::uint64_t operations_to_open_ = 0;
};

constexpr Remains kRemains[] = {Remains::kNothing, Remains::kPrefix, Remains::kTorn, Remains::kAll};

class PowerCutTest : public ::testing::TestWithParam<std::uint64_t> {};

INSTANTIATE_TEST_SUITE_P(Seed, PowerCutTest, ::testing::Range<std::uint64_t>(1, 11));

TEST_P(PowerCutTest, ConfirmedBatchesSurviveWholeAndInOrder) {
  Random random(GetParam());
  World world;
  for (int number = 0; number < 30; ++number) {
    // Every third start is cut itself; the others get as far as flushes and compactions.
    const Life life{.seed = random(),
                    .cut_at = 1 + random() % (number % 3 == 0 ? 60 : 1000),
                    .batches = 10 + random() % 120,
                    .remains = kRemains[random() % std::size(kRemains)]};
    SCOPED_TRACE(absl::StrCat("seed ", GetParam(), " life ", number));
    world.Live(life);
    if (HasFailure()) return;
  }
  SCOPED_TRACE(absl::StrCat("seed ", GetParam(), ", after the last life"));
  world.CheckTheEnd();
}

// A disk that fails in the middle of a run: RocksDB may end the process by an assertion of its own,
// which is as good as the end that the daemon would choose.
TEST(FailingDiskTest, NothingIsConfirmedThatADiskHasNotTaken) {
  World world;
  for (std::uint64_t life = 1; life <= 40; ++life) {
    SCOPED_TRACE(absl::StrCat("life ", life));
    world.Live({.seed = life,
                .batches = 60,
                .remains = kRemains[life % std::size(kRemains)],
                .fail_after = 1 + life * life % 97});
    if (HasFailure()) return;
  }
  world.CheckTheEnd();
}

// Of a first start, which makes everything, and the batches right behind it.
TEST(PowerCutSweepTest, CutAtEachOperationOfAFirstStartLeavesADirectoryThatOpens) {
  std::uint64_t cut_at = 1;
  for (bool opened = false; !opened; ++cut_at) {
    SCOPED_TRACE(absl::StrCat("cut at ", cut_at));
    World world;
    world.Live({.seed = cut_at, .cut_at = cut_at, .batches = 3, .remains = kRemains[cut_at % 3]});
    opened = world.operations_to_open() < cut_at;
    world.CheckTheEnd();
    if (HasFailure()) return;
  }
  RecordProperty("operations", static_cast<int>(cut_at));
}

}  // namespace
}  // namespace mqd::storage
