// model_explain.cc: what may be said of something that does not move. Every turn has ended, so
// nothing that could be delivered is left: whatever is ready must have a cause other than MOVING.

#include <algorithm>

#include "tests/model/queue_model.h"

namespace mqd::queue::testing {

bool QueueModel::AnyMessage(ModelState state, std::optional<ModelWait> wait) const {
  return std::any_of(messages_.begin(), messages_.end(), [&](const auto& entry) {
    return entry.second.state == state && (!wait.has_value() || entry.second.wait == *wait);
  });
}

std::set<Cause> QueueModel::CausesOf(Sequence sequence) const {
  const auto found = messages_.find(sequence);
  if (found == messages_.end()) return {Cause::kSettled};
  const ModelMessage& message = found->second;
  switch (message.state) {
    case ModelState::kSettling:
      return {Cause::kSettled, Cause::kCommitting};
    case ModelState::kCommitting:
    case ModelState::kReturning:
      return {Cause::kCommitting};
    case ModelState::kInFlight:
      return {Cause::kInFlight};
    case ModelState::kParked:
      if (settings_.dead_letter_queue.empty()) return {Cause::kParked};
      return {Cause::kDeadLetterQueueFull, Cause::kMoving};
    case ModelState::kDelayed:
      if (message.wait == ModelWait::kRetry) return {Cause::kRetryWait};
      if (message.wait == ModelWait::kMessages) return {Cause::kWaitsForMessage};
      return {Cause::kDelayed};
    default:
      return CausesOfReady(sequence, message);
  }
}

std::set<Cause> QueueModel::CausesOfReady(Sequence sequence, const ModelMessage& message) const {
  std::set<Cause> causes;
  if (ConsumePaused()) causes.insert(Cause::kConsumePaused);
  if (consumers_.empty()) causes.insert(Cause::kNoConsumers);
  if (!delivery_rate_.Has(clock_.steady_ms, settings_.max_delivery_rate)) {
    causes.insert(Cause::kDeliveryRate);
  }
  for (const auto& [other, each] : messages_) {
    if (other == sequence) continue;
    if (Deliverable(other, each)) causes.insert(Cause::kBehindOthers);
    if (message.key.empty() || each.key != message.key || !Keyed()) continue;
    if (each.busy) {
      causes.insert(each.state == ModelState::kInFlight ? Cause::kKeyHeld : Cause::kCommitting);
    } else if (other < sequence && each.state == ModelState::kReady) {
      causes.insert(Cause::kBehindOthers);
    } else if (other < sequence && each.wait == ModelWait::kRetry) {
      causes.insert(Cause::kKeyWaitsForRetry);
    }
  }
  const std::set<ConsumerId> owners = OwnersOf(message);
  for (const auto& [id, consumer] : consumers_) {
    if (MayTake(id)) continue;
    if (owners.contains(id)) causes.insert(Cause::kStickyOwnerBusy);
    if (owners.empty()) causes.merge(CausesOf(id, consumer));
  }
  return causes;
}

std::set<Cause> QueueModel::CausesOf(ConsumerId id, const ModelConsumer& consumer) const {
  std::set<Cause> causes;
  if (ConsumePaused()) causes.insert(Cause::kConsumePaused);
  if (consumer.draining) causes.insert(Cause::kDraining);
  if (!IsActive(id)) causes.insert(Cause::kStandby);
  if (consumer.messages <= 0) {
    causes.insert(consumer.on_demand ? Cause::kSelectBusy : Cause::kNoCredit);
  } else if (consumer.bytes <= 0) {
    causes.insert(Cause::kCreditBytesSpent);
  }
  return causes;
}

std::set<Cause> QueueModel::CausesOfWaiting() const {
  const std::string& what = waiters_.front().waits_for;
  if (what == "wait for the rate") return {Cause::kPublishRate};
  if (what == "wait for the key") return {Cause::kKeyPending};
  if (what == "wait for a taker") return {Cause::kNoRendezvous};
  if (what == "wait for a commit") return {Cause::kCommitting};
  if (what == "wait for another queue's word") return {Cause::kWaitsForMessage};
  return {Cause::kQueueFull, Cause::kNoRendezvous};
}

std::set<Cause> QueueModel::CausesOfPublisher(PublisherId publisher) const {
  if (Waiting(publisher)) return CausesOfWaiting();
  std::set<Cause> causes;
  if (closed_) causes.insert(Cause::kClosed);
  if (settings_.paused == Paused::kPublish || settings_.paused == Paused::kBoth) {
    causes.insert(Cause::kPublishPaused);
  }
  if (world_.disk_low) causes.insert(Cause::kDiskLow);
  if (world_.quota_full) causes.insert(Cause::kQuota);
  if (!publish_rate_.Has(clock_.steady_ms, settings_.max_publish_rate)) {
    causes.insert(Cause::kPublishRate);
  }
  if (!HasRoom(1, kOverheadBytes + 1)) {
    causes.insert(settings_.max_messages == 0 ? Cause::kNoRendezvous : Cause::kQueueFull);
  }
  if (!HasDedupRoom(1)) causes.insert(Cause::kDedupFull);
  if (causes.empty() || settings_.overflow_policy == OverflowPolicy::kDropOldest) {
    causes.insert(Cause::kIdle);
    causes.insert(Cause::kCommitting);
  }
  if (Bytes() + kOverheadBytes + 1 > settings_.max_bytes) {  // a smaller one might fit
    causes.insert(Cause::kIdle);
    causes.insert(Cause::kCommitting);
  }
  return causes;
}

std::set<Cause> QueueModel::CausesOfQueue() const {
  std::set<Cause> causes;
  for (const auto& [sequence, message] : messages_) causes.merge(CausesOf(sequence));
  causes.erase(Cause::kSettled);
  causes.erase(Cause::kBehindOthers);
  if (!waiters_.empty()) causes.merge(CausesOfWaiting());
  if (closed_) causes.insert(Cause::kClosed);
  if (settings_.paused == Paused::kPublish || settings_.paused == Paused::kBoth) {
    causes.insert(Cause::kPublishPaused);
  }
  if (world_.disk_low) causes.insert(Cause::kDiskLow);
  if (messages_.empty()) causes.insert(Cause::kEmpty);
  return causes;
}

std::string QueueModel::WrongExplanation(const ExplainSubject& subject,
                                         const std::vector<Explanation>& why) const {
  std::set<Cause> allowed;
  std::string of = "the queue";
  if (const auto* message = std::get_if<ExplainMessage>(&subject)) {
    of = "sequence " + std::to_string(message->sequence);
    allowed = CausesOf(message->sequence);
  } else if (const auto* consumer = std::get_if<ExplainConsumer>(&subject)) {
    of = "consumer " + consumers_.at(consumer->id).name;
    allowed = CausesOf(consumer->id, consumers_.at(consumer->id));
    // It could take: then the queue says why it gets nothing.
    if (allowed.empty()) {
      allowed = CausesOfQueue();
      if (!delivery_rate_.Has(clock_.steady_ms, settings_.max_delivery_rate)) {
        allowed.insert(Cause::kDeliveryRate);
      }
    }
  } else if (const auto* publisher = std::get_if<ExplainPublisher>(&subject)) {
    of = "publisher " + publishers_.at(publisher->id).name;
    allowed = CausesOfPublisher(publisher->id);
  } else if (const auto* key = std::get_if<ExplainKey>(&subject)) {
    of = "key " + key->key;
    for (const auto& [sequence, each] : messages_) {
      if (each.key == key->key) allowed.merge(CausesOf(sequence));
      if (each.key == key->key && each.busy) {
        const bool flies = each.state == ModelState::kInFlight;
        allowed.insert(!flies ? Cause::kCommitting : Keyed() ? Cause::kKeyHeld : Cause::kInFlight);
      }
      if (each.key == key->key && each.wait == ModelWait::kRetry) {
        allowed.insert(Cause::kKeyWaitsForRetry);
      }
    }
    allowed.insert(Cause::kIdle);
  } else {
    allowed = CausesOfQueue();
  }
  if (why.empty()) return of + ": no explanation";
  for (const Explanation& one : why) {
    if (allowed.contains(one.cause)) continue;
    return of + ": cause " + std::to_string(static_cast<int>(one.cause)) + " (" + one.text +
           ") is not true";
  }
  return "";
}

}  // namespace mqd::queue::testing
