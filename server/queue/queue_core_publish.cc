// queue_core_publish.cc: step 3 of 5 (queue). Publishers come and go; who may store what.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "server/limits.h"
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

// ---- publishers come and go

void QueueCore::Handle(AttachPublisher& event) {
  if (deleting_) {
    Send(PublisherAttached{
        event.publisher, {}, MakeError(Reason::kQueueNotFound, "the queue is being deleted")});
    return;
  }
  DropProducersExpired();
  AttachedPublisher attached;
  if (event.producer.has_value()) FenceProducer(*event.producer, attached);
  if (std::optional<ErrorInfo> refusal = TooManyProducers(event)) {
    Send(PublisherAttached{event.publisher, {}, std::move(refusal)});
    return;
  }
  if (event.producer.has_value()) {
    producers_.Insert(*event.producer).connected = event.publisher;
  }
  publishers_[event.publisher] = Publisher{.producer = event.producer,
                                           .client_name = std::move(event.client_name),
                                           .since_ms = around_->now.wall_ms};
  Send(PublisherAttached{event.publisher, attached, std::nullopt});
}

void QueueCore::FenceProducer(const ProducerId& id, AttachedPublisher& attached) {
  Producer* known = producers_.Find(id);
  if (known == nullptr) return;
  attached.resumed = true;
  attached.last_publish_id = known->record.last_publish_id;
  if (known->connected == 0) return;
  const PublisherId old = known->connected;
  DropPublisher(old);
  Send(PublisherGone{old, GoAwayCode::kFenced,
                     MakeError(Reason::kFenced, "the same producer_id opened another stream")});
}

std::optional<ErrorInfo> QueueCore::TooManyProducers(const AttachPublisher& event) {
  if (publishers_.size() < settings_.max_producers) return std::nullopt;
  if (event.take_over && !publishers_.empty()) {
    const PublisherId oldest = publishers_.begin()->first;
    DropPublisher(oldest);
    Send(PublisherGone{oldest, GoAwayCode::kFenced,
                       MakeError(Reason::kFenced, absl::StrCat("publisher \"", event.client_name,
                                                               "\" has taken over"))});
    return std::nullopt;
  }
  const std::string holder =
      publishers_.empty()
          ? ""
          : absl::StrCat(", held by \"", publishers_.begin()->second.client_name, "\" for ",
                         SecondsSince(publishers_.begin()->second.since_ms), " s");
  ErrorInfo error =
      MakeError(Reason::kCardinality,
                absl::StrCat("it takes ", settings_.max_producers, " publishers at a time", holder,
                             "; close that one, ask with take_over, or raise max_producers"));
  error.limit = settings_.max_producers;
  error.current = publishers_.size();
  return error;
}

void QueueCore::Handle(DetachPublisher& event) {
  if (publishers_.contains(event.publisher)) DropPublisher(event.publisher);
}

void QueueCore::DropPublisher(PublisherId id) {
  DropWaitersOf(id);
  DropAwaitedOf(id);
  const auto found = publishers_.find(id);
  if (found->second.producer.has_value()) {
    Producer* producer = producers_.Find(*found->second.producer);
    if (producer != nullptr) {
      producer->connected = 0;
      producer->record.last_seen_ms = MonoMs();
    }
  }
  publishers_.erase(found);
}

void QueueCore::DropProducersExpired() {
  for (const ProducerId& gone : producers_.Expire(MonoMs())) {
    if (durable()) open_batch_.DeleteProducer(id_, gone);
  }
}

// ---- one message after the other

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
    Verdict verdict = Judge(waiter, message);
    if (const auto* wait = std::get_if<WaitFor>(&verdict)) {
      waiter.waits_for = *wait;
      return Admitted::kWait;
    }
    if (std::holds_alternative<StoreIt>(verdict)) {
      Store(waiter, message, publish_id, producer);
    } else if (std::holds_alternative<DivertIt>(verdict)) {
      Divert(waiter, message, publish_id);
    } else {
      Refuse(waiter, message, publish_id, verdict);
    }
  }
  return Admitted::kAll;
}

void QueueCore::Refuse(const Waiter& waiter, const IncomingMessage& message,
                       std::uint64_t publish_id, Verdict& verdict) {
  const PublisherId publisher = waiter.batch.publisher;
  if (auto* duplicate = std::get_if<Duplicate>(&verdict)) {
    return Except(publisher, publish_id, message.charge_bytes, *duplicate);
  }
  if (auto* dropped = std::get_if<Dropped>(&verdict)) {
    ++totals_.dropped;
    return Except(publisher, publish_id, message.charge_bytes, *dropped);
  }
  ++totals_.rejected;
  Except(publisher, publish_id, message.charge_bytes, std::get<ErrorInfo>(std::move(verdict)));
}

