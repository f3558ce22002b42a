#pragma once

// frame_write.h: writes the two hot frames, PublishBatch and Deliveries, around message bytes that
// are already encoded.
//
// Threads:   any; pure functions.
// Limits:    a frame below 2 GiB; nothing else is checked here.
// Source:    The Protocol Buffers wire format; proto/mqd/v1/broker.proto.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace mqd::wire {

/// Names a message that must be settled first.
struct MessageReference {
  std::string_view queue = {};
  std::uint64_t sequence = 0;
};

/// The fields of a message to encode. Durations and times in milliseconds, 0 for not set.
struct MessageParts {
  std::string_view payload = {};
  std::string_view idempotency_key = {};
  std::string_view ordering_key = {};
  std::uint32_t priority = 0;
  std::int64_t delay_ms = 0;
  std::int64_t deliver_at_ms = 0;
  std::int64_t ttl_ms = 0;
  std::span<const std::pair<std::string, std::string>> headers = {};
  std::span<const MessageReference> deliver_after = {};
};

/// Appends the message as one element (tag 0x7A, length, bytes) to `elements`. Returns the bytes it
/// appended.
std::size_t AppendElement(const MessageParts& message, std::string& elements);

struct BatchHead {
  std::uint64_t first_publish_id = 0;
  std::uint64_t answered_through = 0;
  std::uint32_t confirm_level = 0;  // 0: not set
  std::int64_t timeout_ms = -1;     // -1: not set
};

/// The bytes that stand before `elements_bytes` bytes of elements in a PublishStreamRequest{batch}.
std::string PublishBatchHead(const BatchHead& head, std::size_t elements_bytes);

struct RunHead {
  std::uint64_t first_delivery_id = 0;
  std::uint64_t first_sequence = 0;
  std::uint32_t delivery_attempt = 0;
  std::int64_t publish_time_ms = 0;
  std::int64_t lease_ms = 0;
  std::uint64_t fence = 0;
  std::string_view dead_letter = {};  // encoded DeadLetterInfo, empty for none
};

/// The fields of a DeliveryRun but its messages.
std::string EncodeRunHead(const RunHead& head);

/// The tag and length of a field `runs` whose content is `head_bytes` of EncodeRunHead and
/// `elements_bytes` of elements.
std::string RunPrefix(std::size_t head_bytes, std::size_t elements_bytes);

/// The bytes that stand before `runs_bytes` bytes of runs (prefixes, heads and elements) in a
/// ConsumeStreamResponse{deliveries}.
std::string DeliveriesHead(std::uint32_t queue_index, std::uint64_t charged_messages,
                           std::uint64_t charged_bytes, std::size_t runs_bytes);

}  // namespace mqd::wire
