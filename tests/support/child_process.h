#pragma once

// child_process.h: what a child does between fork and exec.
//
// Threads: the one that forked; only what a signal handler may do is done.

#include <unistd.h>

#include <climits>

namespace mqd::testing {

/// No descriptor above the standard ones stays open: a socket that lives on in a child is not
/// closed for its peer when the parent closes it. Kernels before 5.9 keep them.
inline void CloseInheritedFiles() { close_range(STDERR_FILENO + 1, UINT_MAX, 0); }

}  // namespace mqd::testing
