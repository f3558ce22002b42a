// model_dispatch.cc: who may get which message. What the policy leaves open is taken from the core
// and held against what is allowed.

#include <algorithm>

#include "tests/model/queue_model.h"

namespace mqd::queue::testing {

// ---- consumers come and go

bool QueueModel::AttachConsumer(ConsumerId consumer, ModelConsumer who, bool take_over) {
  Used();
  if (consumers_.size() >= settings_.max_consumers) {
    if (!take_over || consumers_.empty()) return false;
    const ConsumerId longest = consumers_.begin()->first;
    RemoveConsumer(longest);
    dues_.consumers_gone.insert(longest);
  }
  consumers_[consumer] = std::move(who);
  for (auto& [key, owners] : owners_) owners.insert(consumer);
  ElectActive();
  return true;
}

void QueueModel::DetachConsumer(ConsumerId consumer, bool keep_deliveries) {
  Used();
  if (!consumers_.contains(consumer)) return;
  for (auto& [sequence, message] : messages_) {
    if (!keep_deliveries || message.state != ModelState::kInFlight) continue;
    if (message.consumer == consumer) message.consumer = 0;
  }
  RemoveConsumer(consumer);
}

void QueueModel::RemoveConsumer(ConsumerId consumer) {
  consumers_.erase(consumer);
  Disown(consumer);
  for (auto& [sequence, message] : messages_) {
    if (message.state == ModelState::kInFlight && message.consumer == consumer) {
      Return(sequence, message, message.started, 0);
    }
  }
  ElectActive();
}

/// A key that may have been its goes to any of the others.
void QueueModel::Disown(ConsumerId consumer) {
  std::erase_if(owners_, [&](const auto& entry) { return entry.second.contains(consumer); });
}

void QueueModel::Drain(ConsumerId consumer) {
  consumers_.at(consumer).draining = true;
  Disown(consumer);
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight || message.consumer != consumer) continue;
    if (!message.started) Return(sequence, message, false, 0);
  }
  ElectActive();
}

void QueueModel::Grant(ConsumerId consumer, std::uint64_t messages, std::uint64_t bytes) {
  ModelConsumer& granted = consumers_.at(consumer);
  granted.wanting = false;
  if (granted.draining) return;
  granted.messages += static_cast<std::int64_t>(messages);
  granted.bytes += static_cast<std::int64_t>(bytes);
}

/// single_active: the one that is here longest, of those that do not drain.
void QueueModel::ElectActive() {
  active_ = 0;
  if (!settings_.single_active) return;
  for (const auto& [id, consumer] : consumers_) {
    if (active_ == 0 && !consumer.draining) active_ = id;
  }
}

bool QueueModel::IsActive(ConsumerId consumer) const {
  return !settings_.single_active || consumer == active_;
}

bool QueueModel::MayTake(ConsumerId consumer) const {
  return consumers_.at(consumer).HasCredit() && IsActive(consumer);
}

// ---- what can be delivered

bool QueueModel::HeedsKeys() const { return Keyed() || Sticky(); }

bool QueueModel::ConsumePaused() const {
  return settings_.paused == Paused::kConsume || settings_.paused == Paused::kBoth;
}

/// KEYED: no other message of the key is at work, and none stands in line before this one.
bool QueueModel::KeyLetsGo(Sequence sequence, const ModelMessage& message) const {
  if (!Keyed() || message.key.empty()) return true;
  for (const auto& [other, each] : messages_) {
    if (other == sequence || each.key != message.key) continue;
    if (each.busy) return false;
    const bool in_line = each.state == ModelState::kReady ||
                         (each.state == ModelState::kDelayed && each.wait == ModelWait::kRetry);
    if (in_line && other < sequence) return false;
  }
  return true;
}

bool QueueModel::Deliverable(Sequence sequence, const ModelMessage& message) const {
  return message.state == ModelState::kReady && KeyLetsGo(sequence, message);
}

