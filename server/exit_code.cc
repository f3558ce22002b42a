#include "server/exit_code.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"

namespace mqd::server {
namespace {

constexpr char kPayloadName[] = "mqd/exit_code";

}  // namespace

absl::Status WithExitCode(absl::Status status, ExitCode code) {
  status.SetPayload(kPayloadName, absl::Cord(std::to_string(static_cast<int>(code))));
  return status;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return ExitCode::kOk;
  const auto payload = status.GetPayload(kPayloadName);
  int code = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &code)) return ExitCode::kInternal;
  return static_cast<ExitCode>(code);
}

}  // namespace mqd::server
