#include "server/config_keys.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "server/limits.h"

namespace mqd::server {
namespace {

using limits::kGiB;
using limits::kKiB;
using limits::kMiB;

constexpr std::uint64_t kSecond = 1000;
constexpr std::uint64_t kHour = 3600 * kSecond;

const std::array kKeys = {
    ConfigKey{.section = "",
              .name = "data_dir",
              .slot = [](Config& c) -> ConfigSlot { return &c.data_dir; },
              .flag = "--data",
              .meaning =
                  "Directory of the store. Created with mode 0700 if its parent exists. Required."},
    ConfigKey{.section = "",
              .name = "node_name",
              .slot = [](Config& c) -> ConfigSlot { return &c.node_name; },
              .meaning = "Shown by `mqctl node status`. Not set: the host's name."},
    ConfigKey{.section = "",
              .name = "shutdown_grace",
              .slot = [](Config& c) -> ConfigSlot { return &c.shutdown_grace; },
              .most = kHour,
              .reloadable = true,
              .flag = "--shutdown-grace",
              .meaning = "How long consumers may settle after SIGTERM before the process ends."},
    ConfigKey{.section = "grpc",
              .name = "listen",
              .slot = [](Config& c) -> ConfigSlot { return &c.grpc.listen; },
              .flag = "--listen",
              .meaning = "Address of the gRPC port, `HOST:PORT`. Port 0 takes a free one."},
    ConfigKey{.section = "grpc",
              .name = "insecure",
              .slot = [](Config& c) -> ConfigSlot { return &c.grpc.insecure; },
              .flag = "--insecure-listen",
              .meaning = "Allow an address that other machines can reach. There is no TLS and no "
                         "authentication: everybody who reaches the port can do everything."},
    ConfigKey{.section = "grpc",
              .name = "max_payload_bytes",
              .slot = [](Config& c) -> ConfigSlot { return &c.grpc.max_payload_bytes; },
              .least = 1 * kKiB,
              .most = limits::kPayloadBytesMax,
              .meaning = "Largest payload of one message."},
    ConfigKey{.section = "grpc",
              .name = "reflection",
              .slot = [](Config& c) -> ConfigSlot { return &c.grpc.reflection; },
              .meaning = "Let tools such as grpcurl ask for the schema."},
    ConfigKey{.section = "http",
              .name = "listen",
              .slot = [](Config& c) -> ConfigSlot { return &c.http.listen; },
              .flag = "--http-listen",
              .meaning = "Address of the HTTP port for probes, `HOST:PORT`, or `off`."},
    ConfigKey{.section = "http",
              .name = "insecure",
              .slot = [](Config& c) -> ConfigSlot { return &c.http.insecure; },
              .flag = "--insecure-listen",
              .meaning = "The same as `insecure` of `[grpc]`, for the HTTP port."},
    ConfigKey{.section = "storage",
              .name = "cache_bytes",
              .slot = [](Config& c) -> ConfigSlot { return &c.storage.cache_bytes; },
              .least = 1 * kMiB,
              .most = 1024 * kGiB,
              .meaning =
                  "Message bodies kept in memory, over all queues. Others are read back from "
                  "disk ahead of need."},
    ConfigKey{.section = "storage",
              .name = "sync_interval",
              .slot = [](Config& c) -> ConfigSlot { return &c.storage.sync_interval; },
              .least = 1,
              .most = 60 * kSecond,
              .meaning = "How much a power cut can take from queues with durability ASYNC."},
    ConfigKey{.section = "storage",
              .name = "disk_low_watermark",
              .slot = [](Config& c) -> ConfigSlot { return &c.storage.disk_low_watermark; },
              .least = 64 * kMiB,
              .most = 1024 * kGiB,
              .meaning =
                  "With less free disk than this, publishes are refused; settles go on. Not "
                  "set: 1GiB or 5 % of the volume, whichever is more, but at most half of it."},
    ConfigKey{.section = "limits",
              .name = "max_queues",
              .slot = [](Config& c) -> ConfigSlot { return &c.limits.max_queues; },
              .least = 1,
              .most = limits::kQueuesMax,
              .meaning = "Queues of this broker."},
    ConfigKey{.section = "log",
              .name = "format",
              .slot = [](Config& c) -> ConfigSlot { return &c.log.format; },
              .reloadable = true,
              .flag = "--log-format",
              .meaning = "`text` or `json`, one line an event on standard error."},
    ConfigKey{.section = "log",
              .name = "level",
              .slot = [](Config& c) -> ConfigSlot { return &c.log.level; },
              .reloadable = true,
              .flag = "--log-level",
              .meaning = "`trace`, `debug`, `info`, `warning` or `error`."},
};

struct SizeUnit {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr SizeUnit kSizeUnits[] = {
    {"TiB", 1024 * kGiB}, {"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}, {"B", 1}};

std::optional<std::uint64_t> ParseWhole(std::string_view text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> ParseSize(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::optional<std::uint64_t> number = ParseWhole(text.substr(0, digits));
  if (!number) return std::nullopt;
  for (const SizeUnit& unit : kSizeUnits) {
    if (text.substr(digits) != unit.name) continue;
    if (*number > UINT64_MAX / unit.bytes) return std::nullopt;
    return *number * unit.bytes;
  }
  return std::nullopt;
}

std::string SizeText(std::uint64_t bytes) {
  for (const SizeUnit& unit : kSizeUnits) {
    if (bytes >= unit.bytes && bytes % unit.bytes == 0) {
      return fmt::format("{}{}", bytes / unit.bytes, unit.name);
    }
  }
  return "0B";
}

std::string MillisecondsText(std::uint64_t milliseconds) {
  if (milliseconds == 0) return "0s";
  return absl::FormatDuration(absl::Milliseconds(static_cast<std::int64_t>(milliseconds)));
}

/// Negative and endless durations have no value; a bare 0 has no unit.
std::optional<std::uint64_t> ParseMilliseconds(std::string_view text) {
  absl::Duration duration;
  if (text == "0" || !absl::ParseDuration(std::string(text), &duration)) return std::nullopt;
  if (duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) return std::nullopt;
  return static_cast<std::uint64_t>(absl::ToInt64Milliseconds(duration));
}

absl::Status Expected(std::string_view what, std::string_view text) {
  return absl::InvalidArgumentError(fmt::format("\"{}\" is not {}", text, what));
}

constexpr std::string_view kFormatNames[] = {"text", "json"};
constexpr std::string_view kLevelNames[] = {"trace", "debug", "info", "warning", "error"};

template <class Enum>
absl::Status SetChoice(std::span<const std::string_view> names, std::string_view text, Enum* out) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) {
    return Expected(fmt::format("one of {}", fmt::join(names, ", ")), text);
  }
  *out = static_cast<Enum>(found - names.begin());
  return absl::OkStatus();
}

absl::Status CheckRange(const ConfigKey& key, std::uint64_t value,
                        std::string (*text)(std::uint64_t)) {
  if (value >= key.least && value <= key.most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} is not between {} and {}", text(value), text(key.least), text(key.most)));
}

std::string CountText(std::uint64_t count) { return fmt::format("{}", count); }

/// Sets one slot; there is one overload for each type that a ConfigSlot can point at.
struct Setter {
  const ConfigKey& key;
  std::string_view text;

