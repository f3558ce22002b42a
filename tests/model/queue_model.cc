#include "tests/model/queue_model.h"

#include <algorithm>

namespace mqd::queue::testing {

// ---- events

ModelMessage* QueueModel::Held(DeliveryId delivery) {
  for (auto& [sequence, message] : messages_) {
    if (message.state == ModelState::kInFlight && message.delivery == delivery) return &message;
  }
  return nullptr;
}

const ModelMessage* QueueModel::FindDelivery(DeliveryId delivery) const {
  return const_cast<QueueModel*>(this)->Held(delivery);
}

std::uint64_t QueueModel::Settle(DeliveryRange range, const SettleOutcome& outcome) {
  std::uint64_t held = 0;
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight) continue;
    if (message.delivery < range.first || message.delivery > range.last) continue;
    ++held;
    if (std::holds_alternative<AckOutcome>(outcome)) {
      Leave(sequence, message);
    } else if (const auto* retry = std::get_if<RetryOutcome>(&outcome)) {
      const std::int64_t delay_ms = retry->delay_ns.has_value() ? *retry->delay_ns / kNsPerMs
                                                                : BackoffMs(message.attempts + 1);
      Return(sequence, message, true, delay_ms);
    } else if (std::holds_alternative<ReleaseOutcome>(outcome)) {
      Return(sequence, message, false, 0);
    } else if (std::holds_alternative<DeadLetterOutcome>(outcome)) {
      ++message.attempts;
      Park(sequence, message);
    } else {
      message.deadline_ms = now_ms_ + settings_.lease_duration.count();
    }
  }
  return held;
}

void QueueModel::Leave(Sequence sequence, ModelMessage& message) {
  message.state = ModelState::kSettling;  // its slot is free when the settle is on disk
  changes_.emplace_back(sequence, std::nullopt);
}

void QueueModel::Return(Sequence sequence, ModelMessage& message, bool charged,
                        std::int64_t delay_ms) {
  if (charged) ++message.attempts;
  if (charged && message.attempts >= settings_.max_attempts) return Park(sequence, message);
  message.state = delay_ms > 0 ? ModelState::kDelayed : ModelState::kReady;
  message.due_ms = now_ms_ + delay_ms;
  if (!charged) return;
  changes_.emplace_back(sequence, message);
  message.state = ModelState::kReturning;
}

void QueueModel::Park(Sequence sequence, ModelMessage& message) {
  message.state = ModelState::kParked;
  changes_.emplace_back(sequence, message);
}

std::int64_t QueueModel::BackoffMs(std::uint32_t attempt) const {
  double wait = static_cast<double>(settings_.retry_backoff.initial.count());
  for (std::uint32_t i = 1; i < attempt; ++i) wait *= settings_.retry_backoff.multiplier;
  return static_cast<std::int64_t>(
      std::min(wait, static_cast<double>(settings_.retry_backoff.max.count())));
}

void QueueModel::MarkStarted(DeliveryRange range) {
  for (auto& [sequence, message] : messages_) {
    if (message.state == ModelState::kInFlight && message.delivery >= range.first &&
        message.delivery <= range.last) {
      message.started = true;
    }
  }
}

void QueueModel::Detach(const std::string& consumer, bool keep_deliveries) {
  consumers_.erase(consumer);
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight || message.consumer != consumer) continue;
    if (keep_deliveries) {
      message.consumer.clear();
    } else {
      Return(sequence, message, message.started, 0);
    }
  }
}

std::uint64_t QueueModel::Drain(const std::string& consumer) {
  consumers_[consumer].draining = true;
  std::uint64_t released = 0;
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight || message.consumer != consumer) continue;
    if (message.started) continue;
    ++released;
    Return(sequence, message, false, 0);
  }
  return released;
}

std::uint64_t QueueModel::Purge() {
  std::uint64_t purged = 0;
  for (auto& [sequence, message] : messages_) {
    const bool lies = message.state == ModelState::kReady ||
                      message.state == ModelState::kDelayed || message.state == ModelState::kParked;
    if (!lies) continue;
    Leave(sequence, message);
    ++purged;
  }
  return purged;
}

