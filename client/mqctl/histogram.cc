#include "client/mqctl/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace mqd::mqctl {

Histogram::Histogram() : buckets_(BucketOf(kLongest) + 1, 0) {}

std::size_t Histogram::BucketOf(std::int64_t value) {
  const auto clamped = static_cast<std::uint64_t>(std::clamp<std::int64_t>(value, 0, kLongest));
  const int bits = std::bit_width(clamped);
  if (bits <= kPartBits) return clamped;
  const int shift = bits - kPartBits - 1;
  return (static_cast<std::size_t>(shift + 1) << kPartBits) + (clamped >> shift) -
         (std::size_t{1} << kPartBits);
}

std::int64_t Histogram::MiddleOf(std::size_t bucket) {
  constexpr std::size_t kParts = std::size_t{1} << kPartBits;
  if (bucket < kParts) return static_cast<std::int64_t>(bucket);
  const std::size_t shift = (bucket >> kPartBits) - 1;
  const std::size_t begin = ((bucket & (kParts - 1)) + kParts) << shift;
  return static_cast<std::int64_t>(begin + ((std::size_t{1} << shift) >> 1));
}

void Histogram::Record(std::int64_t nanoseconds) {
  ++buckets_[BucketOf(nanoseconds)];
  ++count_;
}

void Histogram::Add(const Histogram& other) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
}

std::int64_t Histogram::Percentile(double share) const {
  if (count_ == 0) return 0;
  const auto wanted =
      static_cast<std::uint64_t>(std::max(1.0, std::ceil(share * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    seen += buckets_[bucket];
    if (seen >= wanted) return MiddleOf(bucket);
  }
  return kLongest;
}

}  // namespace mqd::mqctl