/// STICKY: one of these has the key; nobody's when it is empty.
std::set<ConsumerId> QueueModel::OwnersOf(const ModelMessage& message) const {
  if (!Sticky() || message.key.empty()) return {};
  if (settings_.single_active) {
    return active_ != 0 ? std::set<ConsumerId>{active_} : std::set<ConsumerId>{};
  }
  const auto known = owners_.find(message.key);
  if (known != owners_.end()) return known->second;
  std::set<ConsumerId> all;
  for (const auto& [id, consumer] : consumers_) {
    if (!consumer.draining) all.insert(id);
  }
  return all;
}

// ---- lanes

/// A lane that has something begins to age, if it did not yet.
void QueueModel::ObserveLanes() {
  std::map<std::uint32_t, std::int64_t> now;
  for (const auto& [sequence, message] : messages_) {
    if (!Deliverable(sequence, message)) continue;
    const auto before = lanes_.find(message.priority);
    now[message.priority] = before != lanes_.end() ? before->second : clock_.steady_ms;
  }
  lanes_ = std::move(now);
}

/// The highest; or, of those that got nothing for the ageing floor, the one that waits longest.
std::optional<std::uint32_t> QueueModel::LaneNext() const {
  std::optional<std::uint32_t> highest;
  std::optional<std::uint32_t> aged;
  for (const auto& [sequence, message] : messages_) {
    if (!Deliverable(sequence, message)) continue;
    const std::uint32_t lane = message.priority;
    if (!highest.has_value() || lane > *highest) highest = lane;
    if (!HasAged(lane)) continue;
    const bool longer = !aged.has_value() || lanes_.at(lane) < lanes_.at(*aged) ||
                        (lanes_.at(lane) == lanes_.at(*aged) && lane > *aged);
    if (longer) aged = lane;
  }
  return aged.has_value() ? aged : highest;
}

bool QueueModel::HasAged(std::uint32_t lane) const {
  const auto waits = lanes_.find(lane);
  return waits != lanes_.end() &&
         clock_.steady_ms - waits->second >= settings_.ageing_floor.count();
}

std::string QueueModel::WrongOrder(const Seen& seen, const ModelMessage& message) const {
  if (!KeyLetsGo(seen.sequence, message)) return "a message passed its key's order";
  if (!Sticky() && LaneNext() != message.priority) {
    return "another lane was next";
  }
  std::set<ConsumerId> owners;  // now it is known whose the key is
  if (Sticky() && !message.key.empty()) owners = {seen.stream};
  for (const auto& [sequence, other] : messages_) {
    if (other.priority < message.priority || !Deliverable(sequence, other)) continue;
    if (OwnersOf(other) != owners) continue;
    if (other.priority == message.priority) {
      if (sequence < seen.sequence) return "an older ready message was passed over";
    } else if (Sticky() && !HasAged(message.priority)) {
      return "a higher lane of the same owner was passed over";
    }
  }
  return "";
}

// ---- who

std::string QueueModel::WrongConsumer(const Seen& seen, const ModelMessage& message) const {
  const auto found = consumers_.find(seen.stream);
  if (found == consumers_.end()) return "a consumer that is gone got a message";
  if (found->second.draining) return "a consumer that drains got a message";
  if (!IsActive(seen.stream)) return "a consumer on standby got a message";
  if (!found->second.HasCredit()) return "credit was passed";
  const std::set<ConsumerId> owners = OwnersOf(message);
  if (!owners.empty()) return owners.contains(seen.stream) ? "" : "the key is another consumer's";
  const bool holds = std::any_of(messages_.begin(), messages_.end(), [&](const auto& entry) {
    return entry.second.state == ModelState::kInFlight && entry.second.consumer == seen.stream;
  });
  // What was asked back goes to the idle one for which it was asked.
  if (recalled_ms_ >= 0 && !holds) return "";
  ConsumerId next = 0;
  ConsumerId lowest = 0;
  std::int64_t most = 0;
  for (const auto& [id, consumer] : consumers_) {
    if (!MayTake(id)) continue;
    if (lowest == 0) lowest = id;
    if (next == 0 && id > turn_) next = id;
    most = std::max(most, consumer.messages);
  }
  if (settings_.dispatch_policy == DispatchPolicy::kRoundRobin) {
    return seen.stream == (next != 0 ? next : lowest) ? "" : "it was another consumer's turn";
  }
  if (settings_.dispatch_policy == DispatchPolicy::kRandom || !seen.first_of_run) return "";
  return found->second.messages == most ? "" : "another consumer has more idle credit";
}

