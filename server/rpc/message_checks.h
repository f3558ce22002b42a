#pragma once

// message_checks.h: step 2 of 5 (session). Sorts scanned messages into those that go to the queue
// and those that are refused, each by itself.
//
// Threads: Pure functions.
// Ownership: Views of the results point into the scanned bytes.
// Limits: Those of wire::MessageLimits; fields of the schema that this version does not carry
// out are refused.

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "proto/wire/frame_scan.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"

namespace mqd::rpc {

struct CheckedBatch {
  /// Messages with consecutive publish ids; one batch unless something was refused between them.
  std::vector<queue::PublishBatch> good;
  std::vector<queue::PublishException> refused;
  std::uint64_t refused_bytes = 0;  // as charged
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;       // of all, as charged
  std::uint64_t last_bytes = 0;  // of the last message
};

/// Why this message cannot be taken; none for a good one. `fault` is what the scan found, or null.
std::optional<queue::ErrorInfo> CheckMessage(const wire::ScannedMessage& message,
                                             const wire::MessageFault* fault);

/// What `message` takes from the publisher's window.
std::uint32_t ChargeOf(const wire::ScannedMessage& message, bool faulty);

/// Sorts `batch`. Publisher, deadline and owner of the good ones are left to the caller.
CheckedBatch CheckBatch(const wire::ScannedBatch& batch);

}  // namespace mqd::rpc
