// queue_core_time.cc: step 3 of 5 (queue). Time to live, idleness, messages that wait for others,
// and dead letters that wait for room.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

using storage::HeldState;

/// Messages that one turn makes ready, and that it expires; the next turn goes on.
constexpr std::size_t kDuePerTurn = 4'096;
constexpr std::size_t kExpiredPerTurn = 4'096;
/// The wall clock may be set: a time on it that is near is looked at again this often.
constexpr std::int64_t kWallCheckMs = 1'000;
constexpr std::int64_t kWallCheckFarMs = 10'000;
/// Other queues are asked again: one may have been read anew or deleted.
constexpr std::int64_t kAskAgainNs = 5'000 * kNsPerMs;
/// A dead-letter queue that had no room is tried again after this.
constexpr std::int64_t kMoveAgainNs = 1'000 * kNsPerMs;
/// Moves that may be under way at once.
constexpr std::size_t kMovesAtOnce = 256;

}  // namespace

// ---- rows that begin

void QueueCore::HoldSpecials(Chunk& chunk) {
  if (settings_.default_ttl.count() > 0) {
    ttl_chunks_.emplace(chunk.publish_time_ms, chunk.key.first_sequence);
  }
  for (const storage::MessageControl& control : chunk.controls) {
    if (chunk.settled.Contains(control.index)) continue;
    const Sequence sequence = chunk.SequenceAt(control.index);
    if (control.expires_at_ms != 0) ttl_due_.emplace(control.expires_at_ms, sequence);
    const bool heeds_key = !control.ordering_key.empty();
    const bool delayed = control.deliver_at_ms > 0;
    if (control.priority == 0 && !heeds_key && !delayed && control.deliver_after.empty()) continue;
    if (held_.Find(sequence) != nullptr) continue;  // it has been tried: its row is there
    Held held;
    if (delayed) {
      held.state = HeldState::kDelayed;
      held.wait = Wait::kWallTime;
      held.due = control.deliver_at_ms;
    }
    if (!control.deliver_after.empty()) {
      held.state = HeldState::kDelayed;
      held.wait = Wait::kMessages;
      held.refs = static_cast<std::uint8_t>(control.deliver_after.size());
      for (const storage::MessageRef& ref : control.deliver_after) {
        waiting_refs_[ref].push_back(sequence);
        Send(AskRef{ref});
      }
    }
    Hold(chunk, control.index, std::move(held));
  }
  for (const auto& [index, due_ns] : std::exchange(chunk.delays, {})) {
    const Sequence sequence = chunk.SequenceAt(index);
    const Held* row = held_.Find(sequence);
    if (row == nullptr || row->wait != Wait::kWallTime) continue;  // expired, or waits for others
    Held held = TakeHeld(sequence);
    held.wait = Wait::kDelay;
    held.due = due_ns;
    Hold(chunk, index, std::move(held));
  }
}

void QueueCore::Hold(Chunk& chunk, std::uint32_t index, Held held) {
  const Sequence sequence = chunk.SequenceAt(index);
  held.chunk = &chunk;
  held.index = index;
  if (const storage::MessageControl* control = chunk.ControlOf(index)) {
    held.priority = static_cast<std::uint8_t>(control->priority);
    held.key = KeyOf(chunk, index);
    if (held.key != nullptr) ++held.key->rows;
    // Its time may have passed unseen while it was in flight, and the clock been set back since.
    if (control->expires_at_ms != 0) ttl_due_.emplace(control->expires_at_ms, sequence);
  }
  if (index >= chunk.cursor) chunk.held.Add(index, index + 1);
  const bool parked = held.state == HeldState::kParked;
  Place(sequence, held_.Add(sequence, std::move(held)));
  if (!parked && IsExpired(chunk, index)) Expire(chunk, index);
}

void QueueCore::ReadyDue() {
  for (const Sequence sequence : held_.TakeDue(around_->now, kDuePerTurn)) {
    BecomeReady(sequence);
  }
}

void QueueCore::BecomeReady(Sequence sequence) {
  Held& held = *held_.Find(sequence);
  Place(sequence, held);
  if (IsExpired(*held.chunk, held.index)) Expire(*held.chunk, held.index);
}

// ---- time to live

