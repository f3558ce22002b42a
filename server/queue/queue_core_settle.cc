// queue_core_settle.cc: step 3 of 5 (queue). What becomes of a delivery: settled, put back, parked,
// or its lease ends.

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {

using storage::HeldState;

void QueueCore::Handle(struct Settle& event) {
  open_.replies.push_back(RequestDone{event.request, ApplyEntries(event.entries)});
}

SettleResult QueueCore::ApplyEntries(std::vector<SettleEntry>& entries) {
  SettleResult result;
  std::vector<DeliveryRange> missing;
  for (SettleEntry& entry : entries) {
    missing.clear();
    for (const FlightRun& run : in_flight_.Take(entry.range, missing)) {
      result.settled += run.count;
      ApplyOutcome(run, entry.outcome);
    }
    for (const DeliveryRange& range : missing) result.exceptions.emplace_back(range, Stale(range));
  }
  return result;
}

ErrorInfo QueueCore::Stale(DeliveryRange range) const {
  ErrorInfo error = MakeError(
      Reason::kStaleDelivery,
      absl::StrCat("delivery ", range.first, range.last == range.first ? "" : "..",
                   range.last == range.first ? "" : std::to_string(range.last),
                   " is not leased: it was settled, or its lease ended; drop the work, the message "
                   "is delivered again if it must be"));
  error.current = range.first;
  return error;
}

void QueueCore::ApplyOutcome(const FlightRun& run, SettleOutcome& outcome) {
  if (auto* extend = std::get_if<ExtendOutcome>(&outcome)) {
    FlightRun longer = run;
    longer.deadline_ns = around_->now.steady_ns +
                         extend->lease_ns.value_or(settings_.lease_duration.count() * kNsPerMs);
    in_flight_.Add(longer);
  } else if (std::holds_alternative<AckOutcome>(outcome)) {
    Ack(run);
  } else if (auto* retry = std::get_if<RetryOutcome>(&outcome)) {
    const std::int64_t backoff = BackoffNs(run.attempt, run.chunk->SequenceAt(run.first_index));
    totals_.retried += run.count;
    Return(run, true, retry->delay_ns.value_or(backoff), retry->error);
  } else if (std::holds_alternative<ReleaseOutcome>(outcome)) {
    totals_.released += run.count;
    Return(run, false, 0, "");
  } else {
    CountBack(run);
    ParkRun(run, run.attempt, std::get<DeadLetterOutcome>(outcome).reason);
  }
}

void QueueCore::Handle(MarkStarted& event) {
  std::vector<DeliveryRange> missing;  // a mark that comes too late says nothing
  for (const DeliveryRange& range : event.ranges) {
    for (FlightRun& run : in_flight_.Take(range, missing)) {
      run.started = true;
      in_flight_.Add(run);
    }
  }
}

void QueueCore::CountBack(const FlightRun& run) {
  const auto consumer = consumers_.find(run.consumer);
  if (consumer != consumers_.end()) consumer->second.in_flight -= run.count;
}

void QueueCore::Ack(const FlightRun& run) {
  CountBack(run);
  totals_.acked += run.count;
  if (run.attempt > 1 && durable()) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      open_batch_.DeleteAttempt(id_, run.chunk->SequenceAt(run.first_index + i));
    }
  }
  SettleMessages(*run.chunk, run.first_index, run.first_index + run.count);
}

void QueueCore::SettleMessages(Chunk& chunk, std::uint32_t first, std::uint32_t last) {
  chunk.settled.Add(first, last);
  chunk.settled_count += last - first;
  dirty_chunks_.insert(chunk.key.first_sequence);
  settling_ += last - first;
  open_.freed_messages += last - first;
  open_.freed_bytes += chunk.ChargeOf(first, last);
}

void QueueCore::Return(const FlightRun& run, bool charged, std::int64_t delay_ns,
                       const std::string& error) {
  CountBack(run);
  const std::uint32_t attempts = run.attempt - (charged ? 0 : 1);
  if (charged && attempts >= settings_.max_attempts) {
    ParkRun(run, attempts, error.empty() ? "max_attempts reached" : error);
    return;
  }
  for (std::uint32_t i = 0; i < run.count; ++i) {
    const std::uint32_t index = run.first_index + i;
    Held held{.attempts = attempts, .notes = NotesOf(run, i)};
    if (charged) AddNote(held, run.consumer, error);
    if (delay_ns > 0) {
      held.state = HeldState::kDelayed;
      held.due_ns = around_->now.steady_ns + delay_ns;
    }
    if (charged && durable()) {
      // The next attempt's number must not be seen before this one's charge is on disk.
      const Sequence sequence = run.chunk->SequenceAt(index);
      WriteAttempt(sequence, held);
      open_.returned.emplace_back(sequence, std::move(held));
      ++returning_;
      continue;
    }
    Hold(*run.chunk, index, std::move(held));
  }
}

