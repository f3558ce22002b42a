// select_scheduler.cc: step 5 of 5 (delivery). Deficit round robin over the queues of a stream.
#include "server/rpc/select_scheduler.h"

#include <algorithm>

#include "proto/base/assert.h"

namespace mqd::rpc {

SelectScheduler::SelectScheduler(const std::vector<std::uint32_t>& weights) {
  MQD_ASSERT(!weights.empty());
  const std::uint64_t heaviest =
      std::max<std::uint64_t>(1, *std::max_element(weights.begin(), weights.end()));
  // A heavy queue alone makes a round long enough; do not make it longer.
  const std::uint64_t unit = std::max<std::uint64_t>(1, 4 * kQuantum / heaviest);
  for (const std::uint32_t weight : weights) {
    slots_.push_back({.quantum = std::min(unit, kQuantum) * std::max<std::uint32_t>(weight, 1)});
  }
}

void SelectScheduler::AddCredit(std::uint64_t messages, std::uint64_t bytes) {
  pool_messages_ += static_cast<std::int64_t>(messages);
  pool_bytes_ += static_cast<std::int64_t>(bytes);
}

void SelectScheduler::OnWant(std::uint32_t slot) { slots_[slot].wants = true; }

void SelectScheduler::OnReturned(std::uint32_t slot, std::uint64_t messages, std::int64_t bytes,
                                 bool more) {
  Slot& at = slots_[slot];
  const std::uint64_t back = std::min(messages, at.open_messages);
  at.open_messages = 0;
  at.deficit += back;
  at.wants = more;
  pool_messages_ += static_cast<std::int64_t>(back);
  pool_bytes_ += bytes;
}

void SelectScheduler::PassTurn() {
  slots_[turn_].in_turn = false;
  slots_[turn_].deficit = 0;
  turn_ = (turn_ + 1) % slots_.size();
}

std::optional<SelectScheduler::Grant> SelectScheduler::Next() {
  if (pool_messages_ <= 0 || pool_bytes_ <= 0) return std::nullopt;
  for (std::size_t tried = 0; tried <= slots_.size(); ++tried) {
    Slot& slot = slots_[turn_];
    if (slot.open_messages > 0) return std::nullopt;
    if (slot.wants && !slot.in_turn) {
      slot.in_turn = true;
      slot.deficit = slot.quantum;
    }
    if (!slot.wants || slot.deficit == 0) {
      PassTurn();
      continue;
    }
    const std::uint64_t messages =
        std::min(slot.deficit, static_cast<std::uint64_t>(pool_messages_));
    const std::int64_t bytes = std::min(pool_bytes_, kGrantBytes);
    slot.deficit -= messages;
    slot.open_messages = messages;
    slot.wants = false;
    pool_messages_ -= static_cast<std::int64_t>(messages);
    pool_bytes_ -= bytes;
    return Grant{static_cast<std::uint32_t>(turn_), messages, static_cast<std::uint64_t>(bytes)};
  }
  return std::nullopt;
}

}  // namespace mqd::rpc