std::string QueueModel::WrongFence(const Seen& seen, const ModelMessage& message) {
  if (seen.fence > seen.id) return "a fence of the future";
  const bool keyed = Keyed() && !message.key.empty();
  const bool alone = settings_.single_active || settings_.max_consumers == 1;
  if (!keyed && (Sticky() || !alone)) return "";
  auto& [holder, fence] = fences_[keyed ? message.key : ""];
  if (seen.fence == 0) return "a delivery without a fence";
  if (seen.fence < fence) return "a fence fell";
  if (seen.stream != holder && seen.fence == fence) return "two consumers have one fence";
  holder = seen.stream;
  fence = seen.fence;
  return "";
}

std::string QueueModel::Deliver(const Seen& seen) {
  if (!given_.insert(seen.id).second) return "a delivery id was used again";
  if (seen.lease_ms == 0) {  // at most once
    if (dues_.at_most_once.empty()) return "it is not handed over yet, or was before";
    const auto [consumer, expected] = dues_.at_most_once.front();
    dues_.at_most_once.pop_front();
    if (expected.sequence != seen.sequence) return "another message is next";
    return consumer == seen.stream ? "" : "it was settled for another consumer";
  }
  if (settings_.delivery == DeliveryMode::kAtMostOnce) return "at most once, with a lease";
  const auto found = messages_.find(seen.sequence);
  if (found == messages_.end()) return "what is not committed, or settled, was delivered";
  ModelMessage& message = found->second;
  if (message.payload != seen.payload) return "another message came under this sequence";
  if (message.state != ModelState::kReady) return "a message that is not ready was delivered";
  if (ConsumePaused()) return "delivered though consuming is paused";
  if (seen.attempt != message.attempts + 1) return "the attempt is wrong";
  if (!delivery_rate_.Has(clock_.steady_ms, settings_.max_delivery_rate)) {
    return "max_delivery_rate was passed";
  }
  if (seen.lease_ms != settings_.lease_duration.count()) return "the lease is wrong";
  if (std::string wrong = WrongConsumer(seen, message); !wrong.empty()) return wrong;
  if (std::string wrong = WrongOrder(seen, message); !wrong.empty()) return wrong;
  if (std::string wrong = WrongFence(seen, message); !wrong.empty()) return wrong;
  HandOver(seen, message);
  return "";
}

void QueueModel::HandOver(const Seen& seen, ModelMessage& message) {
  ModelConsumer& consumer = consumers_.at(seen.stream);
  --consumer.messages;
  consumer.bytes -= message.charge;
  if (Sticky() && !message.key.empty()) owners_[message.key] = {seen.stream};
  // With STICKY each consumer has lanes of its own; these began no later than that.
  if (!Sticky()) lanes_[message.priority] = clock_.steady_ms;
  delivery_rate_.Take(clock_.steady_ms, settings_.max_delivery_rate, 1);
  turn_ = seen.stream;
  message.state = ModelState::kInFlight;
  message.busy = true;
  message.delivery = seen.id;
  message.consumer = seen.stream;
  message.started = !consumer.marks_started;
  message.recalled = false;
  message.with_key = HeedsKeys() && !message.key.empty();
  message.deadline_ms = clock_.steady_ms + settings_.lease_duration.count();
  Reached(seen.sequence, ConfirmLevel::kDelivered, true);
}

/// With one consumer there is no choice: what it gets is settled first, and sent when that is on
/// disk.
void QueueModel::HandOverAtMostOnce() {
  const ModelCommit before = std::exchange(commit_, {});
  while (!ConsumePaused() && !consumers_.empty()) {
    const ConsumerId only = consumers_.begin()->first;
    const std::optional<std::uint32_t> next = LaneNext();
    if (!next.has_value() || !MayTake(only)) break;
    if (!delivery_rate_.Has(clock_.steady_ms, settings_.max_delivery_rate)) break;
    for (auto& [sequence, message] : messages_) {
      if (message.priority != *next || !Deliverable(sequence, message)) continue;
      const Seen seen{.sequence = sequence, .stream = only};
      ModelConsumer& consumer = consumers_.at(only);
      --consumer.messages;
      consumer.bytes -= message.charge;
      lanes_[*next] = clock_.steady_ms;
      delivery_rate_.Take(clock_.steady_ms, settings_.max_delivery_rate, 1);
      turn_ = only;
      message.busy = true;
      Free(sequence, &ModelCounts::acked);
      Then([this, seen] {
        if (consumers_.contains(seen.stream)) dues_.at_most_once.emplace_back(seen.stream, seen);
      });
      break;
    }
  }
  handed_over_ = std::exchange(commit_, before);
}

