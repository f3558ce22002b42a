#include "client/link.h"

#include <utility>

#include "client/status_map.h"
#include "mqd/v1/broker.pb.h"

namespace mqd::client {
namespace {

constexpr std::chrono::milliseconds kHandshakeTimeout{10'000};

/// How long to wait for a thread that is just leaving the write slot.
constexpr std::chrono::milliseconds kSlotRetry{1};

}  // namespace

Link::Link(std::shared_ptr<Connection> connection, LinkKind kind, std::weak_ptr<User> user)
    : connection_(std::move(connection)),
      kind_(std::move(kind)),
      user_(std::move(user)),
      backoff_(connection_->options().backoff) {}

void Link::Start() {
  Open();
  ScheduleTick();
}

void Link::Open() {
  const std::shared_ptr<User> user = user_.lock();
  if (user == nullptr) return;
  const std::string first = user->OpenFrame();
  auto stream = FrameStream::Make(connection_->NextChannel(), shared_from_this());
  {
    base::MutexLock lock(mutex_);
    if (closing_) return;
    stream_ = stream;
    writable_ = false;
    opened_ = false;
    abort_reason_ = absl::OkStatus();
    ping_at_ = Clock::now() + kHandshakeTimeout;
    pong_by_ = Time();
    control_.clear();
  }
  control_waits_ = false;
  stream->Start(kind_.method, first);
}

void Link::Pump() {
  int slot = slot_.load();
  for (;;) {
    if (slot == kAgain) return;  // its holder will look again, and will see what we see
    if (slot_.compare_exchange_weak(slot, slot == kIdle ? kBusy : kAgain)) break;
  }
  if (slot == kIdle) Fill();
}

/// Holds the slot: passes it on to OnWritten() with a write, or gives it up.
void Link::Fill() {
  while (!WriteNext()) {
    int busy = kBusy;
    if (slot_.compare_exchange_strong(busy, kIdle)) return;
    slot_.store(kBusy);
  }
}

bool Link::WriteNext() {
  std::shared_ptr<FrameStream> stream;
  bool opened = false;
  {
    base::MutexLock lock(mutex_);
    if (stream_ == nullptr || !writable_) return false;
    stream = stream_;
    opened = opened_;
  }
  if (control_waits_ && WriteControl(*stream)) return true;
  const std::shared_ptr<User> user = opened ? user_.lock() : nullptr;
  std::vector<grpc::Slice> slices;
  if (user == nullptr || !user->NextFrame(slices)) return false;
  return stream->Write(slices);  // when it has ended, OnDown() lets the user send this again
}

bool Link::WriteControl(FrameStream& stream) {
  std::string frame;
  {
    base::MutexLock lock(mutex_);
    if (control_.empty()) return false;
    frame = std::move(control_.front());
    control_.erase(control_.begin());
    control_waits_ = !control_.empty();
  }
  return stream.Write({grpc::Slice(frame)});
}

void Link::SendControl(std::string frame) {
  {
    base::MutexLock lock(mutex_);
    if (stream_ == nullptr || control_.size() == kControlFramesMax) return;
    control_.push_back(std::move(frame));
    control_waits_ = true;
  }
  Pump();
}

void Link::SetPing(std::chrono::milliseconds interval, std::chrono::milliseconds timeout) {
  base::MutexLock lock(mutex_);
  opened_ = true;
  backoff_.Reset();
  status_ = absl::OkStatus();
  if (interval.count() > 0) ping_interval_ = interval;
  if (timeout.count() > 0) ping_timeout_ = timeout;
  ping_at_ = Clock::now() + ping_interval_;
}

void Link::Close(bool finally) {
  std::shared_ptr<FrameStream> stream;
  {
    base::MutexLock lock(mutex_);
    if (finally) {
      closing_ = true;
    } else {
      reopen_at_once_ = true;
    }
    stream = stream_;
  }
  closed_.notify_all();
  if (stream != nullptr) stream->HalfClose();
}

void Link::Abort(absl::Status why) {
  std::shared_ptr<FrameStream> stream;
  {
    base::MutexLock lock(mutex_);
    if (abort_reason_.ok()) abort_reason_ = std::move(why);
    stream = stream_;
  }
  if (stream != nullptr) stream->Cancel();
}

bool Link::WaitClosed(Time until) {
  base::MutexLock lock(mutex_);
  while (stream_ != nullptr) {
    if (lock.WaitUntil(closed_, until) == std::cv_status::timeout) return stream_ == nullptr;
  }
  return true;
}

absl::Status Link::status() const {
  base::MutexLock lock(mutex_);
  return status_;
}

void Link::OnFrame(grpc::Slice bytes) {
  heard_ = true;
  const std::shared_ptr<User> user = user_.lock();
  if (user == nullptr) return Abort(absl::CancelledError("closed"));
  const std::string_view view(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  const absl::StatusOr<wire::Frame> frame = wire::ScanFrame(view);
  if (!frame.ok()) return Abort(absl::InternalError("the broker sent a malformed frame"));
  if (OnPingPong(*frame)) return;
  absl::Status handled = user->OnFrame(*frame, bytes);
  if (!handled.ok()) return Abort(std::move(handled));
  if (frame->field == kind_.opened_field) {
    connects_.fetch_add(1);
    Pump();
  }
}

bool Link::OnPingPong(const wire::Frame& frame) {
  if (frame.field == kind_.ping_field) {
    v1::Ping ping;
    const bool parsed =
        ping.ParseFromArray(frame.content.data(), static_cast<int>(frame.content.size()));
    if (parsed) SendControl(kind_.pong(ping.nonce()));
    return true;
  }
  if (frame.field != kind_.pong_field) return false;
  base::MutexLock lock(mutex_);
  pong_by_ = Time();
  return true;
}

void Link::OnWritten(bool) {
  bool first = false;
  {
    base::MutexLock lock(mutex_);
    first = !std::exchange(writable_, true);
  }
  if (first) {
    Pump();
  } else {
    Fill();
  }
}

void Link::OnClosed(absl::Status status) {
  connection_->timers().Post([self = shared_from_this(), status = std::move(status)]() mutable {
    self->TakeDown(std::move(status));
  });
}

/// On the timer loop. Takes the slot first, so that no frame is made for a stream that is gone.
void Link::TakeDown(absl::Status status) {
  int idle = kIdle;
  if (!slot_.compare_exchange_strong(idle, kBusy)) {
    connection_->timers().PostAt(Clock::now() + kSlotRetry,
                                 [self = shared_from_this(), status = std::move(status)]() mutable {
                                   self->TakeDown(std::move(status));
                                 });
    return;
  }
  bool closing = false;
  bool at_once = false;
  {
    base::MutexLock lock(mutex_);
    if (!abort_reason_.ok()) status = abort_reason_;
    if (status.ok()) status = absl::UnavailableError("the broker ended the stream");
    status_ = status;
    closing = closing_;
    at_once = std::exchange(reopen_at_once_, false) && opened_;
    stream_ = nullptr;
    writable_ = false;
    opened_ = false;
  }
  const bool fatal = !closing && !at_once && IsFatal(status);
  const std::shared_ptr<User> user = user_.lock();
  if (user != nullptr) user->OnDown(status, fatal);
  closed_.notify_all();
  Fill();
  if (user != nullptr && !closing && !fatal) Reopen(at_once);
}

void Link::Reopen(bool now) {
  std::chrono::milliseconds wait{0};
  if (!now) {
    base::MutexLock lock(mutex_);
    wait = backoff_.Next(Connection::Random());
  }
  connection_->timers().PostAt(Clock::now() + wait, [weak = weak_from_this()] {
    if (const std::shared_ptr<Link> self = weak.lock()) self->Open();
  });
}

void Link::ScheduleTick() {
  connection_->timers().PostAt(Clock::now() + kTick, [weak = weak_from_this()] {
    if (const std::shared_ptr<Link> self = weak.lock()) self->Tick();
  });
}

void Link::Tick() {
  const std::shared_ptr<User> user = user_.lock();
  if (user == nullptr) return Abort(absl::CancelledError("closed"));
  const Time now = Clock::now();
  CheckPing(now);
  user->OnTick(now);
  ScheduleTick();
}

void Link::CheckPing(Time now) {
  absl::Status dead;
  std::uint64_t nonce = 0;
  {
    base::MutexLock lock(mutex_);
    if (stream_ == nullptr) return;
    if (!opened_) {
      if (now >= ping_at_)
        dead = absl::UnavailableError("the broker did not answer the open frame");
    } else if (pong_by_ != Time()) {
      if (now < pong_by_) return;
      if (heard_.exchange(false)) {
        pong_by_ = now + ping_timeout_;
      } else {
        dead = absl::UnavailableError("the broker did not answer a ping");
      }
    } else if (now >= ping_at_) {
      nonce = ++nonce_;
      heard_ = false;
      pong_by_ = now + ping_timeout_;
      ping_at_ = now + ping_interval_;
    }
  }
  if (!dead.ok()) return Abort(std::move(dead));
  if (nonce != 0) SendControl(kind_.ping(nonce));
}

}  // namespace mqd::client
