#pragma once

// namespace_rpc.h: step 1 of 5 (rpc edge). Namespaces between the wire and the inside; the calls of
// AdminService about them are in namespace_rpc.cc.
//
// Threads: pure functions.

#include "absl/status/statusor.h"
#include "mqd/v1/admin.pb.h"
#include "server/queue/namespace_registry.h"

namespace mqd::rpc {

/// BAD_FIELD for a Limit without its value.
absl::StatusOr<queue::NamespaceQuotas> FromProto(const v1::NamespaceQuotas& wire);

/// Every field set; without a create_time when nobody created it.
v1::Namespace ToProto(const queue::NamespaceInfo& info);

}  // namespace mqd::rpc
