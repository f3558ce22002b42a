#include "client/publisher_core.h"

#include <utility>

#include "client/convert.h"
#include "client/status_map.h"
#include "mqd/v1/broker.pb.h"

namespace mqd::client {
namespace {

/// How long the broker's own answer may be late before the library gives one.
constexpr std::chrono::milliseconds kAnswerGrace{5'000};

/// How long Close() waits for the broker to end the stream.
constexpr std::chrono::milliseconds kHalfCloseTimeout{1'000};

/// With this many frames unanswered the next one waits until it is half full: messages gather while
/// the broker commits, and it gets few large frames rather than many small ones, each of which
/// costs both sides as much as dozens of messages (J. Nagle, RFC 896, on segments).
constexpr std::size_t kSmallFramesMax = 1;

std::string PingFrame(std::uint64_t nonce) {
  v1::PublishStreamRequest frame;
  frame.mutable_ping()->set_nonce(nonce);
  return frame.SerializeAsString();
}

std::string PongFrame(std::uint64_t nonce) {
  v1::PublishStreamRequest frame;
  frame.mutable_pong()->set_nonce(nonce);
  return frame.SerializeAsString();
}

LinkKind PublishKind() {
  using Response = v1::PublishStreamResponse;
  return {.method = "/mqd.v1.BrokerService/PublishStream",
          .opened_field = Response::kOpenedFieldNumber,
          .ping_field = Response::kPingFieldNumber,
          .pong_field = Response::kPongFieldNumber,
          .ping = PingFrame,
          .pong = PongFrame};
}

PublishResult ResultOf(const v1::PublishException& exception) {
  switch (exception.result_case()) {
    case v1::PublishException::kDuplicate:
      return FromProto(exception.duplicate());
    case v1::PublishException::kDropped:
      return FromProto(exception.dropped());
    case v1::PublishException::kError:
      return StatusOf(exception.error());
    case v1::PublishException::RESULT_NOT_SET:
      break;
  }
  return absl::InternalError("the broker sent a result of a kind this version does not know");
}

template <class T>
bool Parse(std::string_view content, T& out) {
  return out.ParseFromArray(content.data(), static_cast<int>(content.size()));
}

absl::Status Malformed(const char* frame) {
  return absl::InternalError(std::string("the broker sent a malformed frame: ") + frame);
}

thread_local const PublisherCore* calling_back = nullptr;

}  // namespace

std::shared_ptr<PublisherCore> PublisherCore::Make(std::shared_ptr<Connection> connection,
                                                   PublisherOptions options) {
  auto core = std::make_shared<PublisherCore>(connection, std::move(options));
  core->link_ = std::make_shared<Link>(std::move(connection), PublishKind(), core);
  core->link_->Start();
  return core;
}

PublisherCore::PublisherCore(std::shared_ptr<Connection> connection, PublisherOptions options)
    : connection_(std::move(connection)),
      options_(std::move(options)),
      producer_id_(Connection::RandomId()) {}

// ---- the application's side

bool PublisherCore::HasRoom(std::size_t bytes) const {
  if (window_.unanswered() == 0) return true;
  return window_.span() < options_.unconfirmed_messages_max &&
         window_.unanswered_bytes() + bytes <= options_.unconfirmed_bytes_max;
}

/// Waits for room if that is asked for. OK: the message may be appended.
absl::Status PublisherCore::Admit(base::MutexLock& lock, std::size_t bytes) {
  const bool wait = options_.when_full == WhenFull::kBlock && calling_back == nullptr;
  Time until;
  while (failed_.ok() && !closed_ && !HasRoom(bytes)) {
    if (until == Time()) until = Clock::now() + options_.full_timeout;
    ++waiters_;
    const bool late = !wait || lock.WaitUntil(changed_, until) == std::cv_status::timeout;
    --waiters_;
    if (late && !HasRoom(bytes)) {
      return absl::ResourceExhaustedError(
          "too much is unconfirmed: unconfirmed_messages_max or "
          "unconfirmed_bytes_max is reached");
    }
  }
  if (closed_) return absl::FailedPreconditionError("the publisher is closed");
  return failed_;
}

absl::Status PublisherCore::Publish(const MessageView& message, PublishWindow::Callback callback) {
  const EncodedParts parts(message);
  bool write = false;
  {
    base::MutexLock lock(mutex_);
    if (closed_ || !failed_.ok() || !HasRoom(parts.content_bytes())) {
      absl::Status admitted = Admit(lock, parts.content_bytes());
      if (!admitted.ok()) return admitted;
    }
    if (message.payload.size() > payload_bytes_max_) {
      return MakeStatus({.reason = Reason::kMessageTooLarge,
                         .resource = "field payload",
                         .limit = payload_bytes_max_,
                         .current = message.payload.size(),
                         .message = "the payload is larger than the broker takes"});
    }
    const Time now = window_.BatchOpen() ? Time() : Clock::now();
    window_.Append(parts.get(), parts.content_bytes(), std::move(callback), now);
    write = window_.CanWrite() && WorthWriting();
  }
  if (write) link_->Pump();  // else whatever changes that will
  return absl::OkStatus();
}

absl::Status PublisherCore::Flush(std::chrono::milliseconds timeout) {
  const Time until = Clock::now() + timeout;
  base::MutexLock lock(mutex_);
  const std::uint64_t last = window_.last_id();
  ++waiters_;
  absl::Status flushed;
  const auto wait = [&] {
    if (lock.WaitUntil(changed_, until) == std::cv_status::timeout) {
      flushed = absl::DeadlineExceededError("messages are still unconfirmed");
    }
  };
  while (flushed.ok() && window_.answered_through() < last) wait();
  const std::uint64_t posted = posted_;
  while (flushed.ok() && called_ < posted) wait();
  --waiters_;
  return flushed;
}

absl::Status PublisherCore::Close(std::chrono::milliseconds timeout) {
  {
    base::MutexLock lock(mutex_);
    closed_ = true;
  }
  Wake();
  link_->Pump();
  const absl::Status flushed = Flush(timeout);
  link_->Close(true);
  if (!flushed.ok() || !link_->WaitClosed(Clock::now() + kHalfCloseTimeout)) {
    link_->Abort(absl::CancelledError("the publisher was closed"));
    link_->WaitClosed(Clock::now() + kHalfCloseTimeout);
  }
  PublishWindow::Completions cut;
  {
    base::MutexLock lock(mutex_);
    window_.FailAll(OwnError(Reason::kOutcomeUnknown, "the publisher was closed before the answer"),
                    absl::CancelledError("the publisher was closed before it was sent"), cut);
    Owe(cut);
  }
  Deliver(std::move(cut));
  connection_->callbacks().EndCallbacks(silent_);
  return flushed;
}

absl::Status PublisherCore::ConnectionStatus() const {
  {
    base::MutexLock lock(mutex_);
    if (!failed_.ok()) return failed_;
  }
  return link_->status();
}

PublisherStats PublisherCore::Stats() const {
  base::MutexLock lock(mutex_);
  PublisherStats stats = stats_;
  stats.published = window_.last_id();
  stats.resent = window_.resent();
  stats.connects = link_->connects();
  stats.unconfirmed = window_.unanswered();
  stats.unconfirmed_bytes = window_.unanswered_bytes();
  stats.blocked = blocked_;
  return stats;
}

// ---- the link's side

std::string PublisherCore::OpenFrame() {
  v1::PublishStreamRequest frame;
  v1::PublishOpen& open = *frame.mutable_open();
  open.set_queue(options_.queue);
  open.set_producer_id(producer_id_);
  open.set_client_name(options_.client_name.empty() ? connection_->options().client_name
                                                    : options_.client_name);
  open.set_take_over(options_.take_over);
  return frame.SerializeAsString();
}

bool PublisherCore::WorthWriting() const {
  if (going_away_) return false;
  const bool gather = options_.confirm_level <= ConfirmLevel::kDurable && blocked_.ok() &&
                      !closed_ && waiters_ == 0 && window_.outstanding_frames() >= kSmallFramesMax;
  return !gather || window_.waiting() >= batch_messages_max_ / 2;
}

bool PublisherCore::NextFrame(std::vector<grpc::Slice>& slices) {
  std::optional<PublishWindow::Frame> frame;
  std::uint64_t answered_through = 0;
  {
    base::MutexLock lock(mutex_);
    if (WorthWriting()) frame = window_.NextFrame();
    if (!frame) return false;
    answered_through = window_.answered_through();
    ++stats_.frames;
  }
  const std::string head =
      wire::PublishBatchHead({.first_publish_id = frame->first_id,
                              .answered_through = answered_through,
                              .confirm_level = static_cast<std::uint32_t>(options_.confirm_level),
                              .timeout_ms = options_.timeout.count()},
                             frame->bytes);
  slices.emplace_back(head);
  slices.push_back(ShareSlice(std::move(frame->elements), frame->offset, frame->bytes));
  return true;
}

absl::Status PublisherCore::OnFrame(const wire::Frame& frame, const grpc::Slice&) {
  using Response = v1::PublishStreamResponse;
  switch (frame.field) {
    case Response::kOpenedFieldNumber:
      return OnOpened(frame.content);
    case Response::kConfirmsFieldNumber:
      return OnConfirms(frame.content);
    case Response::kCreditFieldNumber:
      return OnCredit(frame.content);
    case Response::kBlockedFieldNumber:
      return OnBlocked(frame.content);
    case Response::kGoAwayFieldNumber:
      return OnGoAway(frame.content);
    default:
      return absl::OkStatus();  // of a newer broker
  }
}

absl::Status PublisherCore::OnOpened(std::string_view content) {
  v1::PublishOpened opened;
  if (!Parse(content, opened)) return Malformed("opened");
  const v1::Limits& limits = opened.limits();
  PublishWindow::Limits batch;
  if (limits.max_batch_messages() > 0) batch.batch_messages = limits.max_batch_messages();
  if (limits.max_batch_bytes() > 0) batch.batch_bytes = limits.max_batch_bytes();
  batch.overhead_bytes = limits.message_overhead_bytes();
  PublishWindow::Completions done;
  {
    base::MutexLock lock(mutex_);
    if (limits.max_payload_bytes() > 0) payload_bytes_max_ = limits.max_payload_bytes();
    batch_messages_max_ = batch.batch_messages;
    going_away_ = false;
    blocked_ = absl::OkStatus();
    window_.OnOpened(opened.resumed(), batch, opened.credit().messages(), opened.credit().bytes(),
                     done);
    Owe(done);
  }
  link_->SetPing(FromProto(limits.ping_interval()), FromProto(limits.ping_timeout()));
  Deliver(std::move(done));
  return absl::OkStatus();
}

absl::Status PublisherCore::OnConfirms(std::string_view content) {
  v1::Confirms confirms;
  if (!Parse(content, confirms)) return Malformed("confirms");
  PublishWindow::Completions done;
  {
    base::MutexLock lock(mutex_);
    for (const v1::ConfirmedRange& range : confirms.ranges()) {
      window_.OnConfirmed(range.first_publish_id(), range.count(), range.first_sequence(), done);
    }
    for (const v1::PublishException& exception : confirms.exceptions()) {
      window_.OnResult(exception.publish_id(), ResultOf(exception), done);
    }
    Owe(done);
  }
  Deliver(std::move(done));
  return absl::OkStatus();
}

absl::Status PublisherCore::OnCredit(std::string_view content) {
  v1::Credit credit;
  if (!Parse(content, credit)) return Malformed("credit");
  {
    base::MutexLock lock(mutex_);
    window_.OnCredit(credit.messages(), credit.bytes());
  }
  link_->Pump();
  return absl::OkStatus();
}

absl::Status PublisherCore::OnBlocked(std::string_view content) {
  v1::Blocked blocked;
  if (!Parse(content, blocked)) return Malformed("blocked");
  const bool begins = blocked.reason().reason() != v1::REASON_UNSPECIFIED;
  absl::Status reason = begins ? StatusOf(blocked.reason()) : absl::OkStatus();
  {
    base::MutexLock lock(mutex_);
    if (begins && blocked_.ok()) ++stats_.blocked_total;
    blocked_ = reason;
  }
  link_->Pump();
  if (!options_.on_blocked) return absl::OkStatus();
  connection_->callbacks().Post([self = shared_from_this(), reason = std::move(reason)] {
    if (!self->silent_) self->options_.on_blocked(reason);
  });
  return absl::OkStatus();
}

/// Nothing new is sent; once all is answered the stream is reopened. A broker in a hurry ends it.
absl::Status PublisherCore::OnGoAway(std::string_view content) {
  v1::GoAway go_away;
  if (!Parse(content, go_away)) return Malformed("go_away");
  if (go_away.code() == v1::GO_AWAY_CODE_FENCED) {  // to come back would fence the other off
    ErrorInfo info = FromProto(go_away.error());
    info.reason = Reason::kFenced;
    info.retryable = false;
    return MakeStatus(info);
  }
  bool idle = false;
  {
    base::MutexLock lock(mutex_);
    going_away_ = true;
    idle = window_.outstanding() == 0;
  }
  if (idle) link_->Close(false);
  return absl::OkStatus();
}

void PublisherCore::OnDown(const absl::Status& status, bool fatal) {
  PublishWindow::Completions done;
  {
    base::MutexLock lock(mutex_);
    window_.OnDown();
    going_away_ = false;
    blocked_ = absl::OkStatus();
    if (fatal) {
      failed_ = status;
      window_.FailAll(status, status, done);
      Owe(done);
    }
  }
  Wake();
  Deliver(std::move(done));
}

void PublisherCore::OnTick(Time now) {
  PublishWindow::Completions done;
  {
    base::MutexLock lock(mutex_);
    const Time unsent_before = now - options_.timeout;
    window_.Expire(unsent_before, unsent_before - kAnswerGrace, done);
    Owe(done);
  }
  Deliver(std::move(done));
}

// ---- results

void PublisherCore::Owe(const PublishWindow::Completions& done) {
  if (!done.empty()) ++posted_;
  for (const PublishWindow::Completion& completion : done) {
    ++(completion.result.ok() ? stats_.confirmed : stats_.failed);
  }
}

void PublisherCore::Deliver(PublishWindow::Completions done) {
  if (done.empty()) return;
  bool leave = false;
  {
    base::MutexLock lock(mutex_);
    leave = going_away_ && window_.outstanding() == 0;
  }
  Post(std::move(done));
  Wake();
  if (leave) return link_->Close(false);
  link_->Pump();
}

void PublisherCore::Post(PublishWindow::Completions done) {
  auto shared = std::make_shared<PublishWindow::Completions>(std::move(done));
  connection_->callbacks().Post(
      [self = shared_from_this(), shared] { self->RunCallbacks(*shared); });
}

void PublisherCore::RunCallbacks(PublishWindow::Completions& done) {
  calling_back = this;
  for (PublishWindow::Completion& completion : done) {
    if (completion.callback) completion.callback(completion.result);
  }
  calling_back = nullptr;
  done.clear();
  {
    base::MutexLock lock(mutex_);
    ++called_;
  }
  Wake();
}

void PublisherCore::Wake() {
  {
    base::MutexLock lock(mutex_);
    if (waiters_ == 0) return;
  }
  changed_.notify_all();
}

}  // namespace mqd::client
