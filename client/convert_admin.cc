#include "client/convert.h"
#include "client/status_map.h"

namespace mqd::client {
namespace {

/// The part of a generated enum value's name after its prefix; `prefix` and number when unknown.
template <class Enum>
std::string NameOf(bool known, const std::string& name, Enum number, const std::string& prefix) {
  if (!known) return prefix + std::to_string(static_cast<int>(number));
  return name.substr(prefix.size());
}

PublisherInfo FromWire(const v1::PublisherInfo& from) {
  return {.publisher_id = from.publisher_id(),
          .client_name = from.client_name(),
          .since = FromProto(from.since()),
          .waiting = from.waiting()};
}

ConsumerInfo FromWire(const v1::ConsumerInfo& from) {
  return {.consumer_id = from.consumer_id(),
          .client_name = from.client_name(),
          .since = FromProto(from.since()),
          .in_flight = from.in_flight(),
          .credit_messages = from.credit_messages(),
          .credit_bytes = from.credit_bytes(),
          .delivered_total = from.delivered_total(),
          .acked_total = from.acked_total(),
          .draining = from.draining(),
          .standby = from.standby(),
          .select = from.select()};
}

RedriveFilter FromWire(const v1::RedriveFilter& from) {
  return {
      .origin = from.origin(),
      .reason_contains = from.reason_contains(),
      .dead_lettered_before = TimeIf(from.has_dead_lettered_before(), from.dead_lettered_before()),
      .dead_lettered_after = TimeIf(from.has_dead_lettered_after(), from.dead_lettered_after()),
      .max_messages = from.max_messages()};
}

std::optional<Limit> LimitIf(bool has, const v1::Limit& from) {
  return has ? std::optional<Limit>(FromProto(from)) : std::nullopt;
}

}  // namespace

PeekedMessage FromProto(const v1::PeekedMessage& from) {
  PeekedMessage to;
  to.sequence = from.sequence();
  to.status = static_cast<MessageStatus>(from.status());
  to.attempts = from.attempts();
  to.publish_time = FromProto(from.publish_time());
  to.deliver_at = TimeIf(from.has_deliver_at(), from.deliver_at());
  to.message = FromProto(from.message());
  to.delivery_id = from.delivery_id();
  to.last_error = from.last_error();
  for (const v1::AttemptNote& note : from.notes()) to.notes.push_back(FromProto(note));
  if (from.has_dead_letter()) to.dead_letter = FromProto(from.dead_letter());
  return to;
}

Explanation FromProto(const v1::Explanation& from) {
  return {.cause = static_cast<Cause>(from.cause()),
          .text = from.text(),
          .resource = from.resource(),
          .delivery_id = from.delivery_id(),
          .sequence = from.sequence(),
          .since = TimeIf(from.has_since(), from.since()),
          .until = TimeIf(from.has_until(), from.until()),
          .limit = from.limit(),
          .current = from.current()};
}

HistoryEntry FromProto(const v1::HistoryEntry& from) {
  return {.first_sequence = from.first_sequence(),
          .last_sequence = from.last_sequence(),
          .time = FromProto(from.time()),
          .transition = static_cast<Transition>(from.transition()),
          .attempt = from.attempt(),
          .client_name = from.client_name(),
          .text = from.text()};
}

QueueClients FromProto(const v1::ListClientsResponse& from) {
  QueueClients to;
  for (const v1::PublisherInfo& one : from.publishers()) to.publishers.push_back(FromWire(one));
  for (const v1::ConsumerInfo& one : from.consumers()) to.consumers.push_back(FromWire(one));
  return to;
}

Redrive FromProto(const v1::Redrive& from) {
  Redrive to;
  to.task_id = from.task_id();
  to.queue = from.queue();
  to.options.target = from.target();
  to.options.filter = FromWire(from.filter());
  to.options.max_rate = LimitIf(from.has_max_rate(), from.max_rate());
  to.options.dry_run = from.dry_run();
  to.state = static_cast<RedriveState>(from.state());
  to.matched = from.matched();
  to.moved = from.moved();
  to.skipped = from.skipped();
  to.start_time = FromProto(from.start_time());
  to.end_time = TimeIf(from.has_end_time(), from.end_time());
  if (from.has_error()) to.error = StatusOf(from.error());
  return to;
}

void ToProto(const RedriveFilter& from, v1::RedriveFilter* to) {
  to->set_origin(from.origin);
  to->set_reason_contains(from.reason_contains);
  if (from.dead_lettered_before) {
    ToProto(*from.dead_lettered_before, to->mutable_dead_lettered_before());
  }
  if (from.dead_lettered_after) {
    ToProto(*from.dead_lettered_after, to->mutable_dead_lettered_after());
  }
  to->set_max_messages(from.max_messages);
}

Namespace FromProto(const v1::Namespace& from) {
  const v1::NamespaceQuotas& quotas = from.quotas();
  return {.name = from.name(),
          .quotas = {.max_queues = LimitIf(quotas.has_max_queues(), quotas.max_queues()),
                     .max_messages = LimitIf(quotas.has_max_messages(), quotas.max_messages()),
                     .max_bytes = LimitIf(quotas.has_max_bytes(), quotas.max_bytes())},
          .create_time = TimeIf(from.has_create_time(), from.create_time()),
          .queues = from.queues(),
          .messages = from.messages(),
          .bytes = from.bytes()};
}

v1::NamespaceQuotas ToProto(const NamespaceQuotas& from) {
  v1::NamespaceQuotas to;
  if (from.max_queues) *to.mutable_max_queues() = ToProto(*from.max_queues);
  if (from.max_messages) *to.mutable_max_messages() = ToProto(*from.max_messages);
  if (from.max_bytes) *to.mutable_max_bytes() = ToProto(*from.max_bytes);
  return to;
}

}  // namespace mqd::client

namespace mqd {

std::string CauseName(Cause cause) {
  const auto number = static_cast<v1::Cause>(cause);
  return client::NameOf(v1::Cause_IsValid(number), v1::Cause_Name(number), number, "CAUSE_");
}

std::string TransitionName(Transition transition) {
  const auto number = static_cast<v1::Transition>(transition);
  return client::NameOf(v1::Transition_IsValid(number), v1::Transition_Name(number), number,
                        "TRANSITION_");
}

std::string RedriveStateName(RedriveState state) {
  const auto number = static_cast<v1::RedriveState>(state);
  return client::NameOf(v1::RedriveState_IsValid(number), v1::RedriveState_Name(number), number,
                        "REDRIVE_STATE_");
}

}  // namespace mqd
