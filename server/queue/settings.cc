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

absl::Status BadField(std::string_view field, std::string_view text, std::uint64_t limit = 0,
                      std::uint64_t current = 0) {
  const std::string name(field);
  return ToStatus({.reason = Reason::kBadField,
                   .resource = absl::StrCat("field ", name),
                   .message = absl::StrCat("field ", name, ": ", std::string(text)),
                   .limit = limit,
                   .current = current});
}

/// Holds one field after the other against its range; keeps the first that is outside.
class RangeCheck {
 public:
  absl::Status status() const { return status_; }

  void Number(const char* field, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value >= least && value <= most) return;
    Fail(BadField(field, absl::StrCat("must be from ", least, " to ", most, ", not ", value),
                  value < least ? least : most, value));
  }

  /// `most` does not hold for "unlimited".
  void Limit(const char* field, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value == kUnlimited || (value >= least && value <= most)) return;
    Fail(BadField(field,
                  absl::StrCat("must be from ", least, " to ", most, ", or unlimited, not ", value),
                  value < least ? least : most, value));
  }

  void Duration(const char* field, milliseconds value, milliseconds least, milliseconds most) {
    if (value >= least && value <= most) return;
    const milliseconds limit = value < least ? least : most;
    Fail(BadField(field,
                  absl::StrCat("must be from ", least.count(), " ms to ", most.count(), " ms, not ",
                               value.count(), " ms"),
                  static_cast<std::uint64_t>(limit.count()),
                  static_cast<std::uint64_t>(value.count())));
  }

  void Factor(const char* field, double value, double least, double most) {
    if (value >= least && value <= most) return;  // not for NaN
    Fail(BadField(field, absl::StrCat("must be from ", least, " to ", most, ", not ", value)));
  }

 private:
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  absl::Status status_;
};

absl::Status CheckRanges(const QueueSettings& s) {
  RangeCheck check;
  check.Limit("max_messages", s.max_messages, 0, limits::kQueueMessagesMax);
  check.Limit("max_bytes", s.max_bytes, 1, limits::kQueueBytesMax);
  check.Duration("lease_duration", s.lease_duration, limits::kLeaseMin, limits::kLeaseMax);
  check.Number("max_attempts", s.max_attempts, 1, limits::kAttemptsMax);
  check.Duration("retry_backoff.max", s.retry_backoff.max, milliseconds(0), limits::kBackoffMax);
  check.Duration("retry_backoff.initial", s.retry_backoff.initial, milliseconds(0),
                 s.retry_backoff.max);
  check.Factor("retry_backoff.multiplier", s.retry_backoff.multiplier,
               limits::kBackoffMultiplierMin, limits::kBackoffMultiplierMax);
  check.Factor("retry_backoff.jitter", s.retry_backoff.jitter, 0, limits::kBackoffJitterMax);
  check.Duration("default_ttl", s.default_ttl, milliseconds(0), limits::kTtlMax);
  check.Duration("dedup_window", s.dedup_window, limits::kDedupWindowMin, limits::kDedupWindowMax);
  check.Limit("dedup_max_entries", s.dedup_max_entries, 1, limits::kDedupEntriesMax);
  check.Limit("max_producers", s.max_producers, 1, limits::kStreamsMax);
  check.Limit("max_consumers", s.max_consumers, 1, limits::kStreamsMax);
  if (s.expires_after_idle != milliseconds(0)) {
    check.Duration("expires_after_idle", s.expires_after_idle, limits::kIdleExpiryMin,
                   limits::kTtlMax);
  }
  check.Limit("max_publish_rate", s.max_publish_rate, 1, limits::kRateMax);
  check.Limit("max_delivery_rate", s.max_delivery_rate, 1, limits::kRateMax);
  check.Number("history_entries", s.history_entries, 0, limits::kHistoryEntriesMax);
  check.Duration("ageing_floor", s.ageing_floor, limits::kAgeingFloorMin, limits::kAgeingFloorMax);
  return check.status();
}

absl::Status CheckOverflow(const QueueSettings& settings) {
  switch (settings.overflow_policy) {
    case OverflowPolicy::kThrottle:
      if (settings.max_publish_rate != kUnlimited) break;
      return BadField("max_publish_rate",
                      "overflow_policy THROTTLE needs one; give the messages a second");
    case OverflowPolicy::kDeadLetter:
      if (!settings.dead_letter_queue.empty()) break;
      return BadField("dead_letter_queue",
                      "overflow_policy DEAD_LETTER needs one; name the queue that takes what this "
                      "one does not");
    case OverflowPolicy::kDropOldest:
      if (settings.max_messages != 0) break;
      return BadField("overflow_policy",
                      "DROP_OLDEST has nothing to drop in a rendezvous (max_messages 0); use "
                      "another policy, or 1 message or more");
    case OverflowPolicy::kReject:
    case OverflowPolicy::kBlock:
    case OverflowPolicy::kDropNewest:
      break;
  }
  return absl::OkStatus();
}

absl::Status CheckDeadLetterQueue(const QueueSettings& settings, std::string_view queue_name) {
  if (settings.dead_letter_queue.empty()) return absl::OkStatus();
  if (settings.dead_letter_queue == queue_name) {
    return BadField("dead_letter_queue",
                    "a queue cannot be its own dead-letter queue; name another one");
  }
  const auto name_space = [](std::string_view name) { return name.substr(0, name.find('/')); };
  if (name_space(settings.dead_letter_queue) != name_space(queue_name)) {
    return BadField("dead_letter_queue", "must be in the namespace of the queue");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const QueueSettings& settings, std::string_view queue_name) {
  if (settings.kind == QueueKind::kLog) {
    return BadField("kind", "LOG is not supported by this version; leave it at WORK");
  }
  if (auto status = CheckRanges(settings); !status.ok()) return status;
  if (auto status = CheckOverflow(settings); !status.ok()) return status;
  return CheckDeadLetterQueue(settings, queue_name);
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
