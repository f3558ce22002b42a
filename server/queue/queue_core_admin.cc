// queue_core_admin.cc: step 3 of 5 (queue). Close, reopen, purge, update, delete, and looking
// without touching.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {

using storage::HeldState;

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
    const Sequence sequence = held_.rows().begin()->first;
    const Held held = held_.Take(sequence);
    if (held.attempts > 0 && durable()) open_batch_.DeleteAttempt(id_, sequence);
    SettleMessages(*held.chunk, held.index, held.index + 1);
    ++purged;
  }
  while (!fresh_.empty()) {
    Chunk& chunk = *chunks_.at(*fresh_.begin());
    for (std::uint32_t first = chunk.NextFresh(); first < chunk.count; first = chunk.NextFresh()) {
      const std::uint32_t last = chunk.FreshEnd(first);
      SettleMessages(chunk, first, last);
      purged += last - first;
      chunk.cursor = last;
    }
    fresh_.erase(fresh_.begin());
  }
  totals_.purged += purged;
  if (event.purge_dedup) {
    for (const KeyHash& hash : dedup_.Clear()) {
      if (durable()) open_batch_.DeleteDedup(id_, hash);
    }
  }
  open_.replies.push_back(RequestDone{event.request, purged});
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
    settings_ = std::move(event.settings);
    ++generation_;
    room_freed_ = true;
    WriteQueueRecord();
    open_flush_ = true;
  }
  open_.replies.push_back(RequestDone{event.request, Info(around_->now)});
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
  const ErrorInfo gone = MakeError(Reason::kQueueNotFound, "the queue was deleted");
  for (Waiter& waiter : waiters_) RefuseRest(waiter, gone);
  waiters_.clear();
  waiter_deadlines_.clear();
  SealCommit();
  deleting_ = true;
  open_batch_.DeleteQueue(id_);
  open_flush_ = true;
  open_.deletes_queue = true;
  open_.replies.push_back(RequestDone{event.request, messages_ - settling_});
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

// ---- peek

void QueueCore::Handle(Peek& event) {
  std::vector<PeekedMessage> found;
  switch (event.status) {
    case MessageStatus::kDelayed:
    case MessageStatus::kParked:
      found = PeekHeld(event);
      break;
    case MessageStatus::kInFlight:
      found = PeekInFlight(event);
      break;
    default:
      found = PeekChunks(event);
  }
  Send(RequestDone{event.request, std::move(found)});
}

PeekedMessage QueueCore::PeekAt(const Chunk& chunk, std::uint32_t index) const {
  PeekedMessage peeked{.sequence = chunk.SequenceAt(index),
                       .publish_time_ms = chunk.publish_time_ms,
                       .chunk = chunk.key,
                       .index = index,
                       .body = chunk.body};
  peeked.status = StatusOf(peeked.sequence);
  if (const Held* held = held_.Find(peeked.sequence)) {
    peeked.attempts = held->attempts;
    peeked.notes = held->notes;
    if (held->state == HeldState::kDelayed) {
      peeked.deliver_at_ms =
          around_->now.wall_ms + (held->due_ns - around_->now.steady_ns) / kNsPerMs;
    }
  } else if (peeked.status == MessageStatus::kInFlight) {
    if (const FlightRun* run = in_flight_.Find(&chunk, index)) {
      peeked.attempts = run->attempt;
      peeked.delivery_id = run->first + (index - run->first_index);
    }
  }
  return peeked;
}

std::vector<PeekedMessage> QueueCore::PeekHeld(const Peek& peek) const {
  const HeldState wanted =
      peek.status == MessageStatus::kDelayed ? HeldState::kDelayed : HeldState::kParked;
  std::vector<PeekedMessage> found;
  for (auto held = held_.rows().lower_bound(peek.from_sequence);
       held != held_.rows().end() && found.size() < peek.limit; ++held) {
    if (held->second.state == wanted) {
      found.push_back(PeekAt(*held->second.chunk, held->second.index));
    }
  }
  return found;
}

std::vector<PeekedMessage> QueueCore::PeekInFlight(const Peek& peek) const {
  std::map<Sequence, std::pair<const Chunk*, std::uint32_t>> by_sequence;
  for (const auto& [first, run] : in_flight_.runs()) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      const Sequence sequence = run.chunk->SequenceAt(run.first_index + i);
      if (sequence < peek.from_sequence) continue;
      by_sequence.emplace(sequence, std::pair(run.chunk, run.first_index + i));
      if (by_sequence.size() > peek.limit) by_sequence.erase(std::prev(by_sequence.end()));
    }
  }
  std::vector<PeekedMessage> found;
  for (const auto& [sequence, place] : by_sequence) {
    found.push_back(PeekAt(*place.first, place.second));
  }
  return found;
}

std::vector<PeekedMessage> QueueCore::PeekChunks(const Peek& peek) const {
  std::vector<PeekedMessage> found;
  auto next = chunks_.upper_bound(peek.from_sequence);
  if (next != chunks_.begin()) --next;
  for (; next != chunks_.end() && found.size() < peek.limit; ++next) {
    const Chunk& chunk = *next->second;
    if (!chunk.committed) continue;
    for (std::uint32_t index = chunk.settled.SkipFrom(0);
         index < chunk.count && found.size() < peek.limit;
         index = chunk.settled.SkipFrom(index + 1)) {
      const Sequence sequence = chunk.SequenceAt(index);
      if (sequence < peek.from_sequence) continue;
      const MessageStatus status = StatusOf(sequence);
      if (peek.status != MessageStatus::kUnspecified && status != peek.status) continue;
      found.push_back(PeekAt(chunk, index));
    }
  }
  return found;
}

}  // namespace mqd::queue
