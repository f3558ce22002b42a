#pragma once

// frame_scan.h: reads the two hot frames, PublishBatch and Deliveries, in place.
//
// The other frames are decoded with the generated classes. These two carry messages, and a message
// is never decoded and encoded again on its way: the scan finds where each one lies (its *element*:
// tag 0x7A, length, bytes), checks the control fields, and leaves the payload alone. Views point
// into the scanned bytes.
//
// Threads:   any; pure functions.
// Errors:    kInvalidArgument for bytes that are not the frame: the stream cannot go on. A message
//            that breaks a rule by itself has its `fault` set and harms nobody else.
// Limits:    those of MessageLimits; a frame below 2 GiB.
// Source:    Encoding: the Protocol Buffers wire format, in its shortest form only (a longer one is
//            refused, since receivers differ in what they read). Digest and key hash: XXH3
//            (xxhash 0.8); both are stored by the broker, so they never change.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace mqd::wire {

/// A frame of a stream: which field of the oneof is set, and its bytes.
struct Frame {
  std::uint32_t field = 0;
  std::string_view content;
};

/// Splits a stream message whose only field is a oneof of messages. Fails on an empty one, on
/// several, on trailing bytes.
absl::StatusOr<Frame> ScanFrame(std::string_view bytes);

/// Limits that a message is held against; from server/limits.h at the broker.
struct MessageLimits {
  std::size_t payload_bytes_max;
  std::size_t key_bytes_max;
  std::size_t headers_max;
  std::size_t header_bytes_max;
  std::uint32_t priority_max;
  std::size_t batch_messages_max;
  std::int64_t delay_ms_max;
  std::int64_t ttl_ms_max;
  std::size_t deliver_after_max;
};

/// A rule that one message breaks.
struct MessageFault {
  enum class Kind : std::uint8_t { kTooLarge, kBadField } kind;
  std::string field;  // "payload", "idempotency_key", "headers", "field 99"
  std::string text;   // one sentence: what, the limit, what to do
  std::uint64_t limit = 0;
  std::uint64_t current = 0;
};

/// Another message, as deliver_after names it.
struct ScannedReference {
  std::string_view queue;  // as the client wrote it
  std::uint64_t sequence = 0;
};

struct ScannedMessage {
  std::string_view element;
  /// payload + headers + keys; the broker adds its overhead.
  std::uint32_t content_bytes = 0;
  std::string_view idempotency_key;
  std::uint64_t key_hash_high = 0;  // of idempotency_key, when there is one
  std::uint64_t key_hash_low = 0;
  /// Of everything but the idempotency key, independent of the order of headers; when there is a
  /// key.
  std::uint64_t digest = 0;
  std::string_view ordering_key;
  std::uint32_t priority = 0;
  std::int64_t delay_ms = 0;       // 0: not set
  std::int64_t deliver_at_ms = 0;  // 0: not set
  std::int64_t ttl_ms = 0;         // 0: not set
  /// deliver_after: this many of ScannedBatch::references, from `first_reference` on.
  std::uint32_t reference_count = 0;
  std::uint32_t first_reference = 0;
};

struct ScannedBatch {
  std::uint64_t first_publish_id = 0;
  std::uint64_t answered_through = 0;
  std::uint32_t confirm_level = 0;
  std::int64_t timeout_ms = -1;  // -1: not set
  std::vector<ScannedMessage> messages;
  /// Of all messages, in their order; empty in the common case.
  std::vector<ScannedReference> references;
  /// By index of messages, rising; empty in the common case.
  std::vector<std::pair<std::uint32_t, MessageFault>> faults;
};

/// `content` is that of a Frame with field `batch`. A batch without messages is legal.
absl::StatusOr<ScannedBatch> ScanPublishBatch(std::string_view content,
                                              const MessageLimits& limits);

/// Scans the messages of a unary request, `repeated Message messages = 15`, and appends them to
/// `out`. The request's other fields are skipped.
absl::Status ScanMessages(std::string_view content, const MessageLimits& limits, ScannedBatch& out);

/// The hash of an idempotency key, as ScannedMessage has it.
struct IdempotencyKeyHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
};
IdempotencyKeyHash HashOfKey(std::string_view key);

/// One message as a client sees it.
struct MessageView {
  std::string_view payload;
  std::string_view idempotency_key;
  std::string_view ordering_key;
  std::uint32_t priority = 0;
  std::vector<std::pair<std::string_view, std::string_view>> headers;
};

struct ScannedRun {
  std::uint64_t first_delivery_id = 0;
  std::uint64_t first_sequence = 0;
  std::uint32_t delivery_attempt = 0;
  std::int64_t publish_time_ms = 0;
  std::int64_t lease_ms = 0;
  std::uint64_t fence = 0;
  std::string_view dead_letter;  // encoded DeadLetterInfo, empty when absent
  std::vector<MessageView> messages;
};

struct ScannedDeliveries {
  std::uint32_t queue_index = 0;
  std::uint64_t charged_messages = 0;
  std::uint64_t charged_bytes = 0;
  std::vector<ScannedRun> runs;
};

/// `content` is that of a Frame with field `deliveries`. Fields it does not know are skipped: a
/// newer broker may send them.
absl::StatusOr<ScannedDeliveries> ScanDeliveries(std::string_view content);

}  // namespace mqd::wire
