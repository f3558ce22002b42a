#include <utility>

#include "client/consumer_core.h"
#include "client/status_map.h"

namespace mqd::client {

/// The broker takes back what has a lease. The rest is gone.
void ConsumerCore::DropBuffer() {
  const DeliveryBuffer::Dropped dropped = buffer_.Clear();
  credit_.OnDropped(dropped.messages, dropped.bytes);
  stats_.lost += dropped.leaseless;
}

/// The stream broke: the broker has released what has a lease, and nobody else gets the rest.
void ConsumerCore::DropLeased() {
  const DeliveryBuffer::Dropped dropped = buffer_.ClearLeased();
  credit_.OnDropped(dropped.messages, dropped.bytes);
  stats_.dropped_on_reconnect += dropped.messages;
}

/// Takes back what handler threads have loaded and not begun: into the buffer, or to nowhere.
void ConsumerCore::ReclaimSlots(bool keep) {
  bool woken = false;
  for (const std::unique_ptr<WorkSlot>& slot : slots_) {
    std::optional<DeliveryPiece> piece = slot->Reclaim();
    if (!piece) continue;
    base::MutexLock lock(mutex_);
    running_ -= piece->count();
    const bool ours = piece->leaseless() || (keep && piece->frame->stream == stream_);
    if (ours && phase_ == Phase::kRunning) {
      buffer_.PutBack(*std::move(piece));
      woken = true;
    } else {
      credit_.OnDropped(piece->count(), piece->bytes());
      LeaveLine(KeyLines::NameOf(*piece));
      if (piece->leaseless()) stats_.lost += piece->count();
    }
  }
  if (woken) work_.notify_all();
}

/// Whatever a handler or the application has is to be marked before a drain.
void ConsumerCore::MarkRunning() {
  std::vector<Key> keys;
  for (const std::unique_ptr<WorkSlot>& slot : slots_) {
    const std::optional<WorkSlot::Running> running = slot->running();
    if (!running || running->piece.leaseless()) continue;
    keys.emplace_back(running->piece.queue_index(), running->piece.id(running->piece.begin));
  }
  base::MutexLock lock(mutex_);
  to_mark_.insert(keys.begin(), keys.end());
}

// ---- ticks

void ConsumerCore::OnTick(Time now) {
  ReportHanging(now);
  ExtendRunning(now);
  ExtendWaiting(now);
  AdaptCredit(now);
  LeaveIfIdle();
  link_->Pump();
}

/// A handler that takes long holds up neither the outcomes before it nor the messages behind it.
void ConsumerCore::ReportHanging(Time now) {
  bool hanging = false;
  for (const std::unique_ptr<WorkSlot>& slot : slots_) {
    const std::optional<WorkSlot::Running> running = slot->running();
    if (!running || now - running->since < Link::kTick) continue;
    hanging = true;
    const bool mark = slot->TakeMark();
    WorkSlot::Report report = slot->TakeReport();
    base::MutexLock lock(mutex_);
    if (!report.empty()) Absorb(std::move(report), now);
    if (mark && !running->piece.leaseless()) {
      to_mark_.insert({running->piece.queue_index(), running->piece.id(running->piece.begin)});
    }
  }
  if (hanging) ReclaimSlots(true);
}

/// Prolongs leases of what handlers work on, up to lease_total_max since they were handed over.
void ConsumerCore::ExtendRunning(Time now) {
  for (const std::unique_ptr<WorkSlot>& slot : slots_) {
    const std::optional<WorkSlot::Running> running = slot->running();
    if (!running || now - running->since > options_.lease_total_max) continue;
    const DeliveryPiece& piece = running->piece;
    if (piece.leaseless()) continue;
    if (piece.lease_until - now >= piece.lease() / 2) continue;
    slot->SetLease(now + piece.lease());
    base::MutexLock lock(mutex_);
    if (!connected_ || piece.frame->stream != stream_) continue;
    book_.Add({.queue_index = piece.queue_index(),
               .range = {piece.id(piece.begin), piece.id(piece.begin)},
               .extend = true});
  }
}

void ConsumerCore::ExtendWaiting(Time now) {
  base::MutexLock lock(mutex_);
  if (!connected_) return;
  for (const DeliveryBuffer::Extension& due : buffer_.ExtendDue(now)) {
    book_.Add({.queue_index = due.queue_index, .range = due.range, .extend = true});
  }
  for (auto& [key, deferred] : deferred_) {
    if (deferred.stream != stream_ || deferred.lease == Clock::duration::zero()) continue;
    if (now - deferred.since > options_.lease_total_max) continue;
    if (deferred.lease_until - now >= deferred.lease / 2) continue;
    deferred.lease_until = now + deferred.lease;
    book_.Add({.queue_index = key.first, .range = {key.second, key.second}, .extend = true});
  }
}

void ConsumerCore::AdaptCredit(Time now) {
  base::MutexLock lock(mutex_);
  if (buffer_.Late(now, options_.buffered_lease_share)) credit_.OnLate(now);
  if (waiting_ > 0 && buffer_.empty()) credit_.OnStarved();
}

void ConsumerCore::LeaveIfIdle() {
  {
    base::MutexLock lock(mutex_);
    const bool idle = running_ == 0 && buffer_.empty() && book_.idle();
    if (!going_away_ || !connected_ || !idle) return;
    going_away_ = false;
  }
  link_->Close(false);
}

// ---- callbacks

void ConsumerCore::Tell(SettleBook::Answers answers) {
  {
    base::MutexLock lock(mutex_);
    stats_.settled += answers.settled;
    stats_.stale += answers.stale;
  }
  if (answers.calls.empty() && (answers.errors.empty() || !options_.on_settle_error)) return;
  auto shared = std::make_shared<SettleBook::Answers>(std::move(answers));
  connection_->callbacks().Post([self = shared_from_this(), shared] {
    for (SettleBook::Answers::Call& call : shared->calls) {
      if (call.callback) call.callback(call.result);
    }
    if (!self->options_.on_settle_error || self->silent_) return;
    for (const SettleBook::Answers::Error& error : shared->errors) {
      self->options_.on_settle_error({.queue = self->QueueName(error.queue_index),
                                      .first_delivery_id = error.range.first,
                                      .last_delivery_id = error.range.last,
                                      .status = error.status});
    }
  });
}

void ConsumerCore::PostSettled(SettleCallback callback, absl::StatusOr<SettleResult> result) {
  if (!callback) return;
  connection_->callbacks().Post(
      [callback = std::move(callback), result = std::move(result)] { callback(result); });
}

void ConsumerCore::PostConnection(absl::Status status) {
  if (!options_.on_connection) return;
  connection_->callbacks().Post([self = shared_from_this(), status = std::move(status)] {
    if (!self->silent_) self->options_.on_connection(status);
  });
}

}  // namespace mqd::client
