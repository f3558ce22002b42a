// queue_core_transaction.cc: step 3 of 5 (queue). The queue's side of an atomic request;
// transaction.h tells the whole.

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "proto/base/assert.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {

using Results = std::vector<std::variant<Sequence, Duplicate, ErrorInfo>>;

void QueueCore::Handle(PrepareTransaction& event) {
  Waiter waiter{.batch = std::move(event.batch),
                .transaction = event.transaction,
                .bypass_dedup = event.bypass_dedup,
                .origins = std::move(event.origins)};
  if (waiters_.empty() && AdmitTransaction(waiter) == Admitted::kAll) return;
  Enqueue(std::move(waiter));
}

Admitted QueueCore::AdmitTransaction(Waiter& waiter) {
  const auto& messages = waiter.batch.messages;
  Results results;
  std::vector<std::size_t> fresh;  // messages to store
  std::set<KeyHash> own_keys;
  std::uint64_t bytes = 0;
  bool refused = false;
  std::uint64_t unforgettable = 0;  // keys that cannot make room for these
  if (settings_.dedup_full_policy == DedupFullPolicy::kReject) {
    unforgettable = dedup_.size();
  } else {
    for (const auto& [id, other] : prepared_) unforgettable += other.keys.size();
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    std::optional<ErrorInfo> refusal = RefusalFor(messages[i]);
    const bool keyed = !messages[i].idempotency_key.empty() && !waiter.bypass_dedup;
    bool pending = false;
    if (!refusal.has_value() && keyed) {
      auto known = CheckKey(messages[i], pending);
      if (pending) return Admitted::kWait;
      if (known.has_value()) {
        refused = refused || std::holds_alternative<ErrorInfo>(*known);
        std::visit([&](auto& result) { results.emplace_back(std::move(result)); }, *known);
        continue;
      }
      if (!own_keys.insert(messages[i].key_hash).second) {
        refusal = MakeError(Reason::kBadField, "one atomic request names an idempotency_key twice");
      } else if (unforgettable + own_keys.size() > settings_.dedup_max_entries) {
        refusal = DedupFullError();
      }
    }
    if (refusal.has_value()) {
      refused = true;
      results.emplace_back(std::move(*refusal));
      continue;
    }
    fresh.push_back(i);
    bytes += messages[i].charge_bytes;
    results.emplace_back(Sequence{0});
  }
  const bool room =
      messages_ + fresh.size() <= settings_.max_messages && bytes_ + bytes <= settings_.max_bytes;
  const bool could = fresh.size() <= settings_.max_messages && bytes <= settings_.max_bytes;
  if (!refused && !room) {
    if (could && settings_.overflow_policy == OverflowPolicy::kBlock && !waiter.bypass_dedup) {
      return Admitted::kWait;
    }
    for (const std::size_t i : fresh) results[i] = FullError();
    refused = true;
  }
  storage::Batch part;
  if (!refused) StorePrepared(waiter, fresh, results, part);
  if (refused) ++totals_.rejected;
  AnswerTransaction(waiter.transaction, std::move(results), std::move(part), !refused);
  return Admitted::kAll;
}

