// queue_inspector.cc: step 3 of 5 (queue). Peek, and who is connected.

#include "server/queue/queue_inspector.h"

#include <map>
#include <utility>

namespace mqd::queue {

using storage::HeldState;

PeekedMessage QueueInspector::Show(const Chunk& chunk, std::uint32_t index) const {
  PeekedMessage shown{.sequence = chunk.SequenceAt(index),
                      .publish_time_ms = chunk.publish_time_ms,
                      .charge_bytes = chunk.ChargeAt(index),
                      .chunk = chunk.key,
                      .index = index,
                      .body = chunk.body};
  shown.status = core_.StatusOf(shown.sequence);
  const storage::MessageControl* control = chunk.ControlOf(index);
  if (control != nullptr && !control->dead_letter.empty()) {
    shown.dead_letter = control->dead_letter.front();
  }
  const Now& now = core_.around_->now;
  if (const Held* held = core_.held_.Find(shown.sequence)) {
    shown.attempts = held->attempts;
    shown.notes = held->notes;
    if (held->wait == Wait::kWallTime) shown.deliver_at_ms = held->due;
    if (held->wait == Wait::kRetry || held->wait == Wait::kDelay) {
      shown.deliver_at_ms = now.wall_ms + (held->due - now.steady_ns) / kNsPerMs;
    }
  } else if (shown.status == MessageStatus::kInFlight) {
    if (const FlightRun* run = core_.in_flight_.Find(&chunk, index)) {
      shown.attempts = run->attempt;
      shown.notes = run->notes;
      shown.delivery_id = run->first + (index - run->first_index);
    }
  }
  return shown;
}

std::vector<PeekedMessage> QueueInspector::Peek(const struct Peek& peek) const {
  switch (peek.status) {
    case MessageStatus::kDelayed:
    case MessageStatus::kParked:
      return PeekHeld(peek);
    case MessageStatus::kInFlight:
      return PeekInFlight(peek);
    default:
      return PeekChunks(peek);
  }
}

std::vector<PeekedMessage> QueueInspector::PeekHeld(const struct Peek& peek) const {
  const bool parked = peek.status == MessageStatus::kParked;
  const HeldTable::Rows& rows = parked ? core_.held_.parked_rows() : core_.held_.live();
  std::vector<PeekedMessage> found;
  for (auto held = rows.lower_bound(peek.from_sequence);
       held != rows.end() && found.size() < peek.limit; ++held) {
    if (!parked && held->second.state != HeldState::kDelayed) continue;
    found.push_back(Show(*held->second.chunk, held->second.index));
  }
  return found;
}

std::vector<PeekedMessage> QueueInspector::PeekInFlight(const struct Peek& peek) const {
  std::map<Sequence, std::pair<const Chunk*, std::uint32_t>> by_sequence;
  for (const auto& [first, run] : core_.in_flight_.runs()) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      const Sequence sequence = run.chunk->SequenceAt(run.first_index + i);
      if (sequence < peek.from_sequence) continue;
      by_sequence.emplace(sequence, std::pair(run.chunk, run.first_index + i));
      if (by_sequence.size() > peek.limit) by_sequence.erase(std::prev(by_sequence.end()));
    }
  }
  std::vector<PeekedMessage> found;
  for (const auto& [sequence, place] : by_sequence) {
    found.push_back(Show(*place.first, place.second));
  }
  return found;
}

std::vector<PeekedMessage> QueueInspector::PeekChunks(const struct Peek& peek) const {
  std::vector<PeekedMessage> found;
  auto next = core_.chunks_.upper_bound(peek.from_sequence);
  if (next != core_.chunks_.begin()) --next;
  for (; next != core_.chunks_.end() && found.size() < peek.limit; ++next) {
    const Chunk& chunk = *next->second;
    if (!chunk.committed) continue;
    for (std::uint32_t index = chunk.settled.SkipFrom(0);
         index < chunk.count && found.size() < peek.limit;
         index = chunk.settled.SkipFrom(index + 1)) {
      const Sequence sequence = chunk.SequenceAt(index);
      if (sequence < peek.from_sequence) continue;
      const MessageStatus status = core_.StatusOf(sequence);
      if (peek.status != MessageStatus::kUnspecified && status != peek.status) continue;
      found.push_back(Show(chunk, index));
    }
  }
  return found;
}

ClientList QueueInspector::Clients() const {
  ClientList list;
  for (const auto& [id, publisher] : core_.publishers_) {
    PublisherInfo info{
        .id = id, .client_name = publisher.client_name, .since_ms = publisher.since_ms};
    for (const Waiter& waiter : core_.waiters_) {
      if (waiter.transaction == 0 && waiter.batch.publisher == id) {
        info.waiting += waiter.batch.messages.size() - waiter.next;
      }
    }
    list.publishers.push_back(std::move(info));
  }
  for (const auto& [id, consumer] : core_.consumers_) {
    list.consumers.push_back({.id = id,
                              .client_name = consumer.client_name,
                              .since_ms = consumer.since_ms,
                              .in_flight = consumer.in_flight,
                              .credit_messages = consumer.credit_messages,
                              .credit_bytes = consumer.credit_bytes,
                              .delivered = consumer.delivered,
                              .acked = consumer.acked,
                              .draining = consumer.draining,
                              .standby = core_.settings_.single_active && id != core_.active_,
                              .select = consumer.on_demand});
  }
  return list;
}

}  // namespace mqd::queue
