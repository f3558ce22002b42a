// publish_session.cc: step 2 of 5 (session), and step 5 for confirms.
#include "server/rpc/publish_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/buffers.h"
#include "server/rpc/handshake.h"
#include "server/rpc/message_checks.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

queue::ErrorInfo CreditExceeded(const PublishWindow& window, const CheckedBatch& batch) {
  const bool messages = static_cast<std::int64_t>(batch.messages) > window.messages();
  const std::int64_t left = messages ? window.messages() : window.bytes();
  return {.reason = queue::Reason::kCreditExceeded,
          .resource = messages ? "publish credit in messages" : "publish credit in bytes",
          .message = absl::StrCat("more was sent than the broker granted: ", batch.messages,
                                  " messages of ", batch.bytes, " bytes, with credit for ",
                                  window.messages(), " messages and ", window.bytes(),
                                  " bytes left; wait for Credit frames"),
          .limit = static_cast<std::uint64_t>(std::max<std::int64_t>(left, 0)),
          .current = messages ? batch.messages : batch.bytes};
}

}  // namespace

StreamSession::Read PublishSession::Fail(absl::Status status) {
  End(std::move(status), Rest::kWrite);
  return Read::kPause;
}

StreamSession::Read PublishSession::OnFrame(wire::Frame frame,
                                            std::shared_ptr<const grpc::Slice> owner) {
  Phase phase;
  {
    base::MutexLock lock(mutex_);
    if (ended_) return Read::kPause;
    phase = phase_;
  }
  const bool is_open = frame.field == v1::PublishStreamRequest::kOpen;
  if (is_open != (phase == Phase::kNew)) {
    return Fail(BadFieldStatus(
        "frame", is_open ? "open may be sent only once" : "the first frame must be open"));
  }
  if (is_open) return OnOpen(frame.content);
  if (frame.field == v1::PublishStreamRequest::kBatch) {
    return OnBatch(frame.content, std::move(owner));
  }
  return OnOther(frame);
}

// ---- the handshake

StreamSession::Read PublishSession::OnOpen(std::string_view content) {
  v1::PublishOpen open;
  if (!ParseFrame(content, open)) {
    return Fail(BadFieldStatus("open", "the bytes are not a PublishOpen"));
  }
  const absl::Status status = Attach(open);
  return status.ok() ? Read::kPause : Fail(status);
}

absl::Status PublishSession::Attach(const v1::PublishOpen& open) {
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kPublish, open.queue());
  if (!allowed.ok()) return allowed;
  if (absl::Status status = CheckClientName(open.client_name()); !status.ok()) return status;
  queue::AttachPublisher attach{.publisher = id(),
                                .producer = {},
                                .client_name = open.client_name(),
                                .take_over = open.take_over()};
  if (!open.producer_id().empty()) {
    if (open.producer_id().size() != limits::kProducerIdBytes) {
      return BadFieldStatus("producer_id", "must have 16 bytes, or none", limits::kProducerIdBytes,
                            open.producer_id().size());
    }
    std::copy(open.producer_id().begin(), open.producer_id().end(),
              attach.producer.emplace().begin());
  }
  auto found = FindQueue(deps_.registry, open.queue());
  if (!found.ok()) return found.status();
  queue_name_ = (*found)->name();
  {
    base::MutexLock lock(mutex_);
    phase_ = Phase::kAttaching;
    queue_ = *found;
  }
  (*found)->Attach(std::move(attach), std::static_pointer_cast<PublishSession>(shared_from_this()));
  if (ended()) Detach();  // it may have ended before the attach reached the queue
  return absl::OkStatus();
}