Verdict QueueCore::Judge(Waiter& waiter, const IncomingMessage& message) {
  const SpecialFields* special = waiter.batch.SpecialOf(message);
  if (auto refusal = RefusalFor(message, special)) return *std::move(refusal);
  const bool has_key = !message.idempotency_key.empty();
  if (has_key) {
    if (auto known = CheckKey(message)) return *std::move(known);
  }
  if (special != nullptr && special->fault != nullptr) return *special->fault;
  const std::uint64_t rate = settings_.max_publish_rate;
  if (publish_rate_.Available(now_ns(), rate) == 0) {
    if (waits_when_full()) {
      next_rate_ns_ = std::min(next_rate_ns_, publish_rate_.NextNs(rate));
      return WaitFor::kRate;
    }
    return WaitError(WaitFor::kRate);
  }
  if (special != nullptr && !special->deliver_after.empty()) {
    if (auto verdict = JudgeRefs(*special)) return *std::move(verdict);
  }
  if (LevelOf(waiter) >= ConfirmLevel::kDelivered &&
      awaited_.size() >= limits::kAwaitedConfirmsMax) {
    ErrorInfo error = MakeError(Reason::kRateLimited,
                                "too many publishes wait for confirm level DELIVERED or SETTLED; "
                                "consume, or ask for DURABLE");
    error.limit = limits::kAwaitedConfirmsMax;
    error.current = awaited_.size();
    return error;
  }
  Verdict room = JudgeRoom(message);
  const bool diverts = std::holds_alternative<DivertIt>(room);
  if (!diverts && !std::holds_alternative<StoreIt>(room)) return room;
  if (has_key && !HasDedupRoom(1)) return DedupFullError();
  if (!diverts && around_->ledger != nullptr) {
    if (auto refusal = around_->ledger->Take(message.charge_bytes)) return *std::move(refusal);
  }
  // It is taken for sure: only now may others go for it.
  if (has_key) MakeDedupRoom();
  if (diverts) return room;
  DropFor(1, message.charge_bytes);
  publish_rate_.Take(now_ns(), rate, 1);
  return StoreIt{};
}

bool QueueCore::AnswerFromRecord(Producer* producer, const Waiter& waiter,
                                 std::uint64_t publish_id) {
  if (producer == nullptr || publish_id > producer->record.last_publish_id) return false;
  const std::optional<Sequence> stored = producer->Find(publish_id);
  if (!stored.has_value()) return false;
  const std::uint32_t charge = waiter.batch.messages[waiter.next].charge_bytes;
  if (*stored == 0) {
    Except(waiter.batch.publisher, publish_id, charge, Dropped{OverflowPolicy::kDeadLetter});
    return true;
  }
  ConfirmStored(waiter, publish_id, *stored, charge);
  return true;
}

std::optional<ErrorInfo> QueueCore::RefusalFor(const IncomingMessage& message,
                                               const SpecialFields* special) const {
  if (deleting_) return MakeError(Reason::kQueueNotFound, "the queue is being deleted");
  if (closed_) {
    return MakeError(Reason::kQueueClosed,
                     "it is closed and takes no messages; reopen it or publish elsewhere");
  }
  if (publish_paused()) {
    return MakeError(Reason::kQueuePaused,
                     "publishing is paused; resume the queue, or retry later");
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
  if (special != nullptr && !special->ordering_key.empty() && !keyed() && !sticky()) {
    ErrorInfo error = MakeError(Reason::kBadField,
                                "ordering_key needs ordering KEYED or dispatch_policy STICKY; "
                                "update the queue, or leave the key out");
    error.resource = "field ordering_key";
    return error;
  }
  return std::nullopt;
}

std::optional<Verdict> QueueCore::JudgeRefs(const SpecialFields& special) {
  bool waits = false;
  for (const storage::MessageRef& ref : special.deliver_after) {
    const auto [asked, first] = asked_refs_.try_emplace(ref, std::nullopt);
    if (first) Send(AskRef{ref});
    waits = waits || !asked->second.has_value();
    if (asked->second != RefState::kUnknown) continue;
    asked_refs_.erase(asked);
    ErrorInfo error = MakeError(Reason::kBadField,
                                absl::StrCat("deliver_after names sequence ", ref.sequence,
                                             ", which its queue has not given to any message"));
    error.resource = "field deliver_after";
    error.current = ref.sequence;
    return error;
  }
  if (waits) return WaitFor::kRefs;
  return std::nullopt;
}

std::optional<Verdict> QueueCore::CheckKey(const IncomingMessage& message) const {
  const WallMs window_start = MonoMs() - settings_.dedup_window.count();
  const DedupEntry* known = dedup_.Find(message.key_hash, window_start);
  if (known == nullptr) return std::nullopt;
  if (known->pending != 0) return WaitFor::kKey;
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
    const std::optional<DedupRowId> evicted = dedup_.PopOldest(DedupGoesMs());
    if (!evicted.has_value()) return false;
    if (settings_.dedup_full_policy == DedupFullPolicy::kEvictOldest) ++totals_.dedup_evicted;
    DeleteKeyRow(*evicted, open_batch_);
  }
  return true;
}

