// queue_core.cc: step 3 of 5 (queue). The turn: events, what is due, one commit, deliveries.

#include "server/queue/queue_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "proto/base/mutant.h"

namespace mqd::queue {

namespace {
constexpr int kDeliveryCounterBits = 44;
constexpr std::uint64_t kEpochMask = (std::uint64_t{1} << 20) - 1;
/// After a body could not be read: the disk is not asked without pause.
constexpr std::int64_t kReloadPauseNs = 1'000 * kNsPerMs;

/// Events of clients, which keep a queue with expires_after_idle alive.
template <class Event>
constexpr bool kIsUse =
    std::is_same_v<Event, PublishBatch> || std::is_same_v<Event, AttachPublisher> ||
    std::is_same_v<Event, DetachPublisher> || std::is_same_v<Event, AttachConsumer> ||
    std::is_same_v<Event, DetachConsumer> || std::is_same_v<Event, Settle> ||
    std::is_same_v<Event, PrepareTransaction> || std::is_same_v<Event, CommitTransaction> ||
    std::is_same_v<Event, UpdateSettings>;
}  // namespace

DeliveryId FirstDelivery(storage::Epoch epoch) {
  if (MQD_MUTANT(delivery_ids_begin_anew)) epoch = 0;
  return ((epoch & kEpochMask) << kDeliveryCounterBits) + 1;
}

QueueCore::QueueCore(RecoveredQueue recovered, DeliveryId first, const Now& now, WallMs mono_ms)
    : ReadyOrder(recovered, first, now) {
  if (mono_ms != 0) base_wall_ms_ = mono_ms;
  Restore(recovered, now);
}

QueueCore::QueueCore(RecoveredQueue recovered, const QueueCore& before, const Now& now)
    : QueueCore(std::move(recovered), before.next_delivery_, now, before.MonoMs(now)) {
  // What `before` prepared for a transaction may still be committed.
  next_sequence_ = std::max(next_sequence_, before.next_sequence_);
  sequence_limit_ = std::max(sequence_limit_, next_sequence_);
}

void QueueCore::Step(Event event, const Surroundings& around, Effects& effects) {
  around_ = &around;
  effects_ = &effects;
  std::visit(
      [this](auto& kind) {
        if constexpr (kIsUse<std::decay_t<decltype(kind)>>) last_used_ns_ = now_ns();
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
    Dispatch();
    SealCommit();         // what AT_MOST_ONCE settled
  } while (room_freed_);  // without a disk commits end at once: others may go on
  MoveParked();
  FlushEarlyConfirms();
  FlushOutboxes();
  BalanceOnDemand();
  RecallForIdle();
  TellEnd();
  ReadAhead();
  PlanWallCheck();
}

void QueueCore::RunDue() {
  ExpireLeases();
  ReadyDue();
  ExpireTtl();
  ExpireWaiters();
  ExpireAwaited();
  ExpireDedup();
  if (now_ns() >= next_reload_ns_) {
    next_reload_ns_ = kNever;
    for (const ChunkKey& key : std::exchange(failed_loads_, {})) {
      const auto chunk = chunks_.find(key.first_sequence);
      if (chunk != chunks_.end() && chunk->second->key == key) chunk->second->load_pending = false;
    }
  }
  if (now_ns() >= next_rewrite_ns_) RewriteSparseChunks();
  if (now_ns() >= next_ask_ns_) AskAgain();
  ExpireIdle();
}

std::int64_t QueueCore::next_wake_ns() const {
  std::int64_t wake =
      std::min({in_flight_.earliest_deadline_ns(), next_rewrite_ns_, next_reload_ns_,
                held_.earliest_due_ns(), next_dedup_ns_, next_wall_check_ns_, next_move_ns_,
                next_ask_ns_, next_rate_ns_, recall_wake_ns_});
  if (!waiter_deadlines_.empty()) wake = std::min(wake, waiter_deadlines_.begin()->first);
  if (!awaited_deadlines_.empty()) wake = std::min(wake, awaited_deadlines_.begin()->first);
  const bool unused = publishers_.empty() && consumers_.empty() && prepared_.empty();
  if (settings_.expires_after_idle.count() > 0 && unused && !deleting_) {
    wake = std::min(wake, last_used_ns_ + settings_.expires_after_idle.count() * kNsPerMs);
  }
  return wake;
}

// ---- commits

bool QueueCore::OpenCommitEmpty() const {
  return open_batch_.empty() && open_.chunks.empty() && open_.confirms.empty() &&
         open_.replies.empty() && open_.freed_messages == 0 && open_.keys.empty() &&
         open_.deliveries.empty();
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
  chunk.controls.shrink_to_fit();
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
    HoldSpecials(chunk);
    RefreshFresh(chunk);
    Note(Transition::kPublished, first, chunk.LastSequence());
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
  for (KeyState* key : commit.keys) FreeKey(*key);
  messages_ -= commit.freed_messages;
  settling_ -= commit.freed_messages;
  bytes_ -= commit.freed_bytes;
  if (commit.freed_messages > 0 || !commit.chunks.empty()) room_freed_ = true;
  for (auto& [publisher, confirms] : commit.confirms) {
    if (publishers_.contains(publisher)) Send(SendConfirms{publisher, std::move(confirms)});
  }
  for (auto& [id, run] : commit.deliveries) {
    const auto consumer = consumers_.find(id);
    if (consumer == consumers_.end()) continue;  // AT_MOST_ONCE: it was settled
    const std::uint64_t charge = run.charge_bytes;
    AddToOutbox(id, consumer->second, std::move(run), charge);
  }
  if (!commit.deliveries.empty()) FlushOutboxes();  // before replies that speak of them
  for (Effect& reply : commit.replies) Send(std::move(reply));
  if (commit.deletes_queue) effects_->deleted = true;
}

void QueueCore::Handle(BodyLoaded& event) {
  const auto found = chunks_.find(event.chunk.first_sequence);
  if (found == chunks_.end() || found->second->key != event.chunk) return;
  Chunk& chunk = *found->second;
  if (event.body == nullptr || event.body->count() != chunk.count) {
    failed_loads_.push_back(event.chunk);
    next_reload_ns_ = std::min(next_reload_ns_, now_ns() + kReloadPauseNs);
    return;
  }
  chunk.load_pending = false;
  SetBody(chunk, event.body);
}

// ---- small things

void QueueCore::Reply(RequestId request, ErrorInfo error) {
  Send(RequestDone{request, std::move(error)});
}

std::vector<std::string> QueueCore::Alarms() const {
  std::vector<std::string> alarms;
  if (next_move_ns_ != kNever) {
    alarms.push_back(absl::StrCat(to_move_.size() + moving_.size(),
                                  " parked messages wait for room in ", settings_.dead_letter_queue,
                                  "; it is full, closed, paused or missing"));
  }
  if (settings_.max_messages == kUnlimited || settings_.max_bytes == kUnlimited) {
    alarms.emplace_back("the queue is unlimited: only the disk bounds it");
  }
  return alarms;
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
  stats.awaited_confirms = awaited_.size();
  stats.dead_letter_waiting = to_move_.size() + moving_.size();
  stats.alarms = Alarms();
  if (!chunks_.empty()) {
    stats.oldest_age_ms =
        std::max<std::int64_t>(0, now.wall_ms - chunks_.begin()->second->publish_time_ms);
  }
  stats.closed = closed_;
  return stats;
}

QueueInfo QueueCore::Info(const Now& now) const {
  return {name_, settings_, generation_, create_time_ms_, closed_, Stats(now), next_sequence_};
}

}  // namespace mqd::queue
