// queue_core_publish.cc: step 3 of 5 (queue). Who may store what, who waits, and what each publish
// id is told.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

/// Sequences are promised to the store in steps of this size, so that none is used twice after a
/// crash.
constexpr Sequence kSequenceStep = 1'000'000;
/// A commit this large is closed within the turn; it keeps batches far below
/// CommitLog::kBatchBytesMax.
constexpr std::size_t kCommitBytesTarget = 8u << 20;
constexpr std::size_t kChunkBytesTarget = 1u << 20;

}  // namespace

void QueueCore::Handle(PublishBatch& event) {
  if (!publishers_.contains(event.publisher)) return;
  if (Producer* producer = ProducerOf(event.publisher)) producer->Trim(event.answered_through);
  Waiter waiter{.batch = std::move(event)};
  if (waiters_.empty() && Admit(waiter) == Admitted::kAll) return;
  Enqueue(std::move(waiter));
}

Producer* QueueCore::ProducerOf(PublisherId publisher) {
  const auto found = publishers_.find(publisher);
  if (found == publishers_.end() || !found->second.producer.has_value()) return nullptr;
  return producers_.Find(*found->second.producer);
}

Admitted QueueCore::Admit(Waiter& waiter) {
  Producer* producer = ProducerOf(waiter.batch.publisher);
  for (; waiter.next < waiter.batch.messages.size(); ++waiter.next) {
    const IncomingMessage& message = waiter.batch.messages[waiter.next];
    const std::uint64_t publish_id = waiter.batch.first_publish_id + waiter.next;
    if (AnswerFromRecord(producer, waiter, publish_id)) continue;
    std::optional<ErrorInfo> refusal = RefusalFor(message);
    if (!refusal.has_value() && !message.idempotency_key.empty()) {
      bool pending = false;
      auto known = CheckKey(message, pending);
      if (pending) return Admitted::kWait;
      if (known.has_value()) {
        std::visit(
            [&](auto& result) {
              Except(waiter.batch.publisher, publish_id, message.charge_bytes, std::move(result));
            },
            *known);
        continue;
      }
    }
    if (!refusal.has_value() && !HasRoom(message)) {
      if (settings_.overflow_policy == OverflowPolicy::kBlock) return Admitted::kWait;
      refusal = FullError();
    }
    if (!refusal.has_value() && !message.idempotency_key.empty() && !MakeDedupRoom()) {
      refusal = DedupFullError();
    }
    if (refusal.has_value()) {
      ++totals_.rejected;
      Except(waiter.batch.publisher, publish_id, message.charge_bytes, std::move(*refusal));
      continue;
    }
    Store(waiter, message, publish_id, producer);
  }
  return Admitted::kAll;
}

bool QueueCore::AnswerFromRecord(Producer* producer, const Waiter& waiter,
                                 std::uint64_t publish_id) {
  if (producer == nullptr || publish_id > producer->record.last_publish_id) return false;
  const std::optional<Sequence> stored = producer->Find(publish_id);
  if (!stored.has_value()) return false;
  Confirm(waiter.batch.publisher, publish_id, *stored,
          waiter.batch.messages[waiter.next].charge_bytes);
  return true;
}

std::optional<ErrorInfo> QueueCore::RefusalFor(const IncomingMessage& message) const {
  if (deleting_) return MakeError(Reason::kQueueNotFound, "the queue is being deleted");
  if (closed_) {
    return MakeError(Reason::kQueueClosed,
                     "it is closed and takes no messages; reopen it or publish elsewhere");
  }
  if (around_->disk_low) {
    ErrorInfo error = MakeError(
        Reason::kDiskLow, "the broker's disk is nearly full; free space or consume, then retry");
    error.retry_after_ms = 1'000;
    return error;
  }
  if (message.charge_bytes > settings_.max_bytes) {
    ErrorInfo error =
        MakeError(Reason::kMessageTooLarge, "the message is larger than max_bytes of the queue");
    error.limit = settings_.max_bytes;
    error.current = message.charge_bytes;
    return error;
  }
  return std::nullopt;
}

