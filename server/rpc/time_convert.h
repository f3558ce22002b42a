#pragma once

// time_convert.h: Duration and Timestamp of the wire to and from milliseconds.
//
// Threads: pure functions.
// Limits: what duration.proto allows, and the range that the caller gives.

#include <chrono>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace mqd::rpc {

/// Rounded up to a millisecond. BAD_FIELD, naming `field`, for a negative or malformed duration and
/// for one outside least .. most.
absl::StatusOr<std::chrono::milliseconds> FromDuration(const google::protobuf::Duration& duration,
                                                       std::string_view field,
                                                       std::chrono::milliseconds least,
                                                       std::chrono::milliseconds most);

void SetDuration(std::int64_t milliseconds, google::protobuf::Duration& out);
void SetTimestamp(std::int64_t milliseconds, google::protobuf::Timestamp& out);

std::int64_t SteadyNs();
std::int64_t WallMs();

/// SteadyNs() + wait, and no deadline when that is out of range.
std::int64_t DeadlineNs(std::chrono::milliseconds wait);

}  // namespace mqd::rpc
