// stream_session.cc: steps 2 and 5 of 5 (session, delivery). Reads, writes, pings and the end of
// both kinds of stream.
#include "server/rpc/stream_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "server/rpc/buffers.h"
#include "server/rpc/metadata_check.h"
#include "server/rpc/session_list.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"
#include "spdlog/spdlog.h"

namespace mqd::rpc {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;

std::int64_t Ns(std::chrono::milliseconds duration) { return duration.count() * kNsPerMs; }

const char* KindName(StreamSession::Kind kind) {
  return kind == StreamSession::Kind::kPublish ? "publish" : "consume";
}

}  // namespace

StreamSession::StreamSession(Kind kind, const RpcDeps& deps, grpc::CallbackServerContext& context)
    : deps_(deps),
      kind_(kind),
      id_(deps.sessions.NextId()),
      context_(context),
      begin_ns_(SteadyNs()) {
  next_ping_ns_ = begin_ns_ + Ns(deps.options.ping_interval);
}

void StreamSession::Begin() {
  keep_alive_ = shared_from_this();
  absl::Status taken = CheckMetadata(context_);
  if (taken.ok()) taken = deps_.sessions.Add(shared_from_this());
  if (!taken.ok()) return End(std::move(taken), Rest::kDrop);
  ResumeRead();
}

bool StreamSession::ended() {
  base::MutexLock lock(mutex_);
  return ended_;
}

void StreamSession::MarkOpened() {
  base::MutexLock lock(mutex_);
  opened_ = true;
}

void StreamSession::SetDeadline(std::int64_t at_ns) {
  base::MutexLock lock(mutex_);
  deadline_ns_ = at_ns;
  due_ns_ = std::min(due_ns_.load(), at_ns);
}

// ---- reading

void StreamSession::OnReadDone(bool ok) {
  if (!ok) return OnHalfClose();
  heard_.store(true, std::memory_order_relaxed);
  std::shared_ptr<const grpc::Slice> owner = ToSlice(read_buffer_);
  read_buffer_.Clear();
  const absl::StatusOr<wire::Frame> frame = wire::ScanFrame(ViewOf(*owner));
  if (!frame.ok())
    return End(BadFieldStatus("frame", std::string(frame.status().message())), Rest::kWrite);
  if (OnFrame(*frame, std::move(owner)) == Read::kNext) ResumeRead();
}

void StreamSession::ResumeRead() {
  {
    base::MutexLock lock(mutex_);
    if (ended_) return;
    ++holds_;
  }
  StartRead(&read_buffer_);
  Unhold();
}

void StreamSession::Unhold() {
  bool pump = false;
  {
    base::MutexLock lock(mutex_);
    --holds_;
    pump = ended_;
  }
  if (pump) Pump();
}

// ---- writing

void StreamSession::SendControl(grpc::ByteBuffer frame) {
  bool full = false;
  {
    base::MutexLock lock(mutex_);
    if (finished_ || cancelled_) return;
    full = control_.size() >= kControlFramesMax;
    if (!full) control_.push_back(std::move(frame));
  }
  if (full) {
    End(queue::ToStatus({.reason = queue::Reason::kQuotaExceeded,
                         .resource = "control frames",
                         .message = "the client does not read the answers to its frames; read them",
                         .limit = kControlFramesMax,
                         .current = kControlFramesMax}),
        Rest::kDrop);
    return;
  }
  Pump();
}

void StreamSession::SendGoAway(queue::GoAwayCode code, const queue::ErrorInfo& error) {
  SendControl(GoAwayFrame(code, std::chrono::milliseconds(0), error));
}

StreamSession::Claim StreamSession::ClaimLocked() {
  if (writing_ || finished_) return Claim::kNothing;
  if (!cancelled_ && !control_.empty()) {
    write_buffer_ = control_.front();
    control_.pop_front();
    writing_ = control_write_ = true;
    return Claim::kControl;
  }
  if (!cancelled_ && !drop_rest_ && TakeLocked()) {
    writing_ = true;
    control_write_ = false;
    return Claim::kTaken;
  }
  if (ended_ && holds_ == 0) {
    finished_ = true;
    return Claim::kFinish;
  }
  return Claim::kNothing;
}

void StreamSession::Pump() {
  Claim claim;
  absl::Status status;
  {
    base::MutexLock lock(mutex_);
    claim = ClaimLocked();
    if (claim == Claim::kFinish) status = end_status_;
  }
  if (claim == Claim::kTaken) Encode(write_buffer_);
  if (claim == Claim::kTaken || claim == Claim::kControl) StartWrite(&write_buffer_);
  if (claim == Claim::kFinish) Finish(ToGrpc(status));
}

