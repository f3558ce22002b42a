#pragma once

// status_map.h: errors between the wire (grpc::Status, mqd.v1.ErrorInfo) and the public types.
//
// Threads:   any; pure functions.
// Limits:    none.

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "mqd/errors.h"
#include "mqd/v1/types.pb.h"

namespace mqd::client {

ErrorInfo FromProto(const v1::ErrorInfo& info);
v1::ErrorInfo ToProto(const ErrorInfo& info);

/// The status of one entry's error.
absl::Status StatusOf(const v1::ErrorInfo& info);

/// The status of a call: its code, its text, and the ErrorInfo of its RpcStatus details if any.
absl::Status StatusOf(const grpc::Status& status);

/// A status of the library's own making.
absl::Status OwnError(Reason reason, std::string text);

/// Whether trying the same stream again cannot help: the queue is not there, no permission.
bool IsFatal(const absl::Status& status);

}  // namespace mqd::client