  absl::Status operator()(std::string* out) const {
    *out = text;
    return absl::OkStatus();
  }
  absl::Status operator()(bool* out) const {
    if (text != "true" && text != "false") return Expected("true or false", text);
    *out = text == "true";
    return absl::OkStatus();
  }
  absl::Status operator()(std::uint64_t* out) const {
    const std::optional<std::uint64_t> bytes = ParseSize(text);
    if (!bytes) return Expected("a size with its unit (B, KiB, MiB, GiB, TiB)", text);
    *out = *bytes;
    return CheckRange(key, *bytes, SizeText);
  }
  absl::Status operator()(std::optional<std::uint64_t>* out) const {
    if (!text.empty()) return (*this)(&out->emplace());
    out->reset();
    return absl::OkStatus();
  }
  absl::Status operator()(std::uint32_t* out) const {
    const std::optional<std::uint64_t> count = ParseWhole(text);
    if (!count || *count > UINT32_MAX) return Expected("a whole number", text);
    *out = static_cast<std::uint32_t>(*count);
    return CheckRange(key, *count, CountText);
  }
  absl::Status operator()(std::chrono::milliseconds* out) const {
    const std::optional<std::uint64_t> milliseconds = ParseMilliseconds(text);
    if (!milliseconds) return Expected("a duration with its unit (ms, s, m, h)", text);
    *out = std::chrono::milliseconds(*milliseconds);
    return CheckRange(key, *milliseconds, MillisecondsText);
  }
  absl::Status operator()(LogFormat* out) const { return SetChoice(kFormatNames, text, out); }
  absl::Status operator()(LogLevel* out) const { return SetChoice(kLevelNames, text, out); }
};

struct Printer {
  std::string operator()(const std::string* value) const { return *value; }
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::uint64_t* value) const { return SizeText(*value); }
  std::string operator()(const std::optional<std::uint64_t>* value) const {
    return *value ? SizeText(**value) : "";
  }
  std::string operator()(const std::uint32_t* value) const { return CountText(*value); }
  std::string operator()(const std::chrono::milliseconds* value) const {
    return MillisecondsText(static_cast<std::uint64_t>(value->count()));
  }
  std::string operator()(const LogFormat* value) const {
    return std::string(kFormatNames[static_cast<std::size_t>(*value)]);
  }
  std::string operator()(const LogLevel* value) const {
    return std::string(kLevelNames[static_cast<std::size_t>(*value)]);
  }
};

struct RangePrinter {
  const ConfigKey& key;

