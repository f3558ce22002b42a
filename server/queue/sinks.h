#pragma once

// sinks.h: what a queue needs from whoever publishes to it or consumes from it. Sessions implement
// them.
//
// Threads: Called on whatever thread runs the queue, one call at a time for one queue. A sink
// attached to several
//            queues may be called for two of them at once. It must not block and must not hold a
//            lock of its own while it calls back into a queue.
// Ownership: The actor shares the sink from attach until detach.

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/queue/effects.h"

namespace mqd::queue {

class PublishSink {
 public:
  virtual ~PublishSink() = default;
  /// The answer to AttachPublisher; an error means that the publisher is not attached.
  virtual void OnAttached(absl::StatusOr<AttachedPublisher> attached) = 0;
  virtual void OnConfirms(Confirms confirms) = 0;
  /// Messages from `first_publish_id` on wait for `reason`; none: they wait no more.
  virtual void OnBlocked(std::uint64_t first_publish_id, std::optional<ErrorInfo> reason) = 0;
  /// The queue has let go of the publisher; unanswered messages have an unknown outcome, except
  /// that with Reason::kDiskLow none of them is stored.
  virtual void OnGoAway(GoAwayCode code, ErrorInfo error) = 0;
};

/// `slot` is the number that was given at attach: the index of the queue in a select.
class ConsumeSink {
 public:
  virtual ~ConsumeSink() = default;
  /// The answer to AttachConsumer: the lease in milliseconds.
  virtual void OnAttached(std::uint32_t slot, absl::StatusOr<std::int64_t> lease_ms) = 0;
  virtual void OnDeliveries(std::uint32_t slot, DeliveryBatch batch) = 0;
  /// On demand only: there is something to deliver. Answer with GrantCredit, now or later.
  virtual void OnWantCredit(std::uint32_t slot) = 0;
  /// On demand only: the last grant has ended, and this much of it was not used. With `more` the
  /// queue wants the next one. Comes after the deliveries that it paid for, once for each grant.
  virtual void OnCreditReturned(std::uint32_t slot, std::uint64_t messages, std::int64_t bytes,
                                bool more) = 0;
  virtual void OnLeaseLost(std::uint32_t slot, std::vector<DeliveryRange> ranges,
                           LeaseLostCode code) = 0;
  /// Deliveries that the consumer should release unless it has begun them.
  virtual void OnRecall(std::uint32_t slot, std::vector<DeliveryRange> ranges) = 0;
  virtual void OnEndOfQueue(std::uint32_t slot) = 0;
  virtual void OnDrained(std::uint32_t slot, std::uint64_t released, std::uint64_t in_flight) = 0;
  virtual void OnGoAway(std::uint32_t slot, GoAwayCode code, ErrorInfo error) = 0;
};

}  // namespace mqd::queue
