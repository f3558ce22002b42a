#include "tests/support/store_lives.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"

extern "C" void __gcov_dump() __attribute__((weak));  // of libgcov, when it is linked

namespace mqd::storage {

namespace fs = std::filesystem;
using test::CrashFileSystem;
using test::kQueue;
using test::kShard;
using test::kShortLivedQueue;

struct LifeReport {
  static constexpr std::uint64_t kNotOpened = UINT64_MAX;
  std::atomic<std::uint64_t> found{kNotOpened};  // batches, at the start
  std::atomic<std::uint64_t> operations_to_open{UINT64_MAX};
  std::atomic<std::size_t> given{0};
  std::atomic<bool> refused{false};
  std::atomic<bool> faulted{false};
  struct Answer {
    std::atomic<bool> is_there{false};
    Outcome outcome;
    Index index;
  };
  std::array<Answer, Life::kBatchesMax> answers;  // by number in this life
};

namespace {

using Random = RandomHistory::Random;

/// Memory that a forked process shares.
class SharedReport {
 public:
  SharedReport() {
    void* memory = ::mmap(nullptr, sizeof(LifeReport), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MQD_ASSERT(memory != MAP_FAILED);
    report_ = new (memory) LifeReport;
  }
  ~SharedReport() { ::munmap(report_, sizeof(LifeReport)); }
  LifeReport& operator*() const { return *report_; }
  LifeReport* operator->() const { return report_; }

 private:
  LifeReport* report_;
};

/// Without destructors, but not without the counters of a coverage build.
void EndTheProcess() {
  if (__gcov_dump != nullptr) __gcov_dump();
  ::_exit(::testing::Test::HasFailure() ? 1 : 0);
}

struct Wish {
  Sync sync;
  bool wait;
};
Wish Draw(Random& random) {
  return {random() % 3 == 0 ? Sync::kFlush : Sync::kWritten, random() % 3 == 0};
}

}  // namespace

const Batch& RandomHistory::Add(Random& random) {
  Batch batch;
  std::vector<ChunkKey> live = live_.empty() ? std::vector<ChunkKey>() : live_.back();
  Change(random, batch, live);
  if (random() % 3 == 0) Change(random, batch, live);
  live_.push_back(std::move(live));
  return batches_.Add(std::move(batch));
}

std::shared_ptr<const Body> RandomHistory::RandomBody(Random& random) {
  std::string bytes(50 + random() % (random() % 16 == 0 ? 40'000 : 4'000), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  Body::Builder body;
  body.Append(bytes);
  return std::move(body).Finish();
}

void RandomHistory::Change(Random& random, Batch& batch, std::vector<ChunkKey>& live) {
  // Sequences are never used again, so that a batch that comes back from the dead is seen.
  const Sequence fresh = ++last_sequence_;
  const std::size_t any = live.empty() ? 0 : random() % live.size();
  switch (live.empty() ? 0 : random() % 10) {
    case 6:
    case 7:
      batch.DeleteChunk(kQueue, live[any]);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(any));
      break;
    case 8: {
      const ChunkKey old_key = live[any];
      ++live[any].generation;
      batch.RewriteChunk(kQueue, old_key, {.key = live[any], .charges = {65}, .count = 1},
                         RandomBody(random));
      break;
    }
    case 9:
      batch.DeleteQueue(kShortLivedQueue);
      break;
    default:
      batch.PutChunk(kQueue, {.key = {fresh, 0}, .charges = {65}, .count = 1}, RandomBody(random));
      batch.PutSettles(kQueue, fresh, {{{0, 1}}});
      batch.PutAttempt(kShortLivedQueue, fresh, {.attempts = 1});
      batch.PutDedup(kQueue, {fresh, fresh}, {.sequence = fresh});
      live.push_back({fresh, 0});
  }
}

void StoreLives::Live(const Life& life) {
  const std::string watermark = fs::exists(watermark_) ? test::ReadFile(watermark_) : "";
  fs::create_directory(attic_);
  SharedReport report;
  InAProcess([&] { BeCut(life, *report); }, life.fault.has_value());
  operations_to_open_ = report->operations_to_open;
  refused_ = report->refused;
  faulted_ = report->faulted;
  TakeIn(life, *report);
  // The watermark is not synced: it may fall behind, though never in front.
  if (report->found != LifeReport::kNotOpened && !watermark.empty() && life.seed % 4 == 0) {
    test::WriteFile(watermark_, watermark);
  }
  fs::remove_all(attic_);
}

void StoreLives::CheckTheEnd() {
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

void StoreLives::InAProcess(const std::function<void()>& body, bool may_abort) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    EndTheProcess();
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (may_abort && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) return;
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "see above";
}

absl::StatusOr<std::unique_ptr<RocksStore>> StoreLives::Open(
    const Life& life, std::shared_ptr<rocksdb::FileSystem> files) {
  RocksStore::Options options{.data_dir = directory_.path("data"),
                              .disk_low_watermark_bytes = 0,
                              .memtable_bytes = 160u << 10};  // many flushes, some compactions
  options.sync_interval = std::chrono::milliseconds(life.seed % 2 ? 1 : 3'600'000);
  if (life.seed % 3 != 0) options.write_ahead_bytes = 1;  // all groups go over the sync thread
  return RocksStoreOpener::Open(std::move(options), std::move(files));
}

void StoreLives::BeCut(const Life& life, LifeReport& report) {
  auto files = std::make_shared<CrashFileSystem>(directory_.path("data/db"), attic_);
  files->CutAt(life.cut_at, life.remains, life.seed, EndTheProcess);
  if (life.fault && life.fault_at_start) files->Inject(*life.fault);
  auto store = Open(life, files);
  report.faulted = files->faulted();
  report.refused = !store.ok();
  if (!store.ok()) {
    EXPECT_TRUE(report.faulted) << "refused: " << std::string(store.status().message());
    EXPECT_FALSE(store.status().message().empty());
    files->CutNow();
  }
  report.operations_to_open = files->operations();
  if (life.fault_at_start) files->Inject({.nth = UINT64_MAX});  // the open alone is tried
  const std::size_t found = CheckWhatIsThere(**store);
  if (::testing::Test::HasFailure()) EndTheProcess();
  history_.Keep(found);
  report.found = found;
  if (life.fault && !life.fault_at_start) files->Inject(*life.fault);
  Append(**store, life, report);
  report.faulted = files->faulted();
  files->CutNow();
}

std::size_t StoreLives::CheckWhatIsThere(const Store& store) {
  return test::ExpectABeginningOf(history_.batches(), confirmed_, store);
}

void StoreLives::Append(Store& store, const Life& life, LifeReport& report) {
  Random random(life.seed);
  for (std::size_t i = 0; i < life.batches; ++i) {
    const Wish wish = Draw(random);
    const Batch& batch = history_.Add(random);
    report.given = i + 1;
    std::promise<void> done;
    store.Append(
        kShard, store.CurrentEpoch(), batch, wish.sync,
        [&answer = report.answers[i], promise = wish.wait ? &done : nullptr](CommitResult result) {
          answer.outcome = result.outcome;
          answer.index = result.index;
          answer.is_there = true;
          if (promise != nullptr) promise->set_value();
        });
    if (wish.wait) done.get_future().wait();
  }
}

void StoreLives::TakeIn(const Life& life, const LifeReport& report) {
  if (report.found == LifeReport::kNotOpened) return;
  const std::size_t found = report.found;
  history_.Keep(found);
  confirmed_ = found;  // queues have seen it: it must stay
  Random random(life.seed);
  bool committing = true;
  std::size_t possible = found;
  for (std::size_t i = 0; i < report.given; ++i) {
    const Wish wish = Draw(random);
    history_.Add(random);
    const LifeReport::Answer& answer = report.answers[i];
    if (answer.is_there && answer.outcome == Outcome::kCommitted) {
      EXPECT_TRUE(committing) << "committed behind one that is not";
      EXPECT_EQ(answer.index, found + i + 1) << "indexes are not dense";
      if (wish.sync == Sync::kFlush) confirmed_ = found + i + 1;
    } else {
      committing = false;
      EXPECT_TRUE(!answer.is_there || life.fault.has_value()) << "refused for no reason";
    }
    const bool refused = answer.is_there && answer.outcome == Outcome::kShuttingDown;
    if (!refused) possible = found + i + 1;
  }
  history_.Keep(possible);  // what was refused must not be there
}

}  // namespace mqd::storage
