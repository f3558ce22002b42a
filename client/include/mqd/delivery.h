#pragma once

// delivery.h: one leased message, and the ways to settle it.
//
// Threads:   a Delivery belongs to one thread at a time. After a move to another thread (or into a
//            container) it may be settled from there. Results arrive on the Client's callback
//            thread.
// Ownership: a Delivery keeps the bytes of the frame it came in alive; views it answers are good
//            as long as it lives. One that is destroyed unsettled is released.
// Limits:    error and reason texts at most 1 KiB; retry delay at most 30 days; lease 1 s to 12 h.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "mqd/errors.h"
#include "mqd/message.h"

namespace mqd {

namespace client {
class ConsumerCore;
struct DeliveryFrame;

/// Where a delivery is: for the library only.
struct DeliveryHandle {
  std::shared_ptr<ConsumerCore> core;  // null: settled, moved from or default-made
  std::shared_ptr<const DeliveryFrame> frame;
  std::uint32_t run = 0;
  std::uint32_t index = 0;
};
}  // namespace client

/// How the work on a delivery ended.
struct Outcome {
  enum class Kind : std::uint8_t {
    kAck,         // done: the message is gone
    kRetry,       // failed, try again: charges an attempt, waits `delay`
    kRelease,     // not begun: charges nothing, ready at once
    kDeadLetter,  // never try again: to the dead-letter queue, else parked
    kDeferred,    // of a handler only: Settle() is called later on the moved-out Delivery
  };
  Kind kind = Kind::kAck;
  /// For kRetry; nothing: the queue's retry_backoff.
  std::optional<std::chrono::milliseconds> delay = {};
  /// The error of kRetry or the reason of kDeadLetter; kept with the message.
  std::string text = {};

  static Outcome Ack() { return {}; }
  static Outcome Retry(std::string error = {}) { return {Kind::kRetry, {}, std::move(error)}; }
  static Outcome RetryAfter(std::chrono::milliseconds delay, std::string error = {}) {
    return {Kind::kRetry, delay, std::move(error)};
  }
  static Outcome Release() { return {Kind::kRelease, {}, {}}; }
  static Outcome DeadLetter(std::string reason) {
    return {Kind::kDeadLetter, {}, std::move(reason)};
  }
  static Outcome Deferred() { return {Kind::kDeferred, {}, {}}; }
};

/// What a settle did.
struct SettleResult {
  /// How many deliveries were settled.
  std::uint64_t settled = 0;
  /// One result for each published message, in order, queue after queue.
  std::vector<PublishResult> publishes = {};
};

using SettleCallback = std::function<void(const absl::StatusOr<SettleResult>& result)>;

/// One charged attempt: who had the message and what went wrong.
struct AttemptNote {
  std::uint32_t attempt = 0;
  WallTime time = {};
  std::string consumer = {};  // its client_name
  std::string error = {};
};

/// Where a dead-lettered message came from.
struct DeadLetterInfo {
  std::string queue = {};
  std::uint64_t sequence = 0;
  std::string reason = {};
  std::uint32_t attempts = 0;
  WallTime time = {};
  std::vector<AttemptNote> notes = {};  // the latest attempts, oldest first; at most 4
};

class Delivery {
 public:
  Delivery() = default;
  ~Delivery();
  Delivery(Delivery&& other) noexcept;
  Delivery& operator=(Delivery&& other) noexcept;

  std::string_view queue() const;  // as the consumer named it
  std::uint64_t sequence() const;
  /// Names this delivery for good: any connection can settle it with Client::Settle().
  std::uint64_t delivery_id() const;
  std::uint32_t attempt() const;  // from 1
  std::string_view payload() const;
  std::string_view idempotency_key() const;
  std::string_view ordering_key() const;
  std::uint32_t priority() const;
  std::vector<std::pair<std::string_view, std::string_view>> headers() const;
  /// The value of a header; nothing when it is not there.
  std::optional<std::string_view> header(std::string_view name) const;
  WallTime publish_time() const;
  /// For a keyed message: rises whenever its ordering_key goes to another consumer. For a queue
  /// with single_active or max_consumers 1: whenever another consumer gets one. 0 otherwise. A
  /// store that remembers the highest one it has seen can refuse what an old holder writes late.
  std::uint64_t fence() const;
  /// A queue with DeliveryMode::kAtMostOnce settled it before it was sent: there is no lease, and
  /// how it is settled changes nothing (what is published with it is).
  bool settled_on_delivery() const;
  std::optional<DeadLetterInfo> dead_letter() const;
  /// Whether the broker took the delivery back (LeaseLost): its settle will be answered STALE.
  bool lease_lost() const;

  /// Settles it; the frame goes out with others when the write before has completed. Only the first
  /// call counts: later ones, and a handler's returned outcome, are ignored. `outcome` is not
  /// kDeferred. Failures (a lost lease) go to ConsumerOptions::on_settle_error and the counters.
  void Settle(Outcome outcome);

  /// The same, and `callback` is told: kFailedPrecondition with Reason::kStaleDelivery when the
  /// lease was lost, kUnknown when the stream broke before the answer, kCancelled after Stop().
  void Settle(Outcome outcome, SettleCallback callback);

  /// Settles it and publishes, all or nothing, with one fsync: both happen or neither. The queues
  /// are of the same namespace. After an error nothing took effect and the delivery is still yours
  /// to settle by delivery_id until its lease ends; after kUnknown it may have taken effect (the
  /// stream broke): the message comes again if it did not.
  void Settle(Outcome outcome, std::vector<QueuePublish> publishes, SettleCallback callback);

  /// Prolongs the lease to `lease` from now (not set: the queue's lease_duration). Leases of
  /// running handlers are prolonged without it, up to ConsumerOptions::lease_total_max.
  void Extend(std::optional<std::chrono::milliseconds> lease = {});

  /// False for one that is settled, moved from or default-made.
  bool pending() const { return handle_.core != nullptr; }

  /// For the library, which makes deliveries and re-uses them from one message to the next.
  explicit Delivery(client::DeliveryHandle handle) : handle_(std::move(handle)) {}
  client::DeliveryHandle& handle() { return handle_; }

 private:
  client::DeliveryHandle handle_;
};

}  // namespace mqd
