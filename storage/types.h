#pragma once

// types.h: the numbers by which the store, the queues and the edge name things.
//
// Threads: immutable values.

#include <compare>
#include <cstdint>

namespace mqd::storage {

/// A namespace lives in one shard; a batch touches one shard. Two bytes on disk.
enum class ShardId : std::uint16_t {};

/// Rises by one with every open of a data directory; a batch of an older epoch is refused.
using Epoch = std::uint64_t;

/// Position of a batch in its shard: dense, from 1.
using Index = std::uint64_t;

/// Never reused, not even after the queue is deleted.
using QueueId = std::uint64_t;

/// Position of a message in its queue: rises, from 1, with gaps after a restart.
using Sequence = std::uint64_t;

/// Wall-clock time in milliseconds since 1970.
using WallMs = std::int64_t;

/// Names one stored message of any queue of the shard.
struct MessageRef {
  QueueId queue = 0;
  Sequence sequence = 0;
  auto operator<=>(const MessageRef&) const = default;
};

/// Names a chunk on disk. A rewritten chunk keeps first_sequence and gets the next generation.
struct ChunkKey {
  Sequence first_sequence = 0;
  std::uint32_t generation = 0;
  auto operator<=>(const ChunkKey&) const = default;
};

/// 128-bit hash of an idempotency key (XXH3): the key itself is kept in the record for people.
struct KeyHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const KeyHash&) const = default;
};

/// A row of table dedup. Rows lie in the order of the sequences, in which they come and go.
struct DedupRowId {
  /// In the place of a sequence: a row of the form before, in the order of the hashes (FORMAT.md).
  static constexpr Sequence kByHash = UINT64_MAX;

  Sequence sequence = 0;  // that of the message; 0: handed on to the dead-letter queue
  KeyHash hash;
  auto operator<=>(const DedupRowId&) const = default;
};

}  // namespace mqd::storage
