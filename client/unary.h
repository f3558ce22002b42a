#pragma once

// unary.h: the context of one blocking call.
//
// Threads:   one at a time.
// Limits:    the timeout it is made with.

#include <grpcpp/client_context.h>

#include <chrono>

#include "client/status_map.h"

namespace mqd::client {

class UnaryCall {
 public:
  explicit UnaryCall(std::chrono::milliseconds timeout) {
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
  }

  grpc::ClientContext* context() { return &context_; }

 private:
  grpc::ClientContext context_;
};

}  // namespace mqd::client
