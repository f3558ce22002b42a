#pragma once

// unary_call.h: step 2 of 5 (session). What the unary calls that wait for a queue have in common:
// one finish, and a life that ends with gRPC's OnDone().
//
// Threads: Complete(): any; the first one wins. OnCancelled() is called without a lock, on gRPC's
// thread. Ownership  Keeps itself alive from Hold() to OnDone(); queues and callbacks may share it
// longer.

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {

/// What why, dead letters and errors call the caller of a unary call that gave no name.
inline constexpr char kUnaryClientName[] = "unary";

class UnaryCall : public grpc::ServerUnaryReactor, public std::enable_shared_from_this<UnaryCall> {
 public:
  void OnCancel() final {
    OnLeft();
    Complete(absl::CancelledError("the caller has gone"));
  }
  void OnDone() final { const std::shared_ptr<UnaryCall> last = std::move(keep_alive_); }

 protected:
  void Hold() { keep_alive_ = shared_from_this(); }

  /// Leave the queue: the caller has gone, or has its answer. May be called more than once.
  virtual void OnLeft() = 0;

  /// True for the one who may fill the response and must then call Finish().
  bool ClaimFinish() { return !finished_.exchange(true); }

  void Complete(const absl::Status& status) {
    if (ClaimFinish()) Finish(ToGrpc(status));
  }

 private:
  std::atomic<bool> finished_{false};
  std::shared_ptr<UnaryCall> keep_alive_;
};

}  // namespace mqd::rpc
