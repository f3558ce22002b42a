#pragma once

// history.h: the latest transitions of a queue's messages, in memory.
//
// Threads: One at a time.
// Limits: The queue's history_entries; nothing is kept, and nothing costs, while that is 0.

#include <deque>
#include <utility>
#include <vector>

#include "server/queue/effects.h"

namespace mqd::queue {

class History {
 public:
  void SetLimit(std::size_t entries) {
    limit_ = entries;
    while (entries_.size() > limit_) entries_.pop_front();
  }
  bool on() const { return limit_ > 0; }

  void Add(HistoryEntry entry) {
    if (limit_ == 0) return;
    if (entries_.size() == limit_) entries_.pop_front();
    entries_.push_back(std::move(entry));
  }

  /// The latest `most` of `sequence`, or of all when it is 0; oldest first.
  std::vector<HistoryEntry> Get(Sequence sequence, std::size_t most) const {
    std::vector<HistoryEntry> found;
    for (auto entry = entries_.rbegin(); entry != entries_.rend() && found.size() < most; ++entry) {
      if (sequence == 0 || (entry->first <= sequence && sequence <= entry->last)) {
        found.push_back(*entry);
      }
    }
    return {found.rbegin(), found.rend()};
  }

 private:
  std::deque<HistoryEntry> entries_;
  std::size_t limit_ = 0;
};

}  // namespace mqd::queue