bool QueueCore::IsExpired(const Chunk& chunk, std::uint32_t index) const {
  const storage::MessageControl* control = chunk.ControlOf(index);
  WallMs expires_ms = control == nullptr ? 0 : control->expires_at_ms;
  if (expires_ms == 0 && settings_.default_ttl.count() > 0) {
    expires_ms = chunk.publish_time_ms + settings_.default_ttl.count();
  }
  return expires_ms != 0 && expires_ms <= around_->now.wall_ms;
}

void QueueCore::Expire(Chunk& chunk, std::uint32_t index) {
  const Sequence sequence = chunk.SequenceAt(index);
  Held held;
  if (held_.Find(sequence) != nullptr) held = TakeHeld(sequence);
  Note(Transition::kExpired, sequence, sequence, held.attempts);
  ++totals_.expired;
  if (to_dead_letters() && settings_.expired_to_dead_letter) {
    --totals_.expired;  // it ends as a dead letter
    AddNote(held, {.attempt = held.attempts}, "ttl passed");
    Park(chunk, index, std::move(held));
    return RefreshFresh(chunk);
  }
  if (held.attempts > 0 && durable()) open_batch_.DeleteAttempt(id_, sequence);
  SettleMessages(chunk, index, index + 1);
  RefreshFresh(chunk);
}

void QueueCore::WatchDefaultTtl() {
  ttl_chunks_.clear();
  if (settings_.default_ttl.count() == 0) return;
  for (const auto& [first, chunk] : chunks_) {
    if (chunk->committed) ttl_chunks_.emplace(chunk->publish_time_ms, first);
  }
}

void QueueCore::ExpireTtl() {
  const WallMs now_ms = around_->now.wall_ms;
  // After the clock was set back, what had been looked at in time is to be looked at again.
  if (now_ms < std::exchange(last_wall_ms_, now_ms)) WatchDefaultTtl();
  std::size_t left = kExpiredPerTurn;
  while (!ttl_due_.empty() && ttl_due_.begin()->first <= now_ms && left > 0) {
    const Sequence sequence = ttl_due_.begin()->second;
    ttl_due_.erase(ttl_due_.begin());
    --left;
    const MessageStatus status = StatusOf(sequence);
    const bool leased = status == MessageStatus::kInFlight;
    if (status != MessageStatus::kReady && status != MessageStatus::kDelayed &&
        !(leased && MQD_MUTANT(expired_under_a_consumer))) {
      continue;
    }
    Chunk& chunk = *FindChunk(sequence);
    Expire(chunk, *chunk.IndexOf(sequence));
  }
  const WallMs published_ms = now_ms - settings_.default_ttl.count();
  while (!ttl_chunks_.empty() && ttl_chunks_.begin()->first <= published_ms && left > 0) {
    if (!ExpireChunk(*chunks_.at(ttl_chunks_.begin()->second), left)) break;
    ttl_chunks_.erase(ttl_chunks_.begin());
  }
}

bool QueueCore::ExpireChunk(Chunk& chunk, std::size_t& left) {
  for (std::uint32_t index = chunk.settled.SkipFrom(0); index < chunk.count;
       index = chunk.settled.SkipFrom(index + 1)) {
    const MessageStatus status = StatusOf(chunk.SequenceAt(index));
    if (status != MessageStatus::kReady && status != MessageStatus::kDelayed) continue;
    if (!IsExpired(chunk, index)) continue;
    if (left == 0) return false;
    --left;
    Expire(chunk, index);
  }
  return true;
}

void QueueCore::PlanWallCheck() {
  WallMs due_ms = held_.earliest_wall_ms();
  if (!ttl_due_.empty()) due_ms = std::min(due_ms, ttl_due_.begin()->first);
  if (!ttl_chunks_.empty()) {
    due_ms = std::min(due_ms, ttl_chunks_.begin()->first + settings_.default_ttl.count());
  }
  if (due_ms == INT64_MAX) {
    next_wall_check_ns_ = kNever;
    return;
  }
  const std::int64_t wait_ms = std::max<std::int64_t>(0, due_ms - around_->now.wall_ms);
  const std::int64_t most_ms = wait_ms > kWallCheckFarMs ? kWallCheckFarMs : kWallCheckMs;
  next_wall_check_ns_ = now_ns() + std::min(wait_ms, most_ms) * kNsPerMs;
}

