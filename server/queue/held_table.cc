#include "server/queue/held_table.h"

#include "proto/base/assert.h"

namespace mqd::queue {

using storage::HeldState;

void HeldTable::Add(Sequence sequence, Held held) {
  if (held.state == HeldState::kReady) ready_.insert(sequence);
  if (held.state == HeldState::kDelayed) delayed_.emplace(held.due_ns, sequence);
  const bool inserted = rows_.emplace(sequence, std::move(held)).second;
  MQD_ASSERT(inserted);
}

Held HeldTable::Take(Sequence sequence) {
  const auto row = rows_.find(sequence);
  MQD_ASSERT(row != rows_.end());
  Held held = std::move(row->second);
  rows_.erase(row);
  if (held.state == HeldState::kReady) ready_.erase(sequence);
  if (held.state == HeldState::kDelayed) delayed_.erase({held.due_ns, sequence});
  return held;
}

Held* HeldTable::Find(Sequence sequence) {
  const auto row = rows_.find(sequence);
  return row == rows_.end() ? nullptr : &row->second;
}

const Held* HeldTable::Find(Sequence sequence) const {
  const auto row = rows_.find(sequence);
  return row == rows_.end() ? nullptr : &row->second;
}

void HeldTable::ReadyUntil(std::int64_t now_ns) {
  while (!delayed_.empty() && delayed_.begin()->first <= now_ns) {
    const Sequence sequence = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    ready_.insert(sequence);
    rows_.at(sequence).state = HeldState::kReady;
  }
}

}  // namespace mqd::queue
