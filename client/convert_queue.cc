#include "client/convert.h"

namespace mqd::client {
namespace {

using Milliseconds = std::optional<std::chrono::milliseconds>;

void Put(const std::optional<Limit>& from, v1::Limit* (v1::QueueSettings::*field)(),
         v1::QueueSettings& to) {
  if (from) *(to.*field)() = ToProto(*from);
}

void Put(const Milliseconds& from, google::protobuf::Duration* (v1::QueueSettings::*field)(),
         v1::QueueSettings& to) {
  if (from) ToProto(*from, (to.*field)());
}

template <class Public, class Wire>
void Put(const std::optional<Public>& from, void (v1::QueueSettings::*set)(Wire),
         v1::QueueSettings& to) {
  if (from) (to.*set)(static_cast<Wire>(*from));
}

std::optional<Limit> Get(bool has, const v1::Limit& from) {
  if (!has) return std::nullopt;
  return FromProto(from);
}

Milliseconds Get(bool has, const google::protobuf::Duration& from) {
  return has ? Milliseconds(FromProto(from)) : std::nullopt;
}

template <class Public, class Wire>
std::optional<Public> GetEnum(Wire from) {
  if (static_cast<int>(from) == 0) return std::nullopt;
  return static_cast<Public>(from);
}

template <class T>
std::optional<T> GetIf(bool has, const T& from) {
  return has ? std::optional<T>(from) : std::nullopt;
}

v1::RetryBackoff ToWire(const RetryBackoff& backoff) {
  v1::RetryBackoff out;
  if (backoff.initial) ToProto(*backoff.initial, out.mutable_initial());
  if (backoff.multiplier) out.set_multiplier(*backoff.multiplier);
  if (backoff.max) ToProto(*backoff.max, out.mutable_max());
  if (backoff.jitter) out.set_jitter(*backoff.jitter);
  return out;
}

RetryBackoff FromWire(const v1::RetryBackoff& from) {
  return {.initial = Get(from.has_initial(), from.initial()),
          .multiplier = GetIf(from.has_multiplier(), from.multiplier()),
          .max = Get(from.has_max(), from.max()),
          .jitter = GetIf(from.has_jitter(), from.jitter())};
}

QueueSettings FromWire(const v1::QueueSettings& from) {
  QueueSettings to;
  to.max_messages = Get(from.has_max_messages(), from.max_messages());
  to.max_bytes = Get(from.has_max_bytes(), from.max_bytes());
  to.overflow_policy = GetEnum<OverflowPolicy>(from.overflow_policy());
  to.durability = GetEnum<Durability>(from.durability());
  to.delivery = GetEnum<DeliveryMode>(from.delivery());
  to.lease_duration = Get(from.has_lease_duration(), from.lease_duration());
  to.max_attempts = GetIf(from.has_max_attempts(), from.max_attempts());
  if (from.has_retry_backoff()) to.retry_backoff = FromWire(from.retry_backoff());
  to.dead_letter_queue = GetIf(from.has_dead_letter_queue(), from.dead_letter_queue());
  to.default_ttl = Get(from.has_default_ttl(), from.default_ttl());
  to.expired_to_dead_letter =
      GetIf(from.has_expired_to_dead_letter(), from.expired_to_dead_letter());
  to.dedup_window = Get(from.has_dedup_window(), from.dedup_window());
  to.dedup_max_entries = Get(from.has_dedup_max_entries(), from.dedup_max_entries());
  to.dedup_full_policy = GetEnum<DedupFullPolicy>(from.dedup_full_policy());
  to.dispatch_policy = GetEnum<DispatchPolicy>(from.dispatch_policy());
  to.ordering = GetEnum<Ordering>(from.ordering());
  to.max_producers = Get(from.has_max_producers(), from.max_producers());
  to.max_consumers = Get(from.has_max_consumers(), from.max_consumers());
  to.single_active = GetIf(from.has_single_active(), from.single_active());
  to.paused = GetEnum<Paused>(from.paused());
  to.expires_after_idle = Get(from.has_expires_after_idle(), from.expires_after_idle());
  to.max_publish_rate = Get(from.has_max_publish_rate(), from.max_publish_rate());
  to.kind = GetEnum<QueueKind>(from.kind());
  to.max_delivery_rate = Get(from.has_max_delivery_rate(), from.max_delivery_rate());
  to.history_entries = GetIf(from.has_history_entries(), from.history_entries());
  to.ageing_floor = Get(from.has_ageing_floor(), from.ageing_floor());
  return to;
}

BrokerLimits FromWire(const v1::Limits& from) {
  return {.max_payload_bytes = from.max_payload_bytes(),
          .max_headers = from.max_headers(),
          .max_header_bytes = from.max_header_bytes(),
          .max_key_bytes = from.max_key_bytes(),
          .max_batch_messages = from.max_batch_messages(),
          .max_batch_bytes = from.max_batch_bytes(),
          .max_priority = from.max_priority(),
          .max_delay = FromProto(from.max_delay()),
          .ping_interval = FromProto(from.ping_interval()),
          .ping_timeout = FromProto(from.ping_timeout()),
          .max_credit_messages = from.max_credit_messages(),
          .max_credit_bytes = from.max_credit_bytes(),
          .message_overhead_bytes = from.message_overhead_bytes()};
}

}  // namespace

v1::Limit ToProto(const Limit& from) {
  v1::Limit to;
  if (from.unlimited) {
    to.set_unlimited(true);
  } else {
    to.set_value(from.value);
  }
  return to;
}

Limit FromProto(const v1::Limit& from) {
  return from.unlimited() ? Limit::Unlimited() : Limit::Of(from.value());
}

v1::QueueSettings ToProto(const QueueSettings& from) {
  using S = v1::QueueSettings;
  S to;
  Put(from.max_messages, &S::mutable_max_messages, to);
  Put(from.max_bytes, &S::mutable_max_bytes, to);
  Put(from.overflow_policy, &S::set_overflow_policy, to);
  Put(from.durability, &S::set_durability, to);
  Put(from.delivery, &S::set_delivery, to);
  Put(from.lease_duration, &S::mutable_lease_duration, to);
  Put(from.max_attempts, &S::set_max_attempts, to);
  if (from.retry_backoff) *to.mutable_retry_backoff() = ToWire(*from.retry_backoff);
  if (from.dead_letter_queue) to.set_dead_letter_queue(*from.dead_letter_queue);
  Put(from.default_ttl, &S::mutable_default_ttl, to);
  Put(from.expired_to_dead_letter, &S::set_expired_to_dead_letter, to);
  Put(from.dedup_window, &S::mutable_dedup_window, to);
  Put(from.dedup_max_entries, &S::mutable_dedup_max_entries, to);
  Put(from.dedup_full_policy, &S::set_dedup_full_policy, to);
  Put(from.dispatch_policy, &S::set_dispatch_policy, to);
  Put(from.ordering, &S::set_ordering, to);
  Put(from.max_producers, &S::mutable_max_producers, to);
  Put(from.max_consumers, &S::mutable_max_consumers, to);
  Put(from.single_active, &S::set_single_active, to);
  Put(from.paused, &S::set_paused, to);
  Put(from.expires_after_idle, &S::mutable_expires_after_idle, to);
  Put(from.max_publish_rate, &S::mutable_max_publish_rate, to);
  Put(from.kind, &S::set_kind, to);
  Put(from.max_delivery_rate, &S::mutable_max_delivery_rate, to);
  Put(from.history_entries, &S::set_history_entries, to);
  Put(from.ageing_floor, &S::mutable_ageing_floor, to);
  return to;
}

QueueStats FromProto(const v1::QueueStats& from) {
  return {.ready = from.ready(),
          .in_flight = from.in_flight(),
          .delayed = from.delayed(),
          .parked = from.parked(),
          .committing = from.committing(),
          .backlog_bytes = from.backlog_bytes(),
          .publishers = from.publishers(),
          .consumers = from.consumers(),
          .blocked_publishers = from.blocked_publishers(),
          .dedup_entries = from.dedup_entries(),
          .published_total = from.published_total(),
          .duplicates_total = from.duplicates_total(),
          .rejected_total = from.rejected_total(),
          .delivered_total = from.delivered_total(),
          .redelivered_total = from.redelivered_total(),
          .acked_total = from.acked_total(),
          .retried_total = from.retried_total(),
          .released_total = from.released_total(),
          .dead_lettered_total = from.dead_lettered_total(),
          .lease_expired_total = from.lease_expired_total(),
          .purged_total = from.purged_total(),
          .dedup_evicted_total = from.dedup_evicted_total(),
          .dropped_total = from.dropped_total(),
          .expired_total = from.expired_total(),
          .oldest_age = Get(from.has_oldest_age(), from.oldest_age()),
          .closed = from.closed(),
          .diverted_total = from.diverted_total(),
          .cancelled_total = from.cancelled_total(),
          .recalled_total = from.recalled_total(),
          .awaited_confirms = from.awaited_confirms(),
          .dead_letter_waiting = from.dead_letter_waiting(),
          .alarms = {from.alarms().begin(), from.alarms().end()}};
}

Queue FromProto(const v1::Queue& from) {
  return {.name = from.name(),
          .settings = FromWire(from.settings()),
          .generation = from.generation(),
          .create_time = FromProto(from.create_time()),
          .closed = from.closed(),
          .stats = FromProto(from.stats())};
}

NodeStatus FromProto(const v1::GetNodeStatusResponse& from) {
  return {.version = from.version(),
          .node_name = from.node_name(),
          .start_time = FromProto(from.start_time()),
          .epoch = from.epoch(),
          .data_dir = from.data_dir(),
          .queues = from.queues(),
          .publish_streams = from.publish_streams(),
          .consume_streams = from.consume_streams(),
          .resident_bytes = from.resident_bytes(),
          .disk_free_bytes = from.disk_free_bytes(),
          .disk_low_watermark_bytes = from.disk_low_watermark_bytes(),
          .disk_low = from.disk_low(),
          .draining = from.draining(),
          .recovery_time = FromProto(from.recovery_time()),
          .committed_batches_total = from.committed_batches_total(),
          .fsyncs_total = from.fsyncs_total(),
          .cached_body_bytes = from.cached_body_bytes(),
          .limits = FromWire(from.limits())};
}

}  // namespace mqd::client

namespace mqd {

std::vector<std::string> QueueSettings::SetFields() const {
  std::vector<std::string> names;
  const v1::QueueSettings wire = client::ToProto(*this);
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  wire.GetReflection()->ListFields(wire, &fields);
  for (const auto* field : fields) names.push_back(field->name());
  return names;
}

}  // namespace mqd
