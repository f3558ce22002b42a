#include "client/range_set.h"

#include <algorithm>

namespace mqd::client {

void RangeSet::Add(IdRange range) {
  if (!ranges_.empty() && ranges_.back().last + 1 == range.first) {
    ranges_.back().last = range.last;
    return;
  }
  if (!ranges_.empty() && range.first <= ranges_.back().last) joined_ = false;
  ranges_.push_back(range);
}

void RangeSet::Join() {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const IdRange& a, const IdRange& b) { return a.first < b.first; });
  std::size_t kept = 0;
  for (std::size_t i = 1; i < ranges_.size(); ++i) {
    if (ranges_[i].first <= ranges_[kept].last + 1) {
      ranges_[kept].last = std::max(ranges_[kept].last, ranges_[i].last);
    } else {
      ranges_[++kept] = ranges_[i];
    }
  }
  ranges_.resize(kept + 1);
  joined_ = true;
}

std::vector<IdRange> RangeSet::Take(std::size_t max) {
  if (!joined_) Join();
  const auto end = ranges_.begin() + static_cast<std::ptrdiff_t>(std::min(max, ranges_.size()));
  std::vector<IdRange> taken(ranges_.begin(), end);
  ranges_.erase(ranges_.begin(), end);
  return taken;
}

}  // namespace mqd::client
