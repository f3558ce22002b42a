#include "server/config.h"

#include <arpa/inet.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "server/config_keys.h"
#include "toml++/toml.h"

namespace mqd::server {
namespace {

const ConfigKey* FindKey(std::string_view section, std::string_view name) {
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.section == section && key.name == name) return &key;
  }
  return nullptr;
}

std::set<std::string> Sections() {
  std::set<std::string> sections;
  for (const ConfigKey& key : ConfigKeys()) {
    if (!key.section.empty()) sections.emplace(key.section);
  }
  return sections;
}

std::string Suggestion(std::string_view name, std::span<const std::string> known) {
  const std::string_view closest = ClosestName(name, known);
  return closest.empty() ? "" : fmt::format("; did you mean \"{}\"?", closest);
}

/// What may stand where `name` stood: the keys of the section, or a key of this name elsewhere.
std::string KeySuggestion(std::string_view section, std::string_view name) {
  std::vector<std::string> known;
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.section == section) known.emplace_back(key.name);
  }
  if (section.empty()) std::ranges::copy(Sections(), std::back_inserter(known));
  std::string near = Suggestion(name, known);
  if (!near.empty()) return near;
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.name != name) continue;
    if (key.section.empty()) return "; it stands before the first section";
    return fmt::format("; it belongs to [{}]", key.section);
  }
  return "";
}

/// Kubernetes sets these for every Service, also one named mqd: they are not ours.
bool IsServiceVariable(const std::string& name) {
  static const std::regex pattern(".*_(SERVICE_(HOST|PORT)(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)");
  return std::regex_match(name, pattern);
}

/// Gathers values from all sources into one Config, and every error on the way.
class Loader {
 public:
  void ReadFile(const std::string& path);
  void ReadEnvironment(const std::map<std::string, std::string>& environment);
  void ReadFlags(const std::map<std::string, std::string>& flags);
  void Check();
  absl::StatusOr<Config> Finish() &&;

 private:
  void ReadSection(const std::string& path, std::string_view section, const toml::table& table);
  void ReadKey(const std::string& where, const ConfigKey& key, const toml::node& node);
  void Set(std::string_view where, const ConfigKey& key, std::string_view text);
  void CheckListen(std::string_view section, const std::string& text, bool insecure);
  void Fail(std::string_view where, std::string_view what) {
    errors_.push_back(fmt::format("{}: {}", where, what));
  }

  Config config_;
  std::vector<std::string> errors_;
};

std::string At(const std::string& path, const toml::source_region& region) {
  return fmt::format("{}:{}:{}", path, region.begin.line, region.begin.column);
}

void Loader::ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (file) {
    text.resize(kConfigFileBytesMax + 1);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) return Fail(path, "cannot be read");
  if (text.size() > kConfigFileBytesMax) return Fail(path, "is larger than 1MiB");
  try {
    ReadSection(path, "", toml::parse(text));
  } catch (const toml::parse_error& error) {
    Fail(At(path, error.source()), error.description());
  }
}

void Loader::ReadSection(const std::string& path, std::string_view section,
                         const toml::table& table) {
  const std::set<std::string> sections = Sections();
  for (const auto& [toml_key, node] : table) {
    const std::string name(toml_key.str());
    const std::string where = At(path, toml_key.source());
    if (section.empty() && sections.contains(name)) {
      if (const toml::table* inner = node.as_table()) {
        ReadSection(path, name, *inner);
      } else {
        Fail(where, fmt::format("{0} is a section: write [{0}] and its keys below", name));
      }
    } else if (const ConfigKey* key = FindKey(section, name)) {
      ReadKey(where, *key, node);
    } else {
      const std::string path_of_key = section.empty() ? name : fmt::format("{}.{}", section, name);
      Fail(where, fmt::format("{}: unknown key{}", path_of_key, KeySuggestion(section, name)));
    }
  }
}

void Loader::ReadKey(const std::string& where, const ConfigKey& key, const toml::node& node) {
  const std::string spot = fmt::format("{}: {}", where, ConfigPath(key));
  switch (TypeOf(key)) {
    case ConfigType::kBoolean:
      if (const auto value = node.value_exact<bool>())
        return Set(spot, key, *value ? "true" : "false");
      return Fail(spot, "expected true or false, without quotes");
    case ConfigType::kInteger:
      if (const auto value = node.value_exact<std::int64_t>())
        return Set(spot, key, std::to_string(*value));
      return Fail(spot, "expected a whole number, without quotes");
    case ConfigType::kString:
      if (const auto value = node.value_exact<std::string>()) return Set(spot, key, *value);
      return Fail(spot, fmt::format("expected a string in quotes, like \"{}\"",
                                    ConfigValueText(key, Config{})));
  }
}

void Loader::Set(std::string_view where, const ConfigKey& key, std::string_view text) {
  const absl::Status status = SetConfigValue(key, text, config_);
  if (!status.ok()) Fail(where, std::string(status.message()));
}

