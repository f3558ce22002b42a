#include "server/rpc/settings_convert.h"

#include <chrono>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/rpc/limit_convert.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

static_assert(static_cast<int>(queue::OverflowPolicy::kThrottle) == v1::OverflowPolicy_MAX);
static_assert(static_cast<int>(queue::Durability::kMemory) == v1::Durability_MAX);
static_assert(static_cast<int>(queue::DeliveryMode::kAtMostOnce) == v1::DeliveryMode_MAX);
static_assert(static_cast<int>(queue::DedupFullPolicy::kEvictOldest) == v1::DedupFullPolicy_MAX);
static_assert(static_cast<int>(queue::DispatchPolicy::kSticky) == v1::DispatchPolicy_MAX);
static_assert(static_cast<int>(queue::Ordering::kKeyed) == v1::Ordering_MAX);
static_assert(static_cast<int>(queue::Paused::kBoth) == v1::Paused_MAX);
static_assert(static_cast<int>(queue::QueueKind::kLog) == v1::QueueKind_MAX);
static_assert(static_cast<int>(queue::MessageStatus::kSettled) == v1::MessageStatus_MAX);

/// Reads the fields of one QueueSettings; keeps the first thing that is wrong.
class SettingsReader {
 public:
  absl::Status status() const { return status_; }

  void Read(bool present, const v1::Limit& from, const char* field, std::uint64_t& to) {
    if (!present) return;
    if (from.kind_case() == v1::Limit::kValue) {
      to = from.value();
      if (to == queue::kUnlimited) Fail(field, "too large; say unlimited if you mean it");
    } else if (from.kind_case() == v1::Limit::kUnlimited && from.unlimited()) {
      to = queue::kUnlimited;
    } else {
      Fail(field, "give a value, or unlimited: true");
    }
  }

  void Read(bool present, const google::protobuf::Duration& from, const char* field,
            std::chrono::milliseconds& to) {
    if (!present) return;
    const auto value = FromDuration(from, field, std::chrono::milliseconds(0),
                                    std::chrono::milliseconds(INT64_MAX));
    if (value.ok()) {
      to = *value;
    } else if (status_.ok()) {
      status_ = value.status();
    }
  }

  /// 0 is "not set" for every enum here.
  template <class To>
  void Read(int from, int highest, const char* field, To& to) {
    if (from == 0) return;
    if (from < 0 || from > highest) return Fail(field, "this version does not know that value");
    to = static_cast<To>(from);
  }

  void Read(bool present, double from, const char* field, double& to) {
    if (!present) return;
    if (!std::isfinite(from)) return Fail(field, "must be a finite number");
    to = from;
  }

 private:
  void Fail(const char* field, const char* text) {
    if (status_.ok()) status_ = BadFieldStatus(field, text);
  }

  absl::Status status_;
};

void ReadBackoff(const v1::RetryBackoff& wire, SettingsReader& reader, queue::RetryBackoff& to) {
  reader.Read(wire.has_initial(), wire.initial(), "retry_backoff.initial", to.initial);
  reader.Read(wire.has_multiplier(), wire.multiplier(), "retry_backoff.multiplier", to.multiplier);
  reader.Read(wire.has_max(), wire.max(), "retry_backoff.max", to.max);
  reader.Read(wire.has_jitter(), wire.jitter(), "retry_backoff.jitter", to.jitter);
}

void ReadLimits(const v1::QueueSettings& wire, SettingsReader& reader, queue::QueueSettings& to) {
  reader.Read(wire.has_max_messages(), wire.max_messages(), "max_messages", to.max_messages);
  reader.Read(wire.has_max_bytes(), wire.max_bytes(), "max_bytes", to.max_bytes);
  reader.Read(wire.has_dedup_max_entries(), wire.dedup_max_entries(), "dedup_max_entries",
              to.dedup_max_entries);
  reader.Read(wire.has_max_producers(), wire.max_producers(), "max_producers", to.max_producers);
  reader.Read(wire.has_max_consumers(), wire.max_consumers(), "max_consumers", to.max_consumers);
  reader.Read(wire.has_max_publish_rate(), wire.max_publish_rate(), "max_publish_rate",
              to.max_publish_rate);
  reader.Read(wire.has_max_delivery_rate(), wire.max_delivery_rate(), "max_delivery_rate",
              to.max_delivery_rate);
}