ErrorInfo QueueCore::FullError() const {
  const bool by_count = messages_ >= settings_.max_messages;
  ErrorInfo error = MakeError(
      Reason::kQueueFull,
      by_count ? absl::StrCat("it holds ", messages_, " of max_messages ", settings_.max_messages)
               : absl::StrCat("it holds ", bytes_, " of max_bytes ", settings_.max_bytes));
  absl::StrAppend(&error.message, "; consume some, raise the limit, or use overflow_policy BLOCK");
  error.limit = by_count ? settings_.max_messages : settings_.max_bytes;
  error.current = by_count ? messages_ : bytes_;
  return error;
}

ErrorInfo QueueCore::DedupFullError() const {
  ErrorInfo error = MakeError(Reason::kDedupFull,
                              "every idempotency key of dedup_max_entries is within its window");
  error.limit = settings_.dedup_max_entries;
  error.current = dedup_.size();
  return error;
}

bool QueueCore::HasRoom(const IncomingMessage& message) const {
  return messages_ < settings_.max_messages && bytes_ <= settings_.max_bytes &&
         message.charge_bytes <= settings_.max_bytes - bytes_;
}

std::optional<std::variant<Duplicate, ErrorInfo>> QueueCore::CheckKey(
    const IncomingMessage& message, bool& pending) const {
  const WallMs window_start = around_->now.wall_ms - settings_.dedup_window.count();
  const DedupEntry* known = dedup_.Find(message.key_hash, window_start);
  if (known == nullptr) return std::nullopt;
  if (known->pending != 0) {
    pending = true;
    return std::nullopt;
  }
  if (known->digest == message.digest) {
    return Duplicate{known->sequence, StatusOf(known->sequence)};
  }
  ErrorInfo error =
      MakeError(Reason::kIdempotencyConflict,
                absl::StrCat("idempotency_key \"", std::string(message.idempotency_key),
                             "\" belongs to sequence ", known->sequence,
                             " with another body; use a new key for a new message"));
  error.current = known->sequence;
  return error;
}

bool QueueCore::MakeDedupRoom() {
  while (dedup_.size() >= settings_.dedup_max_entries) {
    const WallMs limit = settings_.dedup_full_policy == DedupFullPolicy::kEvictOldest
                             ? INT64_MAX
                             : around_->now.wall_ms - settings_.dedup_window.count() - 1;
    const std::optional<KeyHash> evicted = dedup_.PopOldest(limit);
    if (!evicted.has_value()) return false;
    if (settings_.dedup_full_policy == DedupFullPolicy::kEvictOldest) ++totals_.dedup_evicted;
    if (durable()) open_batch_.DeleteDedup(id_, *evicted);
  }
  return true;
}

void QueueCore::RememberKey(const IncomingMessage& message, Sequence sequence,
                            TransactionId pending, storage::Batch& batch) {
  const WallMs now_ms = around_->now.wall_ms;
  dedup_.Insert(message.key_hash, {sequence, message.digest, now_ms, pending});
  if (!durable()) return;
  batch.PutDedup(id_, message.key_hash,
                 {sequence, message.digest, now_ms, std::string(message.idempotency_key)});
}

Sequence QueueCore::NextSequence() {
  if (next_sequence_ >= sequence_limit_) {
    sequence_limit_ = next_sequence_ + kSequenceStep;
    WriteQueueRecord();
  }
  return next_sequence_++;
}

void QueueCore::Store(const Waiter& waiter, const IncomingMessage& message,
                      std::uint64_t publish_id, Producer* producer) {
  if (open_chunk_ != nullptr &&
      (open_body_.count() >= storage::kBodyMessagesMax ||
       open_body_.element_bytes() + message.element.size() > kChunkBytesTarget)) {
    SealChunk();
  }
  if (open_batch_.bytes() > kCommitBytesTarget) SealCommit();
  const Sequence sequence = NextSequence();
  if (open_chunk_ == nullptr) {
    open_chunk_ = std::make_unique<Chunk>();
    open_chunk_->key.first_sequence = sequence;
    open_chunk_->publish_time_ms = around_->now.wall_ms;
  }
  open_body_.Append(message.element);
  open_chunk_->charges.push_back(message.charge_bytes);
  ++messages_;
  ++committing_;
  bytes_ += message.charge_bytes;
  Confirm(waiter.batch.publisher, publish_id, sequence, message.charge_bytes);
  if (producer != nullptr) {
    if (!producer->dirty)
      dirty_producers_.push_back(*publishers_.at(waiter.batch.publisher).producer);
    producer->Add(publish_id, sequence);
  }
  if (!message.idempotency_key.empty()) RememberKey(message, sequence, 0, open_batch_);
}

