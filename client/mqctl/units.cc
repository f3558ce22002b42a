#include "client/mqctl/units.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <span>

namespace mqd::mqctl {
namespace {

struct Unit {
  const char* name;
  std::uint64_t factor;
};

constexpr Unit kSizes[] = {
    {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}, {"", 1}};
constexpr Unit kDurations[] = {
    {"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};
constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
/// Since 1970: what the clock of the system can count.
constexpr std::int64_t kMostSeconds =
    std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::duration::max()).count();

absl::StatusOr<std::uint64_t> Parse(const std::string& text, std::span<const Unit> units,
                                    const char* example) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  const std::string unit(parsed.ptr, end);
  if (parsed.ec == std::errc() && number == 0 && unit.empty()) return 0;
  if (parsed.ec == std::errc()) {
    for (const Unit& known : units) {
      if (unit == known.name && number <= kMost / known.factor) return number * known.factor;
    }
  }
  return absl::InvalidArgumentError("\"" + text + "\": write a number and its unit, as in " +
                                    example);
}

std::string Format(std::uint64_t value, std::span<const Unit> units) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) {
      return std::to_string(value / unit.factor) + unit.name;
    }
  }
  return "0";
}

}  // namespace

absl::StatusOr<std::uint64_t> ParseSize(const std::string& text) {
  return Parse(text, kSizes, "4MiB");
}

absl::StatusOr<std::chrono::milliseconds> ParseDuration(const std::string& text) {
  const absl::StatusOr<std::uint64_t> parsed = Parse(text, kDurations, "30s");
  if (!parsed.ok()) return parsed.status();
  return std::chrono::milliseconds(*parsed);
}

absl::StatusOr<std::chrono::system_clock::time_point> ParseTime(const std::string& text) {
  std::tm utc{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::int64_t ms = 0;
  if (rest != nullptr && *rest == '.') {
    const char* digits = rest + 1;
    std::int64_t scale = 100;
    for (rest = digits; *rest >= '0' && *rest <= '9'; ++rest, scale /= 10) {
      ms += (*rest - '0') * scale;
    }
    if (rest == digits) rest = nullptr;
  }
  if (rest == nullptr || std::string(rest) != "Z") {
    return absl::InvalidArgumentError("\"" + text +
                                      "\": write a time in UTC, as in 2026-01-31T12:00:00Z");
  }
  const std::time_t seconds = timegm(&utc);
  if (seconds < 0 || seconds >= kMostSeconds) {
    return absl::InvalidArgumentError("\"" + text + "\": write a time from 1970 to 2262");
  }
  return std::chrono::system_clock::from_time_t(seconds) + std::chrono::milliseconds(ms);
}

std::string FormatSize(std::uint64_t bytes) { return Format(bytes, kSizes); }

std::string FormatDuration(std::chrono::milliseconds duration) {
  return Format(static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration.count())),
                kDurations);
}

}  // namespace mqd::mqctl
