#pragma once

// bench_run.h: one benchmark: producers and consumers of the public library, one message at a time,
// against a broker, over queues made for it and deleted after it.
//
// Threads    One producer a thread of its own; consumers and confirms on the library's.
// Limits     Payloads of at least 16 bytes: each carries when it was published.

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/mqctl/histogram.h"
#include "mqd/queue.h"

namespace mqd::mqctl {

struct BenchOptions {
  std::string address;
  std::uint32_t producers = 1;
  std::uint32_t consumers = 1;
  std::uint32_t queues = 1;
  std::uint64_t size = 100;  // bytes of a payload
  double rate = 0;           // messages a second of all producers; 0: as fast as confirms come
  Durability durability = Durability::kSync;
  std::chrono::milliseconds duration{5'000};
  std::chrono::milliseconds warm_up{1'000};
  bool idempotent = false;
  std::uint64_t keys = 0;  // different idempotency keys; 0: one a message
  std::size_t window = 8'192;
  std::uint64_t ordering_keys = 0;  // a KEYED queue with messages of so many keys; 0: a plain one
  /// So many messages with delivery times spread evenly at random over `spread`, in the place of
  /// `duration`; end_to_end is then how late they came. 0: no delay.
  std::uint64_t delayed = 0;
  std::chrono::milliseconds spread{60'000};
};

struct BenchResult {
  double seconds = 0;  // of the measured window
  std::uint64_t published = 0;
  std::uint64_t consumed = 0;
  std::uint64_t published_in_window = 0;
  std::uint64_t consumed_in_window = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t errors = 0;
  std::uint64_t missing = 0;  // confirmed and not consumed in the end
  Histogram confirm;
  Histogram end_to_end;
};

absl::StatusOr<BenchResult> RunBench(const BenchOptions& options);

}  // namespace mqd::mqctl
