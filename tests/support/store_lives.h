#pragma once

// store_lives.h: one data directory through many cuts of the power and failures of the disk.
//
// A life opens the store, checks what is there, appends, and ends with a cut at some operation of
// its file system: in the middle of a start, a commit, a flush or a compaction. The next life finds
// what that left. A life is a process of its own and ends with its cut, so that nothing of RocksDB
// sees errors that no power cut would show it.
//
// Threads: one at a time.
// Limits: Life::kBatchesMax batches a life.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "storage/rocks_file_system.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/store_history.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {

/// Random batches, each of which builds on those before it.
class RandomHistory {
 public:
  using Random = std::mt19937_64;

  std::size_t size() const { return batches_.size(); }
  const test::History& batches() const { return batches_; }

  /// Forgets what did not survive.
  void Keep(std::size_t count) {
    batches_.Keep(count);
    live_.resize(count);
  }

  const Batch& Add(Random& random);

 private:
  std::shared_ptr<const Body> RandomBody(Random& random);
  void Change(Random& random, Batch& batch, std::vector<ChunkKey>& live);

  test::History batches_;
  std::vector<std::vector<ChunkKey>> live_;  // chunks, after each batch
  Sequence last_sequence_ = 0;
};

struct Life {
  static constexpr std::size_t kBatchesMax = 256;

  std::uint64_t seed = 0;
  std::uint64_t cut_at = UINT64_MAX;  // operation; else behind the last batch
  std::size_t batches = 0;
  test::Remains remains;
  std::optional<test::Fault> fault;
  bool fault_at_start = false;  // else behind the open
};

struct LifeReport;  // what a life tells, from its own process

class StoreLives {
 public:
  void Live(const Life& life);

  /// On the file system of the machine, to an orderly end.
  void CheckTheEnd();

  /// Of the last life.
  std::uint64_t operations_to_open() const { return operations_to_open_; }
  bool refused() const { return refused_; }
  bool faulted() const { return faulted_; }

 private:
  void InAProcess(const std::function<void()>& body, bool may_abort = false);
  absl::StatusOr<std::unique_ptr<RocksStore>> Open(const Life& life,
                                                   std::shared_ptr<rocksdb::FileSystem> files);
  void BeCut(const Life& life, LifeReport& report);
  /// How many batches there are.
  std::size_t CheckWhatIsThere(const Store& store);
  void Append(Store& store, const Life& life, LifeReport& report);
  /// Draws again what the life has drawn, and believes what it was told.
  void TakeIn(const Life& life, const LifeReport& report);

  test::TemporaryDirectory directory_;
  const std::string attic_ = directory_.path("attic");
  const std::string watermark_ = directory_.path("data/WATERMARK");
  RandomHistory history_;
  std::size_t confirmed_ = 0;  // of history_, which must be there
  std::uint64_t operations_to_open_ = 0;
  bool refused_ = false;
  bool faulted_ = false;
};

}  // namespace mqd::storage
