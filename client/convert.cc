#include "client/convert.h"

#include "client/status_map.h"
#include "google/protobuf/stubs/common.h"

namespace mqd::client {
namespace {

constexpr std::int64_t kMsPerSecond = 1'000;
constexpr std::int64_t kNanosPerMs = 1'000'000;

/// What the broker keeps of an error or a reason.
constexpr std::size_t kTextBytesMax = 1'024;

/// Cut and mended rather than refused: it comes from exceptions, and the settle matters more.
std::string Presentable(std::string_view text) {
  std::string out(text.substr(0, kTextBytesMax));
  const int valid = google::protobuf::internal::UTF8SpnStructurallyValid(out);
  if (static_cast<std::size_t>(valid) == out.size()) return out;
  if (text.size() > kTextBytesMax && out.size() - static_cast<std::size_t>(valid) < 4) {
    out.resize(static_cast<std::size_t>(valid));  // the cut went through a character
    return out;
  }
  std::string mended(out.size(), '?');
  const char* good =
      google::protobuf::internal::UTF8CoerceToStructurallyValid(out, mended.data(), '?');
  return std::string(good, out.size());
}

std::int64_t MsOf(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

}  // namespace

std::chrono::milliseconds FromProto(const google::protobuf::Duration& duration) {
  return std::chrono::milliseconds(duration.seconds() * kMsPerSecond +
                                   duration.nanos() / kNanosPerMs);
}

WallTime WallTimeOf(std::int64_t milliseconds) {
  return WallTime(std::chrono::milliseconds(milliseconds));
}

WallTime FromProto(const google::protobuf::Timestamp& timestamp) {
  return WallTimeOf(timestamp.seconds() * kMsPerSecond + timestamp.nanos() / kNanosPerMs);
}

std::optional<WallTime> TimeIf(bool has, const google::protobuf::Timestamp& timestamp) {
  return has ? std::optional<WallTime>(FromProto(timestamp)) : std::nullopt;
}

void ToProto(WallTime from, google::protobuf::Timestamp* to) {
  const std::int64_t at = MsOf(from);
  to->set_seconds(at / kMsPerSecond);
  to->set_nanos(static_cast<std::int32_t>(at % kMsPerSecond * kNanosPerMs));
}

void ToProto(std::chrono::milliseconds from, google::protobuf::Duration* to) {
  to->set_seconds(from.count() / kMsPerSecond);
  to->set_nanos(static_cast<std::int32_t>(from.count() % kMsPerSecond * kNanosPerMs));
}

// ---- results

PublishOutcome FromProto(const v1::Duplicate& duplicate) {
  PublishOutcome outcome;
  outcome.kind = PublishOutcome::Kind::kDuplicate;
  outcome.sequence = duplicate.sequence();
  outcome.status = static_cast<MessageStatus>(duplicate.status());
  return outcome;
}

PublishOutcome FromProto(const v1::Dropped& dropped) {
  PublishOutcome outcome;
  outcome.kind = PublishOutcome::Kind::kDropped;
  outcome.dropped_by = static_cast<OverflowPolicy>(dropped.policy());
  return outcome;
}

PublishResult FromProto(const v1::PublishResult& result) {
  PublishOutcome outcome;
  switch (result.result_case()) {
    case v1::PublishResult::kPublished:
      outcome.sequence = result.published().sequence();
      return outcome;
    case v1::PublishResult::kDuplicate:
      return FromProto(result.duplicate());
    case v1::PublishResult::kDropped:
      return FromProto(result.dropped());
    case v1::PublishResult::kError:
      return StatusOf(result.error());
    case v1::PublishResult::RESULT_NOT_SET:
      break;
  }
  return absl::InternalError("the broker sent a result of a kind this version does not know");
}

// ---- messages

Message FromProto(const v1::Message& message) {
  Message out;
  out.payload = message.payload();
  out.idempotency_key = message.idempotency_key();
  out.ordering_key = message.ordering_key();
  out.priority = message.priority();
  out.delay = FromProto(message.delay());
  if (message.has_deliver_at()) out.deliver_at = FromProto(message.deliver_at());
  out.ttl = FromProto(message.ttl());
  for (const auto& [name, value] : message.headers()) out.headers.emplace_back(name, value);
  for (const v1::MessageRef& after : message.deliver_after()) {
    out.deliver_after.push_back({after.queue(), after.sequence()});
  }
  return out;
}

Message FromView(const wire::MessageView& view) {
  Message out;
  out.payload = view.payload;
  out.idempotency_key = view.idempotency_key;
  out.ordering_key = view.ordering_key;
  out.priority = view.priority;
  for (const auto& [name, value] : view.headers) out.headers.emplace_back(name, value);
  return out;
}

void ToProto(const Message& message, v1::Message* out) {
  out->set_payload(message.payload);
  out->set_idempotency_key(message.idempotency_key);
  out->set_ordering_key(message.ordering_key);
  out->set_priority(message.priority);
  if (message.delay.count() != 0) ToProto(message.delay, out->mutable_delay());
  if (message.ttl.count() != 0) ToProto(message.ttl, out->mutable_ttl());
  if (message.deliver_at) ToProto(*message.deliver_at, out->mutable_deliver_at());
  for (const Header& header : message.headers) {
    (*out->mutable_headers())[header.first] = header.second;
  }
  for (const MessageRef& after : message.deliver_after) {
    v1::MessageRef* reference = out->add_deliver_after();
    reference->set_queue(after.queue);
    reference->set_sequence(after.sequence);
  }
}

void ToProto(const QueuePublish& publish, v1::TransactionalPublish* out) {
  out->set_queue(publish.queue);
  for (const Message& message : publish.messages) ToProto(message, out->add_messages());
}

AttemptNote FromProto(const v1::AttemptNote& note) {
  return {.attempt = note.attempt(),
          .time = FromProto(note.time()),
          .consumer = note.consumer(),
          .error = note.error()};
}

DeadLetterInfo FromProto(const v1::DeadLetterInfo& info) {
  DeadLetterInfo out{.queue = info.queue(),
                     .sequence = info.sequence(),
                     .reason = info.reason(),
                     .attempts = info.attempts(),
                     .time = FromProto(info.time())};
  for (const v1::AttemptNote& note : info.notes()) out.notes.push_back(FromProto(note));
  return out;
}

std::optional<DeadLetterInfo> DeadLetterFrom(std::string_view bytes) {
  v1::DeadLetterInfo info;
  if (bytes.empty()) return std::nullopt;
  if (!info.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return std::nullopt;
  return FromProto(info);
}

EncodedParts::EncodedParts(const MessageView& message) {
  for (const MessageRef& after : message.deliver_after) {
    references_.push_back({after.queue, after.sequence});
  }
  parts_ = {.payload = message.payload,
            .idempotency_key = message.idempotency_key,
            .ordering_key = message.ordering_key,
            .priority = message.priority,
            .delay_ms = message.delay.count(),
            .deliver_at_ms = message.deliver_at ? MsOf(*message.deliver_at) : 0,
            .ttl_ms = message.ttl.count(),
            .headers = message.headers,
            .deliver_after = references_};
  content_bytes_ =
      message.payload.size() + message.idempotency_key.size() + message.ordering_key.size();
  for (const Header& header : message.headers) {
    content_bytes_ += header.first.size() + header.second.size();
  }
}

// ---- settles

void SetOutcome(const Outcome& outcome, v1::SettleEntry* entry) {
  switch (outcome.kind) {
    case Outcome::Kind::kAck:
      entry->mutable_ack();
      return;
    case Outcome::Kind::kRetry:
      entry->mutable_retry()->set_error(Presentable(outcome.text));
      if (outcome.delay) ToProto(*outcome.delay, entry->mutable_retry()->mutable_delay());
      return;
    case Outcome::Kind::kDeadLetter:
      entry->mutable_dead_letter()->set_reason(Presentable(outcome.text));
      return;
    case Outcome::Kind::kRelease:
    case Outcome::Kind::kDeferred:
      entry->mutable_release();
      return;
  }
}

void SetExtend(std::optional<std::chrono::milliseconds> lease, v1::SettleEntry* entry) {
  v1::Extend* extend = entry->mutable_extend();
  if (lease) ToProto(*lease, extend->mutable_lease());
}

}  // namespace mqd::client