void QueueCore::TouchProducers() {
  for (const ProducerId& id : dirty_producers_) {
    Producer* producer = producers_.Find(id);
    if (producer == nullptr) continue;
    producer->dirty = false;
    producer->record.last_seen_ms = around_->now.wall_ms;
    if (durable()) open_batch_.PutProducer(id_, id, producer->record);
  }
  dirty_producers_.clear();
}

Confirms& QueueCore::ConfirmsOf(PublisherId publisher) {
  for (auto entry = open_.confirms.rbegin(); entry != open_.confirms.rend(); ++entry) {
    if (entry->first == publisher) return entry->second;
  }
  return open_.confirms.emplace_back(publisher, Confirms{}).second;
}

void QueueCore::Confirm(PublisherId publisher, std::uint64_t publish_id, Sequence sequence,
                        std::uint32_t charge) {
  Confirms& confirms = ConfirmsOf(publisher);
  ++confirms.messages;
  confirms.bytes += charge;
  if (!confirms.ranges.empty()) {
    ConfirmedRange& last = confirms.ranges.back();
    if (last.first_publish_id + last.count == publish_id &&
        last.first_sequence + last.count == sequence) {
      ++last.count;
      return;
    }
  }
  confirms.ranges.push_back({publish_id, 1, sequence});
}

void QueueCore::Except(PublisherId publisher, std::uint64_t publish_id, std::uint32_t charge,
                       std::variant<Duplicate, Dropped, ErrorInfo> result) {
  if (std::holds_alternative<Duplicate>(result)) ++totals_.duplicates;
  Confirms& confirms = ConfirmsOf(publisher);
  ++confirms.messages;
  confirms.bytes += charge;
  confirms.exceptions.push_back({publish_id, std::move(result)});
}

// ---- waiting

void QueueCore::Enqueue(Waiter waiter) {
  waiter.id = next_waiter_++;
  if (waiter.batch.deadline_ns != kNever) {
    waiter_deadlines_.emplace(waiter.batch.deadline_ns, waiter.id);
  }
  const auto publisher = publishers_.find(waiter.batch.publisher);
  if (publisher != publishers_.end() && publisher->second.waiting++ == 0) {
    Send(SendBlocked{publisher->first, waiter.batch.first_publish_id + waiter.next, FullError()});
  }
  waiters_.push_back(std::move(waiter));
}

void QueueCore::AdmitWaiters() {
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
  if (--publisher->second.waiting == 0) {
    Send(SendBlocked{publisher->first, waiter.batch.first_publish_id, std::nullopt});
  }
}

void QueueCore::ExpireWaiters() {
  while (!waiter_deadlines_.empty() && waiter_deadlines_.begin()->first <= around_->now.steady_ns) {
    const std::uint64_t id = waiter_deadlines_.begin()->second;
    const auto waiter = std::find_if(waiters_.begin(), waiters_.end(),
                                     [id](const Waiter& other) { return other.id == id; });
    MQD_ASSERT(waiter != waiters_.end());
    ErrorInfo error = FullError();
    error.reason = Reason::kBlockedTimeout;
    absl::StrAppend(&error.message, "; the deadline passed while the message waited for room");
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

MessageStatus QueueCore::StatusOf(Sequence sequence) const {
  if (open_chunk_ != nullptr && sequence >= open_chunk_->key.first_sequence) {
    return MessageStatus::kReady;
  }
  const Chunk* chunk = FindChunk(sequence);
  const std::optional<std::uint32_t> index =
      chunk == nullptr ? std::nullopt : chunk->IndexOf(sequence);
  if (!index.has_value() || chunk->settled.Contains(*index)) return MessageStatus::kSettled;
  if (const Held* held = held_.Find(sequence)) {
    switch (held->state) {
      case storage::HeldState::kReady:
        return MessageStatus::kReady;
      case storage::HeldState::kDelayed:
        return MessageStatus::kDelayed;
      case storage::HeldState::kParked:
        return MessageStatus::kParked;
    }
  }
  const bool fresh = *index >= chunk->cursor && !chunk->held.Contains(*index);
  return fresh ? MessageStatus::kReady : MessageStatus::kInFlight;
}

}  // namespace mqd::queue
