#pragma once

// ids.h: step 3 of 5 (queue). The numbers and times in which a queue and its clients speak.
//
// Threads: plain values.

#include <cstdint>

#include "storage/types.h"

namespace mqd::queue {

using storage::ChunkKey;
using storage::DedupRowId;
using storage::KeyHash;
using storage::QueueId;
using storage::Sequence;
using storage::WallMs;

/// One per delivery, never reused: the broker's epoch in the high 20 bits, then a dense counter per
/// queue.
using DeliveryId = std::uint64_t;
/// Streams and waiting calls, unique in the process.
using ConsumerId = std::uint64_t;
using PublisherId = std::uint64_t;
/// Names a request that wants an answer; given by the actor.
using RequestId = std::uint64_t;
using TransactionId = std::uint64_t;

/// Both clocks, read once per turn. Leases and waits use the steady one, dedup windows and records
/// the wall.
struct Now {
  std::int64_t steady_ns = 0;
  WallMs wall_ms = 0;
};

inline constexpr std::int64_t kNsPerMs = 1'000'000;
/// "No deadline" on the steady clock.
inline constexpr std::int64_t kNever = INT64_MAX;

/// Both ends included.
struct DeliveryRange {
  DeliveryId first = 0;
  DeliveryId last = 0;
  bool operator==(const DeliveryRange&) const = default;
};

/// The numbers are those of mqd.v1.MessageStatus.
enum class MessageStatus : std::uint8_t {
  kUnspecified = 0,
  kReady = 1,
  kInFlight = 2,
  kDelayed = 3,
  kParked = 4,
  kSettled = 5
};

}  // namespace mqd::queue
