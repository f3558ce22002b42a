#pragma once

// token_bucket.h: at most so many messages a second, with a small burst.
//
// Threads: One at a time. Time is a parameter, in steady nanoseconds.
// Limits: Rates from 1 to limits::kRateMax a second; a burst is a tenth of a second's messages, at
// least one.
// Source: The generic cell rate algorithm, ITU-T I.371, annex A: one number, the time at which the
// bucket is full again.

#include <algorithm>
#include <cstdint>

#include "server/queue/settings.h"

namespace mqd::queue {

class TokenBucket {
 public:
  /// How many messages may go now; UINT64_MAX when `rate` is kUnlimited.
  std::uint64_t Available(std::int64_t now_ns, std::uint64_t rate) const {
    if (rate == kUnlimited) return UINT64_MAX;
    const std::int64_t room = now_ns + Burst(rate) - std::max(full_ns_, now_ns);
    if (room < Interval(rate)) return 0;
    return static_cast<std::uint64_t>(room / Interval(rate));
  }
  /// When the next one may go; not after now when one may go at once.
  std::int64_t NextNs(std::uint64_t rate) const { return full_ns_ + Interval(rate) - Burst(rate); }
  void Take(std::int64_t now_ns, std::uint64_t rate, std::uint64_t messages) {
    if (rate == kUnlimited) return;
    full_ns_ = std::max(full_ns_, now_ns) + static_cast<std::int64_t>(messages) * Interval(rate);
  }

 private:
  static std::int64_t Interval(std::uint64_t rate) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(1'000'000'000 / rate));
  }
  static std::int64_t Burst(std::uint64_t rate) {
    return Interval(rate) * static_cast<std::int64_t>(std::max<std::uint64_t>(1, rate / 10));
  }

  std::int64_t full_ns_ = 0;
};

}  // namespace mqd::queue
