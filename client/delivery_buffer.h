#pragma once

// delivery_buffer.h: deliveries that no handler has begun. Pure: time is a parameter.
//
// Threads:   one at a time.
// Ownership: pieces share the frame they lie in, and that its bytes.
// Limits:    the credit its user grants.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "client/loop.h"
#include "client/range_set.h"
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

class DeliveryBuffer {
 public:
  struct Dropped {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    std::vector<IdRange> ranges;  // of Drop() only
    std::uint64_t leaseless = 0;  // of `messages`, of Clear() only
  };
  struct Extension {
    std::uint32_t queue_index = 0;
    IdRange range;
  };

  void Push(const std::shared_ptr<const DeliveryFrame>& frame);

  /// Up to `max` messages, consecutive, the oldest.
  std::optional<DeliveryPiece> Take(std::uint32_t max);
  void PutBack(DeliveryPiece piece);

  /// Takes out deliveries that are no longer ours.
  Dropped Drop(std::uint32_t queue_index, IdRange range);
  Dropped Clear();
  /// Keeps those without a lease.
  Dropped ClearLeased();

  /// Those of which less than half the lease is left; their lease now ends a lease after `now`.
  std::vector<Extension> ExtendDue(Time now);

  /// Whether the oldest has waited for more than this share of its lease.
  bool Late(Time now, double lease_share) const;

  std::uint64_t messages() const { return messages_; }
  bool empty() const { return pieces_.empty(); }

 private:
  std::deque<DeliveryPiece> pieces_;  // none empty
  std::uint64_t messages_ = 0;
};

}  // namespace mqd::client
