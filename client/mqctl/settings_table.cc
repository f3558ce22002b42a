#include "client/mqctl/settings_table.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/match.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

absl::Status Bad(const std::string& text, const std::string& expected) {
  return absl::InvalidArgumentError("\"" + text + "\": expected " + expected);
}

template <class Number>
std::optional<Number> ToNumber(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return number;
}

SettingRow Count(std::string name, std::optional<Limit> QueueSettings::*field) {
  return {std::move(name), "N|unlimited",
          [field](QueueSettings& settings, const std::string& text) {
            const auto number = ToNumber<std::uint64_t>(text);
            if (text == "unlimited") {
              settings.*field = Limit::Unlimited();
            } else if (number) {
              settings.*field = Limit::Of(*number);
            } else {
              return Bad(text, "a number, or unlimited");
            }
            return absl::OkStatus();
          },
          [field](const QueueSettings& settings) -> Json {
            if (!(settings.*field)) return nullptr;
            if ((settings.*field)->unlimited) return "unlimited";
            return (settings.*field)->value;
          }};
}

SettingRow Size(std::string name, std::optional<Limit> QueueSettings::*field) {
  return {std::move(name), "SIZE|unlimited",
          [field](QueueSettings& settings, const std::string& text) -> absl::Status {
            if (text == "unlimited") {
              settings.*field = Limit::Unlimited();
              return absl::OkStatus();
            }
            const auto size = ParseSize(text);
            if (size.ok()) settings.*field = Limit::Of(*size);
            return size.status();
          },
          [field](const QueueSettings& settings) -> Json {
            if (!(settings.*field)) return nullptr;
            if ((settings.*field)->unlimited) return "unlimited";
            return FormatSize((settings.*field)->value);
          }};
}

SettingRow Duration(std::string name, std::optional<milliseconds> QueueSettings::*field) {
  return {std::move(name), "TIME",
          [field](QueueSettings& settings, const std::string& text) -> absl::Status {
            const auto duration = ParseDuration(text);
            if (duration.ok()) settings.*field = *duration;
            return duration.status();
          },
          [field](const QueueSettings& settings) -> Json {
            if (!(settings.*field)) return nullptr;
            return FormatDuration(*(settings.*field));
          }};
}

/// A duration of which 0 is "none".
SettingRow DurationOrNone(std::string name, std::optional<milliseconds> QueueSettings::*field) {
  SettingRow row = Duration(std::move(name), field);
  row.value = "TIME|none";
  row.set = [field, set = row.set](QueueSettings& settings, const std::string& text) {
    if (text != "none") return set(settings, text);
    settings.*field = milliseconds(0);
    return absl::OkStatus();
  };
  row.get = [field, get = row.get](const QueueSettings& settings) -> Json {
    return settings.*field == milliseconds(0) ? Json("none") : get(settings);
  };
  return row;
}

/// `names` are those of the values from 1 on.
template <class Enum>
SettingRow Choice(std::string name, std::optional<Enum> QueueSettings::*field,
                  std::vector<std::string> names) {
  std::string value;
  for (const std::string& one : names) value += (value.empty() ? "" : "|") + one;
  return {std::move(name), value,
          [field, names, value](QueueSettings& settings, const std::string& text) {
            const auto found = std::find_if(
                names.begin(), names.end(),
                [&text](const std::string& one) { return absl::EqualsIgnoreCase(one, text); });
            if (found == names.end()) return Bad(text, value);
            settings.*field = static_cast<Enum>(found - names.begin() + 1);
            return absl::OkStatus();
          },
          [field, names](const QueueSettings& settings) -> Json {
            if (!(settings.*field)) return nullptr;
            const auto at = static_cast<std::size_t>(*(settings.*field)) - 1;
            return at < names.size() ? Json(names[at]) : Json(at + 1);
          }};
}

SettingRow Flag(std::string name, std::optional<bool> QueueSettings::*field) {
  return {std::move(name), "true|false",
          [field](QueueSettings& settings, const std::string& text) {
            if (text != "true" && text != "false") return Bad(text, "true or false");
            settings.*field = text == "true";
            return absl::OkStatus();
          },
          [field](const QueueSettings& settings) -> Json {
            return settings.*field ? Json(*(settings.*field)) : Json(nullptr);
          }};
}

