// message_checks.cc: step 2 of 5 (session). Which messages of a batch go to the queue.
#include "server/rpc/message_checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "mqd/v1/broker.pb.h"
#include "server/limits.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {
namespace {

queue::ErrorInfo FaultError(const wire::MessageFault& fault) {
  queue::ErrorInfo info = BadField(fault.field, "", fault.limit, fault.current);
  info.message = fault.text;
  if (fault.kind == wire::MessageFault::Kind::kTooLarge) {
    info.reason = queue::Reason::kMessageTooLarge;
    info.message += "; send less, or keep the data elsewhere and send where it is";
  }
  return info;
}

static_assert(static_cast<int>(queue::ConfirmLevel::kAccepted) == v1::CONFIRM_LEVEL_ACCEPTED);
static_assert(static_cast<int>(queue::ConfirmLevel::kDurable) == v1::CONFIRM_LEVEL_DURABLE);
static_assert(static_cast<int>(queue::ConfirmLevel::kDelivered) == v1::CONFIRM_LEVEL_DELIVERED);
static_assert(static_cast<int>(queue::ConfirmLevel::kSettled) == v1::CONFIRM_LEVEL_SETTLED);

queue::IncomingMessage ToIncoming(const wire::ScannedMessage& message, std::uint32_t charge) {
  return {.element = message.element,
          .charge_bytes = charge,
          .idempotency_key = message.idempotency_key,
          .key_hash = {message.key_hash_high, message.key_hash_low},
          .digest = message.digest};
}

std::optional<queue::ErrorInfo> CheckLevel(std::uint32_t level) {
  if (level <= v1::CONFIRM_LEVEL_SETTLED) return {};
  return BadField("confirm_level",
                  "not a level that this version knows; leave it unset, or use ACCEPTED, DURABLE, "
                  "DELIVERED or SETTLED",
                  v1::CONFIRM_LEVEL_SETTLED, level);
}

std::optional<queue::ErrorInfo> CheckTimeout(std::int64_t timeout_ms) {
  if (timeout_ms <= limits::kPublishTimeoutMax.count()) return {};
  return BadField("timeout", "longer than a publish may wait; give less, or none",
                  static_cast<std::uint64_t>(limits::kPublishTimeoutMax.count()),
                  static_cast<std::uint64_t>(timeout_ms));
}

std::optional<queue::ErrorInfo> CheckDeliverAt(const wire::ScannedMessage& message,
                                               queue::WallMs now_ms) {
  const std::int64_t ahead = message.deliver_at_ms - now_ms;
  if (ahead <= limits::kDelayMax.count()) return {};
  return BadField("deliver_at",
                  "more than 30 days ahead of the broker's clock (limit and value in "
                  "milliseconds); publish it later",
                  static_cast<std::uint64_t>(limits::kDelayMax.count()),
                  static_cast<std::uint64_t>(ahead));
}

bool IsSpecial(const wire::ScannedMessage& message) {
  return !message.ordering_key.empty() || message.priority != 0 || message.delay_ms != 0 ||
         message.deliver_at_ms != 0 || message.ttl_ms != 0 || message.reference_count != 0;
}

absl::StatusOr<std::vector<storage::MessageRef>> Resolve(const wire::ScannedBatch& batch,
                                                         const wire::ScannedMessage& message,
                                                         ReferenceResolver resolve) {
  std::vector<storage::MessageRef> out;
  out.reserve(message.reference_count);
  for (std::uint32_t i = 0; i < message.reference_count; ++i) {
    const wire::ScannedReference& reference = batch.references[message.first_reference + i];
    const absl::StatusOr<queue::QueueId> id = resolve(reference.queue);
    if (!id.ok()) return id.status();
    const storage::MessageRef resolved{*id, reference.sequence};
    if (std::find(out.begin(), out.end(), resolved) == out.end()) out.push_back(resolved);
  }
  return out;
}

/// What is wrong with it may have come up since it was stored: that is for the queue to judge.
queue::SpecialFields ToSpecial(const wire::ScannedBatch& batch, const wire::ScannedMessage& message,
                               queue::WallMs now_ms, ReferenceResolver resolve) {
  queue::SpecialFields out{.ordering_key = message.ordering_key,
                           .priority = message.priority,
                           .delay_ms = message.delay_ms,
                           .deliver_at_ms = message.deliver_at_ms,
                           .ttl_ms = message.ttl_ms};
  std::optional<queue::ErrorInfo> fault = CheckDeliverAt(message, now_ms);
  if (!fault) {
    absl::StatusOr<std::vector<storage::MessageRef>> after = Resolve(batch, message, resolve);
    if (after.ok()) {
      out.deliver_after = *std::move(after);
    } else {
      fault = queue::ErrorInfoOf(after.status());
    }
  }
  if (fault) out.fault = std::make_shared<const queue::ErrorInfo>(*std::move(fault));
  return out;
}

/// Sorts the messages of one batch, one after the other.
class Sorter {
 public:
  Sorter(const wire::ScannedBatch& batch, queue::WallMs now_ms, ReferenceResolver resolve)
      : batch_(batch), now_ms_(now_ms), resolve_(resolve), whole_(CheckLevel(batch.confirm_level)) {
    if (!whole_) whole_ = CheckTimeout(batch.timeout_ms);
    out_.messages = batch.messages.size();
  }

