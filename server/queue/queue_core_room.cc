// queue_core_room.cc: step 3 of 5 (queue). When there is no room: who waits, what is dropped, what
// goes to the dead-letter queue.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

/// Marks a pending idempotency key as held by a divert and not by a transaction.
constexpr TransactionId kDivertBit = TransactionId{1} << 63;

}  // namespace

Verdict QueueCore::JudgeRoom(const IncomingMessage& message) {
  const OverflowPolicy policy = settings_.overflow_policy;
  if (HasRoom(message.charge_bytes)) return StoreIt{};
  switch (policy) {
    case OverflowPolicy::kBlock:
    case OverflowPolicy::kThrottle:
      return rendezvous() ? WaitFor::kTaker : WaitFor::kRoom;
    case OverflowPolicy::kDropOldest:
      if (DroppingHelps(1, message.charge_bytes)) return StoreIt{};
      if (committing_ > 0 || settling_ > 0) return WaitFor::kCommit;
      return FullError();
    case OverflowPolicy::kDropNewest:
      return Dropped{OverflowPolicy::kDropNewest};
    case OverflowPolicy::kDeadLetter:
      return DivertIt{};
    case OverflowPolicy::kReject:
      break;
  }
  return FullError();
}

bool QueueCore::Fits(std::uint64_t messages, std::uint64_t bytes) const {
  return messages_ + messages <= settings_.max_messages && bytes_ + bytes <= settings_.max_bytes;
}

bool QueueCore::DroppingHelps(std::uint64_t messages, std::uint64_t bytes) const {
  std::uint64_t slots = messages_ + messages;
  std::uint64_t charge = bytes_ + bytes;
  const auto enough = [&] {
    return slots <= settings_.max_messages && charge <= settings_.max_bytes;
  };
  for (const auto& [sequence, held] : held_.live()) {
    if (enough()) return true;
    --slots;
    charge -= held.chunk->ChargeAt(held.index);
  }
  for (const Sequence first : fresh_) {
    const Chunk& chunk = *chunks_.at(first);
    for (std::uint32_t index = chunk.NextFresh(); index < chunk.count; ++index) {
      if (enough()) return true;
      if (chunk.held.Contains(index) || chunk.settled.Contains(index)) continue;
      --slots;
      charge -= chunk.ChargeAt(index);
    }
  }
  return enough();
}

void QueueCore::DropFor(std::uint64_t messages, std::uint64_t bytes) {
  if (settings_.overflow_policy != OverflowPolicy::kDropOldest) return;
  while (!Fits(messages, bytes) && DropOldest()) {
  }
}

bool QueueCore::DropOldest() {
  const Sequence fresh = FirstFresh();
  const Sequence held = held_.live().empty() ? ReadyLanes::kNone : held_.live().begin()->first;
  const Sequence oldest = std::min(fresh, held);
  if (oldest == ReadyLanes::kNone) return false;
  if (oldest == held) {
    const Held gone = TakeHeld(oldest);
    if (gone.attempts > 0 && durable()) open_batch_.DeleteAttempt(id_, oldest);
  }
  Chunk& chunk = *FindChunk(oldest);
  const std::uint32_t index = *chunk.IndexOf(oldest);
  // The newcomer takes the slot in the same commit, so it is free at once.
  Settled(chunk, index, index + 1);
  --messages_;
  bytes_ -= chunk.ChargeAt(index);
  ++totals_.dropped;
  RefreshFresh(chunk);
  Note(Transition::kDropped, oldest, oldest);
  return true;
}

// ---- on to the dead-letter queue

void QueueCore::Divert(const Waiter& waiter, const IncomingMessage& message,
                       std::uint64_t publish_id) {
  const std::uint64_t id = next_divert_++;
  diverting_[id] = {.publisher = waiter.batch.publisher,
                    .publish_id = publish_id,
                    .charge = message.charge_bytes,
                    .key = std::string(message.idempotency_key),
                    .key_hash = message.key_hash,
                    .digest = message.digest,
                    .first_seen_ms = MonoMs()};
  if (!message.idempotency_key.empty()) {
    RememberKey(message, 0, kDivertBit | id, open_batch_);
  }
  Send(DivertToDeadLetter{
      .divert = id,
      .charge_bytes = message.charge_bytes,
      .element = message.element,
      .owner = waiter.batch.owner,
      .origin = {.queue = name_, .reason = "the queue was full", .time_ms = around_->now.wall_ms}});
}

void QueueCore::FinishDivert(std::uint64_t divert) {
  const auto found = diverting_.find(divert);
  const Diverting& done = found->second;
  if (!done.key.empty()) {
    dedup_.Settle(done.key_hash, kDivertBit | divert);
    if (durable()) {
      open_batch_.PutDedup(id_, done.key_hash, {0, done.digest, done.first_seen_ms, done.key});
    }
  }
  if (Producer* producer = ProducerOf(done.publisher)) {
    if (!producer->dirty) dirty_producers_.push_back(*publishers_.at(done.publisher).producer);
    producer->Add(done.publish_id, 0);
  }
  ++totals_.diverted;
  Except(done.publisher, done.publish_id, done.charge, Dropped{OverflowPolicy::kDeadLetter});
  diverting_.erase(found);
}

