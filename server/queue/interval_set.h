#pragma once

// interval_set.h: which messages of a chunk have some property, as sorted ranges.
//
// Threads: One at a time.
// Limits: At most half as many ranges as the chunk has messages (storage::kBodyMessagesMax).

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "storage/records.h"

namespace mqd::queue {

using storage::IndexRange;  // half-open

class IntervalSet {
 public:
  IntervalSet() = default;
  explicit IntervalSet(std::vector<IndexRange> ranges) : ranges_(std::move(ranges)) {}

  bool Contains(std::uint32_t index) const {
    const auto next = After(index);
    return next != ranges_.begin() && std::prev(next)->second > index;
  }

  /// Adds [first, last). Ranges that touch become one.
  void Add(std::uint32_t first, std::uint32_t last) {
    auto from = std::lower_bound(
        ranges_.begin(), ranges_.end(), first,
        [](const IndexRange& range, std::uint32_t index) { return range.second < index; });
    auto to = from;
    while (to != ranges_.end() && to->first <= last) {
      first = std::min(first, to->first);
      last = std::max(last, to->second);
      ++to;
    }
    if (from == to) {
      ranges_.insert(from, {first, last});
    } else {
      *from = {first, last};
      ranges_.erase(std::next(from), to);
    }
  }

  /// The first index from `index` on that is not in the set.
  std::uint32_t SkipFrom(std::uint32_t index) const {
    const auto next = After(index);
    if (next != ranges_.begin() && std::prev(next)->second > index) return std::prev(next)->second;
    return index;
  }

  /// The first index from `index` on that is in the set, or `end`.
  std::uint32_t NextFrom(std::uint32_t index, std::uint32_t end) const {
    if (Contains(index)) return index;
    const auto next = After(index);
    return next == ranges_.end() ? end : std::min(next->first, end);
  }

  bool empty() const { return ranges_.empty(); }
  const std::vector<IndexRange>& ranges() const { return ranges_; }

 private:
  /// The first range that begins behind `index`.
  std::vector<IndexRange>::const_iterator After(std::uint32_t index) const {
    return std::upper_bound(
        ranges_.begin(), ranges_.end(), index,
        [](std::uint32_t value, const IndexRange& range) { return value < range.first; });
  }

  std::vector<IndexRange> ranges_;
};

}  // namespace mqd::queue
