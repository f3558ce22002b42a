#pragma once

// rpc_deps.h: what the services and sessions are given.
//
// Threads: Read by any; immutable after the server has started, but for what the referred objects
// promise themselves. Ownership  The app owns all of it and ends the gRPC server first.

#include <chrono>
#include <cstdint>
#include <string>

#include "asio/any_io_executor.hpp"
#include "proto/wire/frame_scan.h"
#include "server/limits.h"
#include "server/queue/queue_registry.h"
#include "server/queue/redrive_manager.h"
#include "server/rpc/authorize.h"
#include "storage/store.h"

namespace mqd::rpc {

class SessionList;

struct RpcOptions {
  std::uint64_t payload_bytes_max = limits::kPayloadBytesDefault;
  std::chrono::milliseconds ping_interval = limits::kPingInterval;
  std::chrono::milliseconds ping_timeout = limits::kPingTimeout;
  std::chrono::milliseconds open_timeout = limits::kOpenTimeout;
  std::string node_name;
  std::string data_dir;
};

struct RpcDeps {
  queue::QueueRegistry& registry;
  queue::RedriveManager& redrives;
  storage::Store& store;
  const Authorizer& authorizer;
  SessionList& sessions;
  asio::any_io_executor pool;
  RpcOptions options;
  std::int64_t start_time_ms = 0;

  wire::MessageLimits message_limits() const;
};

}  // namespace mqd::rpc
