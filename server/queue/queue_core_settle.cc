// queue_core_settle.cc: step 3 of 5 (queue). What becomes of a delivery: settled, put back, parked,
// or its lease ends.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {

using storage::HeldState;

void QueueCore::Handle(struct Settle& event) {
  RequestDone done{event.request, ApplyEntries(event.entries)};
  if (MQD_MUTANT(ack_told_before_commit)) return Send(std::move(done));
  open_.replies.push_back(std::move(done));
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
    for (const DeliveryRange& range : missing) {
      if (SettledByItself(range, entry.outcome) || MQD_MUTANT(stale_settle_accepted)) {
        result.settled += range.last - range.first + 1;
      } else {
        result.exceptions.emplace_back(range, Stale(range));
      }
    }
  }
  return result;
}

bool QueueCore::SettledByItself(DeliveryRange range, const SettleOutcome& outcome) const {
  return settings_.delivery == DeliveryMode::kAtMostOnce &&
         std::holds_alternative<AckOutcome>(outcome) && range.first > 0 &&
         range.last < next_delivery_;
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
    longer.deadline_ns =
        now_ns() + extend->lease_ns.value_or(settings_.lease_duration.count() * kNsPerMs);
    if (MQD_MUTANT(extension_forgotten)) longer.deadline_ns = run.deadline_ns;
    in_flight_.Add(longer);
  } else if (std::holds_alternative<AckOutcome>(outcome)) {
    Ack(run);
  } else if (auto* retry = std::get_if<RetryOutcome>(&outcome)) {
    totals_.retried += run.count;
    Note(Transition::kRetried, run, retry->error);
    Return(run, true, retry->delay_ns, retry->error);
  } else if (std::holds_alternative<ReleaseOutcome>(outcome)) {
    totals_.released += run.count;
    Note(Transition::kReleased, run);
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
  AckMessages(run);
}

void QueueCore::AckMessages(const FlightRun& run) {
  totals_.acked += run.count;
  const auto consumer = consumers_.find(run.consumer);
  if (consumer != consumers_.end()) consumer->second.acked += run.count;
  if (run.attempt > 1 && durable()) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      open_batch_.DeleteAttempt(id_, run.chunk->SequenceAt(run.first_index + i));
    }
  }
  Note(Transition::kAcked, run);
  KeyLands(run);
  SettleMessages(*run.chunk, run.first_index, run.first_index + run.count);
}

void QueueCore::SettleMessages(Chunk& chunk, std::uint32_t first, std::uint32_t last) {
  settling_ += last - first;
  open_.freed_messages += last - first;
  open_.freed_bytes += chunk.ChargeOf(first, last);
  Settled(chunk, first, last);
}

void QueueCore::Settled(Chunk& chunk, std::uint32_t first, std::uint32_t last) {
  chunk.settled.Add(first, last);
  chunk.settled_count += last - first;
  dirty_chunks_.insert(chunk.key.first_sequence);
  const Sequence from = chunk.SequenceAt(first);
  const Sequence to = chunk.SequenceAt(last - 1);
  if (!awaited_.empty()) AnswerAwaited(from, to, ConfirmLevel::kSettled, open_.confirms);
  for (auto watched = watched_.lower_bound(from); watched != watched_.end() && watched->first <= to;
       watched = watched_.erase(watched)) {
    for (const QueueId watcher : watched->second) {
      open_.replies.push_back(TellRef{watcher, {{id_, watched->first}, RefState::kSettled}});
    }
  }
  if (ttl_due_.empty() || chunk.controls.empty()) return;
  for (std::uint32_t index = first; index < last; ++index) {
    const storage::MessageControl* control = chunk.ControlOf(index);
    if (control == nullptr || control->expires_at_ms == 0) continue;
    ttl_due_.erase({control->expires_at_ms, chunk.SequenceAt(index)});
  }
}

