#pragma once

// delivery_piece.h: a frame of deliveries, and a part of one.
//
// Threads:   plain values.
// Ownership: pieces share the frame they lie in, and that its bytes.

#include <cstdint>
#include <memory>

#include "client/loop.h"
#include "proto/wire/frame_scan.h"

namespace mqd::client {

/// One Deliveries frame.
struct DeliveryFrame {
  std::shared_ptr<const void> owner;  // of the bytes that `scanned` points into
  wire::ScannedDeliveries scanned;
  std::uint64_t stream = 0;  // which stream it came on, from 1
  Time arrived;
  std::uint64_t bytes_each = 0;  // of the charge; the rest is the first message's
  std::uint64_t bytes_rest = 0;

  /// Sets the shares from the charge and the number of messages.
  void SplitCharge();
};

/// Messages [begin, end) of one run.
struct DeliveryPiece {
  std::shared_ptr<const DeliveryFrame> frame = {};
  std::uint32_t run = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  Time lease_until = {};

  const wire::ScannedRun& head() const { return frame->scanned.runs[run]; }
  std::uint32_t queue_index() const { return frame->scanned.queue_index; }
  std::uint64_t id(std::uint32_t index) const { return head().first_delivery_id + index; }
  std::uint64_t count() const { return end - begin; }
  /// Of a queue with delivery AT_MOST_ONCE: settled before it was sent.
  bool leaseless() const { return head().lease_ms == 0; }
  Clock::duration lease() const { return std::chrono::milliseconds(head().lease_ms); }
  /// The share of [from, to) in the frame's charge.
  std::uint64_t bytes(std::uint32_t from, std::uint32_t to) const;
  std::uint64_t bytes() const { return bytes(begin, end); }
};

}  // namespace mqd::client