  std::string operator()(std::uint64_t*) const { return Text(SizeText); }
  std::string operator()(std::optional<std::uint64_t>*) const { return Text(SizeText); }
  std::string operator()(std::uint32_t*) const { return Text(CountText); }
  std::string operator()(std::chrono::milliseconds*) const { return Text(MillisecondsText); }
  template <class Other>
  std::string operator()(Other*) const {
    return "";
  }
  std::string Text(std::string (*text)(std::uint64_t)) const {
    return fmt::format(" ({} to {})", text(key.least), text(key.most));
  }
};

/// Insertions, deletions and replacements between two words (Levenshtein).
std::size_t EditDistance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  for (std::size_t j = 0; j <= to.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= from.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[to.size()];
}

}  // namespace

std::span<const ConfigKey> ConfigKeys() { return kKeys; }

std::string ConfigPath(const ConfigKey& key) {
  return key.section.empty() ? std::string(key.name) : fmt::format("{}.{}", key.section, key.name);
}

std::string ConfigVariable(const ConfigKey& key) {
  const std::string path = ConfigPath(key);
  return absl::AsciiStrToUpper("MQD_" + absl::StrReplaceAll(path, {{".", "_"}}));
}

ConfigType TypeOf(const ConfigKey& key) {
  Config config;
  const ConfigSlot slot = key.slot(config);
  if (std::holds_alternative<bool*>(slot)) return ConfigType::kBoolean;
  if (std::holds_alternative<std::uint32_t*>(slot)) return ConfigType::kInteger;
  return ConfigType::kString;
}

absl::Status SetConfigValue(const ConfigKey& key, std::string_view text, Config& config) {
  return std::visit(Setter{key, text}, key.slot(config));
}

std::string ConfigValueText(const ConfigKey& key, const Config& config) {
  Config copy = config;
  return std::visit(Printer{}, key.slot(copy));
}

std::string ConfigRangeText(const ConfigKey& key) {
  Config config;
  return std::visit(RangePrinter{key}, key.slot(config));
}

std::string_view ClosestName(std::string_view name, std::span<const std::string> known) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = EditDistance(name, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace mqd::server