void QueueCore::Return(const FlightRun& run, bool charged, std::optional<std::int64_t> delay_ns,
                       const std::string& error) {
  CountBack(run);
  if (run.key != nullptr) {
    KeyBreaks(*run.key, run.chunk->SequenceAt(run.first_index), run.first, run.consumer);
  }
  const std::uint32_t attempts = run.attempt - (charged ? 0 : 1);
  if (charged && attempts >= settings_.max_attempts + MQD_MUTANT(one_attempt_more)) {
    ParkRun(run, attempts, error.empty() ? "max_attempts reached" : error);
    return;
  }
  for (std::uint32_t i = 0; i < run.count; ++i) {
    const std::uint32_t index = run.first_index + i;
    const Sequence sequence = run.chunk->SequenceAt(index);
    Held held{.attempts = attempts, .notes = run.notes};
    const std::int64_t wait_ns =
        !charged ? 0 : delay_ns.value_or(BackoffNs(settings_.retry_backoff, run.attempt, sequence));
    if (wait_ns > 0) {
      held.state = HeldState::kDelayed;
      held.wait = Wait::kRetry;
      held.due = now_ns() + wait_ns;
    }
    if (!charged) {
      Hold(*run.chunk, index, std::move(held));
      if (run.key != nullptr) FreeKey(*run.key);
      continue;
    }
    AddNote(held, run, error);
    if (durable()) {
      // The next attempt's number must not be seen before this one's charge is on disk.
      WriteAttempt(sequence, held);
      open_.returned.emplace_back(sequence, std::move(held));
      ++returning_;
      KeyLands(run);
      continue;
    }
    Hold(*run.chunk, index, std::move(held));
    if (run.key != nullptr) FreeKey(*run.key);
  }
}

void QueueCore::TakeBackBehind() {
  if (behind_.empty()) return;
  absl::btree_map<ConsumerId, std::vector<DeliveryRange>> lost;
  std::vector<DeliveryRange> missing;  // they were settled in the same turn
  while (!behind_.empty()) {
    const DeliveryId id = *behind_.begin();
    behind_.erase(behind_.begin());
    for (const FlightRun& run : in_flight_.Take({id, id}, missing)) {
      ++totals_.recalled;
      if (consumers_.contains(run.consumer)) lost[run.consumer].push_back(run.range());
      Note(Transition::kReleased, run, "one before it in its key came back");
      Return(run, false, 0, "");
    }
  }
  for (auto& [consumer, ranges] : lost) {
    Send(SendLeaseLost{consumer, std::move(ranges), LeaseLostCode::kRecalled});
  }
}

void QueueCore::ParkRun(const FlightRun& run, std::uint32_t attempts, const std::string& reason) {
  Note(Transition::kParked, run, reason);
  for (std::uint32_t i = 0; i < run.count; ++i) {
    Held held{.attempts = attempts, .notes = run.notes};
    AddNote(held, run, reason);
    Park(*run.chunk, run.first_index + i, std::move(held));
  }
  KeyLands(run);
}

void QueueCore::Park(Chunk& chunk, std::uint32_t index, Held held) {
  const Sequence sequence = chunk.SequenceAt(index);
  held.state = HeldState::kParked;
  held.wait = Wait::kNone;
  held.due = kNever;
  WriteAttempt(sequence, held);
  Hold(chunk, index, std::move(held));
  if (to_dead_letters()) to_move_.push_back(sequence);
}

void QueueCore::AddNote(Held& held, const FlightRun& run, const std::string& error) const {
  if (held.notes.size() == storage::kAttemptNotesMax) held.notes.pop_front();
  held.notes.push_back({.attempt = run.attempt,
                        .time_ms = around_->now.wall_ms,
                        .consumer = NameOf(run),
                        .error = error});
}

void QueueCore::WriteAttempt(Sequence sequence, const Held& held) {
  if (!durable() || MQD_MUTANT(attempt_not_written)) return;
  const bool delayed = held.state == HeldState::kDelayed;
  const std::int64_t wait_ms = delayed ? (held.due - now_ns()) / kNsPerMs : 0;
  open_batch_.PutAttempt(id_, sequence,
                         {.attempts = held.attempts,
                          .state = held.state,
                          .not_before_ms = delayed ? around_->now.wall_ms + wait_ms : 0,
                          .notes = held.notes});
}

void QueueCore::ExpireLeases() {
  absl::btree_map<ConsumerId, std::vector<DeliveryRange>> lost;
  std::int64_t now = now_ns();
  if (MQD_MUTANT(lease_on_the_wall_clock)) {
    now = base_steady_ns_ + (around_->now.wall_ms - base_wall_ms_) * kNsPerMs;
  }
  for (const FlightRun& run : in_flight_.TakeExpired(now)) {
    totals_.lease_expired += run.count;
    if (consumers_.contains(run.consumer)) lost[run.consumer].push_back(run.range());
    Note(Transition::kLeaseExpired, run);
    Return(run, run.started, std::nullopt, "the lease expired");
  }
  for (auto& [consumer, ranges] : lost) {
    Send(SendLeaseLost{consumer, std::move(ranges), LeaseLostCode::kExpired});
  }
}

}  // namespace mqd::queue