void QueueCore::ExpireIdle() {
  const std::int64_t idle_ns = settings_.expires_after_idle.count() * kNsPerMs;
  if (idle_ns == 0 || deleting_ || now_ns() < last_used_ns_ + idle_ns) return;
  if (!publishers_.empty() || !consumers_.empty() || !prepared_.empty()) return;
  DeleteNow(MakeError(Reason::kQueueNotFound, "it was not used for expires_after_idle"),
            std::nullopt);
}

// ---- deliver_after

void QueueCore::Handle(WatchMessage& event) {
  RefAnswer answer{{id_, event.sequence}, RefState::kPending};
  if (event.sequence == 0 || event.sequence >= next_sequence_) {
    answer.state = RefState::kUnknown;
  } else if (StatusOf(event.sequence) == MessageStatus::kSettled) {
    answer.state = RefState::kSettled;
  } else {
    std::vector<QueueId>& watchers = watched_[event.sequence];
    if (std::find(watchers.begin(), watchers.end(), event.watcher) == watchers.end()) {
      watchers.push_back(event.watcher);
    }
  }
  // Behind every commit under way: what is settled must be so on disk before others rely on it.
  open_.replies.push_back(TellRef{event.watcher, answer});
}

void QueueCore::Handle(RefAnswer& event) {
  const auto asked = asked_refs_.find(event.ref);
  if (asked != asked_refs_.end()) asked->second = event.state;
  if (event.state == RefState::kPending) return;
  const auto waiting = waiting_refs_.find(event.ref);
  if (waiting == waiting_refs_.end()) return;
  const std::vector<Sequence> sequences = std::move(waiting->second);
  waiting_refs_.erase(waiting);
  for (const Sequence sequence : sequences) {
    Held* held = held_.Find(sequence);
    if (held == nullptr || held->wait != Wait::kMessages || held->refs == 0) continue;
    if (--held->refs > 0) continue;
    const WallMs due_ms = held->chunk->ControlOf(held->index)->deliver_at_ms;
    if (due_ms <= around_->now.wall_ms) {
      held_.MakeReady(sequence);
      BecomeReady(sequence);
      continue;
    }
    Chunk& chunk = *held->chunk;
    Held later = TakeHeld(sequence);
    later.wait = Wait::kWallTime;
    later.due = due_ms;
    Hold(chunk, later.index, std::move(later));
  }
}

void QueueCore::AskAgain() {
  next_ask_ns_ = kNever;
  for (const auto& [ref, sequences] : waiting_refs_) Send(AskRef{ref});
  for (const auto& [ref, state] : asked_refs_) {
    if (!state.has_value()) Send(AskRef{ref});
  }
  if (!waiting_refs_.empty() || !asked_refs_.empty()) next_ask_ns_ = now_ns() + kAskAgainNs;
}

// ---- dead letters

void QueueCore::MoveParked() {
  if (!waiting_refs_.empty() || !asked_refs_.empty()) {
    next_ask_ns_ = std::min(next_ask_ns_, now_ns() + kAskAgainNs);
  }
  if (!to_dead_letters() || (next_move_ns_ != kNever && now_ns() < next_move_ns_)) return;
  next_move_ns_ = kNever;
  while (!to_move_.empty() && moving_.size() < kMovesAtOnce) {
    const Sequence sequence = to_move_.front();
    const Held* held = held_.Find(sequence);
    const bool parked = held != nullptr && held->state == HeldState::kParked;
    if (parked && held->chunk->body == nullptr) return Load(*held->chunk);
    to_move_.pop_front();
    if (!parked || !moving_.insert(sequence).second) continue;
    // Each moves by itself: one that finds no room there holds up nobody.
    MoveToDeadLetter move;
    move.items.push_back({.sequence = sequence,
                          .charge_bytes = held->chunk->ChargeAt(held->index),
                          .origin = {.queue = name_,
                                     .sequence = sequence,
                                     .reason = held->notes.empty() ? "" : held->notes.back().error,
                                     .attempts = held->attempts,
                                     .time_ms = around_->now.wall_ms,
                                     .notes = held->notes},
                          .body = held->chunk->body,
                          .index = held->index});
    Send(std::move(move));
  }
}

void QueueCore::Handle(MoveFailed& event) {
  if (moving_.erase(event.sequence) == 0 || !to_dead_letters()) return;
  to_move_.push_back(event.sequence);
  next_move_ns_ = now_ns() + kMoveAgainNs;
}

}  // namespace mqd::queue
