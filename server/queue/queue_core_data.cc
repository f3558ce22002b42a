// queue_core_data.cc: step 3 of 5 (queue). Questions to a queue's memory that change nothing.

#include "server/queue/queue_core_data.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/mutant.h"

namespace mqd::queue {

QueueData::QueueData(const RecoveredQueue& recovered, DeliveryId first_delivery, const Now& now)
    : id_(recovered.record.id),
      name_(recovered.record.name),
      create_time_ms_(recovered.record.create_time_ms),
      settings_(recovered.settings),
      generation_(recovered.record.generation),
      closed_(recovered.record.closed),
      next_sequence_(recovered.record.sequence_limit),
      sequence_limit_(recovered.record.sequence_limit),
      next_delivery_(first_delivery),
      base_wall_ms_(now.wall_ms),
      base_steady_ns_(now.steady_ns),
      last_used_ns_(now.steady_ns),
      random_state_(first_delivery ^ (id_ << 32)) {
  history_.SetLimit(settings_.history_entries);
}

bool QueueData::HasRoom(std::uint64_t charge_bytes) const {
  if (bytes_ > settings_.max_bytes || charge_bytes > settings_.max_bytes - bytes_) return false;
  if (rendezvous()) return HasTaker();
  if (MQD_MUTANT(bound_off_by_one) && messages_ == settings_.max_messages) return true;
  return messages_ < settings_.max_messages;
}

WallMs QueueData::DedupGoesMs() const {
  if (settings_.dedup_full_policy == DedupFullPolicy::kEvictOldest) return INT64_MAX;
  return MonoMs() - settings_.dedup_window.count() - 1;
}

bool QueueData::HasDedupRoom(std::uint64_t keys) const {
  keys += dedup_.size();
  if (keys <= settings_.dedup_max_entries) return true;
  return dedup_.CanPop(keys - settings_.dedup_max_entries, DedupGoesMs());
}

DedupRowId QueueData::DeleteKeyRow(DedupRowId row, storage::Batch& batch) {
  if (key_rows_by_hash_.erase(row.hash) > 0) row.sequence = DedupRowId::kByHash;
  if (durable()) batch.DeleteDedup(id_, row);
  return row;
}

bool QueueData::HasTaker() const {
  if (consume_paused()) return false;
  const std::uint64_t untaken = ReadyCount() + committing_;
  std::uint64_t credit = 0;
  for (const auto& [messages, id] : idle_credit_) {
    credit += static_cast<std::uint64_t>(messages);
    if (credit > untaken) return true;
  }
  return false;
}

ErrorInfo QueueData::FullError() const {
  if (rendezvous()) {
    return MakeError(Reason::kQueueFull,
                     "max_messages is 0 (a rendezvous) and no consumer with credit is waiting; "
                     "attach one, or use overflow_policy BLOCK");
  }
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

ErrorInfo QueueData::DedupFullError() const {
  ErrorInfo error = MakeError(Reason::kDedupFull,
                              "every idempotency key of dedup_max_entries is within its window");
  error.limit = settings_.dedup_max_entries;
  error.current = dedup_.size();
  return error;
}

ErrorInfo QueueData::WaitError(WaitFor what) const {
  if (what != WaitFor::kRate) return FullError();
  const std::uint64_t rate = settings_.max_publish_rate;
  ErrorInfo error = MakeError(Reason::kRateLimited,
                              absl::StrCat("max_publish_rate is ", rate, " messages a second"));
  error.limit = rate;
  error.retry_after_ms =
      std::max<std::int64_t>(1, (publish_rate_.NextNs(rate) - now_ns()) / kNsPerMs + 1);
  return error;
}

const std::string& QueueData::NameOf(ConsumerId consumer) const {
  static const std::string kNobody;
  const auto found = consumers_.find(consumer);
  return found == consumers_.end() ? kNobody : found->second.client_name;
}

const std::string& QueueData::NameOf(const FlightRun& run) const {
  return run.holder != nullptr ? *run.holder : NameOf(run.consumer);
}

const FlightRun* QueueData::FlightOf(const KeyState& key) const {
  if (key.flights.empty()) return nullptr;
  const auto run = in_flight_.runs().find(key.flights.begin()->second);
  return run == in_flight_.runs().end() ? nullptr : &run->second;
}

std::uint64_t QueueData::ReadyCount() const {
  return messages_ - committing_ - settling_ - returning_ - in_flight_.messages() -
         held_.delayed() - held_.parked();
}

MessageStatus QueueData::StatusOf(Sequence sequence) const {
  if (open_chunk_ != nullptr && sequence >= open_chunk_->key.first_sequence) {
    return MessageStatus::kReady;
  }
  const Chunk* chunk = FindChunk(sequence);
  const std::optional<std::uint32_t> index =
      chunk == nullptr ? std::nullopt : chunk->IndexOf(sequence);
  if (!index.has_value()) {
    for (const auto& [id, prepared] : prepared_) {
      if (prepared.chunk != nullptr && prepared.chunk->IndexOf(sequence).has_value()) {
        return MessageStatus::kReady;
      }
    }
    return MessageStatus::kSettled;
  }
  if (chunk->settled.Contains(*index)) return MessageStatus::kSettled;
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

Chunk* QueueData::FindChunk(Sequence sequence) const {
  auto next = chunks_.upper_bound(sequence);
  if (next == chunks_.begin()) return nullptr;
  return std::prev(next)->second.get();
}

ErrorInfo QueueData::MakeError(Reason reason, std::string message) const {
  return {.reason = reason,
          .resource = absl::StrCat("queue ", name_),
          .message = absl::StrCat("queue ", name_, ": ", message)};
}

WallMs QueueData::MonoMs(const Now& now) const {
  return base_wall_ms_ + (now.steady_ns - base_steady_ns_) / kNsPerMs;
}

Sequence QueueData::FirstFresh() const {
  if (fresh_.empty()) return ReadyLanes::kNone;
  const Chunk& chunk = *chunks_.at(*fresh_.begin());
  return chunk.SequenceAt(chunk.NextFresh());
}

}  // namespace mqd::queue
