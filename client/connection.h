#pragma once

// connection.h: what everything made by one Client shares: channels, stubs, the two loops.
//
// Threads:   any.
// Ownership: shared by the Client and all that it made.
// Limits:    frames up to kFrameBytesMax.

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/loop.h"
#include "mqd/client.h"
#include "mqd/v1/admin.grpc.pb.h"
#include "mqd/v1/broker.grpc.pb.h"

namespace mqd::client {

/// The largest payload there can be (16 MiB) and room for its frame.
inline constexpr int kFrameBytesMax = (17 << 20) + (64 << 10);

class Connection {
 public:
  /// Fails with kInvalidArgument for options that cannot be.
  static absl::StatusOr<std::shared_ptr<Connection>> Make(ClientOptions options);

  explicit Connection(ClientOptions options);

  /// Waits for the broker; kUnavailable when it is not there in time.
  absl::Status WaitReady(std::chrono::milliseconds timeout);

  /// The channel for the next stream; they take turns.
  std::shared_ptr<grpc::Channel> NextChannel();

  v1::BrokerService::Stub& broker() { return *broker_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  const ClientOptions& options() const { return options_; }

  /// For what must not wait behind the application: pings, backoff, deadlines.
  Loop& timers() { return timers_; }
  /// For the application's callbacks.
  Loop& callbacks() { return callbacks_; }

  /// Uniform in [0, 1).
  static double Random();
  /// 16 random bytes.
  static std::string RandomId();

 private:
  const ClientOptions options_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::atomic<std::size_t> next_channel_{0};
  std::unique_ptr<v1::BrokerService::Stub> broker_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
  Loop timers_;
  Loop callbacks_;
};

}  // namespace mqd::client
