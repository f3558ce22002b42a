#pragma once

// held_table.h: messages that have an entry of their own: ready out of turn, delayed or parked.
//
// A plain message that was never delivered has none; its chunk knows it. The table keeps rows and
// the times at which delayed ones are due; who may take a ready one next is the business of
// ready_lanes.h and key_table.h.
//
// Threads: One at a time.
// Limits: Bounded by the queue's max_messages.

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "server/queue/chunk.h"
#include "server/queue/events.h"

namespace mqd::queue {

struct KeyState;

/// What a delayed message waits for.
enum class Wait : std::uint8_t {
  kNone,
  kRetry,     // its backoff; due on the steady clock
  kDelay,     // its delay; due on the steady clock
  kWallTime,  // its deliver_at; due on the wall clock
  kMessages   // its deliver_after
};

struct Held {
  Chunk* chunk = nullptr;
  std::uint32_t index = 0;
  std::uint32_t attempts = 0;  // charged so far
  storage::HeldState state = storage::HeldState::kReady;
  Wait wait = Wait::kNone;
  std::uint8_t priority = 0;
  std::uint8_t refs = 0;                            // unsettled messages of deliver_after
  std::int64_t due = kNever;                        // steady ns, or wall ms for kWallTime
  KeyState* key = nullptr;                          // of its ordering_key, when the queue heeds it
  storage::RareVector<storage::AttemptNote> notes;  // oldest first, at most kAttemptNotesMax
};

class HeldTable {
 public:
  using Rows = absl::btree_map<Sequence, Held>;  // a row moves when others come and go

  /// The message must not be here yet.
  Held& Add(Sequence sequence, Held held);
  Held Take(Sequence sequence);
  /// Null when it is not here. It stays valid until a row is added or taken.
  Held* Find(Sequence sequence);
  const Held* Find(Sequence sequence) const;

  /// Makes delayed messages ready whose time has come, at most `most`; they are named, in order of
  /// their time.
  std::vector<Sequence> TakeDue(const Now& now, std::size_t most);
  /// Makes one delayed message ready.
  void MakeReady(Sequence sequence);
  /// On the steady clock.
  std::int64_t earliest_due_ns() const { return steady_.empty() ? kNever : steady_.begin()->first; }
  /// On the wall clock; INT64_MAX for never.
  WallMs earliest_wall_ms() const { return wall_.empty() ? INT64_MAX : wall_.begin()->first; }

  std::uint64_t delayed() const { return delayed_; }
  std::uint64_t parked() const { return parked_.size(); }
  bool empty() const { return live_.empty() && parked_.empty(); }

  /// Ready and delayed, by sequence; and parked. State and due time of a row are changed by the
  /// calls above only.
  Rows& live() { return live_; }
  const Rows& live() const { return live_; }
  Rows& parked_rows() { return parked_; }
  const Rows& parked_rows() const { return parked_; }

 private:
  using Due = absl::btree_set<std::pair<std::int64_t, Sequence>>;
  void Forget(Sequence sequence, const Held& held);

  Rows live_;
  Rows parked_;
  Due steady_;
  Due wall_;
  std::uint64_t delayed_ = 0;
};

}  // namespace mqd::queue
