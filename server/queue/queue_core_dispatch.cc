// queue_core_dispatch.cc: steps 3 and 5 of 5 (queue, delivery). Who gets the next message, within
// credit.

#include <algorithm>
#include <utility>

#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

/// With several idle consumers one gets at most this many at a time, so that none hoards what
/// others could do.
constexpr std::uint64_t kSharedQuantum = 64;
/// Bodies are read back this many chunks ahead of the first fresh message.
constexpr std::size_t kReadAheadChunks = 6;

}  // namespace

void QueueCore::Dispatch() {
  TakeBackBehind();
  ObserveLanes();
  if (consume_paused() || deleting_) return;
  if (sticky()) DispatchOwn();
  while (DispatchShared()) {
  }
  if (!sticky() && keyed()) DispatchOwn();
  ObserveLanes();  // those that were emptied wait no more
}

bool QueueCore::DispatchShared() {
  if (!HasReady()) return false;
  ConsumerId id = 0;
  Consumer* consumer = PickConsumer(id);
  return consumer != nullptr && DeliverNext(id, *consumer, lanes_, FirstFresh());
}

void QueueCore::DispatchOwn() {
  for (auto& [id, consumer] : consumers_) {
    while (MayTake(id, consumer) && DeliverNext(id, consumer, consumer.own, ReadyLanes::kNone)) {
    }
  }
}

Consumer* QueueCore::PickConsumer(ConsumerId& id) {
  if (idle_credit_.empty()) return nullptr;
  if (favoured_ != 0) {
    const auto favoured = consumers_.find(favoured_);
    if (favoured != consumers_.end() && favoured->second.in_flight == 0 &&
        MayTake(favoured_, favoured->second)) {
      id = favoured_;
      return &favoured->second;
    }
    favoured_ = 0;
  }
  switch (settings_.dispatch_policy) {
    case DispatchPolicy::kRoundRobin: {
      ConsumerId lowest = UINT64_MAX;
      ConsumerId next = UINT64_MAX;
      for (const auto& [credit, each] : idle_credit_) {
        lowest = std::min(lowest, each);
        if (each > turn_) next = std::min(next, each);
      }
      id = next != UINT64_MAX ? next : lowest;
      break;
    }
    case DispatchPolicy::kRandom: {
      // xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003); it must only be even and repeatable.
      random_state_ ^= random_state_ << 13;
      random_state_ ^= random_state_ >> 7;
      random_state_ ^= random_state_ << 17;
      auto each = idle_credit_.begin();
      std::advance(each, static_cast<std::ptrdiff_t>(random_state_ % idle_credit_.size()));
      id = each->second;
      break;
    }
    default:
      id = idle_credit_.rbegin()->second;  // the most idle credit: LEAST_LOADED
  }
  return &consumers_.at(id);
}

std::uint64_t QueueCore::Quantum() const {
  const DispatchPolicy policy = settings_.dispatch_policy;
  const std::uint64_t rate = delivery_rate_.Available(now_ns(), settings_.max_delivery_rate);
  if (idle_credit_.size() <= 1) return rate;
  if (policy == DispatchPolicy::kRoundRobin || policy == DispatchPolicy::kRandom) {
    return std::min<std::uint64_t>(rate, 1);
  }
  const std::uint64_t share = ReadyCount() / idle_credit_.size();
  return std::min(rate, std::clamp<std::uint64_t>(share, 1, kSharedQuantum));
}

bool QueueCore::DeliverNext(ConsumerId id, Consumer& consumer, ReadyLanes& lanes, Sequence plain) {
  const auto head = lanes.Next(plain, now_ns(), settings_.ageing_floor.count() * kNsPerMs);
  if (!head.has_value()) return false;
  if (delivery_rate_.Available(now_ns(), settings_.max_delivery_rate) == 0) {
    next_rate_ns_ = std::min(next_rate_ns_, delivery_rate_.NextNs(settings_.max_delivery_rate));
    return false;
  }
  const bool delivered = head->sequence == plain
                             ? DeliverFresh(id, consumer, *chunks_.at(*fresh_.begin()), head->alone)
                             : DeliverHeld(id, consumer, head->sequence);
  if (delivered) lanes.Served(head->priority, now_ns());
  return delivered;
}

bool QueueCore::DeliverHeld(ConsumerId id, Consumer& consumer, Sequence sequence) {
  const Held& row = *held_.Find(sequence);
  Chunk& chunk = *row.chunk;
  if (chunk.body == nullptr) {
    Load(chunk);
    return false;
  }
  KeyState* key = row.key;
  if (key != nullptr) KeyFlies(*key, sequence, next_delivery_, id);
  Held held = TakeHeld(sequence);
  if (held.attempts > 0) ++totals_.redelivered;
  HandOver(id, consumer,
           {.count = 1,
            .chunk = &chunk,
            .first_index = held.index,
            .attempt = held.attempts + 1,
            .key = key,
            .notes = std::move(held.notes)});
  return true;
}

