// queue_core_transaction.cc: step 3 of 5 (queue). The queue's side of an atomic request;
// transaction.h tells the whole.

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {

void QueueCore::Handle(PrepareTransaction& event) {
  Waiter waiter{.batch = std::move(event.batch),
                .transaction = event.transaction,
                .bypass_dedup = event.bypass_dedup,
                .origins = std::move(event.origins)};
  if (waiters_.empty() && AdmitTransaction(waiter) == Admitted::kAll) return;
  Enqueue(std::move(waiter));
}

Admitted QueueCore::AdmitTransaction(Waiter& waiter) {
  Results results;
  std::vector<std::size_t> fresh;  // messages to store
  bool refused = false;
  if (!JudgeTransaction(waiter, fresh, results, refused)) {
    waiter.waits_for = WaitFor::kKey;
    return Admitted::kWait;
  }
  if (!refused && !fresh.empty()) {
    const Verdict room = JudgeTransactionRoom(waiter, fresh);
    if (const auto* wait = std::get_if<WaitFor>(&room)) {
      waiter.waits_for = *wait;
      return Admitted::kWait;
    }
    if (const auto* error = std::get_if<ErrorInfo>(&room)) {
      for (const std::size_t i : fresh) results[i] = *error;
      refused = true;
    }
  }
  storage::Batch part;
  if (refused) {
    ++totals_.rejected;
  } else {
    StorePrepared(waiter, fresh, results, part);
  }
  AnswerTransaction(waiter.transaction, std::move(results), std::move(part), !refused);
  return Admitted::kAll;
}

bool QueueCore::JudgeTransaction(const Waiter& waiter, std::vector<std::size_t>& fresh,
                                 Results& results, bool& refused) {
  std::set<KeyHash> own_keys;
  for (const IncomingMessage& message : waiter.batch.messages) {
    const SpecialFields* special = waiter.batch.SpecialOf(message);
    // A dead letter was checked against the rules of its own queue.
    std::optional<ErrorInfo> refusal = RefusalFor(message, waiter.bypass_dedup ? nullptr : special);
    const bool has_key = !message.idempotency_key.empty() && !waiter.bypass_dedup;
    if (!refusal.has_value() && has_key) {
      if (auto known = CheckKey(message)) {
        if (std::holds_alternative<WaitFor>(*known)) return false;
        if (auto* conflict = std::get_if<ErrorInfo>(&*known)) {
          refused = true;
          results.emplace_back(std::move(*conflict));
        } else {
          results.emplace_back(std::get<Duplicate>(*known));
        }
        continue;
      }
      if (!own_keys.insert(message.key_hash).second) {
        refusal = MakeError(Reason::kBadField, "one atomic request names an idempotency_key twice");
      } else if (!HasDedupRoom(own_keys.size())) {
        refusal = DedupFullError();
      }
    }
    if (refusal.has_value()) {
      refused = true;
      results.emplace_back(std::move(*refusal));
      continue;
    }
    fresh.push_back(results.size());
    results.emplace_back(Sequence{0});
  }
  return true;
}

Verdict QueueCore::JudgeTransactionRoom(const Waiter& waiter,
                                        const std::vector<std::size_t>& fresh) {
  std::uint64_t bytes = 0;
  for (const std::size_t i : fresh) bytes += waiter.batch.messages[i].charge_bytes;
  const std::uint64_t count = fresh.size();
  const auto room = [&] {
    if (rendezvous()) return count == 1 && HasRoom(bytes);
    return messages_ + count <= settings_.max_messages && bytes_ + bytes <= settings_.max_bytes;
  };
  const bool waits = waits_when_full() && !waiter.bypass_dedup;
  const std::uint64_t rate = settings_.max_publish_rate;
  if (!waiter.bypass_dedup && publish_rate_.Available(now_ns(), rate) == 0) {
    next_rate_ns_ = std::min(next_rate_ns_, publish_rate_.NextNs(rate));
    if (waits) return WaitFor::kRate;
    return WaitError(WaitFor::kRate);
  }
  const bool could =
      count <= std::max<std::uint64_t>(settings_.max_messages, 1) && bytes <= settings_.max_bytes;
  const bool drops = settings_.overflow_policy == OverflowPolicy::kDropOldest && could &&
                     !waiter.bypass_dedup && !room();
  if (drops && !DroppingHelps(count, bytes)) {
    if (committing_ > 0 || settling_ > 0) return WaitFor::kCommit;
    return FullError();
  }
  if (!drops && !room()) {
    if (could && waits) return rendezvous() ? WaitFor::kTaker : WaitFor::kRoom;
    return FullError();
  }
  if (around_->ledger != nullptr) {
    for (const std::size_t i : fresh) {
      auto refusal = around_->ledger->Take(waiter.batch.messages[i].charge_bytes);
      if (refusal.has_value()) return *std::move(refusal);
    }
  }
  if (drops) DropFor(count, bytes);
  if (!waiter.bypass_dedup) publish_rate_.Take(now_ns(), rate, count);
  return StoreIt{};
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
    AddControl(waiter, message, i, static_cast<std::uint32_t>(body.count()), *chunk);
    body.Append(message.element);
    chunk->charges.push_back(message.charge_bytes);
    prepared.bytes += message.charge_bytes;
    if (!message.idempotency_key.empty() && !waiter.bypass_dedup) {
      const bool room = MakeDedupRoom();
      MQD_ASSERT(room);
      const auto expired = RememberKey(message, sequence, waiter.transaction, part);
      if (expired) prepared.expired_key_rows.push_back(*expired);
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

void QueueCore::AddControl(const Waiter& waiter, const IncomingMessage& message, std::size_t i,
                           std::uint32_t index, Chunk& chunk) const {
  std::optional<storage::MessageControl> control;
  if (const SpecialFields* special = waiter.batch.SpecialOf(message)) {
    control = ControlFor(*special, index);
    if (special->delay_ms > 0) {
      chunk.delays.emplace_back(index, now_ns() + special->delay_ms * kNsPerMs);
    }
  }
  if (!waiter.origins.empty()) {
    if (!control.has_value()) control = storage::MessageControl{.index = index};
    control->dead_letter.push_back(waiter.origins[i]);
  }
  if (control.has_value()) chunk.controls.push_back(*std::move(control));
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
  if (!event.committed && durable()) {
    for (const auto& row : prepared.expired_key_rows) open_batch_.DeleteDedup(id_, row);
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
  HoldSpecials(chunk);
  RefreshFresh(chunk);
  Note(Transition::kPublished, first, chunk.LastSequence());
  DropBodyIfFull(chunk);
}

SettleResult QueueCore::CheckTransaction(const CommitTransaction& event, bool& possible) const {
  SettleResult refusal;
  std::map<DeliveryId, DeliveryId> seen;  // first -> last
  for (const SettleEntry& entry : event.entries) {
    const auto next = seen.upper_bound(entry.range.last);
    if (next != seen.begin() && std::prev(next)->second >= entry.range.first) {
      refusal.exceptions.emplace_back(
          entry.range, MakeError(Reason::kBadField, "one atomic request settles a delivery twice"));
    } else if (!in_flight_.HoldsAll(entry.range) && !SettledByItself(entry.range, entry.outcome)) {
      refusal.exceptions.emplace_back(entry.range, Stale(entry.range));
    }
    seen.emplace(entry.range.first, entry.range.last);
  }
  possible = !deleting_ && refusal.exceptions.empty();
  for (const Sequence sequence : event.leaving) possible = possible && Leaves(sequence);
  for (const std::uint64_t id : event.diverted) possible = possible && diverting_.contains(id);
  return refusal;
}

bool QueueCore::Leaves(Sequence sequence) const {
  const MessageStatus status = StatusOf(sequence);
  const Chunk* chunk = FindChunk(sequence);
  return chunk != nullptr && chunk->committed && chunk->IndexOf(sequence).has_value() &&
         (status == MessageStatus::kReady || status == MessageStatus::kDelayed ||
          status == MessageStatus::kParked);
}

void QueueCore::Handle(CommitTransaction& event) {
  bool possible = false;
  SettleResult refusal = CheckTransaction(event, possible);
  if (!possible) {
    Send(TransactionDone{event.transaction, false, std::move(refusal)});
    return;
  }
  SettleResult result = ApplyEntries(event.entries);
  for (const Sequence sequence : event.leaving) Remove(sequence, Transition::kDeadLettered);
  totals_.dead_lettered += event.leaving.size();
  for (const std::uint64_t id : event.diverted) FinishDivert(id);
  if (MQD_MUTANT(dead_letter_in_two_batches)) SealCommit();
  open_batch_.Append(std::move(event.parts));
  open_flush_ = open_flush_ || event.flush;
  open_.replies.push_back(TransactionDone{event.transaction, true, std::move(result)});
}

}  // namespace mqd::queue
