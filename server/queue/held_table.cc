#include "server/queue/held_table.h"

#include "proto/base/assert.h"

namespace mqd::queue {

using storage::HeldState;

Held& HeldTable::Add(Sequence sequence, Held held) {
  if (held.state == HeldState::kDelayed) {
    ++delayed_;
    if (held.wait == Wait::kWallTime) wall_.emplace(held.due, sequence);
    if (held.wait == Wait::kRetry || held.wait == Wait::kDelay) {
      steady_.emplace(held.due, sequence);
    }
  }
  Rows& rows = held.state == HeldState::kParked ? parked_ : live_;
  const auto [row, inserted] = rows.emplace(sequence, std::move(held));
  MQD_ASSERT(inserted);
  return row->second;
}

void HeldTable::Forget(Sequence sequence, const Held& held) {
  if (held.state != HeldState::kDelayed) return;
  --delayed_;
  steady_.erase({held.due, sequence});
  wall_.erase({held.due, sequence});
}

Held HeldTable::Take(Sequence sequence) {
  auto row = live_.find(sequence);
  Rows& rows = row != live_.end() ? live_ : parked_;
  if (row == live_.end()) row = parked_.find(sequence);
  MQD_ASSERT(row != parked_.end());
  Held held = std::move(row->second);
  rows.erase(row);
  Forget(sequence, held);
  return held;
}

Held* HeldTable::Find(Sequence sequence) {
  return const_cast<Held*>(std::as_const(*this).Find(sequence));
}

const Held* HeldTable::Find(Sequence sequence) const {
  const auto row = live_.find(sequence);
  if (row != live_.end()) return &row->second;
  const auto parked = parked_.find(sequence);
  return parked == parked_.end() ? nullptr : &parked->second;
}

void HeldTable::MakeReady(Sequence sequence) {
  Held& held = live_.at(sequence);
  Forget(sequence, held);
  held.state = HeldState::kReady;
  held.wait = Wait::kNone;
  held.due = kNever;
}

std::vector<Sequence> HeldTable::TakeDue(const Now& now, std::size_t most) {
  std::vector<Sequence> ready;
  while (!steady_.empty() && steady_.begin()->first <= now.steady_ns && ready.size() < most) {
    ready.push_back(steady_.begin()->second);
    MakeReady(ready.back());
  }
  while (!wall_.empty() && wall_.begin()->first <= now.wall_ms && ready.size() < most) {
    ready.push_back(wall_.begin()->second);
    MakeReady(ready.back());
  }
  return ready;
}

}  // namespace mqd::queue
