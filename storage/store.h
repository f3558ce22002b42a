#pragma once

// store.h: step 4 of 5 (store). The one funnel through which anything becomes durable, and the
// way back.
//
// Implementations: RocksStore (rocks_store.h), MemoryStore (memory_store.h), and ChaosCommitLog
// (chaos_commit_log.h), which wraps another. All pass tests/conformance.
//
// Threads: Append(), ReadBody(): any, also from inside a completion. Scan(), CurrentEpoch(): any.
// Ownership: The store outlives its callers; its destructor completes what it accepted with
//            kShuttingDown or commits it.
// Limits: A batch up to kBatchBytesMax. Accepted and not yet completed bytes are bounded by the
//            callers' credit.

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/batch.h"
#include "storage/body.h"
#include "storage/types.h"

namespace mqd::storage {

enum class Outcome : std::uint8_t {
  kCommitted,
  kNotLeader,
  kUnknown,  // may or may not be there: drop what memory says of the shard's queues and read again
  kTooLarge,
  kNoSpace,  // not written: no room for it, or none for one before it in its chain
  kShuttingDown,
};

struct CommitResult {
  Outcome outcome = Outcome::kUnknown;
  Epoch epoch = 0;
  Index index = 0;  // of the batch, when committed
};

/// How hard a batch asks for the disk.
enum class Sync : std::uint8_t {
  kFlush,    // complete only after the bytes survive a power cut
  kWritten,  // complete when they survive the end of the process; flushed within the sync interval
};

class CommitLog {
 public:
  /// Runs on a thread of the store, one at a time, and holds up every queue: it may post, nothing
  /// else.
  using Done = absl::AnyInvocable<void(CommitResult)>;

  static constexpr std::size_t kBatchBytesMax = 64u << 20;

  virtual ~CommitLog() = default;

  /// Accepts `batch` for the next group commit and returns without waiting for the disk.
  ///
  /// Promises, each a test in tests/conformance
  ///   Atomic   after a crash, all of a batch is there or none of it.
  ///   Ordered  batches of one shard take effect, and complete, in the order of acceptance.
  ///   Once     `done` is called exactly once.
  ///   Durable  kCommitted to a Sync::kFlush batch means that it, and every batch before it,
  ///            survives a power cut.
  ///   Chained  behind a batch that was refused as too large or for space, no batch of its chain
  ///            (Batch::Join) is written; it completes with kNoSpace.
  ///   Fenced   a batch with an epoch that is not CurrentEpoch() completes with kNotLeader and
  ///            changes nothing.
  virtual void Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, Done done) = 0;

  /// The epoch of this open.
  virtual Epoch CurrentEpoch() const = 0;

  /// Free space has fallen under the watermark: refuse publishes, keep settling.
  virtual bool DiskLow() const = 0;
};

class Reader {
 public:
  using Visit = std::function<absl::Status(std::string_view key, std::string_view value)>;
  using BodyDone = absl::AnyInvocable<void(absl::StatusOr<std::shared_ptr<const Body>>)>;

  virtual ~Reader() = default;

  /// Calls `visit` for each row of `table` whose key begins with `prefix`, in key order; stops at
  /// its first error. Sees every batch that has completed. Fails with kDataLoss, naming the key,
  /// when the store finds a row damaged.
  virtual absl::Status Scan(ShardId shard, Table table, std::string_view prefix,
                            const Visit& visit) const = 0;

  /// Reads one body on the store's reader thread, where `done` runs too: it may post, nothing else.
  /// kNotFound when the chunk is gone, kDataLoss when it is damaged. Bodies are read in the order
  /// in which they were asked for.
  virtual void ReadBody(ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const = 0;
};

struct StoreStats {
  std::uint64_t committed_batches = 0;
  std::uint64_t groups = 0;
  std::uint64_t flushes = 0;  // fsyncs of the log
  std::uint64_t disk_free_bytes = 0;
  std::uint64_t disk_low_watermark_bytes = 0;
};

class Store : public CommitLog, public Reader {
 public:
  virtual StoreStats Stats() const = 0;
};

}  // namespace mqd::storage