void Loader::ReadEnvironment(const std::map<std::string, std::string>& environment) {
  std::vector<std::string> known;
  for (const ConfigKey& key : ConfigKeys()) {
    known.push_back(ConfigVariable(key));
    const auto found = environment.find(known.back());
    if (found != environment.end()) Set(found->first, key, found->second);
  }
  for (const auto& [name, value] : environment) {
    if (std::ranges::find(known, name) != known.end() || IsServiceVariable(name)) continue;
    const bool ours = std::ranges::any_of(known, [&name = name](const std::string& variable) {
      return name.starts_with(variable.substr(0, variable.find('_', 4) + 1));
    });
    if (ours) Fail(name, "unknown variable" + Suggestion(name, known));
  }
}

void Loader::ReadFlags(const std::map<std::string, std::string>& flags) {
  for (const ConfigKey& key : ConfigKeys()) {
    const auto found = flags.find(ConfigPath(key));
    if (found != flags.end()) Set(key.flag, key, found->second);
  }
}

void Loader::CheckListen(std::string_view section, const std::string& text, bool insecure) {
  const std::string where = fmt::format("{}.listen", section);
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) return Fail(where, std::string(address.status().message()));
  if (insecure || IsLoopback(address->host)) return;
  Fail(where, fmt::format("{} can be reached from other machines, and there is no TLS and no "
                          "authentication. Listen on 127.0.0.1, or say that this is wanted with "
                          "--insecure-listen or insecure = true in [{}]",
                          text, section));
}

void Loader::Check() {
  if (config_.data_dir.empty()) {
    Fail("data_dir", "not set: give --data DIR, MQD_DATA_DIR or data_dir in the file");
  }
  if (config_.node_name.empty()) {
    char host[HOST_NAME_MAX + 1] = {};
    config_.node_name = gethostname(host, sizeof(host) - 1) == 0 ? host : "mqd";
  }
  static const std::regex name_pattern(limits::kNamePattern);
  if (!std::regex_match(config_.node_name, name_pattern)) {
    Fail("node_name", fmt::format("must match {}", limits::kNamePattern));
  }
  CheckListen("grpc", config_.grpc.listen, config_.grpc.insecure);
  if (config_.http.listen != "off") {
    CheckListen("http", config_.http.listen, config_.http.insecure);
  }
}

absl::StatusOr<Config> Loader::Finish() && {
  if (errors_.empty()) return std::move(config_);
  return absl::InvalidArgumentError(absl::StrJoin(errors_, "\n"));
}

std::string Code(std::string_view text) { return text.empty() ? "" : fmt::format("`{}`", text); }

}  // namespace

absl::StatusOr<Config> LoadConfig(const ConfigSources& sources) {
  Loader loader;
  if (!sources.file.empty()) loader.ReadFile(sources.file);
  loader.ReadEnvironment(sources.environment);
  loader.ReadFlags(sources.flags);
  loader.Check();
  return std::move(loader).Finish();
}

std::map<std::string, std::string> ConfigEnvironment() {
  std::map<std::string, std::string> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(*entry, absl::MaxSplits('=', 1));
    if (pair.first.starts_with("MQD_")) found.insert(pair);
  }
  return found;
}

std::vector<ConfigChange> DiffConfig(const Config& before, const Config& after) {
  std::vector<ConfigChange> changes;
  for (const ConfigKey& key : ConfigKeys()) {
    if (ConfigValueText(key, before) != ConfigValueText(key, after)) {
      changes.push_back({ConfigPath(key), key.reloadable});
    }
  }
  return changes;
}

Config ApplyReloadable(const Config& running, const Config& wanted) {
  Config result = running;
  for (const ConfigKey& key : ConfigKeys()) {
    if (!key.reloadable) continue;
    // Both values have passed the check of this key, so the text of one is taken by the other.
    SetConfigValue(key, ConfigValueText(key, wanted), result).IgnoreError();
  }
  return result;
}

std::string ConfigReference() {
  std::string text = "| key | flag | environment | default | meaning |\n|---|---|---|---|---|\n";
  for (const ConfigKey& key : ConfigKeys()) {
    const std::string value = ConfigValueText(key, Config{});
    text += fmt::format("| `{}` | {} | `{}` | {} | {}{}{} |\n", ConfigPath(key), Code(key.flag),
                        ConfigVariable(key), Code(value), key.meaning, ConfigRangeText(key),
                        key.reloadable ? " Reloadable." : "");
  }
  return text;
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  // Host: a name, an IPv4 address, an IPv6 address in brackets, or nothing.
  static const std::regex pattern(R"((?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):([0-9]{1,5}))");
  std::match_results<std::string_view::const_iterator> parts;
  if (!std::regex_match(text.begin(), text.end(), parts, pattern) ||
      std::stoul(parts.str(3)) > UINT16_MAX) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not HOST:PORT, like 127.0.0.1:6480 or [::1]:6480", text));
  }
  return ListenAddress{.host = parts[1].matched ? parts.str(1) : parts.str(2),
                       .port = static_cast<std::uint16_t>(std::stoul(parts.str(3)))};
}

bool IsLoopback(std::string_view host) {
  if (host == "localhost") return true;
  const std::string name(host);
  in_addr four{};
  if (inet_pton(AF_INET, name.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
  in6_addr six{};
  return inet_pton(AF_INET6, name.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

}  // namespace mqd::server
