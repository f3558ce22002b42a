#pragma once

// exit_code.h: the codes with which mqd ends, and how an absl::Status carries one up to main().
//
// Threads: pure functions. Source: sysexits.h, of which these are the numbers.

#include "absl/status/status.h"

namespace mqd::server {

enum class ExitCode : int {
  kOk = 0,
  kUsage = 64,         // wrong command line
  kCannotBind = 69,    // a listen address cannot be used
  kInternal = 70,      // a bug of ours, or a resource the system refused
  kCannotCreate = 73,  // the data directory cannot be created, written or locked
  kStoreError = 74,    // the store is damaged, of a newer format, or failed while running
  kConfig = 78,        // the configuration is wrong
  kInterrupted = 130,  // a second signal cut the drain short
};

/// `status`, which is an error, with the code that the process should end with.
absl::Status WithExitCode(absl::Status status, ExitCode code);

/// The code that WithExitCode() attached; kInternal for an error without one, kOk for OK.
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace mqd::server
