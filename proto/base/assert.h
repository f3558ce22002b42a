#pragma once

// assert.h: MQD_ASSERT, a check that stays on in release builds. A failed check is a bug of ours:
// the process prints where and what, and ends, because continuing could lose a message. What the
// world can do is an absl::Status instead.
//
// Threads: any.

#include <cstdio>
#include <cstdlib>

namespace mqd::base {

[[noreturn]] inline void AssertionFailed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "mqd: assertion failed: %s at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace mqd::base

#define MQD_ASSERT(expression)         \
  ((expression) ? static_cast<void>(0) \
                : ::mqd::base::AssertionFailed(#expression, __FILE__, __LINE__))
