// queue_core_upkeep.cc: step 3 of 5 (queue). Chunks as they shrink, the dedup window, and the way
// back from disk.

#include <algorithm>
#include <utility>

#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

/// A chunk that stays partly settled this long, with little left, is written anew without what is
/// settled.
constexpr std::int64_t kSparseAgeNs = 1'000 * kNsPerMs;
/// Rewriting copies at most a quarter of what it frees.
constexpr std::uint64_t kSparseFraction = 4;
/// Chunks below this are not worth a write.
constexpr std::uint64_t kSparseBytesMin = 4'096;
constexpr std::size_t kRewritesPerTurn = 16;
/// Expired keys that one turn removes; the next turn goes on.
constexpr int kDedupExpiriesPerTurn = 4'096;
/// Keys expire in lots, at most this late.
constexpr std::int64_t kDedupLotNs = 1'000 * kNsPerMs;
/// The first chunks in line keep their bodies even when the cache is full.
constexpr std::ptrdiff_t kKeptInLine = 8;
/// A delay read back is held to the longest one that can be asked for: 30 days.
constexpr std::int64_t kDelayMaxMs = std::int64_t{30} * 24 * 3'600 * 1'000;

}  // namespace

void QueueCore::WriteSettles() {
  for (const Sequence first : dirty_chunks_) {
    Chunk& chunk = *chunks_.at(first);
    if (chunk.FullySettled()) {
      if (durable()) open_batch_.DeleteChunk(id_, chunk.key);
      EraseChunk(chunk);
      continue;
    }
    if (durable() && !MQD_MUTANT(settle_record_skipped)) {
      open_batch_.PutSettles(id_, first, {chunk.settled.ranges()});
    }
    if (chunk.partly_settled_ns == 0) {
      chunk.partly_settled_ns = around_->now.steady_ns;
      sparse_candidates_.insert(first);
      next_rewrite_ns_ = std::min(next_rewrite_ns_, chunk.partly_settled_ns + kSparseAgeNs);
    }
  }
  dirty_chunks_.clear();
}

bool QueueCore::WorthRewriting(const Chunk& chunk) const {
  const std::uint64_t live = chunk.count - chunk.settled_count;
  return chunk.body_bytes >= kSparseBytesMin && live * kSparseFraction <= chunk.count;
}

void QueueCore::RewriteSparseChunks() {
  const std::int64_t now = around_->now.steady_ns;
  if (around_->disk_low) {  // a rewrite needs room before it gives any back
    next_rewrite_ns_ = now + kSparseAgeNs;
    return;
  }
  next_rewrite_ns_ = kNever;
  std::size_t rewritten = 0;
  std::vector<Sequence> candidates(sparse_candidates_.begin(), sparse_candidates_.end());
  for (const Sequence first : candidates) {
    Chunk& chunk = *chunks_.at(first);
    if (!WorthRewriting(chunk)) continue;
    const std::int64_t due = chunk.partly_settled_ns + kSparseAgeNs;
    if (due > now || rewritten >= kRewritesPerTurn || chunk.body == nullptr) {
      if (chunk.body == nullptr) Load(chunk);
      next_rewrite_ns_ = std::min(next_rewrite_ns_, std::max(due, now + kSparseAgeNs / 10));
      continue;
    }
    Rewrite(chunk);
    ++rewritten;
  }
  if (!sparse_candidates_.empty()) {
    next_rewrite_ns_ = std::min(next_rewrite_ns_, now + kSparseAgeNs);
  }
}

