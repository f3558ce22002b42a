#pragma once

// authorize.h: the choke point. Every RPC asks it before it looks at anything but names.
//
// This version lets everyone in, as one anonymous principal; that each RPC asks is already tested,
// so that a rule added here is a rule everywhere.
//
// Threads: Authorize(): any.
// Ownership: Outlives every service and session.

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mqd::rpc {

/// Who calls.
struct Principal {
  std::string name = "anonymous";
};

enum class Action { kPublish, kConsume, kSettle, kViewQueue, kChangeQueue, kViewNode };

/// "publish"
const char* ToString(Action action);

class Authorizer {
 public:
  virtual ~Authorizer() = default;

  /// OK, or UNAUTHENTICATED or PERMISSION_DENIED. `resource` is a queue's name as the client wrote
  /// it, or "node".
  virtual absl::Status Authorize(const Principal& principal, Action action,
                                 std::string_view resource) const;
};

}  // namespace mqd::rpc
