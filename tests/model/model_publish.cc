// model_publish.cc: who may store what, who waits, and what each publish id is told.

#include <algorithm>

#include "tests/model/queue_model.h"

namespace mqd::queue::testing {
namespace {

const std::string kStore = "store";
const std::string kDivert = "divert";

bool IsWait(const std::string& verdict) { return verdict.starts_with("wait"); }

}  // namespace

// ---- publishers come and go

bool QueueModel::AttachPublisher(PublisherId publisher, ModelPublisher who, bool take_over) {
  Used();
  if (!who.producer.empty()) {
    const PublisherId before = producers_[who.producer].connected;
    if (before != 0) {
      RemovePublisher(before);
      dues_.publishers_gone.insert(before);
    }
  }
  if (publishers_.size() >= settings_.max_producers) {
    if (!take_over || publishers_.empty()) return false;
    const PublisherId longest = publishers_.begin()->first;
    RemovePublisher(longest);
    dues_.publishers_gone.insert(longest);
  }
  if (!who.producer.empty()) producers_[who.producer].connected = publisher;
  publishers_[publisher] = std::move(who);
  return true;
}

void QueueModel::DetachPublisher(PublisherId publisher) {
  Used();
  if (publishers_.contains(publisher)) RemovePublisher(publisher);
}

void QueueModel::RemovePublisher(PublisherId publisher) {
  if (ModelProducer* producer = ProducerOf(publisher)) producer->connected = 0;
  publishers_.erase(publisher);
  std::erase_if(waiters_, [&](const ModelWaiter& waiter) {
    return waiter.transaction == 0 && waiter.publisher == publisher;
  });
  std::erase_if(results_, [&](const auto& entry) { return entry.first.first == publisher; });
  std::erase_if(awaited_, [&](const auto& entry) { return entry.second.publisher == publisher; });
}

ModelProducer* QueueModel::ProducerOf(PublisherId publisher) {
  const auto found = publishers_.find(publisher);
  if (found == publishers_.end() || found->second.producer.empty()) return nullptr;
  return &producers_[found->second.producer];
}

// ---- one message after the other

void QueueModel::Publish(ModelWaiter waiter, std::uint64_t answered_through) {
  Used();
  if (!publishers_.contains(waiter.publisher)) return;
  if (ModelProducer* producer = ProducerOf(waiter.publisher)) {
    std::erase_if(producer->stored,
                  [&](const auto& entry) { return entry.first <= answered_through; });
  }
  if (waiters_.empty() && Admit(waiter)) return;
  waiters_.push_back(std::move(waiter));
}

bool QueueModel::Admit(ModelWaiter& waiter) {
  for (; waiter.next < waiter.messages.size(); ++waiter.next) {
    const ModelSent& sent = waiter.messages[waiter.next];
    const std::uint64_t publish_id = waiter.first_id + waiter.next;
    if (AnswerFromRecord(waiter, publish_id)) continue;
    const std::string verdict = Judge(sent);
    if (IsWait(verdict)) {
      waiter.waits_for = verdict;
      return false;
    }
    if (verdict == kStore) {
      Store(waiter, sent, publish_id);
    } else if (verdict == kDivert) {
      Divert(waiter, sent, publish_id);
    } else {
      if (verdict.starts_with("dropped")) ++counts_.dropped;
      const Sequence original = verdict.starts_with("duplicate") ? dedup_.at(sent.key).sequence : 0;
      Answer(waiter.publisher, publish_id, verdict, false, original);
    }
  }
  return true;
}

void QueueModel::AdmitWaiters() {
  while (!waiters_.empty()) {
    ModelWaiter& first = waiters_.front();
    if (first.transaction != 0 ? !AdmitTransaction(first) : !Admit(first)) return;
    waiters_.pop_front();
  }
}

bool QueueModel::AnswerFromRecord(const ModelWaiter& waiter, std::uint64_t publish_id) {
  ModelProducer* producer = ProducerOf(waiter.publisher);
  if (producer == nullptr || !producer->stored.contains(publish_id)) return false;
  const Sequence sequence = producer->stored.at(publish_id);
  if (sequence == 0) {
    Answer(waiter.publisher, publish_id, "dropped DEAD_LETTER", false);
  } else {
    Confirm(waiter, publish_id, sequence);
  }
  return true;
}

std::string QueueModel::Refusal(const ModelSent& sent, bool bypass) const {
  if (deleted_) return "QUEUE_NOT_FOUND";
  if (closed_) return "QUEUE_CLOSED";
  if (settings_.paused == Paused::kPublish || settings_.paused == Paused::kBoth) {
    return "QUEUE_PAUSED";
  }
  if (world_.disk_low) return "DISK_LOW";
  if (sent.charge > settings_.max_bytes) return "MESSAGE_TOO_LARGE";
  if (!bypass && !sent.extras.ordering_key.empty() && !HeedsKeys()) return "BAD_FIELD";
  return "";
}

std::string QueueModel::Judge(const ModelSent& sent) {
  if (const std::string refusal = Refusal(sent, false); !refusal.empty()) return refusal;
  if (const std::string known = JudgeKey(sent); !known.empty()) return known;
  if (!publish_rate_.Has(clock_.steady_ms, settings_.max_publish_rate)) {
    return WaitsWhenFull() ? "wait for the rate" : "RATE_LIMITED";
  }
  if (const std::string refs = JudgeRefs(sent); !refs.empty()) return refs;
  const std::string room = JudgeRoom(sent);
  if (room != kStore && room != kDivert) return room;
  if (!sent.key.empty() && !HasDedupRoom(1)) return "DEDUP_FULL";
  if (room == kStore && world_.quota_full) return "QUOTA_EXCEEDED";
  return room;
}

std::string QueueModel::JudgeKey(const ModelSent& sent) const {
  const auto known = dedup_.find(sent.key);
  if (sent.key.empty() || known == dedup_.end()) return "";
  const ModelKey& key = known->second;
  if (key.pending) return "wait for the key";
  if (MonoMs() - key.first_seen_ms > settings_.dedup_window.count()) return "";
  if (key.payload != sent.payload) return "IDEMPOTENCY_CONFLICT";
  return "duplicate of " + std::to_string(key.sequence) + " " + StatusOf(key.sequence);
}

std::string QueueModel::JudgeRefs(const ModelSent& sent) {
  bool waits = false;
  for (const storage::MessageRef& ref : sent.extras.deliver_after) {
    const auto known = known_refs_.find(ref);
    if (known == known_refs_.end()) {
      asked_refs_.insert(ref);
      waits = true;
    } else if (known->second == RefState::kUnknown) {
      known_refs_.erase(known);
      asked_refs_.erase(ref);
      return "BAD_FIELD";
    }
  }
  return waits ? "wait for another queue's word" : "";
}

void QueueModel::Answered(const storage::MessageRef& ref, RefState state) {
  if (asked_refs_.contains(ref)) known_refs_[ref] = state;
  if (state == RefState::kPending) return;
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kDelayed || message.refs.erase(ref) == 0) continue;
    if (message.refs.empty()) Place(sequence, message);
  }
}

