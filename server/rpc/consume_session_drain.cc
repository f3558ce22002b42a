// consume_session_drain.cc: step 5 of 5 (delivery). How a consume stream ends: drain, half-close,
// go_away, death.
#include <utility>

#include "server/rpc/buffers.h"
#include "server/rpc/consume_session.h"
#include "server/rpc/handshake.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {

StreamSession::Read ConsumeSession::OnDrain(std::string_view content) {
  v1::Drain drain;
  if (!ParseFrame(content, drain)) {
    return Fail(BadFieldStatus("drain", "the bytes are not a Drain"));
  }
  std::chrono::milliseconds wait = limits::kDrainDefault;
  if (drain.has_deadline()) {
    const auto given =
        FromDuration(drain.deadline(), "deadline", std::chrono::milliseconds(0), limits::kDrainMax);
    if (!given.ok()) return Fail(given.status());
    wait = *given;
  }
  BeginDrain(Draining::kClientAsked, DeadlineNs(wait));
  return Read::kNext;
}

void ConsumeSession::BeforeGoAway() {
  base::MutexLock lock(mutex_);
  if (phase_ == Phase::kOpen && draining_ == Draining::kNo) draining_ = Draining::kBrokerStops;
}

void ConsumeSession::OnBrokerDrain() { BeginDrain(Draining::kBrokerStops, INT64_MAX); }

void ConsumeSession::BeginDrain(Draining kind, std::int64_t deadline_ns) {
  Posts posts;
  {
    base::MutexLock lock(mutex_);
    if (ended_ || phase_ != Phase::kOpen) return;
    // A client that asks while the broker stops gets its answer; a second request changes the
    // deadline.
    const bool begun = draining_ != Draining::kNo;
    if (!begun || kind == Draining::kClientAsked) draining_ = kind;
    for (Slot& slot : slots_) Ask(slot, posts);
  }
  if (deadline_ns != INT64_MAX) SetDeadline(deadline_ns);
  Perform(std::move(posts));
}

void ConsumeSession::Ask(Slot& slot, Posts& posts) {
  ++slot.drain_asked;
  posts.emplace_back(slot.queue, queue::DrainConsumer{slot.consumer});
}

void ConsumeSession::AskAgain(std::uint32_t slot) {
  Posts posts;
  {
    base::MutexLock lock(mutex_);
    if (slot >= slots_.size()) return;  // a settle may name any
    Ask(slots_[slot], posts);
  }
  Perform(std::move(posts));
}

void ConsumeSession::OnDrained(std::uint32_t slot, std::uint64_t released,
                               std::uint64_t in_flight) {
  bool done = true;
  bool answered = true;
  {
    base::MutexLock lock(mutex_);
    if (ended_) return;
    Slot& at = slots_[slot];
    --at.drain_asked;
    if (!std::exchange(at.drain_answered, true)) drain_in_flight_ += in_flight;
    drain_released_ += released;
    at.in_flight = in_flight;
    for (const Slot& each : slots_) {
      if (!each.drain_answered || each.in_flight > 0) done = false;
      if (each.drain_asked > 0) answered = false;
    }
    if (settles_running_ > 0) done = false;  // its end asks again
    if (drain_timed_out_ && answered) done = true;
  }
  if (done) FinishDrain();
}

void ConsumeSession::OnDeadline(std::int64_t) {
  Posts posts;
  {
    base::MutexLock lock(mutex_);
    if (draining_ == Draining::kClientAsked) {
      drain_timed_out_ = true;  // the last answers, which count every settle so far, end it
      for (Slot& slot : slots_) Ask(slot, posts);
    } else {
      GrantLocked(posts);  // a turn that nobody took up
    }
  }
  Perform(std::move(posts));
}

void ConsumeSession::FinishDrain() {
  v1::ConsumeStreamResponse frame;
  bool tell = false;
  {
    base::MutexLock lock(mutex_);
    if (ended_ || std::exchange(drain_finished_, true)) return;
    tell = draining_ == Draining::kClientAsked;
    std::uint64_t left = 0;
    for (const Slot& slot : slots_) left += slot.in_flight;
    const std::uint64_t gone = left + drain_lost_;
    v1::Drained& drained = *frame.mutable_drained();
    drained.set_settled(drain_in_flight_ > gone ? drain_in_flight_ - gone : 0);
    drained.set_released(drain_released_);
    drained.set_abandoned(left);
  }
  if (tell) SendInOrder(frame);
  End(tell ? absl::OkStatus() : queue::ToStatus(rpc::Draining()), Rest::kWrite);
}

void ConsumeSession::OnHalfClose() {
  bool end = false;
  bool early = false;
  {
    base::MutexLock lock(mutex_);
    half_closed_ = true;
    early = phase_ != Phase::kOpen;
    end = settles_running_ == 0;
  }
  if (early) return End(BadFieldStatus("frame", "the stream ended before open"), Rest::kDrop);
  Detach();  // nothing that is in flight can be settled here any more
  if (end) End(absl::OkStatus(), Rest::kWrite);
}

void ConsumeSession::OnGoAway(std::uint32_t, queue::GoAwayCode code, queue::ErrorInfo error) {
  SendGoAway(code, error);
  End(queue::ToStatus(error), Rest::kDrop);
}

void ConsumeSession::Detach() {
  Posts posts;
  {
    base::MutexLock lock(mutex_);
    outbox_.DropDeliveries();
    for (const Slot& slot : slots_) {
      posts.emplace_back(slot.queue, queue::DetachConsumer{.consumer = slot.consumer});
    }
  }
  Perform(std::move(posts));
}

void ConsumeSession::OnEnded() { Detach(); }

grpc::ByteBuffer ConsumeSession::PingFrame(std::uint64_t nonce) const {
  v1::ConsumeStreamResponse frame;
  frame.mutable_ping()->set_nonce(nonce);
  return ToBuffer(frame);
}

grpc::ByteBuffer ConsumeSession::GoAwayFrame(queue::GoAwayCode code,
                                             std::chrono::milliseconds deadline,
                                             const queue::ErrorInfo& error) const {
  v1::ConsumeStreamResponse frame;
  FillGoAway(code, deadline, error, *frame.mutable_go_away());
  return ToBuffer(frame);
}

}  // namespace mqd::rpc
