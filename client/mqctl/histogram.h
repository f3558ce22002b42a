#pragma once

// histogram.h: counts of durations in log-linear buckets: each power of two is cut into 64 equal
// parts, so that a percentile is off by less than 1.6 %.
//
// Threads: one at a time.
// Limits: 0 to 2^40 microseconds' worth of nanoseconds; longer ones count as the longest.
// Source: the bucket layout of HdrHistogram (G. Tene), without its packing.

#include <cstdint>
#include <vector>

namespace mqd::mqctl {

class Histogram {
 public:
  Histogram();

  void Record(std::int64_t nanoseconds);
  void Add(const Histogram& other);

  std::uint64_t count() const { return count_; }
  /// The value below which `share` (0 to 1) of the records lie, in nanoseconds; 0 when empty.
  std::int64_t Percentile(double share) const;

 private:
  static constexpr int kPartBits = 6;
  static constexpr std::int64_t kLongest = std::int64_t{1} << 50;

  static std::size_t BucketOf(std::int64_t value);
  static std::int64_t MiddleOf(std::size_t bucket);

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
};

}  // namespace mqd::mqctl
