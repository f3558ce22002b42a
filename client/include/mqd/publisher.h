#pragma once

// publisher.h: sends messages to one queue and tells what became of each.
//
// Messages are coalesced without a timer: what is published while a frame is being written goes
// into the next frame. The stream is kept alive, reopened with backoff, and resumed.
//
// Threads:   any thread may call any method. Callbacks run one at a time, in the order in which the
//            broker decided, on the Client's callback thread, never from inside Publish(). They
//            must not block; Publish() called from one refuses instead of waiting.
//
// Resume. A publisher has a random 16-byte id for life and numbers its messages. When the stream
// breaks it opens a new one and sends every unconfirmed message again, same numbers, same order. A
// broker that still knows the id answers those it has stored as it did the first time, so a resend
// adds no duplicate. A broker that has forgotten the id (it was restarted with MEMORY durability,
// or the stream was down longer than it remembers) cannot tell. Then
//   - messages that were never written to a stream are sent: nothing can be known of them;
//   - messages with an idempotency_key are sent again: the queue's dedup table decides;
//   - the others complete with kUnknown, Reason::kOutcomeUnknown: publish again, or do not.
// A broker that answers the very first open with "not known" is normal. So is one that never
// answered an open before: what was written to such a stream was never accepted, and is sent again.
//
// Ownership: yours. It keeps the connection alive by itself and may outlive the Client object. The
//            destructor is Close(options.close_timeout).
// Limits:    PublisherOptions::unconfirmed_messages_max and unconfirmed_bytes_max, and the broker's
//            publish credit; one frame at most max_batch_messages and max_batch_bytes of the
//            broker (1,024 and 4 MiB).

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "mqd/errors.h"
#include "mqd/message.h"

namespace mqd {

namespace client {
class PublisherCore;
}  // namespace client

/// What Publish() does when the unconfirmed limits are reached.
enum class WhenFull : std::uint8_t {
  kBlock,   // waits up to full_timeout for room
  kRefuse,  // fails with kResourceExhausted at once
};

struct PublisherOptions {
  /// Not empty. "namespace/queue"; "default/" may be left out.
  std::string queue = {};
  /// Of every message of this publisher. With kDelivered and kSettled results come when a consumer
  /// got to the message, out of order, and `timeout` ends that wait too: kBlockedTimeout then says
  /// that the message is stored, ErrorInfo::current under which sequence.
  ConfirmLevel confirm_level = ConfirmLevel::kDefault;

  /// From Publish() to the result. The broker holds a message no longer than this while the queue
  /// is full (OverflowPolicy::kBlock). One that could not be sent in this time completes with
  /// kDeadlineExceeded, Reason::kBlockedTimeout; one that was sent and is without an answer 5 s
  /// later with kUnknown, Reason::kOutcomeUnknown.
  std::chrono::milliseconds timeout{60'000};

  /// Published, not yet answered; messages count from the oldest that has no answer on. Both
  /// positive; a single message larger than unconfirmed_bytes_max passes when nothing else is
  /// unconfirmed.
  std::size_t unconfirmed_messages_max = 65'536;
  std::size_t unconfirmed_bytes_max = 64U << 20;
  WhenFull when_full = WhenFull::kBlock;
  std::chrono::milliseconds full_timeout{30'000};

  /// Shown by Admin::ListClients and Explain and in errors; at most 128 bytes. Empty:
  /// ClientOptions::client_name.
  std::string client_name = {};

  /// When the queue's max_producers is reached the one that was here longest is fenced off: its
  /// messages without an answer complete with kFenced, and it does not come back.
  bool take_over = false;

  /// How long the destructor waits for results.
  std::chrono::milliseconds close_timeout{5'000};

  /// The broker makes this publisher's messages wait (`reason` with an ErrorInfo), or no longer
  /// does (OK). On the callback thread. May be empty.
  std::function<void(const absl::Status& reason)> on_blocked = {};
};

/// Counts since the publisher was made.
struct PublisherStats {
  std::uint64_t published = 0;  // accepted by Publish()
  std::uint64_t confirmed = 0;  // duplicates and drops included
  std::uint64_t failed = 0;
  std::uint64_t frames = 0;
  std::uint64_t resent = 0;    // messages sent once more after a reconnect
  std::uint64_t connects = 0;  // streams opened
  std::uint64_t unconfirmed = 0;
  std::uint64_t unconfirmed_bytes = 0;
  std::uint64_t blocked_total = 0;  // how often the broker made messages wait
  absl::Status blocked = {};        // why they wait now, with an ErrorInfo; OK: they do not
};

class Publisher {
 public:
  using Callback = std::function<void(const PublishResult& result)>;

  explicit Publisher(std::shared_ptr<client::PublisherCore> core);  // made by Client::NewPublisher
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Encodes `message` into the next frame and returns without waiting for the network.
  ///
  /// OK: `callback` is called exactly once, with the result. Else it is never called:
  ///   kInvalidArgument    larger than the broker takes (Reason::kMessageTooLarge)
  ///   kResourceExhausted  the unconfirmed limits are reached and stayed so for full_timeout
  ///   kFailedPrecondition Close() was called
  ///   any other           the broker refused the stream for good (ConnectionStatus()): the queue
  ///                       does not exist, no permission, fenced. Make a new Publisher.
  /// Results that are errors, most often: Reason::kQueueFull, kQueueClosed, kQueueNotFound,
  /// kBadField, kIdempotencyConflict, kBlockedTimeout, kOutcomeUnknown.
  ///
  /// This is the fast path: nothing is allocated for a message when the callback's captures fit a
  /// std::function (16 bytes, trivially copyable). An empty callback is allowed: fire and count.
  [[nodiscard]] absl::Status Publish(const MessageView& message, Callback callback);

  /// The same with a future; a refusal is its value at once. Costs a few allocations.
  [[nodiscard]] std::future<PublishResult> Publish(const MessageView& message);

  /// Waits until everything published before has its result, which may be an error. Not to be
  /// called from a callback. Fails with kDeadlineExceeded when `timeout` passes first.
  absl::Status Flush(std::chrono::milliseconds timeout);

  /// Refuses further messages, waits up to `timeout` for results, then completes the rest: with
  /// kCancelled what was never sent, with Reason::kOutcomeUnknown what was. Repeatable; OK when
  /// nothing was cut, else kDeadlineExceeded. Not to be called from a callback.
  absl::Status Close(std::chrono::milliseconds timeout);

  /// OK while messages can be sent or will be; else why not: the last error of the connection.
  absl::Status ConnectionStatus() const;

  PublisherStats Stats() const;

 private:
  std::shared_ptr<client::PublisherCore> core_;
};

}  // namespace mqd