SettingRow BackoffTime(std::string name, std::optional<milliseconds> RetryBackoff::*field) {
  return {std::move(name), "TIME",
          [field](QueueSettings& settings, const std::string& text) -> absl::Status {
            const auto duration = ParseDuration(text);
            if (!duration.ok()) return duration.status();
            if (!settings.retry_backoff) settings.retry_backoff.emplace();
            (*settings.retry_backoff).*field = *duration;
            return absl::OkStatus();
          },
          [field](const QueueSettings& settings) -> Json {
            if (!settings.retry_backoff || !((*settings.retry_backoff).*field)) return nullptr;
            return FormatDuration(*((*settings.retry_backoff).*field));
          }};
}

SettingRow BackoffNumber(std::string name, std::optional<double> RetryBackoff::*field) {
  return {std::move(name), "X",
          [field](QueueSettings& settings, const std::string& text) -> absl::Status {
            const auto number = ToNumber<double>(text);
            if (!number) return Bad(text, "a number");
            if (!settings.retry_backoff) settings.retry_backoff.emplace();
            (*settings.retry_backoff).*field = *number;
            return absl::OkStatus();
          },
          [field](const QueueSettings& settings) -> Json {
            if (!settings.retry_backoff || !((*settings.retry_backoff).*field)) return nullptr;
            return *((*settings.retry_backoff).*field);
          }};
}

SettingRow Number(std::string name, std::optional<std::uint32_t> QueueSettings::*field) {
  return {std::move(name), "N",
          [field](QueueSettings& settings, const std::string& text) {
            const auto number = ToNumber<std::uint32_t>(text);
            if (!number) return Bad(text, "a number");
            settings.*field = *number;
            return absl::OkStatus();
          },
          [field](const QueueSettings& settings) -> Json {
            return settings.*field ? Json(*(settings.*field)) : Json(nullptr);
          }};
}

SettingRow DeadLetterQueue() {
  return {"dead_letter_queue", "QUEUE",
          [](QueueSettings& settings, const std::string& text) {
            settings.dead_letter_queue = text;
            return absl::OkStatus();
          },
          [](const QueueSettings& settings) -> Json {
            return settings.dead_letter_queue ? Json(*settings.dead_letter_queue) : Json(nullptr);
          }};
}

}  // namespace

const std::vector<SettingRow>& SettingsTable() {
  using S = QueueSettings;
  using B = RetryBackoff;
  static const std::vector<SettingRow> table = {
      Count("max_messages", &S::max_messages),
      Size("max_bytes", &S::max_bytes),
      Choice("overflow_policy", &S::overflow_policy,
             {"reject", "block", "drop_oldest", "drop_newest", "dead_letter", "throttle"}),
      Choice("durability", &S::durability, {"sync", "async", "memory"}),
      Choice("delivery", &S::delivery, {"at_least_once", "at_most_once"}),
      Duration("lease_duration", &S::lease_duration),
      Number("max_attempts", &S::max_attempts),
      BackoffTime("retry_backoff_initial", &B::initial),
      BackoffNumber("retry_backoff_multiplier", &B::multiplier),
      BackoffTime("retry_backoff_max", &B::max),
      BackoffNumber("retry_backoff_jitter", &B::jitter),
      DeadLetterQueue(),
      DurationOrNone("default_ttl", &S::default_ttl),
      Flag("expired_to_dead_letter", &S::expired_to_dead_letter),
      Duration("dedup_window", &S::dedup_window),
      Count("dedup_max_entries", &S::dedup_max_entries),
      Choice("dedup_full_policy", &S::dedup_full_policy, {"reject", "evict_oldest"}),
      Choice("dispatch_policy", &S::dispatch_policy,
             {"least_loaded", "round_robin", "random", "sticky"}),
      Choice("ordering", &S::ordering, {"fifo", "keyed"}),
      Count("max_producers", &S::max_producers),
      Count("max_consumers", &S::max_consumers),
      Flag("single_active", &S::single_active),
      Choice("paused", &S::paused, {"none", "publish", "consume", "both"}),
      DurationOrNone("expires_after_idle", &S::expires_after_idle),
      Count("max_publish_rate", &S::max_publish_rate),
      Choice("kind", &S::kind, {"work", "log"}),
      Count("max_delivery_rate", &S::max_delivery_rate),
      Number("history_entries", &S::history_entries),
      Duration("ageing_floor", &S::ageing_floor),
  };
  return table;
}

std::string FlagOf(const SettingRow& row) {
  std::string flag = "--" + row.name;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

nlohmann::ordered_json SettingsToJson(const QueueSettings& settings) {
  Json out = Json::object();
  for (const SettingRow& row : SettingsTable()) {
    Json value = row.get(settings);
    if (!value.is_null()) out[row.name] = std::move(value);
  }
  return out;
}

}  // namespace mqd::mqctl
