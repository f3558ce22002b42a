// clock_shim.cc: put before a program's C library (LD_PRELOAD), it moves the program's wall clock
// by the seconds in the file that MQD_TEST_CLOCK names: eight bytes, which may change at any time.
// The steady clock and all waits stay the kernel's.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

const std::atomic<std::int64_t>* OpenOffset() {
  static const std::atomic<std::int64_t> kNone = 0;
  const char* path = std::getenv("MQD_TEST_CLOCK");
  const int file = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return &kNone;
  void* memory = mmap(nullptr, sizeof(kNone), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  return memory == MAP_FAILED ? &kNone : static_cast<const std::atomic<std::int64_t>*>(memory);
}

std::int64_t Offset() {
  static const std::atomic<std::int64_t>* const kOffset = OpenOffset();
  return kOffset->load(std::memory_order_relaxed);
}

using ClockGettime = int (*)(clockid_t, timespec*);

int Ask(clockid_t clock, timespec* out) {
  static const auto kReal = reinterpret_cast<ClockGettime>(dlsym(RTLD_NEXT, "clock_gettime"));
  return kReal(clock, out);
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* out) noexcept {
  const int result = Ask(clock, out);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    out->tv_sec += Offset();
  }
  return result;
}

extern "C" int gettimeofday(timeval* out, void*) noexcept {
  timespec now{};
  const int result = clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1'000;
  return result;
}

extern "C" time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}
