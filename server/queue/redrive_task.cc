#include "server/queue/redrive_task.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "proto/base/assert.h"
#include "server/limits.h"

namespace mqd::queue {
namespace {

constexpr std::int64_t kRetryNs =
    std::chrono::duration_cast<std::chrono::nanoseconds>(limits::kRedriveRetry).count();

/// A smaller batch may be taken where a larger one was refused for this.
bool DependsOnTheBatch(Reason reason) {
  return reason == Reason::kQueueFull || reason == Reason::kQuotaExceeded ||
         reason == Reason::kMessageTooLarge || reason == Reason::kBadField;
}

/// Trying again will not help this message.
bool IsTheMessagesFault(Reason reason) {
  return reason == Reason::kMessageTooLarge || reason == Reason::kBadField;
}

}  // namespace

RedriveTask::RedriveTask(storage::RedriveRecord record)
    : record_(std::move(record)), position_(record_.cursor), batch_max_(limits::kRedriveBatchMax) {}

// ---- what to do next

RedriveTask::Step RedriveTask::NextStep(const Now& now) {
  MQD_ASSERT(moving_.empty());
  if (ended()) return End{};
  if (now.steady_ns < not_before_ns_) return Wait{not_before_ns_};
  if (pending_.empty() && (looked_at_all_ || HasItsNumber())) {
    Finish(RedriveState::kDone, now);
    return End{};
  }
  if (pending_.empty()) {
    return Look{{.from_sequence = position_,
                 .limit = limits::kRedriveBatchMax,
                 .bodies = !record_.dry_run}};
  }
  const std::uint64_t allowed = bucket_.Available(now.steady_ns, rate());
  if (allowed == 0) return Wait{bucket_.NextNs(rate())};
  Move move{.target = TargetOf(pending_.begin()->second)};
  for (const auto& [sequence, message] : pending_) {
    if (moving_.size() == std::min(batch_max_, allowed)) break;
    if (TargetOf(message) != move.target) continue;
    moving_.push_back(sequence);
    move.messages.push_back(message);
  }
  return move;
}

// ---- looking

void RedriveTask::OnLooked(absl::StatusOr<std::vector<PeekedMessage>> looked, const Now& now) {
  if (ended()) return;
  if (!looked.ok()) {
    const ErrorInfo why = ErrorInfoOf(looked.status());
    if (why.reason != Reason::kQueueNotFound) return WaitFor(why, now);
    SetError(why);
    return Finish(RedriveState::kFailed, now);
  }
  GoesOn();
  looked_at_all_ = looked->empty();
  for (PeekedMessage& message : *looked) {
    if (message.sequence >= record_.end_sequence) {
      looked_at_all_ = true;
      break;
    }
    if (HasItsNumber()) break;
    position_ = message.sequence + 1;
    if (Matches(message)) Take(std::move(message));
  }
  if (pending_.empty()) record_.cursor = position_;
}

bool RedriveTask::HasItsNumber() const {
  return record_.max_messages != 0 && record_.matched - record_.skipped >= record_.max_messages;
}

bool RedriveTask::Matches(const PeekedMessage& message) const {
  const bool filters = !record_.origin_filter.empty() || !record_.reason_filter.empty() ||
                       record_.before_ms != 0 || record_.after_ms != 0;
  if (!filters) return true;
  if (!message.dead_letter.has_value()) return false;
  const storage::DeadLetterOrigin& origin = *message.dead_letter;
  return (record_.origin_filter.empty() || origin.queue == record_.origin_filter) &&
         absl::StrContains(origin.reason, record_.reason_filter) &&
         (record_.before_ms == 0 || origin.time_ms < record_.before_ms) &&
         (record_.after_ms == 0 || origin.time_ms >= record_.after_ms);
}

std::string RedriveTask::TargetOf(const PeekedMessage& message) const {
  if (!record_.target.empty()) return record_.target;
  const bool from_elsewhere =
      message.dead_letter.has_value() && message.dead_letter->queue != record_.queue;
  return from_elsewhere ? message.dead_letter->queue : "";
}

void RedriveTask::Take(PeekedMessage message) {
  ++record_.matched;
  const bool can_leave = message.status == MessageStatus::kReady ||
                         message.status == MessageStatus::kDelayed ||
                         message.status == MessageStatus::kParked;
  if (!can_leave || TargetOf(message).empty()) {
    ++record_.skipped;
  } else if (!record_.dry_run) {
    const Sequence sequence = message.sequence;
    pending_.emplace(sequence, std::move(message));
  }
}

/// Forgets what is known of the messages that are still to be moved.
void RedriveTask::LookAgain() {
  if (pending_.empty()) return;
  position_ = pending_.begin()->first;
  record_.matched -= pending_.size();
  pending_.clear();
  looked_at_all_ = false;
}

void RedriveTask::Forget(const std::vector<Sequence>& sequences) {
  for (const Sequence sequence : sequences) record_.matched -= pending_.erase(sequence);
}

void RedriveTask::GoesOn() {
  record_.state = static_cast<std::uint8_t>(RedriveState::kRunning);
  record_.error.clear();
  record_.error_reason = 0;
}

// ---- moving

void RedriveTask::OnMoved(const TransactionResult& result, const Now& now) {
  const std::vector<Sequence> moved = std::exchange(moving_, {});
  if (result.committed) {
    for (const Sequence sequence : moved) pending_.erase(sequence);
    record_.moved += moved.size();
    record_.cursor = pending_.empty() ? position_ : pending_.begin()->first;
    bucket_.Take(now.steady_ns, rate(), moved.size());
    batch_max_ = std::min<std::uint64_t>(2 * batch_max_, limits::kRedriveBatchMax);
    if (!ended()) GoesOn();
    return;
  }
  if (ended()) return Forget(moved);
  if (result.refused_at_source) {  // one of them is gone, or in flight
    if (moved.size() == 1) return SkipFirst();
    batch_max_ = moved.size() / 2;
    return LookAgain();
  }
  const ErrorInfo why = WhyRefused(result);
  if (why.reason == Reason::kOutcomeUnknown) {  // the queue knows which of them are gone
    LookAgain();
    return WaitFor(why, now);
  }
  if (moved.size() > 1 && DependsOnTheBatch(why.reason)) {
    batch_max_ = moved.size() / 2;
    return;
  }
  Refused(why, now);
}

void RedriveTask::Refused(const ErrorInfo& why, const Now& now) {
  if (!IsTheMessagesFault(why.reason)) return WaitFor(why, now);
  SetError(why);
  SkipFirst();
}

/// The first one is what a Move of one message was of.
void RedriveTask::SkipFirst() {
  pending_.erase(pending_.begin());
  ++record_.skipped;
  record_.cursor = pending_.empty() ? position_ : pending_.begin()->first;
}

void RedriveTask::WaitFor(const ErrorInfo& why, const Now& now) {
  SetError(why);
  record_.state = static_cast<std::uint8_t>(RedriveState::kWaiting);
  not_before_ns_ = now.steady_ns + kRetryNs;
}

void RedriveTask::SetError(const ErrorInfo& why) {
  record_.error = why.message;
  record_.error_reason = static_cast<std::uint8_t>(why.reason);
}

// ---- the end

void RedriveTask::Cancel(const Now& now) {
  if (!ended()) Finish(RedriveState::kCancelled, now);
}

void RedriveTask::Finish(RedriveState state, const Now& now) {
  record_.state = static_cast<std::uint8_t>(state);
  record_.end_time_ms = now.wall_ms;
  std::vector<Sequence> left;  // what is in a Move under way is counted when that has ended
  for (const auto& [sequence, message] : pending_) {
    if (std::find(moving_.begin(), moving_.end(), sequence) == moving_.end()) {
      left.push_back(sequence);
    }
  }
  Forget(left);
}

storage::RedriveRecord RedriveTask::ToStore() const {
  storage::RedriveRecord record = record_;
  record.matched -= pending_.size();
  return record;
}

}  // namespace mqd::queue
