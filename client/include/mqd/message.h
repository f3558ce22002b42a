#pragma once

// message.h: what is published, what became of it, and where a stored message stands.
//
// Threads:   values; any.
// Ownership: Message owns its parts; MessageView borrows them for the length of a call.
// Limits:    the broker's, told in its handshake. Defaults: payload 1 MiB (never above 16 MiB),
//            keys 1 to 128 bytes of UTF-8, 64 headers and 8 KiB of them, priority 0 to 9, delay
//            30 days.

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace mqd {

using Header = std::pair<std::string, std::string>;
using WallTime = std::chrono::system_clock::time_point;

/// Names one stored message.
struct MessageRef {
  std::string queue = {};  // "namespace/queue"; "default/" may be left out
  std::uint64_t sequence = 0;
};

/// A message to publish, borrowed: it is encoded before the call it is passed to returns.
struct MessageView {
  std::string_view payload = {};
  /// The same key within the queue's dedup_window is answered as a duplicate. Empty: none.
  std::string_view idempotency_key = {};
  /// For queues with Ordering::kKeyed or DispatchPolicy::kSticky. 1 to 128 bytes; empty: none.
  std::string_view ordering_key = {};
  std::uint32_t priority = 0;  // 9 is delivered first
  /// Waits that long before the first delivery; rounded to milliseconds. Or deliver_at, not both.
  std::chrono::milliseconds delay{0};
  std::optional<WallTime> deliver_at = {};
  /// How long the message may wait undelivered; 0: the queue's default_ttl.
  std::chrono::milliseconds ttl{0};
  std::span<const Header> headers = {};  // keys all different
  /// Messages of the same namespace that must be settled before this one is delivered.
  std::span<const MessageRef> deliver_after = {};
};

/// A message to publish, owned. Fields as in MessageView.
struct Message {
  std::string payload = {};
  std::string idempotency_key = {};
  std::string ordering_key = {};
  std::uint32_t priority = 0;
  std::chrono::milliseconds delay{0};
  std::optional<WallTime> deliver_at = {};
  std::chrono::milliseconds ttl{0};
  std::vector<Header> headers = {};
  std::vector<MessageRef> deliver_after = {};

  operator MessageView() const {  // NOLINT(google-explicit-constructor): a view of the same value
    return {payload, idempotency_key, ordering_key, priority, delay, deliver_at,
            ttl,     headers,         deliver_after};
  }
};

/// Where a stored message stands. ready + in flight + delayed + parked is the queue's backlog.
enum class MessageStatus : std::int32_t {
  kUnspecified = 0,
  kReady = 1,
  kInFlight = 2,
  kDelayed = 3,
  kParked = 4,
  kSettled = 5,
};

/// What happens to a publish when the queue is full.
enum class OverflowPolicy : std::int32_t {
  kUnspecified = 0,
  kReject = 1,
  kBlock = 2,
  kDropOldest = 3,
  kDropNewest = 4,
  kDeadLetter = 5,
  kThrottle = 6,
};

/// What a confirm waits for.
enum class ConfirmLevel : std::int32_t {
  kDefault = 0,    // the broker's: kDurable
  kAccepted = 1,   // in memory
  kDurable = 2,    // as durable as the queue's setting says
  kDelivered = 3,  // handed to a consumer
  kSettled = 4,    // settled by one
};

/// How a publish succeeded.
struct PublishOutcome {
  enum class Kind : std::uint8_t {
    /// Stored as `sequence`.
    kPublished,
    /// The idempotency key is known: the original has `sequence` and stands at `status`.
    kDuplicate,
    /// The queue was full and its policy, `dropped_by`, counted and dropped the message.
    kDropped,
  };
  Kind kind = Kind::kPublished;
  std::uint64_t sequence = 0;
  MessageStatus status = MessageStatus::kUnspecified;
  OverflowPolicy dropped_by = OverflowPolicy::kUnspecified;
};

/// What became of one message. Errors carry an ErrorInfo (errors.h) unless the call itself failed.
using PublishResult = absl::StatusOr<PublishOutcome>;

/// Messages for one queue inside an atomic settle.
struct QueuePublish {
  std::string queue = {};
  std::vector<Message> messages = {};
};

}  // namespace mqd
