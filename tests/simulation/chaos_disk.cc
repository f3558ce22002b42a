// chaos_disk.cc: groups of commits, and what goes wrong with them.

#include "tests/simulation/chaos_disk.h"

#include <algorithm>
#include <utility>

#include "proto/base/assert.h"

namespace mqd::simulation {

using storage::CommitResult;
using storage::Outcome;
using storage::Sync;

namespace {

constexpr std::int64_t kWriteMinNs = 20 * kNsPerUs;
constexpr std::int64_t kWriteMaxNs = 2 * kNsPerMs;
constexpr std::int64_t kReadNs = 3 * kNsPerMs;
constexpr std::size_t kGroupMax = 64;

}  // namespace

std::shared_ptr<storage::MemoryDisk> ChaosDisk::CopyOf(storage::MemoryDisk& disk) {
  auto copy = std::make_shared<storage::MemoryDisk>();
  base::MutexLock lock(disk.mutex);
  copy->shards = disk.shards;
  copy->epoch = disk.epoch - 1;  // the store over the copy counts it up as well
  return copy;
}

ChaosDisk::ChaosDisk(Timeline& timeline, std::shared_ptr<storage::MemoryDisk> durable,
                     const Mood& mood)
    : timeline_(timeline),
      mood_(mood),
      flushed_(durable),
      written_(CopyOf(*durable)),
      random_(timeline.Seed()) {
  MQD_ASSERT(flushed_.CurrentEpoch() == written_.CurrentEpoch());
}

CommitResult ChaosDisk::Apply(storage::MemoryStore& store, const Held& held) {
  CommitResult result;
  store.Append(held.shard, held.epoch, held.batch, held.sync,
               [&result](CommitResult ended) { result = ended; });
  return result;
}

void ChaosDisk::Crash(bool power_cut) {
  *alive_ = false;
  std::size_t kept = group_;
  if (power_cut) {
    std::size_t ended = 0;
    while (ended < group_ && held_[ended].ended) ++ended;
    kept = ended + Below(random_, group_ - ended + 1);
  }
  for (std::size_t i = 0; i < kept; ++i) {
    if (held_[i].result.outcome == Outcome::kCommitted) Apply(flushed_, held_[i]);
  }
  held_.clear();
  reads_.clear();
}

void ChaosDisk::Append(storage::ShardId shard, storage::Epoch epoch, storage::Batch batch,
                       Sync sync, Done done) {
  if (!*alive_) return;
  held_.push_back({shard, epoch, std::move(batch), sync, std::move(done), lost_});
  if (group_ == 0) BeginGroup();
}

void ChaosDisk::After(std::int64_t ns, void (ChaosDisk::*what)()) {
  timeline_.After(ns, [this, what, alive = alive_] {
    if (*alive) (this->*what)();
  });
}

std::int64_t ChaosDisk::WriteTime() {
  if (Draw(mood_.stall_per_mille)) return Between(random_, kWriteMinNs, mood_.stall_max_ns);
  return Between(random_, kWriteMinNs, kWriteMaxNs);
}

void ChaosDisk::BeginGroup() {
  group_ = 1;  // busy; how many is known when it is written
  After(WriteTime(), &ChaosDisk::WriteGroup);
}

void ChaosDisk::End(Held& held, CommitResult result) {
  MQD_ASSERT(!held.ended);
  held.ended = true;
  timeline_.Note("commit", result.index, {});
  held.done(result);
}

bool ChaosDisk::FailFirst() {
  Held& first = held_.front();
  if (first.lost) {
    Lose();
    return true;
  }
  if (Draw(mood_.unknown_per_mille)) {
    if (OneIn(random_, 2) && Apply(written_, first).outcome == Outcome::kCommitted) {
      Apply(flushed_, first);
    }
    timeline_.Note("unknown", held_.size());
    for (Held& held : held_) held.lost = true;
    lost_ = true;
    Lose();
    return true;
  }
  if (Draw(mood_.no_space_per_mille)) {
    first.batch.BreakChain();
    timeline_.Note("no space", held_.size());
  }
  return false;
}

void ChaosDisk::Lose() {
  while (!held_.empty() && held_.front().lost) {
    Held lost = std::move(held_.front());
    held_.pop_front();
    End(lost, {Outcome::kUnknown, CurrentEpoch(), 0});
  }
}

/// Written batches end at once unless they, or one before them, ask for the flush.
void ChaosDisk::WriteGroup() {
  if (FailFirst()) {
    group_ = 0;
    if (!held_.empty()) BeginGroup();
    return;
  }
  group_ = std::min(held_.size(), kGroupMax);
  for (std::size_t i = 0; i < group_; ++i) held_[i].result = Apply(written_, held_[i]);
  for (std::size_t i = 0; i < group_ && held_[i].sync == Sync::kWritten; ++i) {
    End(held_[i], held_[i].result);
  }
  After(WriteTime(), &ChaosDisk::FlushGroup);
}

void ChaosDisk::FlushGroup() {
  for (std::size_t i = 0; i < group_; ++i) {
    if (held_[i].result.outcome != Outcome::kCommitted) continue;
    const CommitResult flushed = Apply(flushed_, held_[i]);
    MQD_ASSERT(flushed.outcome == Outcome::kCommitted);
  }
  std::deque<Held> done;
  for (; group_ > 0; --group_) {
    done.push_back(std::move(held_.front()));
    held_.pop_front();
  }
  for (Held& held : done) {
    if (!held.ended) End(held, held.result);
  }
  if (!held_.empty() && group_ == 0) BeginGroup();
}

absl::Status ChaosDisk::Scan(storage::ShardId shard, storage::Table table, std::string_view prefix,
                             const Visit& visit) const {
  lost_ = false;
  return written_.Scan(shard, table, prefix, visit);
}

void ChaosDisk::ReadBody(storage::ShardId shard, storage::QueueId queue, storage::ChunkKey key,
                         BodyDone done) const {
  auto shared = std::make_shared<BodyDone>(std::move(done));
  reads_.push_back([this, shard, queue, key, shared] {
    written_.ReadBody(shard, queue, key, std::move(*shared));
  });
  timeline_.After(kReadNs, [this, alive = alive_] {
    if (*alive) EndRead();
  });
}

void ChaosDisk::EndRead() const {
  const auto read = std::move(reads_.front());
  reads_.pop_front();
  read();
}

}  // namespace mqd::simulation