void QueueCore::StorePrepared(const Waiter& waiter, const std::vector<std::size_t>& fresh,
                              Results& results, storage::Batch& part) {
  Prepared& prepared = prepared_[waiter.transaction];
  if (fresh.empty()) return;
  SealChunk();  // sequences of a chunk are consecutive
  auto chunk = std::make_unique<Chunk>();
  storage::Body::Builder body;
  for (const std::size_t i : fresh) {
    const IncomingMessage& message = waiter.batch.messages[i];
    const Sequence sequence = NextSequence();
    if (body.count() == 0) chunk->key.first_sequence = sequence;
    if (!waiter.origins.empty()) {
      storage::MessageControl control{.index = static_cast<std::uint32_t>(body.count())};
      control.dead_letter.push_back(waiter.origins[i]);
      chunk->controls.push_back(std::move(control));
    }
    body.Append(message.element);
    chunk->charges.push_back(message.charge_bytes);
    prepared.bytes += message.charge_bytes;
    if (!message.idempotency_key.empty() && !waiter.bypass_dedup) {
      const bool room = MakeDedupRoom();
      MQD_ASSERT(room);
      RememberKey(message, sequence, waiter.transaction, part);
      prepared.keys.push_back(message.key_hash);
    }
    results[i] = sequence;
  }
  chunk->publish_time_ms = around_->now.wall_ms;
  chunk->count = static_cast<std::uint32_t>(body.count());
  chunk->body_bytes = body.element_bytes();
  SetBody(*chunk, std::move(body).Finish());
  if (durable()) part.PutChunk(id_, chunk->ToRecord(), chunk->body);
  messages_ += chunk->count;
  committing_ += chunk->count;
  bytes_ += prepared.bytes;
  prepared.chunk = std::move(chunk);
}

void QueueCore::AnswerTransaction(TransactionId transaction, Results results, storage::Batch part,
                                  bool accepted) {
  Send(TransactionPrepared{transaction, std::move(part), settings_.durability == Durability::kSync,
                           std::move(results), accepted});
}

void QueueCore::Handle(EndTransaction& event) {
  const auto found = prepared_.find(event.transaction);
  if (found == prepared_.end()) {
    if (event.committed) effects_->rebuild = true;  // prepared before this core was built
    return;
  }
  Prepared prepared = std::move(found->second);
  prepared_.erase(found);
  for (const KeyHash& hash : prepared.keys) {
    if (event.committed) {
      dedup_.Settle(hash, event.transaction);
    } else {
      dedup_.Erase(hash);
    }
  }
  if (prepared.chunk == nullptr) return;
  const std::uint32_t count = prepared.chunk->count;
  committing_ -= count;
  if (!event.committed) {
    messages_ -= count;
    bytes_ -= prepared.bytes;
    SetBody(*prepared.chunk, nullptr);
    room_freed_ = true;
    return;
  }
  totals_.published += count;
  const Sequence first = prepared.chunk->key.first_sequence;
  prepared.chunk->committed = true;
  prepared.chunk->on_disk = true;
  Chunk& chunk = *chunks_.emplace(first, std::move(prepared.chunk)).first->second;
  fresh_.insert(first);
  DropBodyIfFull(chunk);
}

void QueueCore::Handle(CommitTransaction& event) {
  SettleResult refusal;
  std::map<DeliveryId, DeliveryId> seen;  // first -> last
  for (const SettleEntry& entry : event.entries) {
    const auto next = seen.upper_bound(entry.range.last);
    if (next != seen.begin() && std::prev(next)->second >= entry.range.first) {
      refusal.exceptions.emplace_back(
          entry.range, MakeError(Reason::kBadField, "one atomic request settles a delivery twice"));
    } else if (!in_flight_.HoldsAll(entry.range)) {
      refusal.exceptions.emplace_back(entry.range, Stale(entry.range));
    }
    seen.emplace(entry.range.first, entry.range.last);
  }
  bool held = !deleting_;
  for (const Sequence sequence : event.leaving) {
    const Held* found = held_.Find(sequence);
    held = held && found != nullptr && found->state == storage::HeldState::kParked;
  }
  if (!refusal.exceptions.empty() || !held) {
    Send(TransactionDone{event.transaction, false, std::move(refusal)});
    return;
  }
  SettleResult result = ApplyEntries(event.entries);
  for (const Sequence sequence : event.leaving) {
    const Held parked = held_.Take(sequence);
    SettleMessages(*parked.chunk, parked.index, parked.index + 1);
    if (durable()) open_batch_.DeleteAttempt(id_, sequence);
    ++totals_.dead_lettered;
  }
  open_batch_.Append(std::move(event.parts));
  open_flush_ = open_flush_ || event.flush;
  open_.replies.push_back(TransactionDone{event.transaction, true, std::move(result)});
}

}  // namespace mqd::queue