void PublishSession::OnAttached(absl::StatusOr<queue::AttachedPublisher> attached) {
  if (!attached.ok()) return End(attached.status(), Rest::kWrite);
  {
    base::MutexLock lock(mutex_);
    if (ended_) return;
    phase_ = Phase::kOpen;
  }
  v1::PublishStreamResponse frame;
  v1::PublishOpened& opened = *frame.mutable_opened();
  opened.set_session_id(id());
  FillLimits(deps_.options, *opened.mutable_limits());
  FillServerInfo(deps_.store.CurrentEpoch(), *opened.mutable_server());
  opened.mutable_credit()->set_messages(limits::kPublishWindowMessages);
  opened.mutable_credit()->set_bytes(limits::kPublishWindowBytes);
  opened.set_resumed(attached->resumed);
  opened.set_last_publish_id(attached->last_publish_id);
  MarkOpened();
  SendControl(ToBuffer(frame));
  ResumeRead();
}

// ---- batches

absl::Status PublishSession::CheckIds(const wire::ScannedBatch& batch) const {
  if (batch.messages.empty()) return absl::OkStatus();
  if (batch.first_publish_id == 0) {
    return BadFieldStatus("first_publish_id", "publish ids begin with 1");
  }
  if (batch.first_publish_id <= last_publish_id_) {
    return BadFieldStatus("first_publish_id",
                          absl::StrCat("publish ids must rise: ", batch.first_publish_id,
                                       " came after ", last_publish_id_),
                          last_publish_id_, batch.first_publish_id);
  }
  if (batch.first_publish_id > UINT64_MAX - batch.messages.size()) {
    return BadFieldStatus("first_publish_id", "the ids of this batch pass 2^64 - 1");
  }
  return absl::OkStatus();
}

StreamSession::Read PublishSession::OnBatch(std::string_view content,
                                            std::shared_ptr<const grpc::Slice> owner) {
  const absl::StatusOr<wire::ScannedBatch> scanned =
      wire::ScanPublishBatch(content, deps_.message_limits());
  if (!scanned.ok()) return Fail(BadFieldStatus("batch", std::string(scanned.status().message())));
  if (absl::Status status = CheckIds(*scanned); !status.ok()) return Fail(std::move(status));
  if (!scanned->messages.empty()) {
    last_publish_id_ = scanned->first_publish_id + scanned->messages.size() - 1;
  }
  CheckedBatch checked = CheckBatch(*scanned, WallMs(), [this](std::string_view name) {
    return ResolveReference(deps_.registry, queue_name_, name);
  });
  std::shared_ptr<queue::QueueActor> queue;
  std::optional<queue::ErrorInfo> exceeded;
  {
    base::MutexLock lock(mutex_);
    if (!window_.Use(checked.messages, checked.bytes, checked.last_bytes)) {
      exceeded = CreditExceeded(window_, checked);
    } else {
      unanswered_ += checked.messages;
      queue = queue_;
    }
  }
  if (exceeded) return Fail(queue::ToStatus(*exceeded));
  const std::int64_t deadline = scanned->timeout_ms < 0
                                    ? queue::kNever
                                    : DeadlineNs(std::chrono::milliseconds(scanned->timeout_ms));
  for (queue::PublishBatch& batch : checked.good) {
    batch.publisher = id();
    batch.deadline_ns = deadline;
    batch.owner = owner;
    queue->Post(std::move(batch));
  }
  if (!checked.refused.empty()) {
    const std::uint64_t refused = checked.refused.size();
    AddConfirms({.exceptions = std::move(checked.refused),
                 .messages = refused,
                 .bytes = checked.refused_bytes});
  }
  return Read::kNext;
}

StreamSession::Read PublishSession::OnOther(wire::Frame frame) {
  switch (frame.field) {
    case v1::PublishStreamRequest::kPing: {
      v1::Ping ping;
      if (!ParseFrame(frame.content, ping)) break;
      v1::PublishStreamResponse answer;
      answer.mutable_pong()->set_nonce(ping.nonce());
      SendControl(ToBuffer(answer));
      return Read::kNext;
    }
    case v1::PublishStreamRequest::kPong:
      return Read::kNext;  // hearing it was all
    case v1::PublishStreamRequest::kUpdateToken: {
      if (absl::Status status = CheckToken(frame.content); !status.ok()) return Fail(status);
      return Read::kNext;
    }
    default:
      break;
  }
  return Fail(BadFieldStatus(
      "frame", absl::StrCat("field ", frame.field, " is not a frame of this stream")));
}

