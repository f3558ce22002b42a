// consume_session_settle.cc: step 2 of 5 (session). Settles and the small frames of a consume
// stream.
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/buffers.h"
#include "server/rpc/consume_session.h"
#include "server/rpc/handshake.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {

std::shared_ptr<queue::QueueActor> ConsumeSession::QueueOf(std::uint32_t slot) {
  base::MutexLock lock(mutex_);
  return slot < slots_.size() ? slots_[slot].queue : nullptr;
}

StreamSession::Read ConsumeSession::OnSettle(std::string_view content) {
  v1::SettleBatch batch;
  if (!ParseFrame(content, batch)) {
    return Fail(BadFieldStatus("settle", "the bytes are not a SettleBatch"));
  }
  bool pause = false;
  {
    base::MutexLock lock(mutex_);
    ++settles_running_;
    ++settles_open_;
    pause = settles_open_ >= limits::kSettlesPendingMax;
    read_paused_ = pause;
  }
  const std::uint64_t settle_id = batch.settle_id();
  const std::uint32_t slot = batch.queue_index();
  std::shared_ptr<queue::QueueActor> queue = QueueOf(slot);
  if (queue == nullptr) {
    OnSettled(
        settle_id, slot,
        {.error = BadField("queue_index", "this stream has no queue with this index", 0, slot)});
    return pause ? Read::kPause : Read::kNext;
  }
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kSettle, queue->name());
  if (!allowed.ok()) {
    OnSettled(settle_id, slot, {.error = queue::ErrorInfoOf(allowed)});
    return pause ? Read::kPause : Read::kNext;
  }
  auto self = std::static_pointer_cast<ConsumeSession>(shared_from_this());
  RunSettle(deps_, std::move(queue), batch.entries(), batch.publishes(),
            [self = std::move(self), settle_id, slot](SettleAnswer answer) {
              self->OnSettled(settle_id, slot, std::move(answer));
            });
  return pause ? Read::kPause : Read::kNext;
}

void ConsumeSession::OnSettled(std::uint64_t settle_id, std::uint32_t slot, SettleAnswer answer) {
  v1::ConsumeStreamResponse frame;
  v1::SettleResults& results = *frame.mutable_settled();
  results.set_settle_id(settle_id);
  results.set_queue_index(slot);
  results.set_settled(answer.settled);
  for (const auto& exception : answer.exceptions) ToProto(exception, *results.add_exceptions());
  for (v1::PublishResult& result : answer.publish_results) {
    *results.add_publish_results() = std::move(result);
  }
  if (answer.error) *results.mutable_error() = ToProto(*answer.error);
  SendInOrder(frame, true);
  bool end = false;
  bool again = false;
  {
    base::MutexLock lock(mutex_);
    --settles_running_;
    end = half_closed_ && settles_running_ == 0;
    again = draining_ != Draining::kNo && !drain_timed_out_ && !ended_;
  }
  if (end) return End(absl::OkStatus(), Rest::kWrite);
  if (again) AskAgain(slot);
}

StreamSession::Read ConsumeSession::OnStarted(std::string_view content) {
  v1::Started started;
  if (!ParseFrame(content, started)) {
    return Fail(BadFieldStatus("started", "the bytes are not a Started"));
  }
  const std::shared_ptr<queue::QueueActor> queue = QueueOf(started.queue_index());
  if (queue == nullptr) {
    return Fail(BadFieldStatus("queue_index", "this stream has no queue with this index", 0,
                               started.queue_index()));
  }
  if (static_cast<std::uint32_t>(started.ranges_size()) > limits::kStartedRangesMax) {
    return Fail(BadFieldStatus("ranges", "too many ranges in one frame; send several",
                               limits::kStartedRangesMax,
                               static_cast<std::uint64_t>(started.ranges_size())));
  }
  auto ranges = FromProto(started.ranges());
  if (!ranges.ok()) return Fail(ranges.status());
  queue->Post(queue::MarkStarted{*std::move(ranges)});
  return Read::kNext;
}

StreamSession::Read ConsumeSession::OnOther(wire::Frame frame) {
  switch (frame.field) {
    case v1::ConsumeStreamRequest::kPing: {
      v1::Ping ping;
      if (!ParseFrame(frame.content, ping)) break;
      v1::ConsumeStreamResponse answer;
      answer.mutable_pong()->set_nonce(ping.nonce());
      SendControl(ToBuffer(answer));
      return Read::kNext;
    }
    case v1::ConsumeStreamRequest::kPong:
      return Read::kNext;  // hearing it was all
    case v1::ConsumeStreamRequest::kUpdateToken: {
      if (absl::Status status = CheckToken(frame.content); !status.ok()) return Fail(status);
      return Read::kNext;
    }
    default:
      break;
  }
  return Fail(BadFieldStatus(
      "frame", absl::StrCat("field ", frame.field, " is not a frame of this stream")));
}

}  // namespace mqd::rpc
