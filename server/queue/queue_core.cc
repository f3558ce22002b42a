// queue_core.cc: step 3 of 5 (queue). The turn: events, what is due, one commit, deliveries.

#include "server/queue/queue_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"

namespace mqd::queue {

namespace {
constexpr int kDeliveryCounterBits = 44;
constexpr std::uint64_t kEpochMask = (std::uint64_t{1} << 20) - 1;
/// After a body could not be read: the disk is not asked without pause.
constexpr std::int64_t kReloadPauseNs = 1'000 * kNsPerMs;
}  // namespace

DeliveryId FirstDelivery(storage::Epoch epoch) {
  return ((epoch & kEpochMask) << kDeliveryCounterBits) + 1;
}

QueueCore::QueueCore(RecoveredQueue recovered, DeliveryId first_delivery, const Now& now)
    : id_(recovered.record.id),
      name_(recovered.record.name),
      create_time_ms_(recovered.record.create_time_ms),
      settings_(recovered.settings),
      generation_(recovered.record.generation),
      closed_(recovered.record.closed),
      next_sequence_(recovered.record.sequence_limit),
      sequence_limit_(recovered.record.sequence_limit),
      next_delivery_(first_delivery) {
  Restore(recovered, now);
}

QueueCore::QueueCore(RecoveredQueue recovered, const QueueCore& before, const Now& now)
    : QueueCore(std::move(recovered), before.next_delivery_, now) {
  // What `before` prepared for a transaction may still be committed.
  next_sequence_ = std::max(next_sequence_, before.next_sequence_);
  sequence_limit_ = std::max(sequence_limit_, next_sequence_);
}

void QueueCore::Step(Event event, const Surroundings& around, Effects& effects) {
  around_ = &around;
  effects_ = &effects;
  std::visit(
      [this](auto& kind) {
        if constexpr (requires { kind.request; }) {
          if (deleting_) {
            return Reply(kind.request,
                         MakeError(Reason::kQueueNotFound, "the queue is being deleted"));
          }
        }
        Handle(kind);
      },
      event);
}

void QueueCore::EndTurn(const Surroundings& around, Effects& effects) {
  around_ = &around;
  effects_ = &effects;
  RunDue();
  do {
    room_freed_ = false;
    AdmitWaiters();
    SealCommit();
  } while (room_freed_ && !waiters_.empty());
  MoveParked();
  Dispatch();
  FlushOutboxes();
  BalanceOnDemand();
  TellEnd();
  ReadAhead();
}

void QueueCore::RunDue() {
  ExpireLeases();
  held_.ReadyUntil(around_->now.steady_ns);
  ExpireWaiters();
  ExpireDedup();
  if (around_->now.steady_ns >= next_reload_ns_) {
    next_reload_ns_ = kNever;
    for (const ChunkKey& key : std::exchange(failed_loads_, {})) {
      const auto chunk = chunks_.find(key.first_sequence);
      if (chunk != chunks_.end() && chunk->second->key == key) chunk->second->load_pending = false;
    }
  }
  if (around_->now.steady_ns >= next_rewrite_ns_) RewriteSparseChunks();
}

std::int64_t QueueCore::next_wake_ns() const {
  std::int64_t wake = std::min(in_flight_.earliest_deadline_ns(), next_rewrite_ns_);
  wake = std::min(wake, next_reload_ns_);
  wake = std::min(wake, held_.earliest_due_ns());
  if (!waiter_deadlines_.empty()) wake = std::min(wake, waiter_deadlines_.begin()->first);
  return std::min(wake, next_dedup_ns_);
}

// ---- publishers and consumers come and go

void QueueCore::Handle(AttachPublisher& event) {
  if (deleting_) {
    Send(PublisherAttached{
        event.publisher, {}, MakeError(Reason::kQueueNotFound, "the queue is being deleted")});
    return;
  }
  DropProducersExpired();
  AttachedPublisher attached;
  if (event.producer.has_value()) {
    Producer* known = producers_.Find(*event.producer);
    if (known != nullptr) {
      attached.resumed = true;
      attached.last_publish_id = known->record.last_publish_id;
      if (known->connected != 0) {
        const PublisherId old = known->connected;
        DropWaitersOf(old);
        publishers_.erase(old);
        Send(PublisherGone{
            old, GoAwayCode::kFenced,
            MakeError(Reason::kFenced, "the same producer_id opened another stream")});
      }
    } else {
      known = &producers_.Insert(*event.producer);
    }
    known->connected = event.publisher;
  }
  publishers_[event.publisher] = Publisher{.producer = event.producer};
  Send(PublisherAttached{event.publisher, attached, std::nullopt});
}

void QueueCore::Handle(DetachPublisher& event) {
  const auto found = publishers_.find(event.publisher);
  if (found == publishers_.end()) return;
  DropWaitersOf(event.publisher);
  if (found->second.producer.has_value()) {
    if (Producer* producer = producers_.Find(*found->second.producer)) {
      producer->connected = 0;
      producer->record.last_seen_ms = around_->now.wall_ms;
    }
  }
  publishers_.erase(found);
}

void QueueCore::DropProducersExpired() {
  for (const ProducerId& gone : producers_.Expire(around_->now.wall_ms)) {
    if (durable()) open_batch_.DeleteProducer(id_, gone);
  }
}

// ---- commits

bool QueueCore::OpenCommitEmpty() const {
  return open_batch_.empty() && open_.chunks.empty() && open_.confirms.empty() &&
         open_.replies.empty() && open_.freed_messages == 0;
}

void QueueCore::SealChunk() {
  if (open_chunk_ == nullptr) return;
  Chunk& chunk = *open_chunk_;
  chunk.count = static_cast<std::uint32_t>(open_body_.count());
  chunk.body_bytes = open_body_.element_bytes();
  const bool uniform =
      std::all_of(chunk.charges.begin(), chunk.charges.end(),
                  [&](std::uint32_t charge) { return charge == chunk.charges[0]; });
  if (uniform) chunk.charges.resize(1);
  chunk.charges.shrink_to_fit();
  SetBody(chunk, std::move(open_body_).Finish());
  open_body_ = {};
  if (durable()) {
    open_batch_.PutChunk(id_, chunk.ToRecord(), chunk.body);
    if (settings_.durability == Durability::kSync) open_flush_ = true;
  }
  const Sequence first = chunk.key.first_sequence;
  open_.chunks.push_back(first);
  chunks_.emplace(first, std::move(open_chunk_));
}

void QueueCore::SealCommit() {
  SealChunk();
  WriteSettles();
  TouchProducers();
  if (OpenCommitEmpty()) return;
  SendCommit(std::exchange(open_, {}));
}

void QueueCore::SendCommit(Commit commit) {
  commit.id = next_commit_++;
  if (deleting_ && !commit.deletes_queue) open_batch_ = {};  // no row behind the deletion
  commit.sent = !open_batch_.empty();
  if (commit.sent) {
    effects_->commits.push_back(
        {commit.id, std::exchange(open_batch_, {}),
         std::exchange(open_flush_, false) ? storage::Sync::kFlush : storage::Sync::kWritten});
  }
  sent_.push_back(std::move(commit));
  EndUnsentCommits();
}

void QueueCore::EndUnsentCommits() {
  while (!sent_.empty() && !sent_.front().sent) {
    Commit commit = std::move(sent_.front());
    sent_.pop_front();
    EndCommit(commit);
  }
}

void QueueCore::Handle(CommitDone& event) {
  MQD_ASSERT(!sent_.empty() && sent_.front().id == event.commit);
  Commit commit = std::move(sent_.front());
  sent_.pop_front();
  EndCommit(commit);
  EndUnsentCommits();
}

void QueueCore::EndCommit(Commit& commit) {
  for (const Sequence first : commit.chunks) {
    Chunk& chunk = *chunks_.at(first);
    chunk.committed = true;
    chunk.on_disk = true;
    committing_ -= chunk.count;
    totals_.published += chunk.count;
    fresh_.insert(first);
    DropBodyIfFull(chunk);
  }
  for (const ChunkKey& key : commit.rewritten) {
    const auto found = chunks_.find(key.first_sequence);
    if (found == chunks_.end() || found->second->key != key) continue;
    found->second->on_disk = true;
    DropBodyIfFull(*found->second);
  }
  for (auto& [sequence, held] : commit.returned) {
    Chunk* chunk = FindChunk(sequence);  // it may have been written anew
    const std::optional<std::uint32_t> index = chunk->IndexOf(sequence);
    MQD_ASSERT(index.has_value());
    Hold(*chunk, *index, std::move(held));
  }
  returning_ -= commit.returned.size();
  messages_ -= commit.freed_messages;
  settling_ -= commit.freed_messages;
  bytes_ -= commit.freed_bytes;
  if (commit.freed_messages > 0) room_freed_ = true;
  for (auto& [publisher, confirms] : commit.confirms) {
    if (publishers_.contains(publisher)) Send(SendConfirms{publisher, std::move(confirms)});
  }
  for (Effect& reply : commit.replies) Send(std::move(reply));
  if (commit.deletes_queue) effects_->deleted = true;
}

void QueueCore::Handle(BodyLoaded& event) {
  const auto found = chunks_.find(event.chunk.first_sequence);
  if (found == chunks_.end() || found->second->key != event.chunk) return;
  Chunk& chunk = *found->second;
  if (event.body == nullptr || event.body->count() != chunk.count) {
    failed_loads_.push_back(event.chunk);
    next_reload_ns_ = std::min(next_reload_ns_, around_->now.steady_ns + kReloadPauseNs);
    return;
  }
  chunk.load_pending = false;
  SetBody(chunk, event.body);
}

std::uint64_t QueueCore::ReadyCount() const {
  return messages_ - committing_ - settling_ - returning_ - in_flight_.messages() -
         held_.delayed() - held_.parked();
}

// ---- small things

ErrorInfo QueueCore::MakeError(Reason reason, std::string message) const {
  return {.reason = reason,
          .resource = absl::StrCat("queue ", name_),
          .message = absl::StrCat("queue ", name_, ": ", message)};
}

void QueueCore::Reply(RequestId request, ErrorInfo error) {
  Send(RequestDone{request, std::move(error)});
}

QueueStats QueueCore::Stats(const Now& now) const {
  QueueStats stats = totals_;
  stats.in_flight = in_flight_.messages() + settling_ + returning_;
  stats.delayed = held_.delayed();
  stats.parked = held_.parked();
  stats.committing = committing_;
  stats.ready = ReadyCount();
  stats.backlog_bytes = bytes_;
  stats.publishers = publishers_.size();
  stats.consumers = consumers_.size();
  for (const auto& [id, publisher] : publishers_) stats.blocked_publishers += publisher.waiting > 0;
  stats.dedup_entries = dedup_.size();
  if (!chunks_.empty()) {
    stats.oldest_age_ms =
        std::max<std::int64_t>(0, now.wall_ms - chunks_.begin()->second->publish_time_ms);
  }
  stats.closed = closed_;
  return stats;
}

QueueInfo QueueCore::Info(const Now& now) const {
  return {name_, settings_, generation_, create_time_ms_, closed_, Stats(now)};
}

}  // namespace mqd::queue
