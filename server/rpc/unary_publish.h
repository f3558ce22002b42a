#pragma once

// unary_publish.h: step 2 of 5 (session). Publish: some messages, and the call waits until each has
// its result.
//
// Threads: As UnaryCall says.
// Ownership: As UnaryCall says.
// Limits: limits::kBatchMessagesMax messages, limits::kBatchBytesMax bytes unless it is one
// message.

#include <memory>
#include <vector>

#include "mqd/v1/broker.pb.h"
#include "proto/base/mutex.h"
#include "server/queue/queue_actor.h"
#include "server/queue/sinks.h"
#include "server/rpc/message_checks.h"
#include "server/rpc/rpc_deps.h"
#include "server/rpc/unary_call.h"

namespace mqd::rpc {

class UnaryPublish final : public UnaryCall, public queue::PublishSink {
 public:
  static grpc::ServerUnaryReactor* Start(const RpcDeps& deps, grpc::CallbackServerContext& context,
                                         const grpc::ByteBuffer& request,
                                         grpc::ByteBuffer& response);
  UnaryPublish(const RpcDeps& deps, grpc::ByteBuffer& response)
      : deps_(deps), response_(response) {}

  void OnAttached(absl::StatusOr<queue::AttachedPublisher> attached) override;
  void OnConfirms(queue::Confirms confirms) override;
  void OnBlocked(std::uint64_t, std::optional<queue::ErrorInfo>) override {}
  void OnGoAway(queue::GoAwayCode code, queue::ErrorInfo error) override;

 private:
  absl::Status Run(const grpc::ByteBuffer& request, std::int64_t call_deadline_ns);
  void Post(std::shared_ptr<queue::QueueActor> queue, CheckedBatch checked,
            std::shared_ptr<const void> owner, std::int64_t deadline_ns);
  void OnLeft() override;

  const RpcDeps& deps_;
  grpc::ByteBuffer& response_;
  queue::PublisherId publisher_ = 0;
  base::Mutex mutex_;
  std::shared_ptr<queue::QueueActor> queue_ ABSL_GUARDED_BY(mutex_);
  v1::PublishResponse results_ ABSL_GUARDED_BY(mutex_);
  std::size_t unanswered_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mqd::rpc
