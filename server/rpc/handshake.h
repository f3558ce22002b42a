#pragma once

// handshake.h: what both kinds of stream, and the unary calls, check and answer alike.
//
// Threads: any; pure functions, but for the clock in FillServerInfo().

#include <chrono>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"
#include "mqd/v1/broker.pb.h"
#include "server/queue/effects.h"
#include "server/queue/queue_registry.h"
#include "server/rpc/rpc_deps.h"

namespace mqd::rpc {

/// False when `content` is not a `message`.
bool ParseFrame(std::string_view content, google::protobuf::MessageLite& message);

absl::Status CheckClientName(std::string_view name);
/// `content` is that of an UpdateToken frame.
absl::Status CheckToken(std::string_view content);

/// BAD_FIELD for what is not a name, QUEUE_NOT_FOUND.
absl::StatusOr<std::shared_ptr<queue::QueueActor>> FindQueue(const queue::QueueRegistry& registry,
                                                             std::string_view name);

void FillLimits(const RpcOptions& options, v1::Limits& out);
void FillServerInfo(std::uint64_t epoch, v1::ServerInfo& out);
void FillGoAway(queue::GoAwayCode code, std::chrono::milliseconds deadline,
                const queue::ErrorInfo& error, v1::GoAway& out);

}  // namespace mqd::rpc
