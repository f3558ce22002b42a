#pragma once

// unary_receive.h: step 5 of 5 (delivery). Receive: leases some messages for a caller without a
// stream.
//
// A consumer for the time of the call: it attaches, grants what the caller asked for, and as soon
// as something has come, or the wait is over, drains. The queue's answer to the drain is behind
// everything it will ever send here; then it detaches, leaves the deliveries leased, and answers.
//
// Threads: As UnaryCall says.
// Ownership: As UnaryCall says; the timer shares it.
// Limits: limits::kBatchMessagesMax messages, limits::kBatchBytesMax bytes and one message,
// limits::kReceiveWaitMax.

#include <memory>
#include <vector>

#include "asio/any_io_executor.hpp"
#include "asio/steady_timer.hpp"
#include "mqd/v1/broker.pb.h"
#include "proto/base/mutex.h"
#include "server/queue/queue_actor.h"
#include "server/queue/sinks.h"
#include "server/rpc/rpc_deps.h"
#include "server/rpc/unary_call.h"

namespace mqd::rpc {

class UnaryReceive final : public UnaryCall, public queue::ConsumeSink {
 public:
  static grpc::ServerUnaryReactor* Start(const RpcDeps& deps, const grpc::ByteBuffer& request,
                                         grpc::ByteBuffer& response);
  UnaryReceive(const RpcDeps& deps, grpc::ByteBuffer& response);

  void OnAttached(std::uint32_t slot, absl::StatusOr<std::int64_t> lease_ms) override;
  void OnDeliveries(std::uint32_t slot, queue::DeliveryBatch batch) override;
  void OnWantCredit(std::uint32_t) override {}
  void OnCreditReturned(std::uint32_t, std::uint64_t, std::int64_t, bool) override {}
  void OnLeaseLost(std::uint32_t, std::vector<queue::DeliveryRange>,
                   queue::LeaseLostCode) override {}
  void OnRecall(std::uint32_t, std::vector<queue::DeliveryRange>) override {}
  void OnEndOfQueue(std::uint32_t slot) override;
  void OnDrained(std::uint32_t slot, std::uint64_t released, std::uint64_t in_flight) override;
  void OnGoAway(std::uint32_t slot, queue::GoAwayCode code, queue::ErrorInfo error) override;

 private:
  struct Ask {
    std::uint64_t messages = 1;
    std::uint64_t bytes = 0;
    std::chrono::milliseconds wait{0};
    std::int64_t lease_ns = 0;
  };

  static absl::StatusOr<Ask> ParseAsk(const v1::ReceiveRequest& request);
  absl::Status Run(const v1::ReceiveRequest& request);
  void StartTimer(std::chrono::milliseconds wait);
  /// Takes no more from the queue; the answer follows with OnDrained().
  void Stop();
  void Answer();
  void OnLeft() override;
  std::shared_ptr<UnaryReceive> self() {
    return std::static_pointer_cast<UnaryReceive>(shared_from_this());
  }

  const RpcDeps& deps_;
  grpc::ByteBuffer& response_;
  const queue::ConsumerId consumer_;
  base::Mutex mutex_;
  asio::steady_timer timer_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<queue::QueueActor> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<queue::DeliveryRun> runs_ ABSL_GUARDED_BY(mutex_);
  bool end_of_queue_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mqd::rpc
