#pragma once

// chaos_disk.h: a store on virtual time that keeps every promise of storage/store.h and no others:
// commits take their time and come in groups, outcomes are unknown, space runs out, and a crash
// takes what was not flushed.
//
// As ChaosCommitLog has it, behind an unknown outcome everything ends as unknown until the shard is
// read again.
//
// Threads:   one.
// Ownership: shares the rows that survive with the next life's store. What was accepted and has not
//            ended when it is destroyed never ends: the process is gone.
// Limits:    shard 0 only.

#include <deque>
#include <functional>
#include <memory>

#include "storage/memory_store.h"
#include "tests/simulation/timeline.h"

namespace mqd::simulation {

class ChaosDisk final : public storage::Store {
 public:
  /// What the disk does; the world changes it as it goes.
  struct Mood {
    std::uint32_t unknown_per_mille = 0;
    std::uint32_t no_space_per_mille = 0;
    std::uint32_t stall_per_mille = 0;  // of groups, that take up to stall_max_ns
    std::int64_t stall_max_ns = 0;
    bool low = false;
  };

  ChaosDisk(Timeline& timeline, std::shared_ptr<storage::MemoryDisk> durable, const Mood& mood);

  /// The end of this life. A power cut takes what has not ended, or some of it.
  void Crash(bool power_cut);

  void Append(storage::ShardId shard, storage::Epoch epoch, storage::Batch batch,
              storage::Sync sync, Done done) override;
  storage::Epoch CurrentEpoch() const override { return written_.CurrentEpoch(); }
  bool DiskLow() const override { return mood_.low; }
  absl::Status Scan(storage::ShardId shard, storage::Table table, std::string_view prefix,
                    const Visit& visit) const override;
  void ReadBody(storage::ShardId shard, storage::QueueId queue, storage::ChunkKey key,
                BodyDone done) const override;
  storage::StoreStats Stats() const override { return written_.Stats(); }

 private:
  struct Held {
    storage::ShardId shard;
    storage::Epoch epoch;
    storage::Batch batch;
    storage::Sync sync;
    Done done;
    bool lost;  // came while the shard was lost, or was there when that happened
    storage::CommitResult result = {};
    bool ended = false;
  };

  static std::shared_ptr<storage::MemoryDisk> CopyOf(storage::MemoryDisk& disk);
  static storage::CommitResult Apply(storage::MemoryStore& store, const Held& held);
  bool Draw(std::uint32_t per_mille) { return Below(random_, 1'000) < per_mille; }
  std::int64_t WriteTime();
  void After(std::int64_t ns, void (ChaosDisk::*what)());
  void BeginGroup();
  void WriteGroup();
  void FlushGroup();
  /// The oldest batch ends otherwise than as committed, if the dice say so.
  bool FailFirst();
  void Lose();
  void End(Held& held, storage::CommitResult result);
  void EndRead() const;

  Timeline& timeline_;
  const Mood& mood_;
  storage::MemoryStore flushed_;
  storage::MemoryStore written_;
  Random random_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::deque<Held> held_;
  mutable std::deque<std::function<void()>> reads_;  // in order
  std::size_t group_ = 0;                            // of held_: being written or flushed; 0: idle
  mutable bool lost_ = false;
};

}  // namespace mqd::simulation
