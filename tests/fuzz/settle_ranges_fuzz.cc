// Ranges of settled messages, at the broker and at the client, against a bitmap.
#include <bitset>

#include "client/range_set.h"
#include "proto/base/assert.h"
#include "server/queue/interval_set.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

constexpr std::uint32_t kCount = 256;
using Bitmap = std::bitset<kCount + 1>;

void CheckIntervals(const mqd::queue::IntervalSet& set, const Bitmap& bits) {
  std::uint32_t last_end = 0;
  std::size_t total = 0;
  for (const auto& [first, end] : set.ranges()) {
    MQD_ASSERT(first < end && (total == 0 || first > last_end));
    last_end = end;
    total += end - first;
  }
  MQD_ASSERT(total == bits.count());
  for (std::uint32_t i = 0; i < kCount; ++i) {
    MQD_ASSERT(set.Contains(i) == bits[i]);
    MQD_ASSERT(!bits[set.SkipFrom(i)]);
    const std::uint32_t next = set.NextFrom(i, kCount);
    MQD_ASSERT(next >= i && (next == kCount || bits[next]));
  }
}

void TakeSome(mqd::client::RangeSet& set, std::size_t max, Bitmap& bits) {
  const auto taken = set.Take(max);
  MQD_ASSERT(taken.size() <= max);
  for (const auto& range : taken) {
    for (std::uint64_t id = range.first; id <= range.last; ++id) {
      MQD_ASSERT(bits[id]);
      bits[id] = false;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mqd::fuzz::Input input(data, size);
  mqd::queue::IntervalSet intervals;
  mqd::client::RangeSet ranges;
  Bitmap settled, waiting;
  while (!input.empty()) {
    if (input.Byte() % 8 == 0) {
      TakeSome(ranges, 1 + input.Byte() % 4, waiting);
      continue;
    }
    const std::uint32_t first = input.Byte();
    const std::uint32_t last = std::min<std::uint32_t>(first + input.Byte() % 32, kCount - 1);
    intervals.Add(first, last + 1);
    ranges.Add({first, last});
    for (std::uint32_t i = first; i <= last; ++i) settled[i] = waiting[i] = true;
  }
  CheckIntervals(intervals, settled);
  TakeSome(ranges, SIZE_MAX, waiting);
  MQD_ASSERT(waiting.none() && ranges.empty());
  return 0;
}