void QueueCore::Rewrite(Chunk& chunk) {
  auto smaller = std::make_unique<Chunk>();
  storage::Body::Builder body;
  std::vector<std::uint32_t> moved(chunk.count, UINT32_MAX);
  for (std::uint32_t index = 0; index < chunk.count; ++index) {
    if (index == chunk.cursor) smaller->cursor = static_cast<std::uint32_t>(body.count());
    if (chunk.settled.Contains(index)) continue;
    const auto next = static_cast<std::uint32_t>(body.count());
    moved[index] = next;
    body.Append(chunk.body->Element(index));
    smaller->offsets.push_back(
        static_cast<std::uint32_t>(chunk.SequenceAt(index) - chunk.key.first_sequence));
    smaller->charges.push_back(chunk.ChargeAt(index));
    if (chunk.held.Contains(index)) smaller->held.Add(next, next + 1);
    if (const storage::MessageControl* control = chunk.ControlOf(index)) {
      smaller->controls.push_back(*control);
      smaller->controls.back().index = next;
    }
  }
  smaller->count = static_cast<std::uint32_t>(body.count());
  smaller->controls.shrink_to_fit();
  if (chunk.cursor >= chunk.count) smaller->cursor = smaller->count;
  smaller->key = {chunk.key.first_sequence, chunk.key.generation + 1};
  smaller->publish_time_ms = chunk.publish_time_ms;
  smaller->committed = true;
  smaller->body_bytes = body.element_bytes();
  SetBody(*smaller, std::move(body).Finish());
  if (durable()) open_batch_.RewriteChunk(id_, chunk.key, smaller->ToRecord(), smaller->body);
  open_.rewritten.push_back(smaller->key);
  in_flight_.Repoint(&chunk, smaller.get(), moved);
  for (HeldTable::Rows* rows : {&held_.live(), &held_.parked_rows()}) {
    for (auto row = rows->lower_bound(chunk.key.first_sequence);
         row != rows->end() && row->second.chunk == &chunk; ++row) {
      row->second.chunk = smaller.get();
      row->second.index = moved[row->second.index];
    }
  }
  SetBody(chunk, nullptr);
  const Sequence first = chunk.key.first_sequence;
  sparse_candidates_.erase(first);
  chunks_.at(first) = std::move(smaller);
}

void QueueCore::ExpireDedup() {
  if (now_ns() < next_dedup_ns_) return;
  const WallMs expired_ms = MonoMs() - settings_.dedup_window.count() - 1;
  int left = kDedupExpiriesPerTurn;
  for (; left > 0; --left) {
    const std::optional<DedupRowId> gone = dedup_.PopOldest(expired_ms);
    if (!gone.has_value()) break;
    DeleteKeyRow(*gone, open_batch_);
  }
  const std::optional<WallMs> oldest = dedup_.oldest_ms();
  if (!oldest.has_value()) {
    next_dedup_ns_ = kNever;
    return;
  }
  const std::int64_t wait_ms = left == 0 ? 0 : std::max<WallMs>(0, *oldest - expired_ms);
  next_dedup_ns_ = around_->now.steady_ns + wait_ms * kNsPerMs + (left == 0 ? 0 : kDedupLotNs);
}

void QueueCore::SetBody(Chunk& chunk, std::shared_ptr<const storage::Body> body) {
  if (chunk.body != nullptr) resident_bytes_ -= chunk.body->memory_bytes();
  chunk.body = std::move(body);
  if (chunk.body != nullptr) resident_bytes_ += chunk.body->memory_bytes();
}

void QueueCore::DropBodyIfFull(Chunk& chunk) {
  if (!durable() || !around_->cache_full || !chunk.on_disk) return;
  if (chunk.cursor < chunk.count) {
    // The first chunks in line are wanted at once; the newest can be read back when their turn
    // comes.
    const auto line = fresh_.find(chunk.key.first_sequence);
    if (line != fresh_.end() && std::distance(fresh_.begin(), line) < kKeptInLine) return;
  }
  SetBody(chunk, nullptr);
}

void QueueCore::EraseChunk(Chunk& chunk) {
  const Sequence first = chunk.key.first_sequence;
  ttl_chunks_.erase({chunk.publish_time_ms, first});
  SetBody(chunk, nullptr);
  fresh_.erase(first);
  sparse_candidates_.erase(first);
  chunks_.erase(first);
}

// ---- the way back from disk

