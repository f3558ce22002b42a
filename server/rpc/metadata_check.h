#pragma once

// metadata_check.h: step 1 of 5 (rpc edge). Holds callers to limits::kMetadataBytesMax.
//
// Threads: pure.

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"

namespace mqd::rpc {

/// BAD_FIELD for more metadata than limits::kMetadataBytesMax. The library refuses that too, but
/// only of clients that have acknowledged its settings; calls that wait would keep it in memory.
absl::Status CheckMetadata(const grpc::ServerContextBase& context);

}  // namespace mqd::rpc
