#pragma once

// admin_answer.h: step 1 of 5 (rpc edge). How the calls of AdminService end.
//
// Threads: A callback of Answer() ends its call on the thread that runs it.
// Ownership: gRPC keeps reactor and response until the call has ended.

#include <utility>

#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"
#include "server/queue/queue_actor.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {

/// Ends the call with `status`, which is not OK.
inline grpc::ServerUnaryReactor* Fail(grpc::CallbackServerContext& context,
                                      const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

/// A callback that ends `reactor`: with the error, or after `fill` has put the value into the
/// response.
template <class T, class Fill>
queue::QueueActor::Callback<T> Answer(grpc::ServerUnaryReactor* reactor, Fill fill) {
  return [reactor, fill = std::move(fill)](absl::StatusOr<T> value) mutable {
    if (value.ok()) fill(*std::move(value));
    reactor->Finish(ToGrpc(value.status()));
  };
}

}  // namespace mqd::rpc
