#pragma once

// settings_table.h: the settings of a queue by name: how each is written on the command line and
// shown in JSON. The flag of a setting is its name with dashes.
//
// Threads: immutable table, pure functions.

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mqd/queue.h"

namespace mqd::mqctl {

struct SettingRow {
  std::string name;   // "max_bytes"
  std::string value;  // what a value looks like: "SIZE|unlimited"
  /// kInvalidArgument, with what was expected, for a text that is no value.
  std::function<absl::Status(QueueSettings&, const std::string&)> set;
  /// null when the setting has no value.
  std::function<nlohmann::ordered_json(const QueueSettings&)> get;
};

const std::vector<SettingRow>& SettingsTable();

/// "--max-bytes"
std::string FlagOf(const SettingRow& row);

nlohmann::ordered_json SettingsToJson(const QueueSettings& settings);

}  // namespace mqd::mqctl
