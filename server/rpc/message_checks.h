#pragma once

// message_checks.h: step 2 of 5 (session). Sorts scanned messages into those that go to the queue
// and those that are refused, each by itself.
//
// Whether a queue takes such a message (an ordering_key, say) is the queue's to answer; here is
// what no queue takes, and what only the edge can know: the clock on the wall and the names of
// queues.
//
// Threads: Pure functions.
// Ownership: Views of the results point into the scanned bytes.
// Limits: Those of wire::MessageLimits; limits::kDelayMax for deliver_at.

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "proto/wire/frame_scan.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"
#include "server/queue/queue_registry.h"

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

/// From the name of a queue in deliver_after to its id, or why it may not be named.
using ReferenceResolver = absl::FunctionRef<absl::StatusOr<queue::QueueId>(std::string_view)>;

/// Names that messages for the queue `publishing_to` (a full name) may wait for. BAD_FIELD for no
/// name and for another namespace, QUEUE_NOT_FOUND.
absl::StatusOr<queue::QueueId> ResolveReference(const queue::QueueRegistry& registry,
                                                std::string_view publishing_to,
                                                std::string_view name);

/// Of an atomic request: BAD_FIELD, whatever the name is.
absl::StatusOr<queue::QueueId> RefuseReference(std::string_view name);

/// What `message` takes from the publisher's window.
std::uint32_t ChargeOf(const wire::ScannedMessage& message, bool faulty);

/// Sorts `batch`, at `now_ms` on the wall clock. Publisher, deadline and owner of the good ones are
/// left to the caller.
CheckedBatch CheckBatch(const wire::ScannedBatch& batch, queue::WallMs now_ms,
                        ReferenceResolver resolve);

}  // namespace mqd::rpc
