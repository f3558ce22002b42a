#pragma once

// queue_model.h: what a queue promises, said as plainly as possible: a map from sequence to state,
// walked from end to end for every question.
//
// Threads: one at a time.
// Limits: slow on purpose; a queue of a hundred messages is plenty.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/queue/events.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {

/// kSettling and kReturning: settled or put back with a charge, and that is not yet on disk.
enum class ModelState { kReady, kInFlight, kDelayed, kParked, kSettling, kReturning };

struct ModelMessage {
  std::string payload;
  std::uint32_t charge = 0;
  ModelState state = ModelState::kReady;
  std::uint32_t attempts = 0;  // charged
  // While in flight.
  DeliveryId delivery = 0;
  std::string consumer;  // empty: nobody's
  bool started = false;
  std::int64_t deadline_ms = 0;
  std::int64_t due_ms = 0;  // while delayed
};

struct ModelConsumer {
  bool marks_started = false;
  bool on_demand = false;
  bool draining = false;
  bool wanting = false;
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
  bool CanTake() const { return !draining && messages > 0 && bytes > 0; }
};

/// What a commit does to one message on disk: its new state, or none when it leaves.
using ModelChange = std::pair<Sequence, std::optional<ModelMessage>>;

class QueueModel {
 public:
  explicit QueueModel(const QueueSettings& settings) : settings_(settings) {}

  // ---- events; what must reach the disk gathers in changes
  /// How many deliveries of the range were held.
  std::uint64_t Settle(DeliveryRange range, const SettleOutcome& outcome);
  void MarkStarted(DeliveryRange range);
  void Detach(const std::string& consumer, bool keep_deliveries);
  /// How many were released.
  std::uint64_t Drain(const std::string& consumer);
  std::uint64_t Purge();
  /// The deliveries whose leases ended, of consumers that are there.
  std::set<DeliveryId> Advance(std::int64_t ms);
  /// A dead-lettered message leaves; false when it is not parked.
  bool LeaveParked(Sequence sequence);
  bool IsParked(Sequence sequence) const;
  /// Empty when the delivery was allowed, else what is wrong with it.
  std::string Deliver(const Seen& seen);

  // ---- the disk
  void AddStored(const Stored& stored, bool waits_for_transaction);
  void EndTransaction(Sequence sequence, bool committed);
  void Committed(const ModelChange& change);
  void Crash();
  std::vector<ModelChange> TakeChanges() { return std::exchange(changes_, {}); }

  // ---- questions
  const ModelMessage* FindDelivery(DeliveryId delivery) const;
  std::uint64_t Count(ModelState state) const;
  std::uint64_t Bytes() const;
  bool empty() const { return messages_.empty(); }
  std::map<std::string, ModelConsumer>& consumers() { return consumers_; }
  const std::map<Sequence, ModelMessage>& messages() const { return messages_; }

 private:
  ModelMessage* Held(DeliveryId delivery);
  void Leave(Sequence sequence, ModelMessage& message);
  void Return(Sequence sequence, ModelMessage& message, bool charged, std::int64_t delay_ms);
  void Park(Sequence sequence, ModelMessage& message);
  std::int64_t BackoffMs(std::uint32_t attempt) const;

  const QueueSettings settings_;
  std::int64_t now_ms_ = 0;
  std::map<Sequence, ModelMessage> messages_;
  std::map<Sequence, ModelMessage> disk_;
  std::vector<ModelChange> changes_;
  std::map<std::string, ModelConsumer> consumers_;
  DeliveryId last_delivery_ = 0;
};

}  // namespace mqd::queue::testing
