// select_scheduler.cc: step 5 of 5 (delivery). Priorities with ageing, and deficit round robin
// inside one, over the queues of a stream.
#include "server/rpc/select_scheduler.h"

#include <algorithm>
#include <functional>
#include <map>

#include "proto/base/assert.h"
#include "proto/base/mutant.h"

namespace mqd::rpc {

SelectScheduler::SelectScheduler(const std::vector<Queue>& queues,
                                 std::chrono::milliseconds ageing_floor)
    : ageing_floor_ns_(std::chrono::nanoseconds(ageing_floor).count()) {
  MQD_ASSERT(!queues.empty());
  std::uint64_t heaviest = 1;
  for (const Queue& queue : queues) heaviest = std::max<std::uint64_t>(heaviest, queue.weight);
  // A heavy queue alone makes a round long enough; do not make it longer.
  const std::uint64_t unit = std::clamp<std::uint64_t>(4 * kQuantum / heaviest, 1, kQuantum);
  std::map<std::uint32_t, Level, std::greater<>> by_priority;
  for (const Queue& queue : queues) {
    const std::uint64_t quantum = unit * std::max<std::uint32_t>(queue.weight, 1);
    Level& level = by_priority[queue.priority];
    level.slots.push_back(static_cast<std::uint32_t>(slots_.size()));
    level.quanta += quantum;
    level.longest = std::max(level.longest, quantum);
    slots_.push_back({.quantum = quantum});
  }
  for (auto& [priority, level] : by_priority) levels_.push_back(std::move(level));
}

void SelectScheduler::AddCredit(std::uint64_t messages, std::uint64_t bytes) {
  pool_messages_ += static_cast<std::int64_t>(messages);
  pool_bytes_ += static_cast<std::int64_t>(bytes);
}

void SelectScheduler::OnWant(std::uint32_t slot) { slots_[slot].wants = true; }

void SelectScheduler::OnReturned(std::uint32_t slot, std::uint64_t messages, std::int64_t bytes,
                                 bool more) {
  Slot& at = slots_[slot];
  const std::uint64_t back = std::min(messages, open_messages_);
  open_messages_ = 0;
  at.deficit += back;
  at.wants = more;
  if (MQD_MUTANT(select_credit_lost)) return;
  pool_messages_ += static_cast<std::int64_t>(back);
  pool_bytes_ += bytes;
}

void SelectScheduler::NoteWaiting(std::int64_t now_ns) {
  for (Slot& slot : slots_) {
    if (!slot.wants) {
      slot.waits_since_ns = kNotWaiting;
    } else if (slot.waits_since_ns == kNotWaiting) {
      slot.waits_since_ns = now_ns;
    }
  }
}

std::optional<std::uint32_t> SelectScheduler::Aged(std::int64_t now_ns) const {
  std::optional<std::uint32_t> longest;
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    const std::int64_t since = slots_[i].waits_since_ns;
    if (since == kNotWaiting || now_ns - since < ageing_floor_ns_) continue;
    if (!longest || since < slots_[*longest].waits_since_ns) longest = i;
  }
  return longest;
}

void SelectScheduler::PassTurn(Level& level) {
  Slot& slot = slots_[level.slots[level.turn]];
  slot.in_turn = false;
  slot.deficit = 0;
  level.turn = (level.turn + 1) % level.slots.size();
  if (level.turn == 0) level.stretch = StretchOf(level);
}

std::uint64_t SelectScheduler::StretchOf(const Level& level) const {
  if (levels_.size() > 1 || pool_messages_ <= 0) return 1;
  const std::uint64_t rounds = static_cast<std::uint64_t>(pool_messages_) / level.quanta;
  return std::max<std::uint64_t>(std::min(rounds, kTurnMax / level.longest), 1);
}

std::optional<std::uint32_t> SelectScheduler::InTurn(Level& level) {
  for (std::size_t tried = 0; tried <= level.slots.size(); ++tried) {
    const std::uint32_t at = level.slots[level.turn];
    Slot& slot = slots_[at];
    if (slot.wants && !slot.in_turn) {
      slot.in_turn = true;
      slot.deficit = slot.quantum * level.stretch;
    }
    if (slot.wants && slot.deficit > 0) return at;
    PassTurn(level);
  }
  return std::nullopt;
}

SelectScheduler::Grant SelectScheduler::Open(std::uint32_t slot, std::uint64_t messages) {
  Slot& at = slots_[slot];
  const std::int64_t bytes = std::min(pool_bytes_, kGrantBytes);
  at.deficit -= std::min(at.deficit, messages);
  at.wants = false;
  at.waits_since_ns = kNotWaiting;
  open_messages_ = messages;
  pool_messages_ -= static_cast<std::int64_t>(messages);
  pool_bytes_ -= bytes;
  return {slot, messages, static_cast<std::uint64_t>(bytes)};
}

std::optional<SelectScheduler::Grant> SelectScheduler::Next(std::int64_t now_ns) {
  if (open_messages_ > 0) return std::nullopt;
  if (levels_.size() > 1) NoteWaiting(now_ns);
  if (pool_messages_ <= 0 || pool_bytes_ <= 0) return std::nullopt;
  if (const auto aged = Aged(now_ns)) return Open(*aged, 1);
  for (Level& level : levels_) {
    const auto slot = InTurn(level);
    if (!slot) continue;
    return Open(*slot, std::min(slots_[*slot].deficit, static_cast<std::uint64_t>(pool_messages_)));
  }
  return std::nullopt;
}

}  // namespace mqd::rpc
