// unary_receive.cc: step 5 of 5 (delivery). The unary twin of ConsumeStream.
#include "server/rpc/unary_receive.h"

#include <utility>

#include "server/limits.h"
#include "server/rpc/buffers.h"
#include "server/rpc/delivery_outbox.h"
#include "server/rpc/handshake.h"
#include "server/rpc/session_list.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

/// ReceiveResponse{end_of_queue: true}: field 1, a varint.
constexpr char kEndOfQueueField[] = {0x08, 0x01};

}  // namespace

UnaryReceive::UnaryReceive(const RpcDeps& deps, grpc::ByteBuffer& response)
    : deps_(deps), response_(response), consumer_(deps.sessions.NextId()), timer_(deps.pool) {}

grpc::ServerUnaryReactor* UnaryReceive::Start(const RpcDeps& deps, const grpc::ByteBuffer& request,
                                              grpc::ByteBuffer& response) {
  auto call = std::make_shared<UnaryReceive>(deps, response);
  call->Hold();
  v1::ReceiveRequest parsed;
  const absl::Status status = ParseFrame(ViewOf(*ToSlice(request)), parsed)
                                  ? call->Run(parsed)
                                  : BadFieldStatus("request", "the bytes are not a ReceiveRequest");
  if (!status.ok()) call->Complete(status);
  return call.get();
}

absl::StatusOr<UnaryReceive::Ask> UnaryReceive::ParseAsk(const v1::ReceiveRequest& request) {
  Ask ask;
  if (request.max_messages() > limits::kBatchMessagesMax) {
    return BadFieldStatus("max_messages", "one receive takes up to 1,024 messages",
                          limits::kBatchMessagesMax, request.max_messages());
  }
  ask.messages = std::max(request.max_messages(), 1U);
  ask.bytes = request.max_bytes() == 0 ? limits::kBatchBytesMax : request.max_bytes();
  if (ask.bytes > limits::kBatchBytesMax) {
    return BadFieldStatus("max_bytes", "one receive takes up to 4 MiB, or one message",
                          limits::kBatchBytesMax, ask.bytes);
  }
  if (request.has_wait()) {
    const auto wait =
        FromDuration(request.wait(), "wait", std::chrono::milliseconds(0), limits::kReceiveWaitMax);
    if (!wait.ok()) return wait.status();
    ask.wait = *wait;
  }
  if (request.has_lease()) {
    const auto lease = FromDuration(request.lease(), "lease", limits::kLeaseMin, limits::kLeaseMax);
    if (!lease.ok()) return lease.status();
    ask.lease_ns = lease->count() * queue::kNsPerMs;
  }
  return ask;
}

absl::Status UnaryReceive::Run(const v1::ReceiveRequest& request) {
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kConsume, request.queue());
  if (!allowed.ok()) return allowed;
  if (deps_.sessions.draining()) return queue::ToStatus(Draining());
  if (absl::Status status = CheckClientName(request.client_name()); !status.ok()) return status;
  const absl::StatusOr<Ask> ask = ParseAsk(request);
  if (!ask.ok()) return ask.status();
  auto found = FindQueue(deps_.registry, request.queue());
  if (!found.ok()) return found.status();
  {
    base::MutexLock lock(mutex_);
    queue_ = *found;
  }
  const std::string& name = request.client_name();
  (*found)->Attach(queue::AttachConsumer{.consumer = consumer_,
                                         .lease_ns = ask->lease_ns,
                                         .client_name = name.empty() ? kUnaryClientName : name},
                   0, self());
  (*found)->Post(queue::GrantCredit{consumer_, ask->messages, ask->bytes});
  if (ask->wait.count() > 0) {
    StartTimer(ask->wait);
  } else {
    // The answer comes after the turn in which the credit was looked at.
    (*found)->Info([call = self()](absl::StatusOr<queue::QueueInfo>) { call->Stop(); });
  }
  return absl::OkStatus();
}

void UnaryReceive::StartTimer(std::chrono::milliseconds wait) {
  base::MutexLock lock(mutex_);
  if (stopped_) return;
  timer_.expires_after(wait);
  timer_.async_wait([call = self()](const std::error_code& error) {
    if (!error) call->Stop();
  });
}

void UnaryReceive::OnAttached(std::uint32_t, absl::StatusOr<std::int64_t> lease_ms) {
  if (!lease_ms.ok()) Complete(lease_ms.status());
}

void UnaryReceive::OnDeliveries(std::uint32_t, queue::DeliveryBatch batch) {
  {
    base::MutexLock lock(mutex_);
    for (queue::DeliveryRun& run : batch.runs) runs_.push_back(std::move(run));
  }
  Stop();
}

void UnaryReceive::OnEndOfQueue(std::uint32_t) {
  {
    base::MutexLock lock(mutex_);
    end_of_queue_ = true;
  }
  Stop();
}

void UnaryReceive::Stop() {
  std::shared_ptr<queue::QueueActor> queue;
  {
    base::MutexLock lock(mutex_);
    if (std::exchange(stopped_, true)) return;
    timer_.cancel();
    queue = queue_;
  }
  if (queue != nullptr) queue->Post(queue::DrainConsumer{consumer_});
}

void UnaryReceive::OnDrained(std::uint32_t, std::uint64_t, std::uint64_t) { Answer(); }

void UnaryReceive::Answer() {
  std::shared_ptr<queue::QueueActor> queue;
  std::vector<queue::DeliveryRun> runs;
  bool end = false;
  {
    base::MutexLock lock(mutex_);
    queue = std::move(queue_);
    runs = std::move(runs_);
    end = end_of_queue_ && runs.empty();
  }
  const bool mine = ClaimFinish();
  if (queue != nullptr) {
    queue->Post(queue::DetachConsumer{.consumer = consumer_, .keep_deliveries = mine});
  }
  if (!mine) return;
  EncodedRuns encoded = EncodeRuns(runs);
  if (end) encoded.slices.emplace_back(kEndOfQueueField, sizeof(kEndOfQueueField));
  response_ = grpc::ByteBuffer(encoded.slices.data(), encoded.slices.size());
  Finish(grpc::Status::OK);
}

void UnaryReceive::OnGoAway(std::uint32_t, queue::GoAwayCode, queue::ErrorInfo error) {
  Complete(queue::ToStatus(error));
}

void UnaryReceive::OnLeft() {
  std::shared_ptr<queue::QueueActor> queue;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    timer_.cancel();
    queue = std::move(queue_);
  }
  if (queue != nullptr) queue->Post(queue::DetachConsumer{.consumer = consumer_});
}

}  // namespace mqd::rpc
