#pragma once

// config.h: the settings of one mqd process, read and checked once.
//
// Each key is taken from the first of these that has it: command-line flag, environment variable,
// file, default. A key nobody knows, a size or duration without its unit and a value out of range
// are errors; all of them are reported, each with where it stands. The keys are a table
// (config_keys.h), from which the reference in README.md is printed.
//
// Threads: plain values and pure functions. Limits: a file up to kConfigFileBytesMax.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/limits.h"
#include "server/log.h"

namespace mqd::server {

inline constexpr std::size_t kConfigFileBytesMax = 1 * limits::kMiB;

struct GrpcConfig {
  std::string listen = "127.0.0.1:6480";
  bool insecure = false;  // may listen beyond loopback, without TLS
  std::uint64_t max_payload_bytes = limits::kPayloadBytesDefault;
  bool reflection = true;
  bool operator==(const GrpcConfig&) const = default;
};

struct HttpConfig {
  std::string listen = "127.0.0.1:6481";  // "off" for none
  bool insecure = false;                  // may listen beyond loopback
  bool operator==(const HttpConfig&) const = default;
};

struct StorageConfig {
  std::uint64_t cache_bytes = 256 * limits::kMiB;
  std::chrono::milliseconds sync_interval{100};
  std::optional<std::uint64_t> disk_low_watermark;  // not set: by the size of the volume
  bool operator==(const StorageConfig&) const = default;
};

struct LimitsConfig {
  std::uint32_t max_queues = limits::kQueuesDefault;
  bool operator==(const LimitsConfig&) const = default;
};

struct LogConfig {
  LogFormat format = LogFormat::kText;
  LogLevel level = LogLevel::kInfo;
  bool operator==(const LogConfig&) const = default;
};

struct Config {
  std::string data_dir;
  std::string node_name;  // the host's name when not set
  std::chrono::milliseconds shutdown_grace = std::chrono::seconds(25);
  GrpcConfig grpc;
  HttpConfig http;
  StorageConfig storage;
  LimitsConfig limits;
  LogConfig log;
  bool operator==(const Config&) const = default;
};

/// Where values come from. Flags are by key ("grpc.listen"), environment variables by name
/// ("MQD_GRPC_LISTEN").
struct ConfigSources {
  std::string file;  // path of a TOML file; empty for none
  std::map<std::string, std::string> environment;
  std::map<std::string, std::string> flags;
};

/// The configuration, or kInvalidArgument with one line an error. The file is read again by every
/// call.
absl::StatusOr<Config> LoadConfig(const ConfigSources& sources);

/// The variables of this process that begin with MQD_.
std::map<std::string, std::string> ConfigEnvironment();

struct ConfigChange {
  std::string key;
  bool reloadable = false;
};

/// The keys in which `after` differs from `before`, in the order of the reference.
std::vector<ConfigChange> DiffConfig(const Config& before, const Config& after);

/// `running` with the reloadable keys of `wanted`.
Config ApplyReloadable(const Config& running, const Config& wanted);

/// The reference of all keys, as a Markdown table.
std::string ConfigReference();

struct ListenAddress {
  std::string host;  // empty: every interface
  std::uint16_t port = 0;
};

/// "127.0.0.1:6480", "[::1]:6480", "localhost:0", ":6480".
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

/// Whether only this machine can reach `host`.
bool IsLoopback(std::string_view host);

}  // namespace mqd::server
