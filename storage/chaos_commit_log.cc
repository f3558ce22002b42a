#include "storage/chaos_commit_log.h"

#include <future>
#include <iterator>
#include <utility>
#include <vector>

#include "proto/base/assert.h"

namespace mqd::storage {

ChaosCommitLog::ChaosCommitLog(std::unique_ptr<Store> inner, Options options)
    : inner_(std::move(inner)), options_(options), random_(options.seed) {
  MQD_ASSERT(options_.delay_percent < 100);
  thread_ = std::thread([this] { Run(); });
}

ChaosCommitLog::~ChaosCommitLog() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void ChaosCommitLog::Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, Done done) {
  {
    base::MutexLock lock(mutex_);
    held_[shard].push_back(
        {shard, epoch, std::move(batch), sync, std::move(done), lost_.contains(shard)});
  }
  work_.notify_one();
}

absl::Status ChaosCommitLog::Scan(ShardId shard, Table table, std::string_view prefix,
                                  const Visit& visit) const {
  {
    base::MutexLock lock(mutex_);
    lost_.erase(shard);
  }
  return inner_->Scan(shard, table, prefix, visit);
}

void ChaosCommitLog::ReadBody(ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const {
  inner_->ReadBody(shard, queue, key, std::move(done));
}

void ChaosCommitLog::Run() {
  for (;;) {
    Turn turn;
    {
      base::MutexLock lock(mutex_);
      while (held_.empty()) {
        if (stopping_) return;
        lock.Wait(work_);
      }
      if (!Draw(options_.delay_percent)) turn = DrawTurn();
    }
    if (turn.batches.empty()) {
      std::this_thread::yield();
    } else {
      Take(std::move(turn));
    }
  }
}

ChaosCommitLog::Turn ChaosCommitLog::DrawTurn() {
  const auto line = std::next(held_.begin(), static_cast<std::ptrdiff_t>(random_() % held_.size()));
  Turn turn;
  turn.unknown = line->second.front().lost;
  if (!turn.unknown && Draw(options_.unknown_percent)) {
    lost_.insert(line->first);
    turn.unknown = true;
    turn.batches = std::move(line->second);
    turn.applied = random_() % (turn.batches.size() + 1);
    held_.erase(line);
    return turn;
  }
  turn.applied = turn.unknown ? 0 : 1;
  turn.batches.push_back(std::move(line->second.front()));
  line->second.pop_front();
  if (line->second.empty()) held_.erase(line);
  return turn;
}

bool ChaosCommitLog::Draw(std::uint32_t percent) { return random_() % 100 < percent; }

void ChaosCommitLog::Take(Turn turn) {
  std::vector<CommitResult> results(turn.batches.size(), {Outcome::kUnknown, CurrentEpoch(), 0});
  for (std::size_t i = 0; i < turn.applied; ++i) {
    const CommitResult result = Apply(turn.batches[i]);
    if (!turn.unknown) results[i] = result;
  }
  for (std::size_t i = 0; i < results.size(); ++i) turn.batches[i].done(results[i]);
}

/// Waits for the store below, so that it never holds a batch while a later one is drawn.
CommitResult ChaosCommitLog::Apply(Held& held) {
  std::promise<CommitResult> result;
  inner_->Append(held.shard, held.epoch, std::move(held.batch), held.sync,
                 [&result](CommitResult given) { result.set_value(given); });
  return result.get_future().get();
}

}  // namespace mqd::storage
