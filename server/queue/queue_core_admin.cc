// queue_core_admin.cc: step 3 of 5 (queue). Close, reopen, purge, update, delete, and looking
// without touching.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {

void QueueCore::WriteQueueRecord() {
  open_batch_.PutQueue({.id = id_,
                        .name = name_,
                        .settings = EncodeSettings(settings_),
                        .generation = generation_,
                        .create_time_ms = create_time_ms_,
                        .closed = closed_,
                        .sequence_limit = sequence_limit_});
}

void QueueCore::Handle(CloseQueue& event) {
  if (closed_) {
    Reply(event.request, MakeError(Reason::kAlreadyClosed, "it is closed already"));
    return;
  }
  closed_ = true;
  WriteQueueRecord();
  open_flush_ = true;
  open_.replies.push_back(RequestDone{event.request, Info(around_->now)});
}

void QueueCore::Handle(ReopenQueue& event) {
  if (closed_) {
    closed_ = false;
    for (auto& [id, consumer] : consumers_) consumer.told_end = false;
    WriteQueueRecord();
    open_flush_ = true;
  }
  open_.replies.push_back(RequestDone{event.request, Info(around_->now)});
}

void QueueCore::Handle(PurgeQueue& event) {
  std::uint64_t purged = 0;
  while (!held_.empty()) {
    const HeldTable::Rows& rows = held_.live().empty() ? held_.parked_rows() : held_.live();
    const Sequence sequence = rows.begin()->first;
    Remove(sequence, Transition::kPurged);
    ++purged;
  }
  while (!fresh_.empty()) {
    Chunk& chunk = *chunks_.at(*fresh_.begin());
    for (std::uint32_t first = chunk.NextFresh(); first < chunk.count; first = chunk.NextFresh()) {
      const std::uint32_t last = chunk.FreshEnd(first);
      Note(Transition::kPurged, chunk.SequenceAt(first), chunk.SequenceAt(last - 1));
      SettleMessages(chunk, first, last);
      purged += last - first;
      chunk.cursor = last;
    }
    fresh_.erase(fresh_.begin());
  }
  to_move_.clear();
  totals_.purged += purged;
  if (event.purge_dedup) {
    for (const DedupRowId& row : dedup_.Clear()) DeleteKeyRow(row, open_batch_);
  }
  open_.replies.push_back(RequestDone{event.request, purged});
}

void QueueCore::Remove(Sequence sequence, Transition why) {
  Chunk& chunk = *FindChunk(sequence);
  const std::uint32_t index = *chunk.IndexOf(sequence);
  if (held_.Find(sequence) != nullptr) {
    const Held held = TakeHeld(sequence);
    if ((held.attempts > 0 || !held.notes.empty()) && durable()) {
      open_batch_.DeleteAttempt(id_, sequence);
    }
  }
  moving_.erase(sequence);
  SettleMessages(chunk, index, index + 1);
  RefreshFresh(chunk);
  Note(why, sequence, sequence);
}

void QueueCore::Handle(CancelMessages& event) {
  CancelResult result;
  for (const Sequence sequence : event.sequences) {
    if (Leaves(sequence)) {
      Remove(sequence, Transition::kCancelled);
      ++totals_.cancelled;
      ++result.cancelled;
      continue;
    }
    const bool taken = StatusOf(sequence) == MessageStatus::kInFlight;
    ErrorInfo error = MakeError(
        taken ? Reason::kStaleDelivery : Reason::kMessageNotFound,
        absl::StrCat("sequence ", sequence,
                     taken ? " is in flight; its consumer decides" : " is not in the queue"));
    error.current = sequence;
    result.exceptions.emplace_back(sequence, std::move(error));
  }
  open_.replies.push_back(RequestDone{event.request, std::move(result)});
}

void QueueCore::Handle(ForgetDedup& event) {
  const DedupEntry* known = dedup_.Find(event.key, MonoMs() - settings_.dedup_window.count());
  if (known == nullptr || known->pending != 0) {
    return Reply(event.request,
                 MakeError(Reason::kMessageNotFound,
                           known == nullptr ? "no such idempotency_key within dedup_window"
                                            : "the idempotency_key is being published now"));
  }
  const DedupInfo info{known->sequence, StatusOf(known->sequence), known->first_seen_ms,
                       known->first_seen_ms + settings_.dedup_window.count()};
  dedup_.Erase(event.key);
  DeleteKeyRow({info.sequence, event.key}, open_batch_);
  open_flush_ = settings_.durability == Durability::kSync;
  open_.replies.push_back(RequestDone{event.request, info});
}

