// retry_backoff.cc: how long a message waits for its next attempt.

#include <algorithm>
#include <cmath>

#include "server/queue/settings.h"

namespace mqd::queue {

std::int64_t BackoffNs(const RetryBackoff& backoff, std::uint32_t attempt, std::uint64_t sequence) {
  const double initial = static_cast<double>(backoff.initial.count());
  const double most = static_cast<double>(backoff.max.count());
  const double exponent = std::min<double>(attempt - 1, 64);
  const double base = std::min(most, initial * std::pow(backoff.multiplier, exponent));
  // A multiplicative hash (Knuth, The Art of Computer Programming, vol. 3, 6.4) spread over -1
  // .. 1.
  const std::uint64_t mixed = (sequence * 31 + attempt) * 0x9E3779B97F4A7C15ull;
  const double spread = static_cast<double>(mixed >> 11) / static_cast<double>(1ull << 52) - 1.0;
  return static_cast<std::int64_t>(base * (1.0 + backoff.jitter * spread)) * 1'000'000;
}

}  // namespace mqd::queue