RefState QueueModel::StateOf(Sequence sequence) const {
  if (sequence == 0 || sequence >= next_sequence_) return RefState::kUnknown;
  const bool held = messages_.contains(sequence) || disk_.messages.contains(sequence);
  return held ? RefState::kPending : RefState::kSettled;
}

// ---- room

bool QueueModel::WaitsWhenFull() const {
  return settings_.overflow_policy == OverflowPolicy::kBlock ||
         settings_.overflow_policy == OverflowPolicy::kThrottle;
}

bool QueueModel::HasTaker() const {
  if (ConsumePaused()) return false;
  std::uint64_t credit = 0;
  for (const auto& [id, consumer] : consumers_) {
    if (MayTake(id)) credit += static_cast<std::uint64_t>(consumer.messages);
  }
  return credit > Count(ModelState::kReady) + Count(ModelState::kCommitting);
}

bool QueueModel::HasRoom(std::uint64_t count, std::uint64_t bytes) const {
  if (Bytes() + bytes > settings_.max_bytes) return false;
  if (settings_.max_messages == 0) return count == 1 && HasTaker();
  return Slots() + count <= settings_.max_messages;
}

std::string QueueModel::JudgeRoom(const ModelSent& sent) {
  if (HasRoom(1, sent.charge)) return kStore;
  switch (settings_.overflow_policy) {
    case OverflowPolicy::kBlock:
    case OverflowPolicy::kThrottle:
      return settings_.max_messages == 0 ? "wait for a taker" : "wait for room";
    case OverflowPolicy::kDropNewest:
      return "dropped DROP_NEWEST";
    case OverflowPolicy::kDeadLetter:
      return kDivert;
    case OverflowPolicy::kDropOldest:
      if (!VictimsFor(1, sent.charge).empty()) return kStore;
      if (Count(ModelState::kCommitting) + Count(ModelState::kSettling) > 0) {
        return "wait for a commit";
      }
      return "QUEUE_FULL";
    default:
      return "QUEUE_FULL";
  }
}

