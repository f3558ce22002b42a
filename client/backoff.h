#pragma once

// backoff.h: how long to wait before the next attempt. Pure: the random number is a parameter.
//
// Threads:   one at a time.
// Limits:    a delay never exceeds max * (1 + jitter).

#include <chrono>

#include "mqd/client.h"

namespace mqd::client {

class Backoff {
 public:
  explicit Backoff(const ReconnectBackoff& settings) : settings_(settings) {}

  /// The delay before the next attempt; each is longer than the one before. `random` in [0, 1).
  std::chrono::milliseconds Next(double random);

  /// The attempt succeeded: the next delay is the initial one again.
  void Reset() { failures_ = 0; }

 private:
  const ReconnectBackoff settings_;
  int failures_ = 0;
};

}  // namespace mqd::client
