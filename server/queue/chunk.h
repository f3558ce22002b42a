#pragma once

// chunk.h: the messages of one commit, as the queue knows them in memory.
//
// A message is named by its chunk and its index there. From `cursor` on messages are fresh: never
// delivered. A fresh message that is held or settled is skipped. Everything before the cursor is in
// flight, held or settled.
//
// Threads: One at a time.
// Limits: storage::kBodyMessagesMax messages.

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/queue/interval_set.h"
#include "storage/body.h"
#include "storage/records.h"

namespace mqd::queue {

struct Chunk {
  storage::ChunkKey key;
  storage::WallMs publish_time_ms = 0;
  std::uint32_t count = 0;
  std::vector<std::uint32_t> offsets;  // as in ChunkRecord
  std::vector<std::uint32_t> charges;  // as in ChunkRecord
  std::uint64_t body_bytes = 0;
  std::vector<storage::MessageControl> controls;
  /// Index and due time (steady, ns) of messages published with a delay; until the chunk is
  /// committed.
  std::vector<std::pair<std::uint32_t, std::int64_t>> delays;

  std::shared_ptr<const storage::Body> body;  // null: on disk only
  bool load_pending = false;
  bool committed = false;
  bool on_disk = false;  // the body can be read back

  std::uint32_t cursor = 0;
  IntervalSet held;  // fresh messages that have an entry of their own
  IntervalSet settled;
  std::uint32_t settled_count = 0;
  std::int64_t partly_settled_ns = 0;  // since when some, but not all, are settled; 0: not so

  storage::Sequence SequenceAt(std::uint32_t index) const;
  /// None when the sequence is not of this chunk.
  std::optional<std::uint32_t> IndexOf(storage::Sequence sequence) const;
  std::uint32_t ChargeAt(std::uint32_t index) const;
  std::uint64_t ChargeOf(std::uint32_t first, std::uint32_t last) const;
  storage::Sequence LastSequence() const { return SequenceAt(count - 1); }

  /// Where the run of consecutive sequences that begins at `index` ends, at most `end`.
  std::uint32_t ContiguousEnd(std::uint32_t index, std::uint32_t end) const;
  const storage::MessageControl* ControlOf(std::uint32_t index) const;

  /// The next fresh message to deliver, or count.
  std::uint32_t NextFresh() const;
  /// Where the run of fresh messages that begins at NextFresh() ends.
  std::uint32_t FreshEnd(std::uint32_t index) const;
  bool FullySettled() const { return settled_count == count; }

  storage::ChunkRecord ToRecord() const;
  static Chunk FromRecord(storage::ChunkRecord record);
};

}  // namespace mqd::queue
