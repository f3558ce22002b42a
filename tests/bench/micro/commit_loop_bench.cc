// commit_loop_bench.cc: the group commit: by itself, and with RocksDB and fsync below it. Batches
// of one chunk are kept in flight; the argument is how many.

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>

#include "benchmark/benchmark.h"
#include "storage/commit_loop.h"
#include "storage/rocks_store.h"

namespace mqd::storage {
namespace {

constexpr ShardId kShard{0};
constexpr QueueId kQueue = 7;
constexpr std::uint32_t kMessages = 128;
constexpr std::size_t kElementBytes = 104;

std::shared_ptr<const Body> NewBody() {
  Body::Builder builder;
  const std::string element(kElementBytes, 'x');
  for (std::uint32_t i = 0; i < kMessages; ++i) builder.Append(element);
  return std::move(builder).Finish();
}

/// How many batches are on their way, never more than so many.
class InFlight {
 public:
  explicit InFlight(int most) : most_(most) {}
  void Add() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ < most_; });
    ++count_;
  }
  void Remove(Outcome outcome) {
    const std::lock_guard lock(mutex_);
    if (outcome != Outcome::kCommitted) failed_ = true;
    --count_;
    changed_.notify_one();
  }
  /// Waits for all; whether all were committed.
  bool Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ == 0; });
    return !failed_;
  }

 private:
  const int most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
  bool failed_ = false;
};

/// `append` is given a batch with one chunk, and what to do when it is committed.
template <class Append>
void Run(benchmark::State& state, Append append) {
  const std::shared_ptr<const Body> body = NewBody();
  InFlight in_flight(static_cast<int>(state.range(0)));
  Sequence next = 1;
  for (auto _ : state) {
    in_flight.Add();
    Batch batch;
    batch.PutChunk(kQueue,
                   {.key = {.first_sequence = next},
                    .charges = {kElementBytes},
                    .count = kMessages,
                    .body_bytes = kMessages * kElementBytes},
                   body);
    next += kMessages;
    append(std::move(batch), [&](CommitResult result) { in_flight.Remove(result.outcome); });
  }
  if (!in_flight.Wait()) state.SkipWithError("a batch was not committed");
  state.SetItemsProcessed(state.iterations() * kMessages);
}

class NullWriter final : public LogWriter {
 public:
  bool HasRoomFor(const Batch&) const override { return true; }
  Index Add(ShardId, const Batch&) override { return ++index_; }
  absl::Status Commit() override { return absl::OkStatus(); }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Maintain() override { return absl::OkStatus(); }

 private:
  Index index_ = 0;
};

void CommitLoopAlone(benchmark::State& state) {
  NullWriter writer;
  CommitLoop loop(writer, {});
  Run(state, [&](Batch batch, CommitLog::Done done) {
    loop.Append(kShard, loop.epoch(), std::move(batch), Sync::kFlush, std::move(done));
  });
}

void CommitLoopWithRocksDb(benchmark::State& state, Sync sync) {
  const std::string directory =
      std::filesystem::current_path() / ("commit_loop_bench." + std::to_string(getpid()));
  {
    auto store = RocksStore::Open({.data_dir = directory});
    if (!store.ok()) return state.SkipWithError(std::string(store.status().message()).c_str());
    Run(state, [&](Batch batch, CommitLog::Done done) {
      (*store)->Append(kShard, (*store)->CurrentEpoch(), std::move(batch), sync, std::move(done));
    });
  }
  std::filesystem::remove_all(directory);
}

void CommitSynced(benchmark::State& state) { CommitLoopWithRocksDb(state, Sync::kFlush); }
void CommitWritten(benchmark::State& state) { CommitLoopWithRocksDb(state, Sync::kWritten); }

BENCHMARK(CommitLoopAlone)->Arg(1)->Arg(64)->UseRealTime();
BENCHMARK(CommitSynced)->Arg(1)->Arg(8)->Arg(64)->UseRealTime();
BENCHMARK(CommitWritten)->Arg(1)->Arg(64)->UseRealTime();

}  // namespace
}  // namespace mqd::storage
