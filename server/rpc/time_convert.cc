#include "server/rpc/time_convert.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {
namespace {

// The range that duration.proto allows.
constexpr std::int64_t kSecondsMax = 315'576'000'000;
constexpr std::int32_t kNanosMax = 999'999'999;
constexpr std::int64_t kNsPerMs = 1'000'000;

}  // namespace

absl::StatusOr<std::chrono::milliseconds> FromDuration(const google::protobuf::Duration& duration,
                                                       std::string_view field,
                                                       std::chrono::milliseconds least,
                                                       std::chrono::milliseconds most) {
  if (duration.seconds() < 0 || duration.nanos() < 0) {
    return BadFieldStatus(field, "a duration cannot be negative; give one of 0 or more");
  }
  if (duration.seconds() > kSecondsMax || duration.nanos() > kNanosMax) {
    return BadFieldStatus(field, "not a valid duration: seconds or nanos are out of range");
  }
  const std::chrono::milliseconds value(duration.seconds() * 1'000 +
                                        (duration.nanos() + kNsPerMs - 1) / kNsPerMs);
  if (value < least || value > most) {
    const std::chrono::milliseconds limit = value < least ? least : most;
    return BadFieldStatus(field,
                          absl::StrCat("must be from ", least.count(), " ms to ", most.count(),
                                       " ms, is ", value.count(), " ms"),
                          static_cast<std::uint64_t>(limit.count()),
                          static_cast<std::uint64_t>(value.count()));
  }
  return value;
}

void SetDuration(std::int64_t milliseconds, google::protobuf::Duration& out) {
  out.set_seconds(milliseconds / 1'000);
  out.set_nanos(static_cast<std::int32_t>(milliseconds % 1'000 * kNsPerMs));
}

void SetTimestamp(std::int64_t milliseconds, google::protobuf::Timestamp& out) {
  out.set_seconds(milliseconds / 1'000);
  out.set_nanos(static_cast<std::int32_t>(milliseconds % 1'000 * kNsPerMs));
}

std::int64_t SteadyNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::int64_t WallMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::int64_t DeadlineNs(std::chrono::milliseconds wait) {
  const std::int64_t now = SteadyNs();
  const std::int64_t most = (INT64_MAX - now) / kNsPerMs;
  return wait.count() >= most ? INT64_MAX : now + wait.count() * kNsPerMs;
}

}  // namespace mqd::rpc