void ReadDurations(const v1::QueueSettings& wire, SettingsReader& reader,
                   queue::QueueSettings& to) {
  reader.Read(wire.has_lease_duration(), wire.lease_duration(), "lease_duration",
              to.lease_duration);
  reader.Read(wire.has_default_ttl(), wire.default_ttl(), "default_ttl", to.default_ttl);
  reader.Read(wire.has_dedup_window(), wire.dedup_window(), "dedup_window", to.dedup_window);
  reader.Read(wire.has_expires_after_idle(), wire.expires_after_idle(), "expires_after_idle",
              to.expires_after_idle);
  reader.Read(wire.has_ageing_floor(), wire.ageing_floor(), "ageing_floor", to.ageing_floor);
  if (wire.has_retry_backoff()) ReadBackoff(wire.retry_backoff(), reader, to.retry_backoff);
}

void ReadEnums(const v1::QueueSettings& wire, SettingsReader& reader, queue::QueueSettings& to) {
  reader.Read(wire.overflow_policy(), v1::OverflowPolicy_MAX, "overflow_policy",
              to.overflow_policy);
  reader.Read(wire.durability(), v1::Durability_MAX, "durability", to.durability);
  reader.Read(wire.delivery(), v1::DeliveryMode_MAX, "delivery", to.delivery);
  reader.Read(wire.dedup_full_policy(), v1::DedupFullPolicy_MAX, "dedup_full_policy",
              to.dedup_full_policy);
  reader.Read(wire.dispatch_policy(), v1::DispatchPolicy_MAX, "dispatch_policy",
              to.dispatch_policy);
  reader.Read(wire.ordering(), v1::Ordering_MAX, "ordering", to.ordering);
  reader.Read(wire.paused(), v1::Paused_MAX, "paused", to.paused);
  reader.Read(wire.kind(), v1::QueueKind_MAX, "kind", to.kind);
}

}  // namespace

absl::StatusOr<queue::QueueSettings> ApplySettings(const v1::QueueSettings& wire,
                                                   queue::QueueSettings base) {
  SettingsReader reader;
  ReadLimits(wire, reader, base);
  ReadDurations(wire, reader, base);
  ReadEnums(wire, reader, base);
  if (wire.has_max_attempts()) base.max_attempts = wire.max_attempts();
  if (wire.has_dead_letter_queue()) base.dead_letter_queue = wire.dead_letter_queue();
  if (wire.has_expired_to_dead_letter())
    base.expired_to_dead_letter = wire.expired_to_dead_letter();
  if (wire.has_single_active()) base.single_active = wire.single_active();
  if (wire.has_history_entries()) base.history_entries = wire.history_entries();
  if (!reader.status().ok()) return reader.status();
  return base;
}

absl::StatusOr<queue::QueueSettings> ApplyMask(const v1::QueueSettings& wire,
                                               const google::protobuf::FieldMask& mask,
                                               const queue::QueueSettings& base) {
  if (mask.paths().empty()) {
    return BadFieldStatus("update_mask", "name the settings to change, such as \"max_messages\"");
  }
  const auto* type = v1::QueueSettings::descriptor();
  const auto* reflection = v1::QueueSettings::GetReflection();
  // What the queue has, on the wire; the named fields are replaced there and all of it is read
  // back.
  v1::QueueSettings merged = ToProto(base);
  const v1::QueueSettings defaults = ToProto(queue::QueueSettings{});
  for (const std::string& path : mask.paths()) {
    const auto* field = type->FindFieldByName(path);
    if (field == nullptr) {
      return BadFieldStatus("update_mask",
                            absl::StrCat("\"", path, "\" is not a setting of a queue"));
    }
    v1::QueueSettings one = reflection->HasField(wire, field) ? wire : defaults;
    std::vector<const google::protobuf::FieldDescriptor*> swapped = {field};
    reflection->SwapFields(&merged, &one, swapped);
  }
  return ApplySettings(merged, base);
}

