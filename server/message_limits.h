#pragma once

// message_limits.h: the limits of a message that the broker holds the bytes of a frame to.
//
// Threads: constants.

#include <cstddef>

#include "proto/wire/frame_scan.h"
#include "server/limits.h"

namespace mqd::limits {

/// Of a broker whose [grpc] max_payload_bytes is `payload_bytes_max`.
constexpr wire::MessageLimits MessageLimitsOf(std::size_t payload_bytes_max) {
  return {.payload_bytes_max = payload_bytes_max,
          .key_bytes_max = kKeyBytesMax,
          .headers_max = kHeadersMax,
          .header_bytes_max = kHeaderBytesMax,
          .priority_max = kPriorityMax,
          .batch_messages_max = kBatchMessagesMax,
          .delay_ms_max = kDelayMax.count(),
          .ttl_ms_max = kTtlMax.count(),
          .deliver_after_max = kDeliverAfterMax};
}

}  // namespace mqd::limits