bool QueueCore::DeliverFresh(ConsumerId id, Consumer& consumer, Chunk& chunk, bool alone) {
  if (chunk.body == nullptr) {
    Load(chunk);
    return false;
  }
  const std::uint32_t first = chunk.NextFresh();
  const std::uint64_t most = std::min<std::uint64_t>(
      alone ? 1 : Quantum(), static_cast<std::uint64_t>(consumer.credit_messages));
  std::uint32_t end = chunk.ContiguousEnd(first, chunk.FreshEnd(first));
  if (end - first > most) end = first + static_cast<std::uint32_t>(most);
  std::uint32_t last = first + 1;
  if (chunk.controls.empty()) {
    std::int64_t left = consumer.credit_bytes - chunk.ChargeAt(first);
    while (last < end && left > 0) left -= chunk.ChargeAt(last++);
  }
  chunk.cursor = last;
  RefreshFresh(chunk);
  HandOver(id, consumer,
           {.count = last - first, .chunk = &chunk, .first_index = first, .attempt = 1});
  return true;
}

/// Whoever takes over has the higher one, also where the settings let several be consumers before.
DeliveryId QueueCore::FenceFor(const FlightRun& run) {
  if (run.key != nullptr) return run.key->fence;
  if (!settings_.single_active && settings_.max_consumers != 1) return 0;
  if (std::exchange(fence_holder_, run.consumer) != run.consumer) fence_ = run.first;
  return fence_;
}

DeliveryRun QueueCore::RunFor(const FlightRun& run) {
  const Chunk& chunk = *run.chunk;
  DeliveryRun out{.first_delivery_id = run.first,
                  .first_sequence = chunk.SequenceAt(run.first_index),
                  .count = run.count,
                  .attempt = run.attempt,
                  .publish_time_ms = chunk.publish_time_ms,
                  .body = chunk.body,
                  .first_index = run.first_index,
                  .fence = FenceFor(run),
                  .charge_bytes = chunk.ChargeOf(run.first_index, run.first_index + run.count)};
  const storage::MessageControl* control = chunk.ControlOf(run.first_index);
  if (control != nullptr && !control->dead_letter.empty()) {
    out.dead_letter = control->dead_letter.front();
  }
  return out;
}

void QueueCore::HandOver(ConsumerId id, Consumer& consumer, FlightRun run) {
  Chunk& chunk = *run.chunk;
  run.first = next_delivery_;
  run.consumer = id;
  turn_ = id;
  run.started = !consumer.marks_started;
  next_delivery_ += run.count;
  const Sequence first = chunk.SequenceAt(run.first_index);
  const Sequence last = chunk.SequenceAt(run.first_index + run.count - 1);
  totals_.delivered += run.count;
  consumer.delivered += run.count;
  delivery_rate_.Take(now_ns(), settings_.max_delivery_rate, run.count);
  Note(Transition::kDelivered, run);
  DeliveryRun out = RunFor(run);
  const std::uint64_t charge = out.charge_bytes;
  if (!MQD_MUTANT(delivery_costs_no_credit)) {
    SetCredit(id, consumer, consumer.credit_messages - run.count,
              consumer.credit_bytes - static_cast<std::int64_t>(charge));
  }
  if (settings_.delivery == DeliveryMode::kAtMostOnce) {
    open_.deliveries.emplace_back(id, std::move(out));
    AckMessages(run);
    return;
  }
  if (!awaited_.empty()) AnswerAwaited(first, last, ConfirmLevel::kDelivered, early_confirms_);
  const std::int64_t lease_ns =
      consumer.lease_ns != 0 ? consumer.lease_ns : settings_.lease_duration.count() * kNsPerMs;
  out.lease_ms = lease_ns / kNsPerMs;
  run.deadline_ns = MQD_MUTANT(lease_never_ends) ? kNever : now_ns() + lease_ns;
  consumer.in_flight += run.count;
  in_flight_.Add(run);
  AddToOutbox(id, consumer, std::move(out), charge);
  DropBodyIfFull(chunk);
}

void QueueCore::AddToOutbox(ConsumerId id, Consumer& consumer, DeliveryRun run,
                            std::uint64_t charge) {
  if (consumer.outbox.empty()) with_outbox_.push_back(id);
  consumer.outbox_messages += run.count;
  consumer.outbox_bytes += charge;
  consumer.outbox.push_back(std::move(run));
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