  void Add(std::size_t index, const wire::MessageFault* fault) {
    const wire::ScannedMessage& message = batch_.messages[index];
    const std::uint32_t charge = ChargeOf(message, fault != nullptr);
    out_.bytes += charge;
    out_.last_bytes = charge;
    std::optional<queue::ErrorInfo> error = whole_;
    if (!error && fault != nullptr) error = FaultError(*fault);
    if (error) return Refuse(index, charge, *std::move(error));
    queue::PublishBatch& good = Open(index);
    queue::IncomingMessage& incoming = good.messages.emplace_back(ToIncoming(message, charge));
    if (!IsSpecial(message)) return;
    good.specials.push_back(ToSpecial(batch_, message, now_ms_, resolve_));
    incoming.special = static_cast<std::uint32_t>(good.specials.size());
  }

  CheckedBatch Take() { return std::move(out_); }

 private:
  void Refuse(std::size_t index, std::uint32_t charge, queue::ErrorInfo error) {
    out_.refused.push_back({batch_.first_publish_id + index, std::move(error)});
    out_.refused_bytes += charge;
    open_ = nullptr;
  }

  /// The batch whose ids the message at `index` goes on.
  queue::PublishBatch& Open(std::size_t index) {
    if (open_ != nullptr) return *open_;
    open_ = &out_.good.emplace_back();
    open_->first_publish_id = batch_.first_publish_id + index;
    open_->answered_through = batch_.answered_through;
    if (batch_.confirm_level != v1::CONFIRM_LEVEL_UNSPECIFIED) {
      open_->level = static_cast<queue::ConfirmLevel>(batch_.confirm_level);
    }
    open_->messages.reserve(batch_.messages.size() - index);
    return *open_;
  }

  const wire::ScannedBatch& batch_;
  const queue::WallMs now_ms_;
  const ReferenceResolver resolve_;
  std::optional<queue::ErrorInfo> whole_;  // what is wrong with all of them
  queue::PublishBatch* open_ = nullptr;
  CheckedBatch out_;
};

}  // namespace

absl::StatusOr<queue::QueueId> ResolveReference(const queue::QueueRegistry& registry,
                                                std::string_view publishing_to,
                                                std::string_view name) {
  const absl::StatusOr<std::string> full = queue::FullName(name);
  if (!full.ok()) {
    return BadFieldStatus("deliver_after",
                          absl::StrCat("\"", std::string(name), "\" is not a queue's name"));
  }
  if (queue::NamespaceOf(*full) != queue::NamespaceOf(publishing_to)) {
    return BadFieldStatus(
        "deliver_after",
        absl::StrCat(*full, " is not in the namespace of ", std::string(publishing_to),
                     "; a message waits only for messages of its own namespace"));
  }
  const auto found = registry.Find(*full);
  if (!found.ok()) return found.status();
  return (*found)->id();
}

absl::StatusOr<queue::QueueId> RefuseReference(std::string_view) {
  return BadFieldStatus("deliver_after",
                        "not possible in an atomic request; publish this message by itself");
}

std::uint32_t ChargeOf(const wire::ScannedMessage& message, bool faulty) {
  if (!faulty) return message.content_bytes + limits::kMessageOverheadBytes;
  // The scan stops at the first fault. Count as the client does, so that the two windows do not
  // drift apart.
  google::protobuf::io::CodedInputStream in(
      reinterpret_cast<const std::uint8_t*>(message.element.data()),
      static_cast<int>(message.element.size()));
  std::uint32_t length = 0;
  v1::Message parsed;
  if (in.ReadTag() == 0 || !in.ReadVarint32(&length)) return limits::kMessageOverheadBytes;
  parsed.ParsePartialFromCodedStream(&in);
  std::size_t bytes = parsed.payload().size() + parsed.idempotency_key().size() +
                      parsed.ordering_key().size() + limits::kMessageOverheadBytes;
  for (const auto& [name, value] : parsed.headers()) bytes += name.size() + value.size();
  return static_cast<std::uint32_t>(bytes);
}

CheckedBatch CheckBatch(const wire::ScannedBatch& batch, queue::WallMs now_ms,
                        ReferenceResolver resolve) {
  Sorter sorter(batch, now_ms, resolve);
  auto fault = batch.faults.begin();
  for (std::size_t i = 0; i < batch.messages.size(); ++i) {
    const bool faulty = fault != batch.faults.end() && fault->first == i;
    sorter.Add(i, faulty ? &fault->second : nullptr);
    if (faulty) ++fault;
  }
  return sorter.Take();
}

}  // namespace mqd::rpc