std::optional<DedupRowId> QueueCore::RememberKey(const IncomingMessage& message, Sequence sequence,
                                                 TransactionId pending, storage::Batch& batch) {
  const auto expired =
      dedup_.Insert(message.key_hash, {sequence, message.digest, MonoMs(), pending});
  const std::int64_t window_ms = settings_.dedup_window.count() + 1;
  next_dedup_ns_ = std::min(next_dedup_ns_, now_ns() + window_ms * kNsPerMs);
  if (durable() && sequence > 0) {  // 0: to be handed on to the dead-letter queue first
    batch.PutDedup(id_, message.key_hash,
                   {sequence, message.digest, MonoMs(), std::string(message.idempotency_key)});
  }
  if (!expired) return std::nullopt;
  return DeleteKeyRow({*expired, message.key_hash}, batch);
}

Sequence QueueCore::NextSequence() {
  if (next_sequence_ >= sequence_limit_) {
    sequence_limit_ = next_sequence_ + kSequenceStep;
    WriteQueueRecord();
  }
  return next_sequence_++;
}

std::optional<storage::MessageControl> QueueCore::ControlFor(const SpecialFields& special,
                                                             std::uint32_t index) const {
  const WallMs wall_ms = around_->now.wall_ms;
  storage::MessageControl control{.index = index,
                                  .priority = special.priority,
                                  .ordering_key = std::string(special.ordering_key)};
  if (special.delay_ms > 0) control.deliver_at_ms = wall_ms + special.delay_ms;
  if (special.deliver_at_ms > wall_ms) control.deliver_at_ms = special.deliver_at_ms;
  if (special.ttl_ms > 0) control.expires_at_ms = wall_ms + special.ttl_ms;
  for (const storage::MessageRef& ref : special.deliver_after) {
    const auto& known = control.deliver_after;
    if (std::find(known.begin(), known.end(), ref) == known.end()) {
      control.deliver_after.push_back(ref);
    }
  }
  if (control == storage::MessageControl{.index = index}) return std::nullopt;
  return control;
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
  if (const SpecialFields* special = waiter.batch.SpecialOf(message)) {
    const auto index = static_cast<std::uint32_t>(open_body_.count());
    if (auto control = ControlFor(*special, index)) {
      if (special->delay_ms > 0) {
        open_chunk_->delays.emplace_back(index, now_ns() + special->delay_ms * kNsPerMs);
      }
      open_chunk_->controls.push_back(*std::move(control));
    }
    for (const storage::MessageRef& ref : special->deliver_after) asked_refs_.erase(ref);
  }
  open_body_.Append(message.element);
  open_chunk_->charges.push_back(message.charge_bytes);
  ++messages_;
  ++committing_;
  bytes_ += message.charge_bytes;
  ConfirmStored(waiter, publish_id, sequence, message.charge_bytes);
  if (producer != nullptr) {
    if (!producer->dirty)
      dirty_producers_.push_back(*publishers_.at(waiter.batch.publisher).producer);
    producer->Add(publish_id, sequence);
  }
  if (MQD_MUTANT(dedup_in_another_batch)) SealCommit();
  if (!message.idempotency_key.empty()) RememberKey(message, sequence, 0, open_batch_);
}

void QueueCore::TouchProducers() {
  for (const ProducerId& id : dirty_producers_) {
    Producer* producer = producers_.Find(id);
    if (producer == nullptr) continue;
    producer->dirty = false;
    producer->record.last_seen_ms = MonoMs();
    if (durable() && !MQD_MUTANT(producer_record_skipped)) {
      open_batch_.PutProducer(id_, id, producer->record);
    }
  }
  dirty_producers_.clear();
}

}  // namespace mqd::queue
