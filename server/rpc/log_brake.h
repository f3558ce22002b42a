#pragma once

// log_brake.h: lets one line a second through for each place that writes lines, and counts the
// rest: whoever can make a library complain must not be able to fill the disk with it.
//
// Threads: any.
// Limits:  kPlacesMax places; all behind them share one.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "proto/base/mutex.h"

namespace mqd::rpc {

class LogBrake {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kInterval{1};
  static constexpr std::size_t kPlacesMax = 256;

  /// Nothing when the line must not be written; else how many of this place were left out since
  /// its last one. `file` must live as long as the process, as __FILE__ does.
  std::optional<std::uint64_t> Pass(std::string_view file, int line, Clock::time_point now) {
    base::MutexLock lock(mutex_);
    auto found = places_.find({file, line});
    if (found == places_.end()) {
      const bool full = places_.size() >= kPlacesMax;
      found = places_.try_emplace(full ? Key() : Key{file, line}).first;
    }
    Place& place = found->second;
    if (now < place.next) {
      ++place.left_out;
      return std::nullopt;
    }
    place.next = now + kInterval;
    return std::exchange(place.left_out, 0);
  }

 private:
  using Key = std::pair<std::string_view, int>;
  struct Place {
    Clock::time_point next = Clock::time_point::min();
    std::uint64_t left_out = 0;
  };

  base::Mutex mutex_;
  std::map<Key, Place> places_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::rpc
