// queue_core_dispatch.cc: steps 3 and 5 of 5 (queue, delivery). Who gets the next message, within
// credit.

#include <algorithm>
#include <utility>

#include "proto/base/assert.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

/// With several idle consumers one gets at most this many at a time, so that none hoards what
/// others could do.
constexpr std::uint64_t kSharedQuantum = 64;
/// Bodies are read back this many chunks ahead of the first fresh message.
constexpr std::size_t kReadAheadChunks = 6;

}  // namespace

void QueueCore::Handle(AttachConsumer& event) {
  if (deleting_) {
    Send(ConsumerAttached{event.consumer, 0,
                          MakeError(Reason::kQueueNotFound, "the queue is being deleted")});
    return;
  }
  Consumer& consumer = consumers_[event.consumer];
  consumer.lease_ns = event.lease_ns;
  consumer.marks_started = event.marks_started;
  consumer.on_demand = event.on_demand;
  if (event.on_demand) ++on_demand_count_;
  const std::int64_t lease_ms =
      event.lease_ns != 0 ? event.lease_ns / kNsPerMs : settings_.lease_duration.count();
  Send(ConsumerAttached{event.consumer, lease_ms, std::nullopt});
}

void QueueCore::Handle(DetachConsumer& event) {
  const auto found = consumers_.find(event.consumer);
  if (found == consumers_.end()) return;
  SetCredit(event.consumer, found->second, 0, 0);
  if (event.keep_deliveries) {
    in_flight_.Orphan(event.consumer);
  } else if (found->second.in_flight > 0) {
    for (const FlightRun& run : in_flight_.TakeConsumer(event.consumer)) {
      Return(run, run.started, 0, "the consumer's stream ended");
    }
  }
  if (found->second.on_demand) --on_demand_count_;
  consumers_.erase(found);
}

void QueueCore::Handle(GrantCredit& event) {
  const auto found = consumers_.find(event.consumer);
  if (found == consumers_.end()) return;
  Consumer& consumer = found->second;
  consumer.wanting = false;
  consumer.granted = consumer.on_demand;
  if (consumer.draining) return;
  SetCredit(event.consumer, consumer,
            consumer.credit_messages + static_cast<std::int64_t>(event.messages),
            consumer.credit_bytes + static_cast<std::int64_t>(event.bytes));
}

void QueueCore::Handle(DrainConsumer& event) {
  const auto found = consumers_.find(event.consumer);
  if (found == consumers_.end()) return;
  Consumer& consumer = found->second;
  consumer.draining = true;
  SetCredit(event.consumer, consumer, 0, 0);
  std::uint64_t released = 0;
  for (const FlightRun& run : in_flight_.TakeUnstarted(event.consumer)) {
    released += run.count;
    Return(run, false, 0, "");
  }
  Send(ConsumerDrained{event.consumer, released, consumer.in_flight});
}

void QueueCore::SetCredit(ConsumerId id, Consumer& consumer, std::int64_t messages,
                          std::int64_t bytes) {
  const auto takes = [](std::int64_t m, std::int64_t b) { return m > 0 && b > 0; };
  if (takes(consumer.credit_messages, consumer.credit_bytes)) {
    idle_credit_.erase({consumer.credit_messages, id});
  }
  consumer.credit_messages = messages;
  consumer.credit_bytes = bytes;
  if (takes(messages, bytes) && !consumer.draining) idle_credit_.emplace(messages, id);
}

bool QueueCore::HasReady() const { return held_.HasReady() || !fresh_.empty(); }

Consumer* QueueCore::PickConsumer(ConsumerId& id) {
  if (idle_credit_.empty()) return nullptr;
  id = idle_credit_.rbegin()->second;  // the most idle credit: LEAST_LOADED
  return &consumers_.at(id);
}

void QueueCore::Dispatch() {
  while (HasReady()) {
    ConsumerId id = 0;
    Consumer* consumer = PickConsumer(id);
    if (consumer == nullptr || !DeliverTo(id, *consumer)) return;
  }
}

bool QueueCore::DeliverTo(ConsumerId id, Consumer& consumer) {
  Chunk* chunk = nullptr;
  Sequence fresh = UINT64_MAX;
  if (!fresh_.empty()) {
    chunk = chunks_.at(*fresh_.begin()).get();
    fresh = chunk->SequenceAt(chunk->NextFresh());
  }
  if (held_.HasReady() && held_.FirstReady() < fresh) {
    return DeliverHeld(id, consumer, held_.FirstReady());
  }
  return DeliverFresh(id, consumer, *chunk);
}

bool QueueCore::DeliverHeld(ConsumerId id, Consumer& consumer, Sequence sequence) {
  Chunk& chunk = *held_.Find(sequence)->chunk;
  if (chunk.body == nullptr) {
    Load(chunk);
    return false;
  }
  const Held held = held_.Take(sequence);
  HandOver(id, consumer, chunk, held.index, 1, held.attempts + 1);
  ++totals_.redelivered;
  return true;
}

