#pragma once

// records.h: what the rows of the store hold, as values. Their bytes are in record_codec.h and
// FORMAT.md.
//
// Threads: plain values.

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "storage/rare_vector.h"
#include "storage/types.h"

namespace mqd::storage {

/// Table meta: one queue. `settings` is opaque here; server/queue/settings_codec.h owns it.
struct QueueRecord {
  QueueId id = 0;
  std::string name;  // "namespace/queue"
  std::string settings;
  std::uint64_t generation = 1;
  WallMs create_time_ms = 0;
  bool closed = false;
  /// Sequences below this may be in use: raised in big steps, in the batch that first passes it.
  Sequence sequence_limit = 1;
  bool operator==(const QueueRecord&) const = default;
};

/// One charged attempt of a message.
struct AttemptNote {
  std::uint32_t attempt = 0;
  WallMs time_ms = 0;
  std::string consumer;  // its client_name
  std::string error;
  bool operator==(const AttemptNote&) const = default;
};
/// Of each message the latest are kept.
inline constexpr std::size_t kAttemptNotesMax = 4;

/// Where a dead-lettered message came from.
struct DeadLetterOrigin {
  std::string queue;
  Sequence sequence = 0;  // 0: it was never stored there, the queue was full
  std::string reason;
  std::uint32_t attempts = 0;
  WallMs time_ms = 0;
  std::vector<AttemptNote> notes;
  bool operator==(const DeadLetterOrigin&) const = default;
};

/// What a queue needs to know of a message that is not plain, without its body.
struct MessageControl {
  std::uint32_t index = 0;  // in the chunk
  std::uint32_t priority = 0;
  WallMs deliver_at_ms = 0;  // 0: at once
  WallMs expires_at_ms = 0;  // 0: never
  std::string ordering_key;
  RareVector<DeadLetterOrigin> dead_letter;  // empty or one
  RareVector<MessageRef> deliver_after;
  bool operator==(const MessageControl&) const = default;
};

/// Table chunks: what is known of a chunk without reading its body.
struct ChunkRecord {
  ChunkKey key;
  WallMs publish_time_ms = 0;
  /// Sequence of message i is key.first_sequence + offsets[i]; empty means dense (i), which all but
  /// rewritten chunks are.
  std::vector<std::uint32_t> offsets;
  /// Charged bytes of each message. One entry when all are equal.
  std::vector<std::uint32_t> charges;
  std::uint32_t count = 0;
  std::uint64_t body_bytes = 0;          // of the elements
  std::vector<MessageControl> controls;  // by index
  bool operator==(const ChunkRecord&) const = default;
};

/// Half-open range of message indexes in a chunk.
using IndexRange = std::pair<std::uint32_t, std::uint32_t>;

/// Table settles: which messages of a chunk are settled. Ranges are sorted and do not touch.
struct SettleRecord {
  std::vector<IndexRange> settled;
  bool operator==(const SettleRecord&) const = default;
};

enum class HeldState : std::uint8_t { kReady = 0, kDelayed = 1, kParked = 2 };

/// Table attempts: a message that has been tried.
struct AttemptRecord {
  std::uint32_t attempts = 0;
  HeldState state = HeldState::kReady;
  WallMs not_before_ms = 0;        // for kDelayed
  std::vector<AttemptNote> notes;  // oldest first, at most kAttemptNotesMax
  bool operator==(const AttemptRecord&) const = default;
};

/// Table dedup: one idempotency key.
struct DedupRecord {
  Sequence sequence = 0;
  std::uint64_t digest = 0;  // of the message without its key
  WallMs first_seen_ms = 0;
  std::string key;
  bool operator==(const DedupRecord&) const = default;
};

using ProducerId = std::array<std::uint8_t, 16>;

/// publish ids first_publish_id .. + count - 1 are stored as first_sequence .. + count - 1.
/// Sequence 0 stands for one message that a full queue handed on to its dead-letter queue; so it
/// does in a DedupRecord.
struct ProducerRange {
  std::uint64_t first_publish_id = 0;
  std::uint64_t count = 0;
  Sequence first_sequence = 0;
  bool operator==(const ProducerRange&) const = default;
};

/// Table producers: what one producer has stored and has not yet been told for sure. Ranges rise
/// and do not overlap.
struct ProducerRecord {
  std::uint64_t last_publish_id = 0;
  WallMs last_seen_ms = 0;
  std::vector<ProducerRange> ranges;
  bool operator==(const ProducerRecord&) const = default;
};

/// Table meta: one namespace that was created by name. kNoQuota: unlimited.
struct NamespaceRecord {
  static constexpr std::uint64_t kNoQuota = ~std::uint64_t{0};
  std::string name;
  WallMs create_time_ms = 0;
  std::uint64_t max_queues = kNoQuota;
  std::uint64_t max_messages = kNoQuota;
  std::uint64_t max_bytes = kNoQuota;
  bool operator==(const NamespaceRecord&) const = default;
};

/// Table meta: one redrive task, running or ended.
struct RedriveRecord {
  std::uint64_t id = 0;
  std::string queue;   // the dead-letter queue, full name
  std::string target;  // full name; empty: where each message came from
  std::string origin_filter;
  std::string reason_filter;
  WallMs before_ms = 0;  // 0: not asked for
  WallMs after_ms = 0;
  std::uint64_t max_messages = 0;  // 0: all
  std::uint64_t max_rate = 0;      // messages a second; 0: no limit
  bool dry_run = false;
  std::uint8_t state = 1;  // mqd.v1.RedriveState
  std::uint64_t matched = 0;
  std::uint64_t moved = 0;
  std::uint64_t skipped = 0;
  Sequence cursor = 0;        // everything below has been looked at
  Sequence end_sequence = 0;  // messages that came later are not part of the task
  WallMs start_time_ms = 0;
  WallMs end_time_ms = 0;
  std::uint8_t error_reason = 0;  // mqd.v1.Reason; 0: none
  std::string error;              // why it waits or failed
  bool operator==(const RedriveRecord&) const = default;
};

}  // namespace mqd::storage
