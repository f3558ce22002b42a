#pragma once

// queue_recovery.h: reads one queue back from the store.
//
// Threads: Any; blocks on the disk, so never on the thread of a queue that is serving.
// Limits: Reads chunk records, not bodies: about 60 bytes a chunk, 4 more a message when sizes
// differ.

#include <vector>

#include "absl/status/statusor.h"
#include "server/queue/settings.h"
#include "storage/records.h"
#include "storage/store.h"

namespace mqd::queue {

struct RecoveredChunk {
  storage::ChunkRecord record;
  storage::SettleRecord settles;
};

/// Everything that was durable of one queue.
struct RecoveredQueue {
  storage::QueueRecord record;
  QueueSettings settings;
  std::vector<RecoveredChunk> chunks;  // by first sequence
  std::vector<std::pair<storage::Sequence, storage::AttemptRecord>> attempts;
  std::vector<std::pair<storage::DedupRowId, storage::DedupRecord>> dedup;
  std::vector<std::pair<storage::ProducerId, storage::ProducerRecord>> producers;
};

/// Fails with kDataLoss, naming table and row, when a row is damaged.
absl::StatusOr<RecoveredQueue> RecoverQueue(const storage::Reader& reader, storage::ShardId shard,
                                            storage::QueueRecord record);

/// The record of every queue of the shard.
absl::StatusOr<std::vector<storage::QueueRecord>> ListQueueRecords(const storage::Reader& reader,
                                                                   storage::ShardId shard);

/// The present record of one queue; kNotFound when it is gone.
absl::StatusOr<storage::QueueRecord> FindQueueRecord(const storage::Reader& reader,
                                                     storage::ShardId shard, storage::QueueId id);

}  // namespace mqd::queue