bool QueueCore::DeliverFresh(ConsumerId id, Consumer& consumer, Chunk& chunk) {
  if (chunk.body == nullptr) {
    Load(chunk);
    return false;
  }
  const std::uint32_t first = chunk.NextFresh();
  const std::uint64_t most =
      std::min<std::uint64_t>(Quantum(), static_cast<std::uint64_t>(consumer.credit_messages));
  std::uint32_t end = chunk.ContiguousEnd(first, chunk.FreshEnd(first));
  if (end - first > most) end = first + static_cast<std::uint32_t>(most);
  std::uint32_t last = first + 1;
  if (chunk.controls.empty()) {
    std::int64_t left = consumer.credit_bytes - chunk.ChargeAt(first);
    while (last < end && left > 0) left -= chunk.ChargeAt(last++);
  }
  chunk.cursor = last;
  if (chunk.NextFresh() == chunk.count) fresh_.erase(chunk.key.first_sequence);
  HandOver(id, consumer, chunk, first, last - first, 1);
  return true;
}

std::uint32_t QueueCore::Quantum() const {
  if (idle_credit_.size() <= 1) return UINT32_MAX;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(ReadyCount() / idle_credit_.size(), 1, kSharedQuantum));
}

void QueueCore::HandOver(ConsumerId id, Consumer& consumer, Chunk& chunk, std::uint32_t index,
                         std::uint32_t count, std::uint32_t attempt) {
  const std::int64_t lease_ns =
      consumer.lease_ns != 0 ? consumer.lease_ns : settings_.lease_duration.count() * kNsPerMs;
  in_flight_.Add({.first = next_delivery_,
                  .count = count,
                  .chunk = &chunk,
                  .first_index = index,
                  .attempt = attempt,
                  .consumer = id,
                  .deadline_ns = around_->now.steady_ns + lease_ns,
                  .started = !consumer.marks_started});
  DeliveryRun run{.first_delivery_id = next_delivery_,
                  .first_sequence = chunk.SequenceAt(index),
                  .count = count,
                  .attempt = attempt,
                  .publish_time_ms = chunk.publish_time_ms,
                  .lease_ms = lease_ns / kNsPerMs,
                  .body = chunk.body,
                  .first_index = index};
  const storage::MessageControl* control = chunk.ControlOf(index);
  if (control != nullptr && !control->dead_letter.empty()) {
    run.dead_letter = control->dead_letter.front();
  }
  if (consumer.outbox.empty()) with_outbox_.push_back(id);
  consumer.outbox.push_back(std::move(run));
  const std::uint64_t charge = chunk.ChargeOf(index, index + count);
  consumer.outbox_messages += count;
  consumer.outbox_bytes += charge;
  consumer.in_flight += count;
  next_delivery_ += count;
  totals_.delivered += count;
  SetCredit(id, consumer, consumer.credit_messages - count,
            consumer.credit_bytes - static_cast<std::int64_t>(charge));
  DropBodyIfFull(chunk);
}

void QueueCore::FlushOutboxes() {
  for (const ConsumerId id : with_outbox_) {
    const auto found = consumers_.find(id);
    if (found == consumers_.end()) continue;
    Consumer& consumer = found->second;
    Send(SendDeliveries{
        id,
        {std::exchange(consumer.outbox, {}), std::exchange(consumer.outbox_messages, 0),
         std::exchange(consumer.outbox_bytes, 0)}});
  }
  with_outbox_.clear();
}

void QueueCore::BalanceOnDemand() {
  if (on_demand_count_ == 0) return;
  const bool ready = HasReady();
  for (auto& [id, consumer] : consumers_) {
    if (!consumer.on_demand || consumer.draining) continue;
    if (consumer.granted) {
      if (ready && consumer.credit_messages > 0 && consumer.credit_bytes > 0) continue;
      Send(CreditReturned{id, static_cast<std::uint64_t>(consumer.credit_messages),
                          consumer.credit_bytes, ready});
      SetCredit(id, consumer, 0, 0);
      consumer.granted = false;
      consumer.wanting = ready;
    } else if (ready && !consumer.wanting) {
      consumer.wanting = true;
      Send(WantCredit{id});
    }
  }
}

void QueueCore::TellEnd() {
  // A commit under way may be the one that closes the queue.
  if (!closed_ || messages_ != held_.parked() || !waiters_.empty() || !sent_.empty()) return;
  for (auto& [id, consumer] : consumers_) {
    if (consumer.told_end) continue;
    consumer.told_end = true;
    Send(SendEndOfQueue{id});
  }
}

void QueueCore::Load(Chunk& chunk) {
  if (chunk.body != nullptr || chunk.load_pending) return;
  chunk.load_pending = true;
  effects_->loads.push_back(chunk.key);
}

void QueueCore::ReadAhead() {
  if (consumers_.empty()) return;
  std::size_t seen = 0;
  for (auto next = fresh_.begin(); next != fresh_.end() && seen < kReadAheadChunks; ++next) {
    Load(*chunks_.at(*next));
    ++seen;
  }
}

}  // namespace mqd::queue
