#include "server/queue/in_flight.h"

#include <algorithm>

#include "proto/base/assert.h"
#include "server/queue/key_table.h"

namespace mqd::queue {

namespace {

/// One of several of a key would not free it for another consumer.
bool MayRecall(const FlightRun& run) {
  return !run.started && !run.recalled && (run.key == nullptr || run.key->flights.size() <= 1);
}

}  // namespace

void InFlightTable::Add(const FlightRun& run) {
  MQD_ASSERT(run.count > 0);
  const auto [position, inserted] = runs_.emplace(run.first, run);
  MQD_ASSERT(inserted);
  deadlines_.emplace(run.deadline_ns, run.first);
  messages_ += run.count;
}

InFlightTable::Runs::iterator InFlightTable::SplitAt(DeliveryId id) {
  auto next = runs_.upper_bound(id);
  if (next == runs_.begin()) return next;
  auto holder = std::prev(next);
  if (holder->first == id) return holder;
  if (holder->second.last() < id) return next;
  FlightRun tail = holder->second;
  const auto head_count = static_cast<std::uint32_t>(id - tail.first);
  holder->second.count = head_count;
  tail.first = id;
  tail.first_index += head_count;
  tail.count -= head_count;
  deadlines_.emplace(tail.deadline_ns, id);
  return runs_.emplace(id, tail).first;
}

void InFlightTable::Remove(Runs::iterator run) {
  deadlines_.erase({run->second.deadline_ns, run->first});
  messages_ -= run->second.count;
}

std::vector<FlightRun> InFlightTable::Take(DeliveryRange range,
                                           std::vector<DeliveryRange>& missing) {
  std::vector<FlightRun> taken;
  if (range.last != UINT64_MAX) SplitAt(range.last + 1);
  auto run = SplitAt(range.first);
  DeliveryId expected = range.first;
  while (run != runs_.end() && run->first <= range.last) {
    if (run->first > expected) missing.push_back({expected, run->first - 1});
    expected = run->second.last() + 1;
    Remove(run);
    taken.push_back(run->second);
    run = runs_.erase(run);
  }
  if (expected <= range.last && expected != 0) missing.push_back({expected, range.last});
  return taken;
}

template <class Wanted>
std::vector<FlightRun> InFlightTable::TakeIf(Wanted wanted) {
  std::vector<FlightRun> taken;
  for (auto run = runs_.begin(); run != runs_.end();) {
    if (!wanted(run->second)) {
      ++run;
      continue;
    }
    Remove(run);
    taken.push_back(run->second);
    run = runs_.erase(run);
  }
  return taken;
}

std::vector<FlightRun> InFlightTable::TakeExpired(std::int64_t now_ns) {
  std::vector<FlightRun> taken;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    auto run = runs_.find(deadlines_.begin()->second);
    MQD_ASSERT(run != runs_.end());
    Remove(run);
    taken.push_back(run->second);
    runs_.erase(run);
  }
  return taken;
}

std::vector<FlightRun> InFlightTable::TakeConsumer(ConsumerId consumer) {
  return TakeIf([consumer](const FlightRun& run) { return run.consumer == consumer; });
}

std::vector<FlightRun> InFlightTable::TakeUnstarted(ConsumerId consumer) {
  return TakeIf(
      [consumer](const FlightRun& run) { return run.consumer == consumer && !run.started; });
}

bool InFlightTable::HoldsAll(DeliveryRange range) const {
  auto run = runs_.upper_bound(range.first);
  if (run == runs_.begin()) return false;
  --run;
  DeliveryId expected = range.first;
  while (run != runs_.end() && run->first <= expected && run->second.last() >= expected) {
    if (run->second.last() >= range.last) return true;
    expected = run->second.last() + 1;
    ++run;
  }
  return false;
}

void InFlightTable::Orphan(ConsumerId consumer, const std::string& name) {
  const auto holder = std::make_shared<const std::string>(name);
  for (auto& [first, run] : runs_) {
    if (run.consumer != consumer) continue;
    run.consumer = 0;
    run.holder = holder;
  }
}

std::uint64_t InFlightTable::Unstarted(ConsumerId consumer) const {
  std::uint64_t count = 0;
  for (const auto& [first, run] : runs_) {
    if (run.consumer == consumer && MayRecall(run)) count += run.count;
  }
  return count;
}

std::vector<DeliveryRange> InFlightTable::Recall(ConsumerId consumer, std::uint64_t messages) {
  std::vector<DeliveryRange> ranges;
  std::vector<DeliveryId> firsts;
  for (auto run = runs_.rbegin(); run != runs_.rend() && messages > 0; ++run) {
    if (run->second.consumer != consumer || !MayRecall(run->second)) continue;
    const auto part =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(messages, run->second.count));
    ranges.push_back({run->second.last() - part + 1, run->second.last()});
    messages -= part;
  }
  for (const DeliveryRange& range : ranges) SplitAt(range.first)->second.recalled = true;
  return ranges;
}

const FlightRun* InFlightTable::Find(const Chunk* chunk, std::uint32_t index) const {
  for (const auto& [first, run] : runs_) {
    if (run.chunk == chunk && run.first_index <= index && index < run.first_index + run.count) {
      return &run;
    }
  }
  return nullptr;
}

void InFlightTable::Repoint(const Chunk* from, Chunk* to, const std::vector<std::uint32_t>& moved) {
  for (auto& [first, run] : runs_) {
    if (run.chunk != from) continue;
    run.chunk = to;
    run.first_index = moved[run.first_index];
  }
}

}  // namespace mqd::queue