void QueueCore::Handle(UpdateSettings& event) {
  if (event.expected_generation != 0 && event.expected_generation != generation_) {
    ErrorInfo error =
        MakeError(Reason::kQueueExistsDifferent,
                  absl::StrCat("its generation is ", generation_, ", not ",
                               event.expected_generation, "; read it again and repeat the change"));
    error.current = generation_;
    Reply(event.request, std::move(error));
    return;
  }
  const bool becomes_durable = event.settings.durability != Durability::kMemory;
  if (becomes_durable != durable() && (messages_ > 0 || dedup_.size() > 0)) {
    Reply(event.request,
          MakeError(Reason::kQueueNotEmpty,
                    "durability can change to or from MEMORY only while the queue is empty"));
    return;
  }
  if (!(event.settings == settings_)) {
    Adopt(std::move(event.settings));
    ++generation_;
    WriteQueueRecord();
    open_flush_ = true;
  }
  open_.replies.push_back(RequestDone{event.request, Info(around_->now)});
}

void QueueCore::Adopt(QueueSettings settings) {
  const QueueSettings before = std::exchange(settings_, std::move(settings));
  room_freed_ = true;
  history_.SetLimit(settings_.history_entries);
  if (before.default_ttl != settings_.default_ttl) WatchDefaultTtl();
  if (before.dedup_window != settings_.dedup_window) next_dedup_ns_ = now_ns();
  if (before.ordering != settings_.ordering ||
      before.dispatch_policy != settings_.dispatch_policy) {
    Reindex();
  }
  if (before.dead_letter_queue != settings_.dead_letter_queue) {
    next_move_ns_ = kNever;
    to_move_.clear();
    for (const auto& [sequence, held] : held_.parked_rows()) {
      if (to_dead_letters() && !moving_.contains(sequence)) to_move_.push_back(sequence);
    }
  }
  ElectActive();
  OwnersChanged();
  for (auto& [id, consumer] : consumers_) {
    SetCredit(id, consumer, consumer.credit_messages, consumer.credit_bytes);
  }
}

void QueueCore::Handle(DeleteQueue& event) {
  if (!event.force && messages_ > 0) {
    ErrorInfo error =
        MakeError(Reason::kQueueNotEmpty,
                  absl::StrCat("it holds ", messages_,
                               " messages; drain or purge it, or force the deletion"));
    error.current = messages_;
    Reply(event.request, std::move(error));
    return;
  }
  if (!prepared_.empty()) {
    Reply(event.request,
          MakeError(Reason::kRateLimited, "an atomic request is about to publish to it; retry"));
    return;
  }
  const std::uint64_t held = messages_ - settling_;
  DeleteNow(MakeError(Reason::kQueueNotFound, "the queue was deleted"),
            RequestDone{event.request, held});
}

void QueueCore::DeleteNow(const ErrorInfo& gone, std::optional<Effect> reply) {
  for (Waiter& waiter : waiters_) RefuseRest(waiter, gone);
  waiters_.clear();
  waiter_deadlines_.clear();
  SealCommit();
  deleting_ = true;
  open_batch_.DeleteQueue(id_);
  open_flush_ = true;
  open_.deletes_queue = true;
  if (reply.has_value()) open_.replies.push_back(*std::move(reply));
  for (const auto& [watched, watchers] : std::exchange(watched_, {})) {
    for (const QueueId watcher : watchers) {
      open_.replies.push_back(TellRef{watcher, {{id_, watched}, RefState::kSettled}});
    }
  }
  for (const auto& [id, publisher] : publishers_) {
    open_.replies.push_back(PublisherGone{id, GoAwayCode::kQueueDeleted, gone});
  }
  for (const auto& [id, consumer] : consumers_) {
    open_.replies.push_back(ConsumerGone{id, GoAwayCode::kQueueDeleted, gone});
  }
  for (auto& [id, consumer] : consumers_) SetCredit(id, consumer, 0, 0);
  SealCommit();
}

void QueueCore::Handle(GetStats& event) { Send(RequestDone{event.request, Info(around_->now)}); }

}  // namespace mqd::queue