/// The oldest that are ready or delayed, as many as it takes; none when that is not enough.
std::vector<Sequence> QueueModel::VictimsFor(std::uint64_t count, std::uint64_t bytes) const {
  std::vector<Sequence> victims;
  std::uint64_t slots = Slots() + count;
  std::uint64_t held = Bytes() + bytes;
  for (const auto& [sequence, message] : messages_) {
    if (slots <= settings_.max_messages && held <= settings_.max_bytes) return victims;
    if (message.state != ModelState::kReady && message.state != ModelState::kDelayed) continue;
    victims.push_back(sequence);
    --slots;
    held -= message.charge;
  }
  const bool enough = slots <= settings_.max_messages && held <= settings_.max_bytes;
  return enough ? victims : std::vector<Sequence>{};
}

void QueueModel::Drop(const std::vector<Sequence>& victims) {
  for (const Sequence sequence : victims) {
    messages_.erase(sequence);
    if (awaited_.contains(sequence)) awaited_[sequence].deadline_ms = INT64_MAX;
    ++counts_.dropped;
    ++counts_.victims;
    OnDisk([this, sequence] { disk_.messages.erase(sequence); });
    Then([this, sequence] { Reached(sequence, ConfirmLevel::kSettled, false); });
  }
}

bool QueueModel::HasDedupRoom(std::uint64_t keys) const {
  std::uint64_t stay = 0;
  for (const auto& [key, entry] : dedup_) {
    const bool lives = MonoMs() - entry.first_seen_ms <= settings_.dedup_window.count();
    const bool goes = settings_.dedup_full_policy == DedupFullPolicy::kEvictOldest;
    if (entry.pending || (lives && !goes)) ++stay;
  }
  return stay + keys <= settings_.dedup_max_entries;
}

void QueueModel::Remember(const ModelSent& sent, Sequence sequence, bool pending) {
  const ModelKey entry{sequence, sent.payload, MonoMs(), pending};
  std::erase_if(dedup_, [&](const auto& known) {
    if (known.second.pending) return false;
    if (MonoMs() - known.second.first_seen_ms <= settings_.dedup_window.count()) return false;
    disk_.dedup.erase(known.first);  // when it is forgotten on disk is no promise
    return true;
  });
  while (!dedup_.contains(sent.key) && dedup_.size() >= settings_.dedup_max_entries) {
    auto oldest = dedup_.end();
    for (auto each = dedup_.begin(); each != dedup_.end(); ++each) {
      if (each->second.pending) continue;
      if (oldest == dedup_.end() || each->second.age() < oldest->second.age()) oldest = each;
    }
    if (oldest == dedup_.end()) break;
    const std::string key = oldest->first;
    dedup_.erase(oldest);
    OnDisk([this, key] { disk_.dedup.erase(key); });
  }
  dedup_[sent.key] = entry;
}