void StreamSession::OnWriteDone(bool ok) {
  bool taken = false;
  {
    base::MutexLock lock(mutex_);
    MQD_ASSERT(writing_);
    taken = !control_write_;
  }
  if (taken) OnWritten();
  {
    base::MutexLock lock(mutex_);
    writing_ = false;
    write_buffer_.Clear();
    if (!ok) cancelled_ = true;
  }
  if (!ok) return End(absl::CancelledError("the client is gone"), Rest::kDrop);
  Pump();
}

// ---- the end

void StreamSession::End(absl::Status status, Rest rest) {
  bool first = false;
  {
    base::MutexLock lock(mutex_);
    first = !ended_;
    if (rest == Rest::kDrop) drop_rest_ = true;
    if (first) {
      ended_ = true;
      end_status_ = std::move(status);
      ended_ns_ = SteadyNs();
      due_ns_ = ended_ns_ + Ns(deps_.options.ping_timeout);
    }
  }
  if (first) OnEnded();
  Pump();
}

void StreamSession::OnCancel() {
  {
    base::MutexLock lock(mutex_);
    cancelled_ = true;
  }
  End(absl::CancelledError("the client is gone"), Rest::kDrop);
}

void StreamSession::OnDone() {
  const std::shared_ptr<StreamSession> last = std::move(keep_alive_);
  deps_.sessions.Remove(*this);
}

void StreamSession::CancelCall() {
  {
    base::MutexLock lock(mutex_);
    if (finished_) return;
    ++holds_;
  }
  context_.TryCancel();
  Unhold();
}

void StreamSession::GoAway(std::chrono::milliseconds grace) {
  BeforeGoAway();
  SendControl(GoAwayFrame(queue::GoAwayCode::kDraining, grace, Draining()));
  OnBrokerDrain();
}

// ---- time

const char* StreamSession::PingDueLocked(std::int64_t now_ns, std::uint64_t& ping_nonce) {
  const std::int64_t timeout = Ns(deps_.options.ping_timeout);
  if (ended_) {
    if (now_ns < ended_ns_ + timeout) return nullptr;
    ended_ns_ = now_ns;
    return "the client does not read";
  }
  if (ping_sent_ns_ != 0) {
    if (heard_.load(std::memory_order_relaxed)) {
      next_ping_ns_ = ping_sent_ns_ + Ns(deps_.options.ping_interval);
      ping_sent_ns_ = 0;
    } else if (now_ns - ping_sent_ns_ >= timeout) {
      return "the client did not answer a ping";
    }
  }
  if (ping_sent_ns_ == 0 && opened_ && now_ns >= next_ping_ns_) {
    heard_.store(false, std::memory_order_relaxed);
    ping_sent_ns_ = now_ns;
    ping_nonce = ++ping_nonce_;
  }
  return nullptr;
}

void StreamSession::OnTick(std::int64_t now_ns) {
  std::uint64_t nonce = 0;
  const char* dead = nullptr;
  bool never_opened = false;
  bool deadline = false;
  {
    base::MutexLock lock(mutex_);
    if (finished_) return;
    dead = PingDueLocked(now_ns, nonce);
    const std::int64_t open_by = begin_ns_ + Ns(deps_.options.open_timeout);
    never_opened = !opened_ && !ended_ && now_ns >= open_by;
    deadline = now_ns >= deadline_ns_;
    if (deadline) deadline_ns_ = INT64_MAX;
    std::int64_t next =
        ping_sent_ns_ != 0 ? now_ns + Ns(deps_.options.ping_interval) / 4 : next_ping_ns_;
    if (!opened_) next = std::min(next, open_by);
    if (ended_) next = ended_ns_ + Ns(deps_.options.ping_timeout);
    due_ns_ = std::min(next, deadline_ns_);
  }
  if (dead != nullptr) {
    spdlog::warn("{} stream {}: {}; cutting it off", KindName(kind_), id_, dead);
    return CancelCall();
  }
  if (nonce != 0) SendControl(PingFrame(nonce));
  if (deadline) OnDeadline(now_ns);
  if (never_opened) End(BadFieldStatus("frame", "no open frame came in time"), Rest::kWrite);
}

}  // namespace mqd::rpc
