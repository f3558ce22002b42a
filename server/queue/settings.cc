#include "server/queue/settings.h"

#include <charconv>
#include <map>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/limits.h"
#include "server/queue/error.h"

namespace mqd::queue {
namespace {

using std::chrono::milliseconds;

/// The one list of fields: comparing, writing and reading walk it.
template <class Settings, class Visit>
void VisitFields(Settings& s, Visit&& visit) {
  visit("max_messages", s.max_messages);
  visit("max_bytes", s.max_bytes);
  visit("overflow_policy", s.overflow_policy);
  visit("durability", s.durability);
  visit("delivery", s.delivery);
  visit("lease_duration", s.lease_duration);
  visit("max_attempts", s.max_attempts);
  visit("retry_backoff.initial", s.retry_backoff.initial);
  visit("retry_backoff.multiplier", s.retry_backoff.multiplier);
  visit("retry_backoff.max", s.retry_backoff.max);
  visit("retry_backoff.jitter", s.retry_backoff.jitter);
  visit("dead_letter_queue", s.dead_letter_queue);
  visit("default_ttl", s.default_ttl);
  visit("expired_to_dead_letter", s.expired_to_dead_letter);
  visit("dedup_window", s.dedup_window);
  visit("dedup_max_entries", s.dedup_max_entries);
  visit("dedup_full_policy", s.dedup_full_policy);
  visit("dispatch_policy", s.dispatch_policy);
  visit("ordering", s.ordering);
  visit("max_producers", s.max_producers);
  visit("max_consumers", s.max_consumers);
  visit("single_active", s.single_active);
  visit("paused", s.paused);
  visit("expires_after_idle", s.expires_after_idle);
  visit("max_publish_rate", s.max_publish_rate);
  visit("max_delivery_rate", s.max_delivery_rate);
  visit("kind", s.kind);
  visit("history_entries", s.history_entries);
  visit("ageing_floor", s.ageing_floor);
}

template <class Enum>
struct EnumNames;
#define MQD_ENUM_NAMES(Enum, ...)                              \
  template <>                                                  \
  struct EnumNames<Enum> {                                     \
    static constexpr const char* kNames[] = {"", __VA_ARGS__}; \
  }
MQD_ENUM_NAMES(OverflowPolicy, "REJECT", "BLOCK", "DROP_OLDEST", "DROP_NEWEST", "DEAD_LETTER",
               "THROTTLE");
MQD_ENUM_NAMES(Durability, "SYNC", "ASYNC", "MEMORY");
MQD_ENUM_NAMES(DeliveryMode, "AT_LEAST_ONCE", "AT_MOST_ONCE");
MQD_ENUM_NAMES(DedupFullPolicy, "REJECT", "EVICT_OLDEST");
MQD_ENUM_NAMES(DispatchPolicy, "LEAST_LOADED", "ROUND_ROBIN", "RANDOM", "STICKY");
MQD_ENUM_NAMES(Ordering, "FIFO", "KEYED");
MQD_ENUM_NAMES(Paused, "NONE", "PUBLISH", "CONSUME", "BOTH");
MQD_ENUM_NAMES(QueueKind, "WORK", "LOG");
#undef MQD_ENUM_NAMES

template <class Field>
std::string Print(const Field& field) {
  if constexpr (std::is_enum_v<Field>) {
    return EnumNames<Field>::kNames[static_cast<int>(field)];
  } else if constexpr (std::is_same_v<Field, milliseconds>) {
    return absl::StrCat(field.count(), "ms");
  } else if constexpr (std::is_same_v<Field, std::string>) {
    return field;
  } else if constexpr (std::is_same_v<Field, bool>) {
    return field ? "true" : "false";
  } else if constexpr (std::is_same_v<Field, std::uint64_t>) {
    return field == kUnlimited ? "unlimited" : absl::StrCat(field);
  } else {
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, field);
    return {buffer, end.ptr};
  }
}

template <class Number>
bool ParseNumber(std::string_view text, Number& number) {
  const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
  return end.ec == std::errc() && end.ptr == text.data() + text.size();
}

template <class Field>
bool Parse(std::string_view text, Field& field) {
  if constexpr (std::is_enum_v<Field>) {
    const auto& names = EnumNames<Field>::kNames;
    for (std::size_t i = 1; i < std::size(names); ++i) {
      if (text != names[i]) continue;
      field = static_cast<Field>(i);
      return true;
    }
    return false;
  } else if constexpr (std::is_same_v<Field, milliseconds>) {
    std::int64_t count = 0;
    if (!text.ends_with("ms") || !ParseNumber(text.substr(0, text.size() - 2), count)) return false;
    field = milliseconds(count);
    return true;
  } else if constexpr (std::is_same_v<Field, std::string>) {
    field = text;
    return true;
  } else if constexpr (std::is_same_v<Field, bool>) {
    field = text == "true";
    return field || text == "false";
  } else {
    if constexpr (std::is_same_v<Field, std::uint64_t>) {
      if (text == "unlimited") {
        field = kUnlimited;
        return true;
      }
    }
    return ParseNumber(text, field);
  }
}

std::map<std::string, std::string> Printed(const QueueSettings& settings) {
  std::map<std::string, std::string> printed;
  VisitFields(settings, [&](const char* name, const auto& field) { printed[name] = Print(field); });
  return printed;
}

absl::Status BadField(std::string field, std::string text) {
  return ToStatus({.reason = Reason::kBadField,
                   .resource = absl::StrCat("field ", field),
                   .message = absl::StrCat("field ", field, ": ", text)});
}

absl::Status InRange(const char* field, milliseconds value, milliseconds least, milliseconds most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return BadField(field, absl::StrCat("must be from ", least.count(), " ms to ", most.count(),
                                      " ms, not ", value.count(), " ms"));
}

absl::Status CheckRanges(const QueueSettings& s) {
  if (auto status =
          InRange("lease_duration", s.lease_duration, limits::kLeaseMin, limits::kLeaseMax);
      !status.ok()) {
    return status;
  }
  if (auto status =
          InRange("dedup_window", s.dedup_window, limits::kDedupWindowMin, limits::kDedupWindowMax);
      !status.ok()) {
    return status;
  }
  if (auto status = InRange("retry_backoff.initial", s.retry_backoff.initial, milliseconds(0),
                            s.retry_backoff.max);
      !status.ok()) {
    return status;
  }
  if (auto status =
          InRange("retry_backoff.max", s.retry_backoff.max, milliseconds(0), limits::kDelayMax);
      !status.ok()) {
    return status;
  }
  if (!(s.retry_backoff.multiplier >= 1 && s.retry_backoff.multiplier <= 100)) {
    return BadField("retry_backoff.multiplier", "must be from 1 to 100");
  }
  if (!(s.retry_backoff.jitter >= 0 && s.retry_backoff.jitter <= 1)) {
    return BadField("retry_backoff.jitter", "must be from 0 to 1");
  }
  if (s.max_attempts < 1 || s.max_attempts > 1'000'000) {
    return BadField("max_attempts", "must be from 1 to 1000000");
  }
  if (s.max_bytes == 0) return BadField("max_bytes", "must be at least 1");
  if (s.dedup_max_entries == 0) return BadField("dedup_max_entries", "must be at least 1");
  return absl::OkStatus();
}

/// Settings that stand in the schema and that this version does not carry out.
absl::Status CheckSupported(const QueueSettings& settings) {
  QueueSettings supported = settings;
  const QueueSettings defaults;
  if (settings.max_messages == 0) {
    return BadField("max_messages",
                    "0 (a rendezvous) is not supported by this version; use 1 or more");
  }
  if (settings.overflow_policy != OverflowPolicy::kBlock) {
    supported.overflow_policy = defaults.overflow_policy;
  }
  supported.delivery = defaults.delivery;
  supported.default_ttl = defaults.default_ttl;
  supported.expired_to_dead_letter = defaults.expired_to_dead_letter;
  supported.dispatch_policy = defaults.dispatch_policy;
  supported.ordering = defaults.ordering;
  supported.max_producers = defaults.max_producers;
  supported.max_consumers = defaults.max_consumers;
  supported.single_active = defaults.single_active;
  supported.paused = defaults.paused;
  supported.expires_after_idle = defaults.expires_after_idle;
  supported.max_publish_rate = defaults.max_publish_rate;
  supported.max_delivery_rate = defaults.max_delivery_rate;
  supported.kind = defaults.kind;
  const auto want = Printed(settings);
  const auto can = Printed(supported);
  for (const auto& [name, value] : want) {
    if (value == can.at(name)) continue;
    return BadField(
        name, absl::StrCat(value, " is not supported by this version; leave it at ", can.at(name)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const QueueSettings& settings, std::string_view queue_name) {
  if (auto status = CheckRanges(settings); !status.ok()) return status;
  if (auto status = CheckSupported(settings); !status.ok()) return status;
  if (settings.dead_letter_queue.empty()) return absl::OkStatus();
  if (settings.dead_letter_queue == queue_name) {
    return BadField("dead_letter_queue", "a queue cannot be its own dead-letter queue");
  }
  const auto name_space = [](std::string_view name) { return name.substr(0, name.find('/')); };
  if (name_space(settings.dead_letter_queue) != name_space(queue_name)) {
    return BadField("dead_letter_queue", "must be in the namespace of the queue");
  }
  return absl::OkStatus();
}

std::vector<std::string> Difference(const QueueSettings& have, const QueueSettings& want) {
  const auto has = Printed(have);
  const auto wants = Printed(want);
  std::vector<std::string> difference;
  VisitFields(have, [&](const char* name, const auto&) {
    if (has.at(name) == wants.at(name)) return;
    difference.push_back(absl::StrCat(name, ": ", has.at(name), ", not ", wants.at(name)));
  });
  return difference;
}

std::string EncodeSettings(const QueueSettings& settings) {
  std::string bytes;
  VisitFields(settings, [&](const char* name, const auto& field) {
    absl::StrAppend(&bytes, name, "=", Print(field), "\n");
  });
  return bytes;
}

absl::StatusOr<QueueSettings> DecodeSettings(std::string_view bytes) {
  QueueSettings settings;
  const absl::string_view text(bytes.data(), bytes.size());
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(line, absl::MaxSplits('=', 1));
    bool known = false;
    bool parsed = false;
    VisitFields(settings, [&](const char* name, auto& field) {
      if (entry.first != name) return;
      known = true;
      parsed = Parse(entry.second, field);
    });
    if (!known) {
      return absl::FailedPreconditionError(absl::StrCat(
          "queue setting \"", entry.first, "\" is unknown: written by a newer version of mqd"));
    }
    if (!parsed) {
      return absl::DataLossError(
          absl::StrCat("queue setting \"", std::string(line), "\" is damaged"));
    }
  }
  return settings;
}

}  // namespace mqd::queue
