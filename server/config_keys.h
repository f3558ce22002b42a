#pragma once

// config_keys.h: the table of configuration keys: name, type, range, default and meaning in one
// place, so that the file, the environment, the check and the reference cannot differ.
//
// Threads: constants and pure functions.

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"
#include "server/config.h"
#include "server/log.h"

namespace mqd::server {

/// Points at the member of a Config that a key sets. Bytes are std::uint64_t, counts std::uint32_t.
/// An optional has no value until it is set, and the empty text takes it away again.
using ConfigSlot = std::variant<std::string*, bool*, std::uint64_t*, std::optional<std::uint64_t>*,
                                std::uint32_t*, std::chrono::milliseconds*, LogFormat*, LogLevel*>;

struct ConfigKey {
  std::string_view section;  // empty: before the first section
  std::string_view name;
  ConfigSlot (*slot)(Config& config);
  std::uint64_t least = 0;  // in bytes, milliseconds or as a count
  std::uint64_t most = 0;
  bool reloadable = false;
  std::string_view flag = "";  // empty: none
  std::string_view meaning = "";
};

std::span<const ConfigKey> ConfigKeys();

/// "grpc.listen".
std::string ConfigPath(const ConfigKey& key);

/// "MQD_GRPC_LISTEN".
std::string ConfigVariable(const ConfigKey& key);

/// What the file must hold for this key.
enum class ConfigType : std::uint8_t { kString, kBoolean, kInteger };
ConfigType TypeOf(const ConfigKey& key);

/// Sets the key in `config` from `text`. The error says what was expected, and not where it stood.
absl::Status SetConfigValue(const ConfigKey& key, std::string_view text, Config& config);

/// The value of the key in `config`, as SetConfigValue() takes it.
std::string ConfigValueText(const ConfigKey& key, const Config& config);

/// " (1KiB to 16MiB)", or nothing for a key without a range.
std::string ConfigRangeText(const ConfigKey& key);

/// Of `known`, the one that `name` was likely meant to be; empty when none is near.
std::string_view ClosestName(std::string_view name, std::span<const std::string> known);

}  // namespace mqd::server