void QueueCore::Handle(DivertFailed& event) {
  const auto found = diverting_.find(event.divert);
  if (found == diverting_.end()) return;
  const Diverting failed = std::move(found->second);
  diverting_.erase(found);
  if (!failed.key.empty()) dedup_.Erase(failed.key_hash);
  ErrorInfo error = FullError();
  absl::StrAppend(&error.message, "; its dead-letter queue ", settings_.dead_letter_queue,
                  " did not take the message either: ", event.error.message);
  ++totals_.rejected;
  Except(failed.publisher, failed.publish_id, failed.charge, std::move(error));
}

// ---- errors

// ---- waiting

void QueueCore::Enqueue(Waiter waiter) {
  waiter.id = next_waiter_++;
  if (waiter.batch.deadline_ns != kNever) {
    waiter_deadlines_.emplace(waiter.batch.deadline_ns, waiter.id);
  }
  const auto publisher = publishers_.find(waiter.batch.publisher);
  if (publisher != publishers_.end()) {
    if (publisher->second.waiting++ == 0) publisher->second.blocked_since_ms = around_->now.wall_ms;
    TellBlocked(waiter);
  }
  waiters_.push_back(std::move(waiter));
}

void QueueCore::TellBlocked(const Waiter& waiter) {
  const WaitFor what = waiters_.empty() ? waiter.waits_for : WaitFor::kRoom;
  const bool short_wait =
      what == WaitFor::kKey || what == WaitFor::kCommit || what == WaitFor::kRefs;
  const auto publisher = publishers_.find(waiter.batch.publisher);
  if (short_wait || publisher == publishers_.end() || publisher->second.told) return;
  publisher->second.told = true;
  Send(SendBlocked{publisher->first, waiter.batch.first_publish_id + waiter.next, WaitError(what)});
}

void QueueCore::AdmitWaiters() {
  if (now_ns() >= next_rate_ns_) next_rate_ns_ = kNever;
  while (!waiters_.empty()) {
    Waiter& waiter = waiters_.front();
    const Admitted admitted = waiter.transaction != 0 ? AdmitTransaction(waiter) : Admit(waiter);
    if (admitted == Admitted::kWait) return;
    EndWait(waiter);
    waiters_.pop_front();
  }
}

void QueueCore::EndWait(const Waiter& waiter) {
  waiter_deadlines_.erase({waiter.batch.deadline_ns, waiter.id});
  const auto publisher = publishers_.find(waiter.batch.publisher);
  if (publisher == publishers_.end()) return;
  MQD_ASSERT(publisher->second.waiting > 0);
  if (--publisher->second.waiting > 0) return;
  if (!std::exchange(publisher->second.told, false)) return;
  Send(SendBlocked{publisher->first, waiter.batch.first_publish_id, std::nullopt});
}

void QueueCore::ExpireWaiters() {
  while (!waiter_deadlines_.empty() && waiter_deadlines_.begin()->first <= now_ns()) {
    const std::uint64_t id = waiter_deadlines_.begin()->second;
    const auto waiter = std::find_if(waiters_.begin(), waiters_.end(),
                                     [id](const Waiter& other) { return other.id == id; });
    MQD_ASSERT(waiter != waiters_.end());
    ErrorInfo error = WaitError(waiter->waits_for);
    error.reason = Reason::kBlockedTimeout;
    absl::StrAppend(&error.message, "; the deadline passed while the message waited");
    EndWait(*waiter);
    RefuseRest(*waiter, error);
    waiters_.erase(waiter);
  }
}

void QueueCore::RefuseRest(Waiter& waiter, const ErrorInfo& error) {
  const std::size_t count = waiter.batch.messages.size();
  totals_.rejected += count - waiter.next;
  if (waiter.transaction != 0) {
    AnswerTransaction(waiter.transaction,
                      std::vector<std::variant<Sequence, Duplicate, ErrorInfo>>(count, error), {},
                      false);
    return;
  }
  Producer* producer = ProducerOf(waiter.batch.publisher);
  for (; waiter.next < count; ++waiter.next) {
    const std::uint64_t publish_id = waiter.batch.first_publish_id + waiter.next;
    if (AnswerFromRecord(producer, waiter, publish_id)) continue;  // a resend: it is stored
    Except(waiter.batch.publisher, publish_id, waiter.batch.messages[waiter.next].charge_bytes,
           error);
  }
}

void QueueCore::DropWaitersOf(PublisherId publisher) {
  const auto gone = std::remove_if(waiters_.begin(), waiters_.end(), [&](const Waiter& waiter) {
    if (waiter.transaction != 0 || waiter.batch.publisher != publisher) return false;
    waiter_deadlines_.erase({waiter.batch.deadline_ns, waiter.id});
    return true;
  });
  waiters_.erase(gone, waiters_.end());
}

}  // namespace mqd::queue