// ---- nothing lies still that could move

std::string QueueModel::NothingLeft() const {
  if (ConsumePaused()) return "";
  if (!delivery_rate_.Has(clock_.steady_ms, settings_.max_delivery_rate)) return "";
  std::set<ConsumerId> able;
  for (const auto& [id, consumer] : consumers_) {
    if (MayTake(id)) able.insert(id);
  }
  if (able.empty()) return "";
  for (const auto& [sequence, message] : messages_) {
    if (!Deliverable(sequence, message)) continue;
    const std::set<ConsumerId> owners = OwnersOf(message);
    if (!std::includes(able.begin(), able.end(), owners.begin(), owners.end())) continue;
    return "sequence " + std::to_string(sequence) + " is ready, and " +
           consumers_.at(*able.begin()).name + " has credit and does not get it";
  }
  return "";
}

QueueModel::Has QueueModel::HasFor(ConsumerId consumer) const {
  if (ConsumePaused() || !IsActive(consumer)) return Has::kNothing;
  Has has = Has::kNothing;
  for (const auto& [sequence, message] : messages_) {
    if (!Deliverable(sequence, message)) continue;
    const std::set<ConsumerId> owners = OwnersOf(message);
    if (owners.empty() || owners == std::set{consumer}) return Has::kSomething;
    if (owners.contains(consumer)) has = Has::kPerhaps;
  }
  const bool offered = !waiters_.empty() || Count(ModelState::kCommitting) > 0;
  if (settings_.max_messages == 0 && offered && has == Has::kNothing) return Has::kPerhaps;
  return has;
}

/// Its key would stay with its consumer.
bool QueueModel::OneOfSeveral(const ModelMessage& message) const {
  return message.with_key && 1 < std::count_if(messages_.begin(), messages_.end(), [&](auto& each) {
                               return each.second.state == ModelState::kInFlight &&
                                      each.second.with_key && each.second.key == message.key;
                             });
}

std::string QueueModel::Recall(ConsumerId holder, const std::vector<DeliveryRange>& ranges) {
  if (recalled_ms_ >= 0 && clock_.steady_ms - recalled_ms_ < 100) return "recalled too soon";
  recalled_ms_ = clock_.steady_ms;
  bool taker = false;
  for (const auto& [id, consumer] : consumers_) {
    taker = taker || (id != holder && MayTake(id) && HasFor(id) != Has::kSomething);
  }
  if (!taker) return "recalled, and nobody is idle";
  std::map<ConsumerId, std::uint64_t> unstarted;
  std::uint64_t held = 0;
  std::uint64_t asked = 0;
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight || message.started) continue;
    if (!message.recalled && message.consumer == holder) ++held;
    if (!message.recalled && !OneOfSeveral(message)) ++unstarted[message.consumer];
    const bool named = std::any_of(ranges.begin(), ranges.end(), [&](const DeliveryRange& range) {
      return range.first <= message.delivery && message.delivery <= range.last;
    });
    if (!named) continue;
    if (message.consumer != holder) return "recalled from another consumer";
    if (std::exchange(message.recalled, true)) return "recalled twice";
    ++asked;
  }
  std::uint64_t named = 0;
  for (const DeliveryRange& range : ranges) named += range.last - range.first + 1;
  if (named != asked) return "recalled what is started or not held";
  unstarted.erase(0);
  for (const auto& [id, count] : unstarted) {
    if (count > unstarted[holder]) return "recalled from one that holds less than another";
  }
  return asked * 2 <= held ? "" : "more than half was recalled";
}

}  // namespace mqd::queue::testing
