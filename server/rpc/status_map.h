#pragma once

// status_map.h: the only place where errors of the inside become errors of the wire.
//
// Threads: pure functions.
// Source: the richer error model of gRPC: a failed call carries "grpc-status-details-bin", here an
// mqd.v1.RpcStatus with one mqd.v1.ErrorInfo.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"
#include "mqd/v1/types.pb.h"
#include "server/queue/error.h"

namespace mqd::rpc {

v1::ErrorInfo ToProto(const queue::ErrorInfo& info);

/// OK stays OK. An error always carries an ErrorInfo; one that was not made by ToStatus() is
/// INTERNAL, except that CANCELLED keeps its code.
grpc::Status ToGrpc(const absl::Status& status);

/// BAD_FIELD for `field`; `text` says what was expected. `limit` and `current` when there are any.
queue::ErrorInfo BadField(std::string_view field, std::string_view text, std::uint64_t limit = 0,
                          std::uint64_t current = 0);

/// ToStatus(BadField(...)).
absl::Status BadFieldStatus(std::string_view field, std::string_view text, std::uint64_t limit = 0,
                            std::uint64_t current = 0);

/// DRAINING: the broker stops.
queue::ErrorInfo Draining();

}  // namespace mqd::rpc
