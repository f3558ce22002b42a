#include "server/rpc/look_convert.h"

#include "proto/wire/frame_scan.h"
#include "server/limits.h"
#include "server/rpc/handshake.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

static_assert(static_cast<int>(queue::Cause::kMoving) == v1::CAUSE_MOVING);
static_assert(static_cast<int>(queue::Cause::kDelayed) == v1::CAUSE_DELAYED);
static_assert(static_cast<int>(queue::Cause::kWaitsForMessage) == v1::CAUSE_WAITS_FOR_MESSAGE);
static_assert(static_cast<int>(queue::Cause::kIdle) == v1::CAUSE_IDLE);
static_assert(static_cast<int>(queue::Cause::kIdle) == v1::Cause_MAX, "a cause is missing here");
static_assert(static_cast<int>(queue::Transition::kPublished) == v1::TRANSITION_PUBLISHED);
static_assert(static_cast<int>(queue::Transition::kCancelled) == v1::TRANSITION_CANCELLED);
static_assert(static_cast<int>(queue::Transition::kCancelled) == v1::Transition_MAX,
              "a transition is missing here");

/// The element without its tag and length is the encoded Message.
bool ParseElement(std::string_view element, v1::Message& out) {
  v1::PublishRequest holder;  // field 15 there is what an element is
  if (!ParseFrame(element, holder) || holder.messages_size() != 1) return false;
  out = std::move(*holder.mutable_messages(0));
  return true;
}

absl::Status CheckKey(std::string_view field, std::string_view key) {
  if (!key.empty() && key.size() <= limits::kKeyBytesMax) return absl::OkStatus();
  return BadFieldStatus(field, "a key has 1 to 128 bytes", limits::kKeyBytesMax, key.size());
}

absl::Status CheckName(std::string_view field, std::string_view name) {
  if (name.empty()) return BadFieldStatus(field, "is empty; give the client's name, or its id");
  return CheckClientName(name);
}

absl::Status CheckNumber(std::string_view field, std::uint64_t number) {
  if (number != 0) return absl::OkStatus();
  return BadFieldStatus(field, "is 0; they begin with 1");
}

}  // namespace

v1::AttemptNote ToProto(const storage::AttemptNote& note) {
  v1::AttemptNote out;
  out.set_attempt(note.attempt);
  SetTimestamp(note.time_ms, *out.mutable_time());
  out.set_consumer(note.consumer);
  out.set_error(note.error);
  return out;
}

v1::DeadLetterInfo ToProto(const storage::DeadLetterOrigin& origin) {
  v1::DeadLetterInfo out;
  out.set_queue(origin.queue);
  out.set_sequence(origin.sequence);
  out.set_reason(origin.reason);
  out.set_attempts(origin.attempts);
  SetTimestamp(origin.time_ms, *out.mutable_time());
  for (const storage::AttemptNote& note : origin.notes) *out.add_notes() = ToProto(note);
  return out;
}

absl::Status ToProto(const queue::PeekedMessage& peeked, v1::PeekedMessage& out) {
  out.set_sequence(peeked.sequence);
  out.set_status(static_cast<v1::MessageStatus>(peeked.status));
  out.set_attempts(peeked.attempts);
  if (peeked.publish_time_ms != 0)
    SetTimestamp(peeked.publish_time_ms, *out.mutable_publish_time());
  if (peeked.deliver_at_ms != 0) SetTimestamp(peeked.deliver_at_ms, *out.mutable_deliver_at());
  out.set_delivery_id(peeked.delivery_id);
  if (!peeked.notes.empty()) out.set_last_error(peeked.notes.back().error);
  for (const storage::AttemptNote& note : peeked.notes) *out.add_notes() = ToProto(note);
  if (peeked.dead_letter) *out.mutable_dead_letter() = ToProto(*peeked.dead_letter);
  if (peeked.body == nullptr) return absl::OkStatus();
  if (ParseElement(peeked.body->Element(peeked.index), *out.mutable_message())) {
    return absl::OkStatus();
  }
  return absl::InternalError("a stored message is not a Message");
}

v1::Explanation ToProto(const queue::Explanation& explanation) {
  v1::Explanation out;
  out.set_cause(static_cast<v1::Cause>(explanation.cause));
  out.set_text(explanation.text);
  out.set_resource(explanation.resource);
  out.set_delivery_id(explanation.delivery_id);
  out.set_sequence(explanation.sequence);
  if (explanation.since_ms != 0) SetTimestamp(explanation.since_ms, *out.mutable_since());
  if (explanation.until_ms != 0) SetTimestamp(explanation.until_ms, *out.mutable_until());
  out.set_limit(explanation.limit);
  out.set_current(explanation.current);
  return out;
}

