// timeline_clocks.cc: functions of the C++ and C libraries, as the program sees them while a
// Timeline lives: the linker takes these before those of the shared libraries.

#include <dlfcn.h>
#include <pthread.h>
#include <sys/timerfd.h>

#include <cerrno>
#include <chrono>
#include <ctime>

#include "tests/simulation/timeline.h"

namespace {

using mqd::simulation::kNsPerSecond;
using mqd::simulation::Timeline;

std::int64_t ReadClock(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

}  // namespace

namespace std::chrono {
inline namespace _V2 {

steady_clock::time_point steady_clock::now() noexcept {
  const Timeline* timeline = Timeline::current();
  const std::int64_t ns = timeline != nullptr ? timeline->steady_ns() : ReadClock(CLOCK_MONOTONIC);
  return time_point(duration(ns));
}

system_clock::time_point system_clock::now() noexcept {
  const Timeline* timeline = Timeline::current();
  const std::int64_t ns = timeline != nullptr ? timeline->wall_ns() : ReadClock(CLOCK_REALTIME);
  return time_point(duration(ns));
}

}  // namespace _V2
}  // namespace std::chrono

/// Asio without it looks at its timers in every poll, by the clock above.
extern "C" int timerfd_create(int, int) noexcept {
  errno = EINVAL;
  return -1;
}

/// What std::condition_variable waits with. The waiter looks at its condition after every event.
extern "C" int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                      clockid_t clock, const timespec* until) {
  Timeline* timeline = Timeline::current();
  if (timeline == nullptr) {
    using Wait = int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
    static const auto wait = reinterpret_cast<Wait>(dlsym(RTLD_NEXT, "pthread_cond_clockwait"));
    return wait(condition, mutex, clock, until);
  }
  pthread_mutex_unlock(mutex);
  const bool ran = timeline->Step(until->tv_sec * kNsPerSecond + until->tv_nsec);
  pthread_mutex_lock(mutex);
  return ran ? 0 : ETIMEDOUT;
}
