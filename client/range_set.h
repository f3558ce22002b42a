#pragma once

// range_set.h: gathers delivery ids into few ranges.
//
// Threads:   one at a time.
// Limits:    as many ranges as there are gaps.

#include <cstdint>
#include <vector>

namespace mqd::client {

/// first .. last, both included.
struct IdRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  bool operator==(const IdRange&) const = default;
};

class RangeSet {
 public:
  /// Cheap when ids come in order; others are put in place by Take().
  void Add(IdRange range);

  bool empty() const { return ranges_.empty(); }
  /// An upper bound on the number of ranges that Take() will answer.
  std::size_t size() const { return ranges_.size(); }

  /// Up to `max` ranges in order, joined where they touch; they are gone from the set.
  std::vector<IdRange> Take(std::size_t max);

 private:
  void Join();

  std::vector<IdRange> ranges_;
  bool joined_ = true;  // in order, and none touches the next
};

}  // namespace mqd::client
