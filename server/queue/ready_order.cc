// ready_order.cc: step 3 of 5 (queue). Which ready message stands where: with the plain ones of
// its chunk, in a lane for anybody, or in line behind others of its ordering key.

#include "server/queue/ready_order.h"

#include <algorithm>
#include <utility>

#include "proto/base/assert.h"
#include "proto/base/mutant.h"

namespace mqd::queue {

using storage::HeldState;

void ReadyOrder::Place(Sequence sequence, Held& held) {
  if (held.key == nullptr) {
    if (held.state == HeldState::kReady) lanes_.Add(held.priority, sequence);
    return;
  }
  KeyState& key = *held.key;
  const bool in_line = held.state == HeldState::kReady ||
                       (keyed() && held.state == HeldState::kDelayed && held.wait == Wait::kRetry);
  if (keyed()) {
    if (in_line) key.waiting.insert(sequence);
    return UpdateKey(key);
  }
  UpdateKey(key);
  if (!in_line) return;
  key.waiting.insert(sequence);
  LanesOf(key.placed_with).Add(held.priority, sequence);
}

void ReadyOrder::Unplace(Sequence sequence, const Held& held) {
  if (held.key == nullptr) {
    if (held.state == HeldState::kReady) lanes_.Remove(held.priority, sequence);
    return;
  }
  KeyState& key = *held.key;
  const bool stood = key.waiting.erase(sequence) > 0;
  if (keyed()) return UpdateKey(key);
  if (stood) LanesOf(key.placed_with).Remove(held.priority, sequence);
}

Held ReadyOrder::TakeHeld(Sequence sequence) {
  const Held& row = *held_.Find(sequence);
  KeyState* key = row.key;
  Unplace(sequence, row);
  Held held = held_.Take(sequence);
  if (key != nullptr) {
    --key->rows;
    keys_.DropIfIdle(*key);
  }
  held.key = nullptr;
  return held;
}

// ---- plain messages

void ReadyOrder::RefreshFresh(const Chunk& chunk) {
  if (chunk.committed && chunk.NextFresh() < chunk.count) {
    fresh_.insert(chunk.key.first_sequence);
  } else {
    fresh_.erase(chunk.key.first_sequence);
  }
}

// ---- keys

KeyState* ReadyOrder::KeyOf(const Chunk& chunk, std::uint32_t index) {
  const storage::MessageControl* control = chunk.ControlOf(index);
  const bool heeds = control != nullptr && !control->ordering_key.empty() && (keyed() || sticky());
  return heeds ? &keys_.Get(control->ordering_key) : nullptr;
}

ReadyLanes& ReadyOrder::LanesOf(ConsumerId owner) {
  return owner == 0 ? lanes_ : consumers_.at(owner).own;
}

bool ReadyOrder::MayFollow(const KeyState& key) const {
  const auto holder = consumers_.find(key.holder);
  if (key.broken || holder == consumers_.end() || holder->second.draining) return false;
  const std::uint32_t most = holder->second.in_flight_per_key;
  if (most == 1 || key.flights.size() >= most) return false;
  if (sticky() && key.owner != key.holder) return false;
  // Somebody sits idle: let the key come free.
  if (idle_credit_.empty() || sticky()) return true;
  const ConsumerId idlest = idle_credit_.rbegin()->second;
  return idlest == key.holder || consumers_.at(idlest).in_flight > 0;
}

void ReadyOrder::UpdateKey(KeyState& key) {
  if (sticky()) ChooseOwner(key);
  // A key without an owner, while nobody consumes, waits in the lanes for anybody.
  ConsumerId with = sticky() ? key.owner : 0;
  const bool there = key.placed_with == 0 || consumers_.contains(key.placed_with);
  if (!keyed()) {  // each message stands by itself
    if (key.placed_with == with) return;
    for (const Sequence sequence : key.waiting) {
      const std::uint32_t priority = held_.Find(sequence)->priority;
      if (there) LanesOf(key.placed_with).Remove(priority, sequence);
      LanesOf(with).Add(priority, sequence);
    }
    key.placed_with = with;
    return;
  }
  Sequence head = 0;
  const Held* held = nullptr;
  const bool follows = key.busy > 0 && !MQD_MUTANT(key_free_before_the_settle);
  if (!key.waiting.empty() && (!follows || MayFollow(key))) {
    head = *key.waiting.begin();
    held = held_.Find(head);
    if (held == nullptr || held->state != HeldState::kReady) head = 0;
  }
  if (follows && head != 0) with = key.holder;
  if (key.placed == head && key.placed_with == with) return;
  if (key.placed != 0 && there) {
    LanesOf(key.placed_with).Remove(key.placed_priority, key.placed);
  }
  key.placed = head;
  key.placed_with = with;
  if (head == 0) return;
  key.placed_priority = held->priority;
  LanesOf(with).Add(key.placed_priority, head);
}

void ReadyOrder::ChooseOwner(KeyState& key) {
  const auto could_take = [this](ConsumerId id, const Consumer& consumer) {
    return !consumer.draining && (!settings_.single_active || id == active_);
  };
  const auto owner = consumers_.find(key.owner);
  if (owner != consumers_.end() && could_take(owner->first, owner->second)) return;
  key.owner = 0;
  std::uint64_t best = 0;
  for (const auto& [id, consumer] : consumers_) {
    const std::uint64_t score = KeyScore(key.hash, id);
    if (!could_take(id, consumer) || (key.owner != 0 && score <= best)) continue;
    key.owner = id;
    best = score;
  }
}

void ReadyOrder::OwnersChanged() {
  if (!sticky()) return;
  keys_.ForEach([this](KeyState& key) {
    const ConsumerId before = key.owner;
    key.owner = 0;
    ChooseOwner(key);
    if (key.owner != before || key.placed_with != key.owner) UpdateKey(key);
  });
}

void ReadyOrder::KeyFlies(KeyState& key, Sequence sequence, DeliveryId id, ConsumerId consumer) {
  if (key.holder != consumer) key.fence = id;
  ++key.busy;
  key.broken = false;
  key.holder = consumer;
  key.flight = id;
  key.flights.emplace(sequence, id);
}

void ReadyOrder::KeyLands(const FlightRun& run) {
  if (run.key == nullptr) {
    const storage::MessageControl* control = run.chunk->ControlOf(run.first_index);
    if (control == nullptr || control->ordering_key.empty()) return;
    open_.keys_not_heeded.push_back(control->ordering_key);  // Reindex() may come before its end
    return;
  }
  KeyState& key = *run.key;
  open_.keys.push_back(&key);
  key.flights.erase(run.chunk->SequenceAt(run.first_index));
  if (key.placed == 0 && !key.waiting.empty()) UpdateKey(key);
}

void ReadyOrder::KeyBreaks(KeyState& key, Sequence sequence, DeliveryId id, ConsumerId consumer) {
  key.flights.erase(sequence);
  key.broken = true;
  UpdateKey(key);  // one that waits for the holder's credit does not follow any more
  const auto holder = consumers_.find(consumer);
  if (!keyed() || holder == consumers_.end() || holder->second.in_flight_per_key == 1) return;
  // What was handed over before this one goes on, and what others got while keys did not count.
  for (auto behind = key.flights.upper_bound(sequence); behind != key.flights.end(); ++behind) {
    const auto run = in_flight_.runs().find(behind->second);
    if (run == in_flight_.runs().end() || run->second.consumer != consumer) continue;
    if (behind->second > id) behind_.insert(behind->second);
  }
}

void ReadyOrder::FreeKey(KeyState& key) {
  MQD_ASSERT(key.busy > 0);
  --key.busy;
  UpdateKey(key);
  keys_.DropIfIdle(key);
}

void ReadyOrder::ObserveLanes() {
  lanes_.Observe(FirstFresh(), now_ns());
  if (!sticky() && !keyed()) return;
  for (auto& [id, consumer] : consumers_) consumer.own.Observe(ReadyLanes::kNone, now_ns());
}

void ReadyOrder::HeedKeys(Commit& commit) {
  for (const std::string& name : std::exchange(commit.keys_not_heeded, {})) {
    KeyState& key = keys_.Get(name);
    ++key.busy;
    key.broken = true;
    commit.keys.push_back(&key);
  }
}

void ReadyOrder::Reindex() {
  lanes_.Clear();
  for (auto& [id, consumer] : consumers_) consumer.own.Clear();
  keys_.ForEach([](KeyState& key) {
    key.waiting.clear();
    key.rows = 0;
    key.placed = 0;
    key.placed_with = 0;
    key.owner = 0;
    key.broken = true;  // until all that is at work is done
  });
  for (auto& [first, run] : in_flight_.runs()) {
    if (run.key != nullptr) continue;
    run.key = KeyOf(*run.chunk, run.first_index);  // it was delivered while keys did not count
    if (run.key == nullptr) continue;
    const Sequence sequence = run.chunk->SequenceAt(run.first_index);
    KeyFlies(*run.key, sequence, first, run.consumer);
    run.key->broken = true;
  }
  if (keyed() || sticky()) {
    for (Commit& commit : sent_) HeedKeys(commit);
    HeedKeys(open_);
  }
  for (HeldTable::Rows* rows : {&held_.live(), &held_.parked_rows()}) {
    for (auto& [sequence, held] : *rows) {
      held.key = KeyOf(*held.chunk, held.index);
      if (held.key != nullptr) ++held.key->rows;
      Place(sequence, held);
    }
  }
  keys_.DropAllIdle();
}

}  // namespace mqd::queue
