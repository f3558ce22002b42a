#pragma once

// chaos_commit_log.h: a store that keeps every promise of store.h and no others: completions come
// late, shards overtake each other, and a batch may end as kUnknown, applied or not.
//
// After kUnknown a shard stays lost: what was accepted behind the batch, and what comes until the
// next Scan() of the shard, completes with kUnknown too and is not applied. So an unknown batch is
// never followed by one that was built on it, just as behind a real store that lost its leadership.
//
// Threads: As store.h says; completions run on a thread of its own.
// Ownership: Owns the store that it wraps. The destructor does what was accepted before it began.
// Limits: Draws come from `seed`; which thread is scheduled when does not, so a run is only as
//            repeatable as its callers.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "proto/base/mutex.h"
#include "storage/store.h"

namespace mqd::storage {

class ChaosCommitLog final : public Store {
 public:
  struct Options {
    std::uint64_t seed = 1;
    /// Of 100 batches, how many end as unknown.
    std::uint32_t unknown_percent = 0;
    /// Of 100 chances to go on, how many are let pass.
    std::uint32_t delay_percent = 50;
  };

  ChaosCommitLog(std::unique_ptr<Store> inner, Options options);
  ~ChaosCommitLog() override;

  void Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, Done done) override;
  Epoch CurrentEpoch() const override { return inner_->CurrentEpoch(); }
  bool DiskLow() const override { return inner_->DiskLow(); }
  absl::Status Scan(ShardId shard, Table table, std::string_view prefix,
                    const Visit& visit) const override;
  void ReadBody(ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const override;
  StoreStats Stats() const override { return inner_->Stats(); }

 private:
  struct Held {
    ShardId shard;
    Epoch epoch;
    Batch batch;
    Sync sync;
    Done done;
    bool lost;  // came while its shard was lost
  };

  /// What happens next: to one batch, or to all of a shard that is lost by this draw.
  struct Turn {
    std::deque<Held> batches;
    std::size_t applied = 0;  // the first of them; never one behind one that is not
    bool unknown = false;
  };

  void Run();
  Turn DrawTurn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Draw(std::uint32_t percent);
  void Take(Turn turn);
  CommitResult Apply(Held& held);

  const std::unique_ptr<Store> inner_;
  const Options options_;

  mutable base::Mutex mutex_;
  std::condition_variable work_;
  std::map<ShardId, std::deque<Held>> held_ ABSL_GUARDED_BY(mutex_);  // no empty ones
  mutable std::set<ShardId> lost_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  // Touched on the chaos thread only.
  std::mt19937_64 random_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mqd::storage
