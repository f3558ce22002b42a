#pragma once

// exit_code.h: with what mqctl ends. The numbers are those of sysexits.h where there is one.
//
// Threads: pure functions.

#include "absl/status/status.h"

namespace mqd::mqctl {

enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,        // the operation failed
  kUsage = 64,        // wrong command line
  kBadData = 65,      // the broker refused what was given to it
  kNotFound = 66,     // no such queue, message or file
  kUnavailable = 69,  // the broker cannot be reached
  kInternal = 70,
  kTryAgain = 75,  // timed out, full, or busy: the same command may succeed later
  kNotPermitted = 77,
};

ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace mqd::mqctl