// ---- stored, or handed on

ModelMessage QueueModel::MessageOf(const ModelSent& sent) const {
  ModelMessage message{.payload = sent.payload,
                       .charge = sent.charge,
                       .key = sent.extras.ordering_key,
                       .priority = sent.extras.priority,
                       .published_ms = clock_.wall_ms,
                       .delay_ms = sent.extras.delay_ms,
                       .deliver_at_ms = sent.extras.deliver_at_ms};
  if (message.deliver_at_ms <= clock_.wall_ms) message.deliver_at_ms = 0;
  if (sent.extras.ttl_ms > 0) message.expires_ms = clock_.wall_ms + sent.extras.ttl_ms;
  message.due_ms = clock_.steady_ms + message.delay_ms;
  message.refs.insert(sent.extras.deliver_after.begin(), sent.extras.deliver_after.end());
  return message;
}

void QueueModel::Store(const ModelWaiter& waiter, const ModelSent& sent, std::uint64_t publish_id) {
  if (settings_.overflow_policy == OverflowPolicy::kDropOldest) Drop(VictimsFor(1, sent.charge));
  publish_rate_.Take(clock_.steady_ms, settings_.max_publish_rate, 1);
  const Sequence sequence = next_sequence_++;
  const ModelMessage message = messages_[sequence] = MessageOf(sent);
  for (const storage::MessageRef& ref : message.refs) {
    known_refs_.erase(ref);
    asked_refs_.erase(ref);
  }
  OnDisk([this, sequence, message] { disk_.messages[sequence] = message; });
  Then([this, sequence] {
    ++counts_.published;
    Place(sequence, messages_.at(sequence));
  });
  if (ModelProducer* producer = ProducerOf(waiter.publisher)) {
    producer->stored[publish_id] = sequence;
    const std::string name = publishers_.at(waiter.publisher).producer;
    OnDisk([this, name, publish_id, sequence] { disk_.producers[name][publish_id] = sequence; });
  }
  if (!sent.key.empty()) {
    Remember(sent, sequence, false);
    const ModelKey entry = dedup_.at(sent.key);
    OnDisk([this, key = sent.key, entry] { disk_.dedup[key] = entry; });
  }
  Confirm(waiter, publish_id, sequence);
}

void QueueModel::Divert(const ModelWaiter& waiter, const ModelSent& sent,
                        std::uint64_t publish_id) {
  const std::uint64_t number = diverts_.empty() ? 1 : diverts_.rbegin()->first + 1;
  diverts_[number] = {waiter.publisher, publish_id, sent};
  dues_.diverts.push_back(number);
  if (!sent.key.empty()) Remember(sent, 0, true);
}

void QueueModel::EndDivert(std::uint64_t number, bool committed) {
  const ModelDivert divert = diverts_.at(number);
  diverts_.erase(number);
  const ModelSent& sent = divert.sent;
  if (!committed) {
    dedup_.erase(sent.key);
    return Answer(divert.publisher, divert.publish_id, "QUEUE_FULL", false);
  }
  ++counts_.diverted;
  if (!sent.key.empty()) {
    dedup_[sent.key].pending = false;
    const ModelKey entry = dedup_[sent.key];
    OnDisk([this, key = sent.key, entry] { disk_.dedup[key] = entry; });
  }
  if (ModelProducer* producer = ProducerOf(divert.publisher)) {
    producer->stored[divert.publish_id] = 0;
    const std::string name = publishers_.at(divert.publisher).producer;
    OnDisk([this, name, id = divert.publish_id] { disk_.producers[name][id] = 0; });
  }
  Then([this, divert] {
    Answer(divert.publisher, divert.publish_id, "dropped DEAD_LETTER", false);
  });
}

