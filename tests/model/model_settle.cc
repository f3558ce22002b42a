// model_settle.cc: what becomes of a delivery, and of messages that leave without one.

#include <algorithm>

#include "tests/model/queue_model.h"

namespace mqd::queue::testing {

const ModelMessage* QueueModel::FindDelivery(DeliveryId delivery) const {
  for (const auto& [sequence, message] : messages_) {
    if (message.state == ModelState::kInFlight && message.delivery == delivery) return &message;
  }
  return nullptr;
}

void QueueModel::Settle(DeliveryRange range, const SettleOutcome& outcome) {
  Used();
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight) continue;
    if (message.delivery < range.first || message.delivery > range.last) continue;
    if (std::holds_alternative<AckOutcome>(outcome)) {
      Free(sequence, &ModelCounts::acked);
    } else if (const auto* retry = std::get_if<RetryOutcome>(&outcome)) {
      const std::int64_t backoff_ms = BackoffMs(message.attempts + 1, sequence);
      const auto delay_ns = retry->delay_ns.value_or(backoff_ms * kNsPerMs);
      Return(sequence, message, true, delay_ns / kNsPerMs);
    } else if (std::holds_alternative<ReleaseOutcome>(outcome)) {
      Return(sequence, message, false, 0);
    } else if (std::holds_alternative<DeadLetterOutcome>(outcome)) {
      ++message.attempts;
      Park(sequence, message);
    } else {
      message.deadline_ms = clock_.steady_ms + settings_.lease_duration.count();
    }
  }
}

void QueueModel::MarkStarted(DeliveryRange range) {
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight) continue;
    if (range.first <= message.delivery && message.delivery <= range.last) message.started = true;
  }
}

/// Its slot is free when that is on disk.
void QueueModel::Free(Sequence sequence, std::uint64_t ModelCounts::*reason) {
  messages_.at(sequence).state = ModelState::kSettling;
  counts_.*reason += 1;
  if (awaited_.contains(sequence)) awaited_[sequence].deadline_ms = INT64_MAX;  // it is decided
  OnDisk([this, sequence] { disk_.messages.erase(sequence); });
  Then([this, sequence] {
    messages_.erase(sequence);
    Reached(sequence, ConfirmLevel::kSettled, false);
  });
}

void QueueModel::Return(Sequence sequence, ModelMessage& message, bool charged,
                        std::int64_t delay_ms) {
  if (!charged) {
    message.busy = false;
    message.state = ModelState::kReady;
    return;
  }
  ++message.attempts;
  if (message.attempts >= settings_.max_attempts) return Park(sequence, message);
  message.refs.clear();
  message.wait = delay_ms > 0 ? ModelWait::kRetry : ModelWait::kNothing;
  message.due_ms = clock_.steady_ms + delay_ms;
  message.retry_wall_ms = clock_.wall_ms + delay_ms;
  message.retry_delay_ms = delay_ms;
  message.state = delay_ms > 0 ? ModelState::kDelayed : ModelState::kReady;
  if (!durable()) {
    message.busy = false;
    return;
  }
  SaveAttempt(sequence, message);
  message.state = ModelState::kReturning;
  Then([this, sequence, delay_ms] {
    ModelMessage& back = messages_.at(sequence);
    back.busy = false;
    back.state = delay_ms > 0 ? ModelState::kDelayed : ModelState::kReady;
  });
}

void QueueModel::Park(Sequence sequence, ModelMessage& message) {
  message.state = ModelState::kParked;
  message.wait = ModelWait::kNothing;
  SaveAttempt(sequence, message);
  Then([this, sequence] {
    const auto parked = messages_.find(sequence);  // it may have been purged
    if (parked != messages_.end()) parked->second.busy = false;
  });
}

void QueueModel::SaveAttempt(Sequence sequence, const ModelMessage& message) {
  ModelMessage saved = message;
  saved.busy = false;
  OnDisk([this, sequence, saved] {
    if (disk_.messages.contains(sequence)) disk_.messages[sequence] = saved;
  });
}

std::int64_t QueueModel::BackoffMs(std::uint32_t attempt, Sequence sequence) const {
  return BackoffNs(settings_.retry_backoff, attempt, sequence) / kNsPerMs;
}

/// Nobody has it: it can be purged, cancelled, moved.
bool QueueModel::Lies(const ModelMessage& message) const {
  return message.state == ModelState::kReady || message.state == ModelState::kDelayed ||
         message.state == ModelState::kParked;
}

std::uint64_t QueueModel::Purge(bool dedup) {
  std::uint64_t purged = 0;
  for (auto& [sequence, message] : messages_) {
    if (!Lies(message)) continue;
    Free(sequence, &ModelCounts::purged);
    ++purged;
  }
  const auto lives = [&](const auto& entry) {
    return MonoMs() - entry.second.first_seen_ms <= settings_.dedup_window.count();
  };
  if (dedup && std::any_of(dedup_.begin(), dedup_.end(), lives)) {
    dedup_.clear();
    OnDisk([this] { disk_.dedup.clear(); });
  }
  return purged;
}

/// Those that were cancelled.
std::vector<Sequence> QueueModel::Cancel(const std::vector<Sequence>& sequences) {
  std::vector<Sequence> cancelled;
  for (const Sequence sequence : sequences) {
    if (!MayLeave(sequence)) continue;
    Free(sequence, &ModelCounts::cancelled);
    cancelled.push_back(sequence);
  }
  return cancelled;
}

bool QueueModel::MayLeave(Sequence sequence) const {
  const auto found = messages_.find(sequence);
  return found != messages_.end() && Lies(found->second);
}

void QueueModel::Leave(Sequence sequence) { Free(sequence, &ModelCounts::dead_lettered); }

}  // namespace mqd::queue::testing