void QueueCore::ParkRun(const FlightRun& run, std::uint32_t attempts, const std::string& reason) {
  for (std::uint32_t i = 0; i < run.count; ++i) {
    const std::uint32_t index = run.first_index + i;
    const Sequence sequence = run.chunk->SequenceAt(index);
    Held held{.attempts = attempts, .state = HeldState::kParked, .notes = NotesOf(run, i)};
    AddNote(held, run.consumer, reason);
    WriteAttempt(sequence, held);
    Hold(*run.chunk, index, std::move(held));
    if (!settings_.dead_letter_queue.empty()) to_move_.push_back(sequence);
  }
}

void QueueCore::WriteAttempt(Sequence sequence, const Held& held) {
  if (!durable()) return;
  const bool delayed = held.state == HeldState::kDelayed;
  const std::int64_t wait_ms = (held.due_ns - around_->now.steady_ns) / kNsPerMs;
  open_batch_.PutAttempt(id_, sequence,
                         {.attempts = held.attempts,
                          .state = held.state,
                          .not_before_ms = delayed ? around_->now.wall_ms + wait_ms : 0,
                            .notes = held.notes});
}

void QueueCore::Hold(Chunk& chunk, std::uint32_t index, Held held) {
  const Sequence sequence = chunk.SequenceAt(index);
  held.chunk = &chunk;
  held.index = index;
  if (index >= chunk.cursor) chunk.held.Add(index, index + 1);
  held_.Add(sequence, std::move(held));
}

std::int64_t QueueCore::BackoffNs(std::uint32_t attempt, Sequence sequence) const {
  const RetryBackoff& backoff = settings_.retry_backoff;
  const double initial = static_cast<double>(backoff.initial.count());
  const double most = static_cast<double>(backoff.max.count());
  const double exponent = std::min<double>(attempt - 1, 64);
  const double base = std::min(most, initial * std::pow(backoff.multiplier, exponent));
  // The jitter is a function of the message, so that the same events have the same effects: a
  // multiplicative hash (Knuth, The Art of Computer Programming, vol. 3, 6.4) spread over -1 .. 1.
  const std::uint64_t mixed = (sequence * 31 + attempt) * 0x9E3779B97F4A7C15ull;
  const double spread = static_cast<double>(mixed >> 11) / static_cast<double>(1ull << 52) - 1.0;
  return static_cast<std::int64_t>(base * (1.0 + backoff.jitter * spread)) * kNsPerMs;
}

void QueueCore::ExpireLeases() {
  absl::btree_map<ConsumerId, std::vector<DeliveryRange>> lost;
  for (const FlightRun& run : in_flight_.TakeExpired(around_->now.steady_ns)) {
    totals_.lease_expired += run.count;
    if (consumers_.contains(run.consumer)) lost[run.consumer].push_back(run.range());
    const std::int64_t delay =
        run.started ? BackoffNs(run.attempt, run.chunk->SequenceAt(run.first_index)) : 0;
    Return(run, run.started, delay, "the lease expired");
  }
  for (auto& [consumer, ranges] : lost) {
    Send(SendLeaseLost{consumer, std::move(ranges), LeaseLostCode::kExpired});
  }
}

void QueueCore::MoveParked() {
  if (to_move_.empty()) return;
  std::vector<Sequence> later;
  for (const Sequence sequence : to_move_) {
    const Held* found = held_.Find(sequence);
    if (found == nullptr || found->state != HeldState::kParked) continue;
    const Held& held = *found;
    if (held.chunk->body == nullptr) {
      Load(*held.chunk);
      later.push_back(sequence);
      continue;
    }
    // Each moves by itself: one that finds no room there holds up nobody.
    MoveToDeadLetter move;
    move.items.push_back({.sequence = sequence,
                          .charge_bytes = held.chunk->ChargeAt(held.index),
                          .origin = {.queue = name_,
                                     .sequence = sequence,
                                     .reason = held.notes.empty() ? "" : held.notes.back().error,
                                     .attempts = held.attempts,
                                     .time_ms = around_->now.wall_ms},
                          .body = held.chunk->body,
                          .index = held.index});
    Send(std::move(move));
  }
  to_move_ = std::move(later);
}

}  // namespace mqd::queue