v1::HistoryEntry ToProto(const queue::HistoryEntry& entry) {
  v1::HistoryEntry out;
  out.set_first_sequence(entry.first);
  out.set_last_sequence(entry.last);
  SetTimestamp(entry.time_ms, *out.mutable_time());
  out.set_transition(static_cast<v1::Transition>(entry.transition));
  out.set_attempt(entry.attempt);
  out.set_client_name(entry.client_name);
  out.set_text(entry.text);
  return out;
}

v1::PublisherInfo ToProto(const queue::PublisherInfo& publisher) {
  v1::PublisherInfo out;
  out.set_publisher_id(publisher.id);
  out.set_client_name(publisher.client_name);
  SetTimestamp(publisher.since_ms, *out.mutable_since());
  out.set_waiting(publisher.waiting);
  return out;
}

v1::ConsumerInfo ToProto(const queue::ConsumerInfo& consumer) {
  v1::ConsumerInfo out;
  out.set_consumer_id(consumer.id);
  out.set_client_name(consumer.client_name);
  SetTimestamp(consumer.since_ms, *out.mutable_since());
  out.set_in_flight(consumer.in_flight);
  out.set_credit_messages(consumer.credit_messages);
  out.set_credit_bytes(consumer.credit_bytes);
  out.set_delivered_total(consumer.delivered);
  out.set_acked_total(consumer.acked);
  out.set_draining(consumer.draining);
  out.set_standby(consumer.standby);
  out.set_select(consumer.select);
  return out;
}

v1::GetDedupEntryResponse ToProto(const queue::DedupInfo& info) {
  v1::GetDedupEntryResponse out;
  out.set_sequence(info.sequence);
  out.set_status(static_cast<v1::MessageStatus>(info.status));
  SetTimestamp(info.first_seen_ms, *out.mutable_first_seen());
  SetTimestamp(info.expires_ms, *out.mutable_expires());
  return out;
}

absl::StatusOr<queue::ExplainSubject> SubjectOf(const v1::ExplainRequest& request) {
  absl::Status status;
  queue::ExplainSubject subject = queue::ExplainQueue{};
  switch (request.subject_case()) {
    case v1::ExplainRequest::kConsumerId:
      status = CheckNumber("consumer_id", request.consumer_id());
      subject = queue::ExplainConsumer{.id = request.consumer_id()};
      break;
    case v1::ExplainRequest::kPublisherId:
      status = CheckNumber("publisher_id", request.publisher_id());
      subject = queue::ExplainPublisher{.id = request.publisher_id()};
      break;
    case v1::ExplainRequest::kConsumerName:
      status = CheckName("consumer_name", request.consumer_name());
      subject = queue::ExplainConsumer{.name = request.consumer_name()};
      break;
    case v1::ExplainRequest::kPublisherName:
      status = CheckName("publisher_name", request.publisher_name());
      subject = queue::ExplainPublisher{.name = request.publisher_name()};
      break;
    case v1::ExplainRequest::kOrderingKey:
      status = CheckKey("ordering_key", request.ordering_key());
      subject = queue::ExplainKey{request.ordering_key()};
      break;
    case v1::ExplainRequest::kSequence:
      status = CheckNumber("sequence", request.sequence());
      subject = queue::ExplainMessage{request.sequence()};
      break;
    case v1::ExplainRequest::SUBJECT_NOT_SET:
      break;
  }
  if (!status.ok()) return status;
  return subject;
}

absl::StatusOr<queue::FindMessage> FindOf(const v1::FindMessageRequest& request) {
  switch (request.by_case()) {
    case v1::FindMessageRequest::kSequence: {
      const absl::Status status = CheckNumber("sequence", request.sequence());
      if (!status.ok()) return status;
      return queue::FindMessage{.sequence = request.sequence(), .key = {}};
    }
    case v1::FindMessageRequest::kIdempotencyKey: {
      const absl::StatusOr<queue::KeyHash> key = KeyOf(request.idempotency_key());
      if (!key.ok()) return key.status();
      return queue::FindMessage{.key = *key};
    }
    case v1::FindMessageRequest::BY_NOT_SET:
      break;
  }
  return BadFieldStatus("by", "give a sequence or an idempotency_key");
}

absl::StatusOr<queue::KeyHash> KeyOf(const std::string& idempotency_key) {
  const absl::Status status = CheckKey("idempotency_key", idempotency_key);
  if (!status.ok()) return status;
  const wire::IdempotencyKeyHash hash = wire::HashOfKey(idempotency_key);
  return queue::KeyHash{hash.high, hash.low};
}

}  // namespace mqd::rpc
