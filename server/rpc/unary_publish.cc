// unary_publish.cc: step 2 of 5 (session). The unary twin of PublishStream.
#include "server/rpc/unary_publish.h"

#include <algorithm>
#include <utility>

#include "server/limits.h"
#include "server/rpc/buffers.h"
#include "server/rpc/confirm_buffer.h"
#include "server/rpc/handshake.h"
#include "server/rpc/session_list.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

void SetException(const queue::PublishException& exception, v1::PublishResult& out) {
  if (const auto* duplicate = std::get_if<queue::Duplicate>(&exception.result)) {
    SetResult(*duplicate, *out.mutable_duplicate());
  } else if (const auto* dropped = std::get_if<queue::Dropped>(&exception.result)) {
    out.mutable_dropped()->set_policy(static_cast<v1::OverflowPolicy>(dropped->policy));
  } else {
    *out.mutable_error() = ToProto(std::get<queue::ErrorInfo>(exception.result));
  }
}

/// The call's own deadline on the steady clock.
std::int64_t DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24)) return queue::kNever;
  const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(left);
  return DeadlineNs(std::max(wait, std::chrono::milliseconds(0)));
}

}  // namespace

grpc::ServerUnaryReactor* UnaryPublish::Start(const RpcDeps& deps,
                                              grpc::CallbackServerContext& context,
                                              const grpc::ByteBuffer& request,
                                              grpc::ByteBuffer& response) {
  auto call = std::make_shared<UnaryPublish>(deps, response);
  call->Hold();
  const absl::Status status = call->Run(request, DeadlineOf(context));
  if (!status.ok()) call->Complete(status);
  return call.get();
}

absl::Status UnaryPublish::Run(const grpc::ByteBuffer& request, std::int64_t call_deadline_ns) {
  const std::shared_ptr<const grpc::Slice> owner = ToSlice(request);
  const std::string_view bytes = ViewOf(*owner);
  v1::PublishRequest head;
  if (!ParseFrame(bytes, head)) {
    return BadFieldStatus("request", "the bytes are not a PublishRequest");
  }
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kPublish, head.queue());
  if (!allowed.ok()) return allowed;
  if (deps_.sessions.draining()) return queue::ToStatus(Draining());
  auto found = FindQueue(deps_.registry, head.queue());
  if (!found.ok()) return found.status();
  wire::ScannedBatch scanned;
  scanned.first_publish_id = 1;
  if (absl::Status s = wire::ScanMessages(bytes, deps_.message_limits(), scanned); !s.ok()) {
    return BadFieldStatus("messages", std::string(s.message()));
  }
  scanned.confirm_level = static_cast<std::uint32_t>(head.confirm_level());
  std::int64_t deadline_ns = call_deadline_ns;
  if (head.has_timeout()) {
    const auto timeout = FromDuration(head.timeout(), "timeout", std::chrono::milliseconds(0),
                                      limits::kPublishTimeoutMax);
    if (!timeout.ok()) return timeout.status();
    deadline_ns = std::min(deadline_ns, DeadlineNs(*timeout));
  }
  CheckedBatch checked = CheckBatch(scanned, WallMs(), [&](std::string_view name) {
    return ResolveReference(deps_.registry, (*found)->name(), name);
  });
  if (checked.messages == 0) return BadFieldStatus("messages", "there must be at least one");
  if (checked.messages > 1 && checked.bytes > limits::kBatchBytesMax) {
    return queue::ToStatus({.reason = queue::Reason::kMessageTooLarge,
                            .resource = "request",
                            .message = "the messages of one request are too large together; "
                                       "send fewer",
                            .limit = limits::kBatchBytesMax,
                            .current = checked.bytes});
  }
  Post(*std::move(found), std::move(checked), owner, deadline_ns);
  return absl::OkStatus();
}

void UnaryPublish::Post(std::shared_ptr<queue::QueueActor> queue, CheckedBatch checked,
                        std::shared_ptr<const void> owner, std::int64_t deadline_ns) {
  publisher_ = deps_.sessions.NextId();
  {
    base::MutexLock lock(mutex_);
    queue_ = queue;
    unanswered_ = checked.messages;
    for (std::uint64_t i = 0; i < checked.messages; ++i) results_.add_results();
  }
  queue->Attach(
      queue::AttachPublisher{
          .publisher = publisher_, .producer = {}, .client_name = kUnaryClientName},
      std::static_pointer_cast<UnaryPublish>(shared_from_this()));
  for (queue::PublishBatch& batch : checked.good) {
    batch.publisher = publisher_;
    batch.deadline_ns = deadline_ns;
    batch.owner = owner;
    queue->Post(std::move(batch));
  }
  if (!checked.refused.empty()) OnConfirms({.exceptions = std::move(checked.refused)});
}

void UnaryPublish::OnAttached(absl::StatusOr<queue::AttachedPublisher> attached) {
  if (!attached.ok()) Complete(attached.status());
}

void UnaryPublish::OnConfirms(queue::Confirms confirms) {
  v1::PublishResponse results;
  {
    base::MutexLock lock(mutex_);
    for (const queue::ConfirmedRange& range : confirms.ranges) {
      for (std::uint64_t i = 0; i < range.count; ++i) {
        const auto index = static_cast<int>(range.first_publish_id - 1 + i);
        results_.mutable_results(index)->mutable_published()->set_sequence(range.first_sequence +
                                                                           i);
      }
    }
    for (const queue::PublishException& exception : confirms.exceptions) {
      SetException(exception,
                   *results_.mutable_results(static_cast<int>(exception.publish_id) - 1));
    }
    unanswered_ -= CountOf(confirms);
    if (unanswered_ > 0) return;
    results = std::move(results_);
  }
  OnLeft();
  if (!ClaimFinish()) return;
  response_ = ToBuffer(results);
  Finish(grpc::Status::OK);
}

void UnaryPublish::OnGoAway(queue::GoAwayCode, queue::ErrorInfo error) {
  Complete(queue::ToStatus(error));
}

void UnaryPublish::OnLeft() {
  std::shared_ptr<queue::QueueActor> queue;
  {
    base::MutexLock lock(mutex_);
    queue = std::move(queue_);
  }
  if (queue != nullptr) queue->Post(queue::DetachPublisher{publisher_});
}

}  // namespace mqd::rpc
