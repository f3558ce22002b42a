#pragma once

// ready_lanes.h: ready messages by priority, and which lane is served next.
//
// The highest lane that has something goes first, by sequence. A lane that has something and was
// not served for `floor` gets one turn, the one that waits longest first, so that low priorities
// never starve. Lane 0 may have more than this object knows: plain messages, of which the caller
// gives the first sequence (kNone when there are none).
//
// Threads: One at a time. Time is a parameter, in steady nanoseconds.
// Limits: kPriorities lanes.

#include <array>
#include <cstdint>
#include <optional>

#include "absl/container/btree_set.h"
#include "storage/types.h"

namespace mqd::queue {

class ReadyLanes {
 public:
  static constexpr std::size_t kPriorities = 10;
  static constexpr storage::Sequence kNone = UINT64_MAX;

  struct Head {
    std::uint32_t priority = 0;
    storage::Sequence sequence = 0;
    bool alone = false;  // other lanes wait: take one message, then ask again
  };

  void Add(std::uint32_t priority, storage::Sequence sequence);
  void Remove(std::uint32_t priority, storage::Sequence sequence);
  /// Forgets all, and how long lanes have waited.
  void Clear();
  /// Without plain messages.
  bool empty() const { return size_ == 0; }

  /// Lanes that have something begin to age; those that have nothing wait no more.
  void Observe(storage::Sequence plain, std::int64_t now_ns);
  /// Who is next; nothing when there is nothing.
  std::optional<Head> Next(storage::Sequence plain, std::int64_t now_ns,
                           std::int64_t floor_ns) const;
  /// A message of this lane was handed over.
  void Served(std::uint32_t priority, std::int64_t now_ns);

 private:
  bool Has(std::size_t lane, storage::Sequence plain) const {
    return !lanes_[lane].empty() || (lane == 0 && plain != kNone);
  }

  std::array<absl::btree_set<storage::Sequence>, kPriorities> lanes_;
  std::array<std::int64_t, kPriorities> served_ns_{};
  std::array<bool, kPriorities> ages_{};
  std::size_t size_ = 0;
};

}  // namespace mqd::queue