v1::QueueSettings ToProto(const queue::QueueSettings& settings) {
  v1::QueueSettings out;
  SetLimit(settings.max_messages, *out.mutable_max_messages());
  SetLimit(settings.max_bytes, *out.mutable_max_bytes());
  out.set_overflow_policy(static_cast<v1::OverflowPolicy>(settings.overflow_policy));
  out.set_durability(static_cast<v1::Durability>(settings.durability));
  out.set_delivery(static_cast<v1::DeliveryMode>(settings.delivery));
  SetDuration(settings.lease_duration.count(), *out.mutable_lease_duration());
  out.set_max_attempts(settings.max_attempts);
  v1::RetryBackoff& backoff = *out.mutable_retry_backoff();
  SetDuration(settings.retry_backoff.initial.count(), *backoff.mutable_initial());
  backoff.set_multiplier(settings.retry_backoff.multiplier);
  SetDuration(settings.retry_backoff.max.count(), *backoff.mutable_max());
  backoff.set_jitter(settings.retry_backoff.jitter);
  out.set_dead_letter_queue(settings.dead_letter_queue);
  SetDuration(settings.default_ttl.count(), *out.mutable_default_ttl());
  out.set_expired_to_dead_letter(settings.expired_to_dead_letter);
  SetDuration(settings.dedup_window.count(), *out.mutable_dedup_window());
  SetLimit(settings.dedup_max_entries, *out.mutable_dedup_max_entries());
  out.set_dedup_full_policy(static_cast<v1::DedupFullPolicy>(settings.dedup_full_policy));
  out.set_dispatch_policy(static_cast<v1::DispatchPolicy>(settings.dispatch_policy));
  out.set_ordering(static_cast<v1::Ordering>(settings.ordering));
  SetLimit(settings.max_producers, *out.mutable_max_producers());
  SetLimit(settings.max_consumers, *out.mutable_max_consumers());
  out.set_single_active(settings.single_active);
  out.set_paused(static_cast<v1::Paused>(settings.paused));
  SetDuration(settings.expires_after_idle.count(), *out.mutable_expires_after_idle());
  SetLimit(settings.max_publish_rate, *out.mutable_max_publish_rate());
  out.set_kind(static_cast<v1::QueueKind>(settings.kind));
  SetLimit(settings.max_delivery_rate, *out.mutable_max_delivery_rate());
  out.set_history_entries(settings.history_entries);
  SetDuration(settings.ageing_floor.count(), *out.mutable_ageing_floor());
  return out;
}

v1::QueueStats ToProto(const queue::QueueStats& stats) {
  v1::QueueStats out;
  out.set_ready(stats.ready);
  out.set_in_flight(stats.in_flight);
  out.set_delayed(stats.delayed);
  out.set_parked(stats.parked);
  out.set_committing(stats.committing);
  out.set_backlog_bytes(stats.backlog_bytes);
  out.set_publishers(stats.publishers);
  out.set_consumers(stats.consumers);
  out.set_blocked_publishers(stats.blocked_publishers);
  out.set_dedup_entries(stats.dedup_entries);
  out.set_published_total(stats.published);
  out.set_duplicates_total(stats.duplicates);
  out.set_rejected_total(stats.rejected);
  out.set_delivered_total(stats.delivered);
  out.set_redelivered_total(stats.redelivered);
  out.set_acked_total(stats.acked);
  out.set_retried_total(stats.retried);
  out.set_released_total(stats.released);
  out.set_dead_lettered_total(stats.dead_lettered);
  out.set_lease_expired_total(stats.lease_expired);
  out.set_purged_total(stats.purged);
  out.set_dedup_evicted_total(stats.dedup_evicted);
  out.set_dropped_total(stats.dropped);
  out.set_expired_total(stats.expired);
  if (stats.oldest_age_ms) SetDuration(*stats.oldest_age_ms, *out.mutable_oldest_age());
  out.set_closed(stats.closed);
  out.set_diverted_total(stats.diverted);
  out.set_cancelled_total(stats.cancelled);
  out.set_recalled_total(stats.recalled);
  out.set_awaited_confirms(stats.awaited_confirms);
  out.set_dead_letter_waiting(stats.dead_letter_waiting);
  for (const std::string& alarm : stats.alarms) out.add_alarms(alarm);
  return out;
}

v1::Queue ToProto(const queue::QueueInfo& info) {
  v1::Queue out;
  out.set_name(info.name);
  *out.mutable_settings() = ToProto(info.settings);
  out.set_generation(info.generation);
  SetTimestamp(info.create_time_ms, *out.mutable_create_time());
  out.set_closed(info.closed);
  *out.mutable_stats() = ToProto(info.stats);
  return out;
}

}  // namespace mqd::rpc
