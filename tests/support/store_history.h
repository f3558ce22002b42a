#pragma once

// store_history.h: what a store must hold after some number of batches, for tests that cut it
// short.
//
// Threads: one at a time.
// Limits: one shard. Every batch also writes the producer row kCounter, which says how many there
//         are.

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/batch.h"
#include "storage/store.h"

namespace mqd::test {

inline constexpr storage::ShardId kShard{0};
inline constexpr storage::QueueId kQueue = 9;
inline constexpr storage::QueueId kShortLivedQueue = 10;
inline constexpr storage::ProducerId kCounter{1};

/// Everything in the store, row by row.
absl::StatusOr<std::vector<std::string>> Dump(const storage::Store& store);

/// The rows that only one of both has: "+" when it is there and should not be, else "-".
std::vector<std::string> Difference(const std::vector<std::string>& rows,
                                    const std::vector<std::string>& expected);

/// How many batches the store has.
absl::StatusOr<std::size_t> CountBatches(const storage::Store& store);

/// All batches that were ever accepted and may be there, in order.
class History {
 public:
  std::size_t size() const { return batches_.size(); }
  /// Forgets what did not survive.
  void Keep(std::size_t count) { batches_.resize(count); }
  /// Adds the row kCounter to it.
  const storage::Batch& Add(storage::Batch batch);
  const storage::Batch& at(std::size_t index) const { return batches_.at(index); }

  /// What a store that never fails holds after the first `count` batches.
  std::vector<std::string> DumpAfter(std::size_t count) const;

 private:
  std::vector<storage::Batch> batches_;
};

/// Fails the test unless `store` has `confirmed` to `history.size()` batches, whole and without
/// holes. Returns how many.
std::size_t ExpectABeginningOf(const History& history, std::size_t confirmed,
                               const storage::Store& store);

}  // namespace mqd::test