std::set<DeliveryId> QueueModel::Advance(std::int64_t ms) {
  now_ms_ += ms;
  std::set<DeliveryId> lost;
  for (auto& [sequence, message] : messages_) {
    if (message.state == ModelState::kInFlight && message.deadline_ms <= now_ms_) {
      if (consumers_.contains(message.consumer)) lost.insert(message.delivery);
      Return(sequence, message, message.started,
             message.started ? BackoffMs(message.attempts + 1) : 0);
    }
    if (message.state == ModelState::kDelayed && message.due_ms <= now_ms_) {
      message.state = ModelState::kReady;
    }
  }
  return lost;
}

bool QueueModel::IsParked(Sequence sequence) const {
  const auto found = messages_.find(sequence);
  return found != messages_.end() && found->second.state == ModelState::kParked;
}

bool QueueModel::LeaveParked(Sequence sequence) {
  if (!IsParked(sequence)) return false;
  Leave(sequence, messages_[sequence]);
  return true;
}

std::string QueueModel::Deliver(const Seen& seen) {
  if (seen.id <= last_delivery_) return "a delivery id was used again";
  last_delivery_ = seen.id;
  const auto found = messages_.find(seen.sequence);
  if (found == messages_.end()) return "what is not committed, or settled, was delivered";
  ModelMessage& message = found->second;
  if (message.payload != seen.payload) return "another message came under this sequence";
  if (message.state != ModelState::kReady) return "a message that is not ready was delivered";
  if (seen.attempt != message.attempts + 1) return "the attempt is wrong";
  for (const auto& [sequence, other] : messages_) {
    if (sequence >= seen.sequence) break;
    if (other.state == ModelState::kReady) return "an older ready message was passed over";
  }
  const auto taker = consumers_.find(seen.consumer);
  if (taker == consumers_.end()) return "a consumer that is gone got a message";
  ModelConsumer& consumer = taker->second;
  if (!consumer.CanTake()) return "credit was passed";
  --consumer.messages;
  consumer.bytes -= message.charge;
  message.state = ModelState::kInFlight;
  message.delivery = seen.id;
  message.consumer = seen.consumer;
  message.started = !consumer.marks_started;
  message.deadline_ms = now_ms_ + settings_.lease_duration.count();
  return "";
}

// ---- the disk

void QueueModel::AddStored(const Stored& stored, bool waits_for_transaction) {
  const ModelMessage message{.payload = stored.payload, .charge = stored.charge_bytes};
  disk_[stored.sequence] = message;
  if (!waits_for_transaction) messages_[stored.sequence] = message;
}

void QueueModel::EndTransaction(Sequence sequence, bool committed) {
  if (committed) messages_[sequence] = disk_.at(sequence);
}

void QueueModel::Committed(const ModelChange& change) {
  const auto& [sequence, state] = change;
  if (state.has_value()) {
    disk_[sequence] = *state;
    ModelMessage& message = messages_.at(sequence);
    if (message.state != ModelState::kReturning) return;
    message = *state;
    if (message.state == ModelState::kDelayed && message.due_ms <= now_ms_) {
      message.state = ModelState::kReady;
    }
  } else {
    disk_.erase(sequence);
    messages_.erase(sequence);
  }
}

void QueueModel::Crash() {
  messages_ = disk_;
  changes_.clear();
  consumers_.clear();
  Advance(0);  // what was due in the meantime
}

// ---- questions

std::uint64_t QueueModel::Count(ModelState state) const {
  return static_cast<std::uint64_t>(
      std::count_if(messages_.begin(), messages_.end(),
                    [state](const auto& entry) { return entry.second.state == state; }));
}

std::uint64_t QueueModel::Bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [sequence, message] : messages_) bytes += message.charge;
  return bytes;
}

}  // namespace mqd::queue::testing
