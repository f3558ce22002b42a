#include "server/queue/ready_lanes.h"

#include <algorithm>

#include "proto/base/assert.h"
#include "proto/base/mutant.h"

namespace mqd::queue {

using storage::Sequence;

void ReadyLanes::Add(std::uint32_t priority, Sequence sequence) {
  const bool inserted = lanes_[priority].insert(sequence).second;
  MQD_ASSERT(inserted);
  ++size_;
}

void ReadyLanes::Remove(std::uint32_t priority, Sequence sequence) {
  const std::size_t erased = lanes_[priority].erase(sequence);
  MQD_ASSERT(erased == 1);
  --size_;
}

void ReadyLanes::Clear() {
  for (auto& lane : lanes_) lane.clear();
  ages_ = {};
  size_ = 0;
}

void ReadyLanes::Observe(Sequence plain, std::int64_t now_ns) {
  for (std::size_t lane = 0; lane < kPriorities; ++lane) {
    const bool has = Has(lane, plain);
    if (has && !ages_[lane]) served_ns_[lane] = now_ns;
    ages_[lane] = has;
  }
}

std::optional<ReadyLanes::Head> ReadyLanes::Next(Sequence plain, std::int64_t now_ns,
                                                 std::int64_t floor_ns) const {
  if (size_ == 0 && plain == kNone) return std::nullopt;
  std::size_t highest = kPriorities;
  std::size_t next = kPriorities;
  std::size_t waiting = 0;
  for (std::size_t lane = kPriorities; lane-- > 0;) {
    if (!Has(lane, plain)) continue;
    ++waiting;
    if (highest == kPriorities) highest = lane;
    if (!ages_[lane] || now_ns - served_ns_[lane] < floor_ns) continue;
    if (next == kPriorities || served_ns_[lane] < served_ns_[next]) next = lane;
  }
  if (next == kPriorities) next = highest;
  Sequence first = lanes_[next].empty() ? kNone : *lanes_[next].begin();
  if (next == 0) first = std::min(first, plain);
  if (MQD_MUTANT(returned_goes_to_the_back) && next == 0 && plain != kNone) first = plain;
  return Head{static_cast<std::uint32_t>(next), first, waiting > 1};
}

void ReadyLanes::Served(std::uint32_t priority, std::int64_t now_ns) {
  served_ns_[priority] = now_ns;
}

}  // namespace mqd::queue
