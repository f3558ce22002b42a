#pragma once

// units.h: sizes, durations and times as people write them: "4MiB", "30s", "2026-01-31T12:00:00Z".
// A size without its unit is in bytes; a duration without one is an error, but for 0.
//
// Threads: pure functions.

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace mqd::mqctl {

/// "512", "512B", "64KiB", "4MiB", "1GiB"; kInvalidArgument says what is wrong.
absl::StatusOr<std::uint64_t> ParseSize(const std::string& text);
/// "250ms", "30s", "5m", "2h", "7d".
absl::StatusOr<std::chrono::milliseconds> ParseDuration(const std::string& text);

/// "2026-01-31T12:00:00Z", with or without a fraction of a second. Always UTC.
absl::StatusOr<std::chrono::system_clock::time_point> ParseTime(const std::string& text);

/// In the largest unit that leaves nothing over: "90s", "1GiB".
std::string FormatSize(std::uint64_t bytes);
std::string FormatDuration(std::chrono::milliseconds duration);

}  // namespace mqd::mqctl