// ---- results

void QueueModel::Answer(PublisherId publisher, std::uint64_t publish_id, std::string result,
                        bool at_once, Sequence after) {
  if (!publishers_.contains(publisher)) return;
  results_[{publisher, publish_id}] = {std::move(result), at_once, after};
}

void QueueModel::Confirm(const ModelWaiter& waiter, std::uint64_t publish_id, Sequence sequence) {
  ConfirmLevel level = waiter.level;
  if (settings_.max_messages == 0) level = std::max(level, ConfirmLevel::kDelivered);
  if (level >= ConfirmLevel::kDelivered && !HasReached(sequence, level)) {
    awaited_[sequence] = {waiter.publisher, publish_id, level, waiter.deadline_ms};
    return;
  }
  const bool at_once = level == ConfirmLevel::kAccepted;
  Answer(waiter.publisher, publish_id, "stored as " + std::to_string(sequence), at_once,
         at_once ? 0 : sequence);
}

bool QueueModel::HasReached(Sequence sequence, ConfirmLevel level) const {
  const auto found = messages_.find(sequence);
  if (found == messages_.end() || found->second.state == ModelState::kSettling) return true;
  if (level == ConfirmLevel::kSettled) return false;
  const ModelMessage& message = found->second;
  return message.attempts > 0 || message.state == ModelState::kInFlight;
}

void QueueModel::Reached(Sequence sequence, ConfirmLevel level, bool at_once) {
  const auto found = awaited_.find(sequence);
  if (found == awaited_.end() || found->second.level > level) return;
  const ModelAwaited awaited = found->second;
  awaited_.erase(found);
  Answer(awaited.publisher, awaited.publish_id, "stored as " + std::to_string(sequence), at_once);
}

std::string QueueModel::Told(PublisherId publisher, std::uint64_t publish_id,
                             const std::string& result) {
  const auto found = results_.find({publisher, publish_id});
  if (found == results_.end())
    return "publish id " + std::to_string(publish_id) + " was told \"" + result +
           "\", unasked or twice";
  const ModelResult expected = found->second;
  results_.erase(found);
  if (expected.text != result) {
    return "publish id " + std::to_string(publish_id) + " was told \"" + result + "\", not \"" +
           expected.text + "\"";
  }
  const auto stored = messages_.find(expected.after);
  if (stored != messages_.end() && stored->second.state == ModelState::kCommitting) {
    return "confirmed before it was on disk";
  }
  return "";
}

std::string QueueModel::CheckAnswers(bool commits_pending) const {
  for (const auto& [id, result] : results_) {
    if (commits_pending && !result.at_once) continue;
    return "publish id " + std::to_string(id.second) + " was not told \"" + result.text + "\"";
  }
  return "";
}

std::uint64_t QueueModel::Awaited() const {
  return static_cast<std::uint64_t>(std::count_if(
      awaited_.begin(), awaited_.end(),
      [&](const auto& entry) { return !HasReached(entry.first, ConfirmLevel::kSettled); }));
}

std::string QueueModel::StatusOf(Sequence sequence) const {
  const auto found = messages_.find(sequence);
  if (found == messages_.end()) return "SETTLED";
  switch (found->second.state) {
    case ModelState::kCommitting:
    case ModelState::kReady:
      return "READY";
    case ModelState::kInFlight:
    case ModelState::kReturning:
      return "IN_FLIGHT";
    case ModelState::kDelayed:
      return "DELAYED";
    case ModelState::kParked:
      return "PARKED";
    default:
      return "SETTLED";
  }
}

bool QueueModel::Waiting(PublisherId publisher) const {
  return std::any_of(waiters_.begin(), waiters_.end(), [&](const ModelWaiter& waiter) {
    return waiter.transaction == 0 && waiter.publisher == publisher;
  });
}

}  // namespace mqd::queue::testing
