#pragma once

// test_disk.h: a store in memory for the tests of the queue rules, on which a commit ends when the
// test says so.
//
// Threads: one at a time.
// Limits: shard 0 only.

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/queue/effects.h"
#include "storage/store.h"

namespace mqd::queue::testing {

/// A message that a commit put on disk.
struct Stored {
  QueueId queue = 0;
  Sequence sequence = 0;
  std::uint32_t charge_bytes = 0;
  std::string payload;
};

class QueueHarness;

/// What is on disk, and the commits that are not there yet. Queues that share one share its order.
class TestDisk final : public storage::Reader {
 public:
  void Append(QueueHarness& queue, CommitRequest commit);
  /// Ends the oldest commit; false when there was none.
  bool CommitNext();
  void CommitAll();
  /// Half of an unknown outcome: the oldest commit is on disk, and its queue is not told.
  bool ApplyNext();
  /// What a crash does to what is not yet on disk.
  void DropWaiting() { waiting_.clear(); }
  void Apply(const storage::Batch& batch);

  absl::Status Scan(storage::ShardId shard, storage::Table table, std::string_view prefix,
                    const Visit& visit) const override;
  void ReadBody(storage::ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const override;

  /// Dedup rows as programs before have written them: in the order of the hashes.
  void OrderDedupByHash();

  std::size_t waiting() const { return waiting_.size(); }
  std::size_t rows() const;
  std::size_t rows(storage::Table table) const { return tables_.at(Slot(table)).size(); }
  /// Since the last call, in order.
  std::vector<Stored> TakeStored() { return std::exchange(stored_, {}); }

 private:
  static std::size_t Slot(storage::Table table) { return static_cast<std::size_t>(table); }
  void Note(const storage::Op& chunk, const storage::Body& body);

  std::vector<std::map<std::string, std::string>> tables_{storage::kTableCount};
  std::deque<std::pair<QueueHarness*, CommitRequest>> waiting_;
  std::vector<Stored> stored_;
};

/// The payload of a message as the harness makes it.
std::string PayloadOf(std::string_view element);

}  // namespace mqd::queue::testing
