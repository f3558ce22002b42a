#pragma once

// timeline.h: virtual time: what happens next, the two clocks, the dice and the trace of one run.
//
// While a Timeline lives, the process sees its clocks: timeline_clocks.cc stands in for
// std::chrono's steady_clock and system_clock, and a wait for a condition variable runs what is due
// until then. So what blocks in the client library blocks in virtual time.
//
// Threads:   one; one Timeline at a time.
// Ownership: owns its tasks; what a task holds is destroyed with the Timeline at the latest.
// Limits:    memory only.

#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

#include "tests/crash/world.h"

namespace mqd::simulation {

using crash::Below;
using crash::OneIn;
using crash::Random;

inline constexpr std::int64_t kNsPerUs = 1'000;
inline constexpr std::int64_t kNsPerMs = 1'000'000;
inline constexpr std::int64_t kNsPerSecond = 1'000'000'000;

class Timeline {
 public:
  static constexpr std::int64_t kWallBeginNs = 1'700'000'000 * kNsPerSecond;

  using Task = std::function<void()>;

  explicit Timeline(std::uint64_t seed);
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  /// The one that lives, or null.
  static Timeline* current();

  std::int64_t steady_ns() const { return steady_ns_; }
  std::int64_t wall_ns() const { return steady_ns_ + wall_ahead_ns_; }
  /// Somebody sets the wall clock, to so much from the right time.
  void SetWall(std::int64_t wrong_by_ns) { wall_ahead_ns_ = kWallBeginNs + wrong_by_ns; }

  /// Tasks of one moment run in the order in which they were given.
  void At(std::int64_t steady_ns, Task task);
  void After(std::int64_t ns, Task task) { At(steady_ns_ + ns, std::move(task)); }
  /// Runs after every task.
  void SetEpilogue(Task epilogue) { epilogue_ = std::move(epilogue); }

  /// Runs the next task that is due by `until_ns`; with none, it is then. Whether one ran.
  bool Step(std::int64_t until_ns);
  void RunUntil(std::int64_t until_ns);
  /// Drops what has not happened.
  void Clear();

  /// A seed for dice of one's own.
  std::uint64_t Seed() { return random_(); }

  /// Notes what happened. Everything that is noted, and when, makes the trace. What is noted in one
  /// moment has no order: an actor lets go of its clients in the order of a hash table.
  void Note(std::string_view what, std::uint64_t number, std::string_view bytes = {});
  std::uint64_t trace() const;
  std::uint64_t steps() const { return steps_; }

 private:
  Random random_;
  std::int64_t steady_ns_ = kNsPerSecond;
  std::int64_t wall_ahead_ns_ = kWallBeginNs;
  std::map<std::pair<std::int64_t, std::uint64_t>, Task> tasks_;  // by time and serial number
  std::uint64_t serial_ = 0;
  Task epilogue_;
  std::uint64_t trace_ = 0;
  std::uint64_t moment_ = 0;  // the sum of what was noted at moment_ns_
  std::int64_t moment_ns_ = 0;
  std::uint64_t steps_ = 0;
};

/// From `least` to `most`, both included.
std::int64_t Between(Random& random, std::int64_t least, std::int64_t most);

}  // namespace mqd::simulation
