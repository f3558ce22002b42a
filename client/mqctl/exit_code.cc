#include "client/mqctl/exit_code.h"

#include "mqd/errors.h"

namespace mqd::mqctl {

ExitCode ExitCodeOf(const absl::Status& status) {
  const auto info = ErrorInfoOf(status);
  if (info && info->retryable) return ExitCode::kTryAgain;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kInvalidArgument:
      return ExitCode::kBadData;
    case absl::StatusCode::kNotFound:
      return ExitCode::kNotFound;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kUnavailable;
    case absl::StatusCode::kInternal:
      return ExitCode::kInternal;
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kTryAgain;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return ExitCode::kNotPermitted;
    default:
      return ExitCode::kFailed;
  }
}

}  // namespace mqd::mqctl
