#pragma once

// in_flight.h: deliveries that are leased, as runs of consecutive delivery ids.
//
// A run is what was handed over at once: one consumer, one deadline, consecutive messages of one
// chunk. Settling or extending a part of a run splits it.
//
// Threads: One at a time.
// Limits: As many runs as messages in flight at the worst; bounded by the queue's max_messages.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "server/queue/chunk.h"
#include "server/queue/events.h"

namespace mqd::queue {

struct KeyState;

struct FlightRun {
  DeliveryId first = 0;
  std::uint32_t count = 0;
  Chunk* chunk = nullptr;
  std::uint32_t first_index = 0;
  std::uint32_t attempt = 1;
  ConsumerId consumer = 0;
  std::int64_t deadline_ns = 0;
  bool started = false;
  bool recalled = false;
  KeyState* key = nullptr;                    // then count is 1
  std::vector<storage::AttemptNote> notes;    // of earlier attempts; then count is 1
  std::shared_ptr<const std::string> holder;  // the client_name of one that left, else null

  DeliveryId last() const { return first + count - 1; }
  DeliveryRange range() const { return {first, last()}; }
};

class InFlightTable {
 public:
  void Add(const FlightRun& run);

  /// Takes out what is held of `range`, in order; what is not is appended to `missing`.
  std::vector<FlightRun> Take(DeliveryRange range, std::vector<DeliveryRange>& missing);
  std::vector<FlightRun> TakeExpired(std::int64_t now_ns);
  std::vector<FlightRun> TakeConsumer(ConsumerId consumer);
  std::vector<FlightRun> TakeUnstarted(ConsumerId consumer);

  bool HoldsAll(DeliveryRange range) const;

  /// Gives all of `consumer` to nobody: only its lease ends such a delivery. Its name is kept.
  void Orphan(ConsumerId consumer, const std::string& name);

  /// The newest unstarted deliveries of `consumer` that were not recalled yet, about `messages` of
  /// them; they count as recalled from now on.
  std::vector<DeliveryRange> Recall(ConsumerId consumer, std::uint64_t messages);
  /// How many of `consumer` are not started.
  std::uint64_t Unstarted(ConsumerId consumer) const;

  /// The run that holds message `index` of `chunk`, or null.
  const FlightRun* Find(const Chunk* chunk, std::uint32_t index) const;

  /// Points every run of `from` to `to`, where message `index` is now `moved[index]`.
  void Repoint(const Chunk* from, Chunk* to, const std::vector<std::uint32_t>& moved);

  std::int64_t earliest_deadline_ns() const {
    return deadlines_.empty() ? kNever : deadlines_.begin()->first;
  }
  std::uint64_t messages() const { return messages_; }
  const absl::btree_map<DeliveryId, FlightRun>& runs() const { return runs_; }
  /// Only what a run says of its key may be changed.
  absl::btree_map<DeliveryId, FlightRun>& runs() { return runs_; }

 private:
  using Runs = absl::btree_map<DeliveryId, FlightRun>;

  /// Makes a run begin at `id` if one holds it; returns the first run from `id` on.
  Runs::iterator SplitAt(DeliveryId id);
  void Remove(Runs::iterator run);
  template <class Wanted>
  std::vector<FlightRun> TakeIf(Wanted wanted);

  Runs runs_;
  absl::btree_set<std::pair<std::int64_t, DeliveryId>> deadlines_;
  std::uint64_t messages_ = 0;
};

}  // namespace mqd::queue
