#include "client/work_slot.h"

#include <algorithm>
#include <utility>

#include "proto/base/assert.h"

namespace mqd::client {

void WorkSlot::Load(DeliveryPiece piece, Time now) {
  own_ = piece;
  loaded_count_ = static_cast<std::uint32_t>(piece.count());
  base::MutexLock lock(mutex_);
  MQD_ASSERT(report_.empty() && !running_);
  report_.queue_index = piece.queue_index();
  report_.frame = piece.frame;
  report_.run = piece.run;
  piece_ = std::move(piece);
  since_ = now;
}

std::optional<std::uint32_t> WorkSlot::Next(std::optional<Done> before) {
  base::MutexLock lock(mutex_);
  if (before) Record(std::move(*before));
  running_ = piece_.begin < piece_.end;
  marked_ = false;
  if (!running_) return std::nullopt;
  return piece_.begin++;
}

void WorkSlot::Record(Done done) {
  const std::uint32_t index = piece_.begin - 1;
  const std::uint64_t id = own_.id(index);
  if (done.exception) ++report_.exceptions;
  if (done.handed_off) {
    report_.handed_off.push_back(id);
    return;
  }
  ++report_.finished;
  report_.finished_bytes += own_.bytes(index, index + 1);
  if (done.outcome.kind == Outcome::Kind::kAck) {
    report_.acks.Add({id, id});
  } else {
    report_.others.push_back(
        {.queue_index = own_.queue_index(), .range = {id, id}, .outcome = std::move(done.outcome)});
  }
}

void WorkSlot::Unload(Time now) {
  Time since;
  {
    base::MutexLock lock(mutex_);
    since = since_;
    piece_ = {};
  }
  const auto each = (now - since) / std::max<std::uint32_t>(loaded_count_, 1);
  const auto fitting = each.count() > 0 ? Clock::duration(kPieceTime) / each
                                        : static_cast<Clock::duration::rep>(kPieceMax);
  const auto wanted = std::clamp<Clock::duration::rep>(fitting, 1, kPieceMax);
  piece_size_ = std::min(static_cast<std::uint32_t>(wanted), piece_size_ * 4);
  own_ = {};
}

WorkSlot::Report WorkSlot::TakeReport() {
  base::MutexLock lock(mutex_);
  Report taken = std::exchange(report_, {});
  if (running_ || piece_.count() > 0) {  // there is more to come of this piece
    report_.queue_index = taken.queue_index;
    report_.frame = taken.frame;
    report_.run = taken.run;
  }
  return taken;
}

std::optional<DeliveryPiece> WorkSlot::Reclaim() {
  base::MutexLock lock(mutex_);
  if (piece_.begin == piece_.end) return std::nullopt;
  DeliveryPiece rest = piece_;
  piece_.end = piece_.begin;
  return rest;
}

std::optional<WorkSlot::Running> WorkSlot::running() const {
  base::MutexLock lock(mutex_);
  if (!running_) return std::nullopt;
  Running out{.piece = piece_, .since = since_};
  out.piece.begin = piece_.begin - 1;
  out.piece.end = piece_.begin;
  return out;
}

bool WorkSlot::TakeMark() {
  base::MutexLock lock(mutex_);
  return running_ && !std::exchange(marked_, true);
}

void WorkSlot::SetLease(Time until) {
  base::MutexLock lock(mutex_);
  piece_.lease_until = until;
}

}  // namespace mqd::client