void QueueCore::Restore(RecoveredQueue& recovered, const Now& now) {
  for (RecoveredChunk& row : recovered.chunks) {
    auto chunk = std::make_unique<Chunk>(Chunk::FromRecord(std::move(row.record)));
    const Sequence first = chunk->key.first_sequence;
    next_sequence_ = std::max(next_sequence_, chunk->LastSequence() + 1);
    chunk->settled = IntervalSet(std::move(row.settles.settled));
    messages_ += chunk->count;
    bytes_ += chunk->ChargeOf(0, chunk->count);
    for (const auto& [from, to] : chunk->settled.ranges()) {
      chunk->settled_count += to - from;
      messages_ -= to - from;
      bytes_ -= chunk->ChargeOf(from, to);
    }
    if (chunk->settled_count > 0) {
      chunk->partly_settled_ns = now.steady_ns;
      sparse_candidates_.insert(first);
      next_rewrite_ns_ = now.steady_ns + kSparseAgeNs;
    }
    chunks_.emplace(first, std::move(chunk));
  }
  if (MQD_MUTANT(counters_not_rebuilt)) messages_ = bytes_ = 0;
  sequence_limit_ = std::max(sequence_limit_, next_sequence_);
  Effects asks;  // the first turn asks again for what messages wait for
  const Surroundings around{.now = now};
  around_ = &around;
  effects_ = &asks;
  RestoreAttempts(recovered, now);
  for (auto& [first, chunk] : chunks_) {
    HoldSpecials(*chunk);
    RefreshFresh(*chunk);
  }
  if (!waiting_refs_.empty()) next_ask_ns_ = now.steady_ns;
  around_ = nullptr;
  effects_ = nullptr;
  if (MQD_MUTANT(dedup_not_read_back)) recovered.dedup.clear();
  std::sort(recovered.dedup.begin(), recovered.dedup.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.first_seen_ms, a.second.sequence) <
           std::pair(b.second.first_seen_ms, b.second.sequence);
  });
  for (const auto& [row, entry] : recovered.dedup) {
    // A clock that was set back must not make a window longer.
    const WallMs seen_ms = std::min(entry.first_seen_ms, MonoMs(now));
    dedup_.Insert(row.hash, {entry.sequence, entry.digest, seen_ms, 0});
    if (row.sequence == DedupRowId::kByHash) key_rows_by_hash_.insert(row.hash);
  }
  if (dedup_.size() > 0) next_dedup_ns_ = now.steady_ns;
  for (auto& [id, record] : recovered.producers) {
    record.last_seen_ms = MonoMs(now);  // it may have been connected until the broker stopped
    producers_.Restore(id, std::move(record));
  }
}

void QueueCore::RestoreAttempts(RecoveredQueue& recovered, const Now& now) {
  for (auto& [sequence, attempt] : recovered.attempts) {
    Chunk* chunk = FindChunk(sequence);
    const std::optional<std::uint32_t> index =
        chunk == nullptr ? std::nullopt : chunk->IndexOf(sequence);
    if (!index.has_value() || chunk->settled.Contains(*index)) continue;
    // The wall clock may have been set back meanwhile: no wait is longer than it was meant to be.
    const std::int64_t whole_ms =
        attempt.notes.empty()
            ? kDelayMaxMs
            : std::min(kDelayMaxMs, attempt.not_before_ms - attempt.notes.back().time_ms);
    Held held{
        .attempts = attempt.attempts, .state = attempt.state, .notes = std::move(attempt.notes)};
    if (held.state == storage::HeldState::kDelayed) {
      const std::int64_t wait_ms = std::min(whole_ms, attempt.not_before_ms - now.wall_ms);
      held.wait = Wait::kRetry;
      held.due = now.steady_ns + std::max<std::int64_t>(0, wait_ms) * kNsPerMs;
    }
    if (held.state == storage::HeldState::kParked && to_dead_letters()) {
      to_move_.push_back(sequence);  // its move may have been cut short
    }
    Hold(*chunk, *index, std::move(held));
  }
}

}  // namespace mqd::queue
