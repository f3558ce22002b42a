#pragma once

// held_table.h: messages that have an entry of their own: ready again, delayed or parked.
//
// Threads: One at a time.
// Limits: Bounded by the queue's max_messages.

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "server/queue/chunk.h"
#include "server/queue/events.h"

namespace mqd::queue {

struct Held {
  Chunk* chunk = nullptr;
  std::uint32_t index = 0;
  std::uint32_t attempts = 0;  // charged so far
  storage::HeldState state = storage::HeldState::kReady;
  std::int64_t due_ns = 0;  // when delayed
  std::vector<storage::AttemptNote> notes;  // oldest first, at most kAttemptNotesMax
};

class HeldTable {
 public:
  using Rows = std::map<Sequence, Held>;

  /// The message must not be here yet.
  void Add(Sequence sequence, Held held);
  Held Take(Sequence sequence);
  /// Null when it is not here.
  Held* Find(Sequence sequence);
  const Held* Find(Sequence sequence) const;

  /// Makes delayed messages ready whose time has come.
  void ReadyUntil(std::int64_t now_ns);
  std::int64_t earliest_due_ns() const {
    return delayed_.empty() ? kNever : delayed_.begin()->first;
  }

  bool HasReady() const { return !ready_.empty(); }
  /// Asked only when HasReady().
  Sequence FirstReady() const { return *ready_.begin(); }

  std::uint64_t delayed() const { return delayed_.size(); }
  std::uint64_t parked() const { return rows_.size() - ready_.size() - delayed_.size(); }
  bool empty() const { return rows_.empty(); }

  /// By sequence. State and due time of a row are changed by Take() and Add() only.
  Rows& rows() { return rows_; }
  const Rows& rows() const { return rows_; }

 private:
  Rows rows_;
  absl::btree_set<Sequence> ready_;
  absl::btree_set<std::pair<std::int64_t, Sequence>> delayed_;  // by due time
};

}  // namespace mqd::queue