// ---- results

void PublishSession::OnConfirms(queue::Confirms confirms) { AddConfirms(std::move(confirms)); }

void PublishSession::AddConfirms(queue::Confirms confirms) {
  bool done = false;
  {
    base::MutexLock lock(mutex_);
    const std::uint64_t answered = CountOf(confirms);
    unanswered_ -= std::min(answered, unanswered_);
    window_.GiveBack(confirms.messages, confirms.bytes);
    results_.Add(std::move(confirms));
    done = half_closed_ && unanswered_ == 0 && !ended_;
  }
  if (done) return End(absl::OkStatus(), Rest::kWrite);
  Pump();
}

bool PublishSession::TakeLocked() {
  if (phase_ != Phase::kOpen) return false;
  if (news_ && !ended_) {
    taken_news_ = std::exchange(news_, {});
    told_waiting_ = taken_news_->reason.has_value();
    return true;
  }
  if (!results_.empty()) {
    taken_confirms_ = results_.Take();
    return true;
  }
  if (window_.worth_granting() && !half_closed_ && !ended_) {
    taken_grant_ = window_.TakeGrant();
    return true;
  }
  return false;
}

void PublishSession::Encode(grpc::ByteBuffer& out) {
  if (taken_news_) {
    v1::Blocked& blocked = *frame_.mutable_blocked();
    blocked.Clear();
    if (taken_news_->reason) *blocked.mutable_reason() = ToProto(*taken_news_->reason);
    blocked.set_first_publish_id(taken_news_->first_publish_id);
    taken_news_.reset();
  } else if (!taken_confirms_.empty()) {
    frame_.mutable_confirms()->Clear();
    ToProto(taken_confirms_, *frame_.mutable_confirms());
    taken_confirms_ = {};
  } else {
    frame_.mutable_credit()->set_messages(taken_grant_.messages);
    frame_.mutable_credit()->set_bytes(taken_grant_.bytes);
  }
  out = ToBuffer(frame_);
}

void PublishSession::OnBlocked(std::uint64_t first_publish_id,
                               std::optional<queue::ErrorInfo> reason) {
  {
    base::MutexLock lock(mutex_);
    const bool worth_telling = reason.has_value() || told_waiting_;
    news_.reset();
    if (worth_telling) news_ = Waiting{first_publish_id, std::move(reason)};
  }
  Pump();
}

// ---- the end

void PublishSession::OnHalfClose() {
  bool done = false;
  bool early = false;
  {
    base::MutexLock lock(mutex_);
    half_closed_ = true;
    early = phase_ == Phase::kNew;
    done = phase_ == Phase::kOpen && unanswered_ == 0;
  }
  if (early) return End(BadFieldStatus("frame", "the stream ended before open"), Rest::kWrite);
  if (done) End(absl::OkStatus(), Rest::kWrite);
}

void PublishSession::OnGoAway(queue::GoAwayCode code, queue::ErrorInfo error) {
  SendGoAway(code, error);
  End(queue::ToStatus(error), Rest::kWrite);
}

void PublishSession::Detach() {
  std::shared_ptr<queue::QueueActor> queue;
  {
    base::MutexLock lock(mutex_);
    queue = queue_;
  }
  if (queue != nullptr) queue->Post(queue::DetachPublisher{id()});
}

void PublishSession::OnEnded() { Detach(); }

grpc::ByteBuffer PublishSession::PingFrame(std::uint64_t nonce) const {
  v1::PublishStreamResponse frame;
  frame.mutable_ping()->set_nonce(nonce);
  return ToBuffer(frame);
}

grpc::ByteBuffer PublishSession::GoAwayFrame(queue::GoAwayCode code,
                                             std::chrono::milliseconds deadline,
                                             const queue::ErrorInfo& error) const {
  v1::PublishStreamResponse frame;
  FillGoAway(code, deadline, error, *frame.mutable_go_away());
  return ToBuffer(frame);
}

}  // namespace mqd::rpc
