#include "client/publish_window.h"

#include <algorithm>

#include "client/status_map.h"
#include "proto/base/assert.h"
#include "proto/base/mutant.h"

namespace mqd::client {
namespace {

constexpr std::size_t kFirstBatchBytes = 16U << 10;

absl::Status Unknown(const char* text) { return OwnError(Reason::kOutcomeUnknown, text); }

}  // namespace

bool PublishWindow::BatchOpen() const {
  if (batches_.empty()) return false;
  const Batch& last = batches_.back();
  return !last.sealed && last.count < limits_.batch_messages &&
         last.elements->size() < limits_.batch_bytes;
}

PublishWindow::Batch& PublishWindow::OpenBatch(Time now) {
  if (BatchOpen()) return batches_.back();
  Batch& batch = batches_.emplace_back();
  batch.first_id = next_id_;
  batch.begun = now;
  batch.elements = std::make_shared<std::string>();
  batch.elements->reserve(std::max(likely_batch_bytes_, kFirstBatchBytes));
  return batch;
}

std::uint64_t PublishWindow::Append(const wire::MessageParts& message, std::size_t content_bytes,
                                    Callback callback, Time now) {
  Batch& batch = OpenBatch(now);
  wire::AppendElement(message, *batch.elements);
  Entry& entry = entries_.PushBack();
  entry.callback = std::move(callback);
  entry.end = static_cast<std::uint32_t>(batch.elements->size());
  entry.content = static_cast<std::uint32_t>(content_bytes);
  entry.keyed = !message.idempotency_key.empty();
  entry.outstanding = entry.written = entry.answered = false;
  ++batch.count;
  ++unanswered_;
  unanswered_bytes_ += content_bytes;
  return next_id_++;
}

PublishWindow::Batch& PublishWindow::BatchOf(std::uint64_t id) {
  if (id >= batches_.back().first_id) return batches_.back();
  const auto after = std::upper_bound(
      batches_.begin(), batches_.end(), id,
      [](std::uint64_t wanted, const Batch& batch) { return wanted < batch.first_id; });
  MQD_ASSERT(after != batches_.begin());
  return *std::prev(after);
}

/// Where the element of `id` begins in its batch.
std::size_t PublishWindow::StartOf(const Batch& batch, std::uint64_t id) {
  if (id == batch.first_id) return 0;
  return id == first_id_ ? dropped_end_ : At(id - 1).end;
}

void PublishWindow::Spend(Entry& entry) {
  --credit_messages_;
  credit_bytes_ -= static_cast<std::int64_t>(Cost(entry));
  if (entry.written) ++resent_;
  entry.outstanding = entry.written = true;
  ++outstanding_;
}

std::optional<PublishWindow::Frame> PublishWindow::NextFrame() {
  while (next_to_write_ < next_id_ && At(next_to_write_).answered) ++next_to_write_;
  if (next_to_write_ == next_id_ || !HasCredit()) return std::nullopt;
  Batch& batch = BatchOf(next_to_write_);
  const std::uint64_t end_id = batch.first_id + batch.count;
  Frame frame{.elements = batch.elements,
              .offset = StartOf(batch, next_to_write_),
              .first_id = next_to_write_};
  std::size_t cost = 0;
  while (next_to_write_ < end_id && frame.count < limits_.batch_messages && HasCredit()) {
    Entry& entry = At(next_to_write_);
    cost += Cost(entry);
    if (entry.answered || (frame.count > 0 && cost > limits_.batch_bytes)) break;
    Spend(entry);
    frame.bytes = entry.end - frame.offset;
    ++frame.count;
    ++next_to_write_;
  }
  likely_batch_bytes_ = batch.elements->size();
  batch.sealed = true;
  frame_ends_.push_back(next_to_write_ - 1);
  return frame;
}

void PublishWindow::OnOpened(bool known, const Limits& limits, std::uint64_t credit_messages,
                             std::uint64_t credit_bytes, Completions& done) {
  limits_ = limits;
  credit_messages_ = static_cast<std::int64_t>(credit_messages);
  credit_bytes_ = static_cast<std::int64_t>(credit_bytes);
  if (!known && stood_ && !MQD_MUTANT(sent_again_to_a_stranger)) {
    for (std::uint64_t id = first_id_; id < next_id_; ++id) {
      const Entry& entry = At(id);
      if (entry.answered || !entry.written || entry.keyed) continue;
      Complete(id, Unknown("the broker no longer knows this publisher; publish again or not"),
               done);
    }
    DropAnswered();
  }
  stood_ = true;
}

void PublishWindow::OnCredit(std::uint64_t messages, std::uint64_t bytes) {
  credit_messages_ += static_cast<std::int64_t>(messages);
  credit_bytes_ += static_cast<std::int64_t>(bytes);
}

void PublishWindow::OnDown() {
  credit_messages_ = credit_bytes_ = 0;
  for (std::uint64_t id = first_id_; id < next_to_write_; ++id) At(id).outstanding = false;
  outstanding_ = 0;
  frame_ends_.clear();
  if (!MQD_MUTANT(unconfirmed_not_sent_again)) next_to_write_ = first_id_;
}

void PublishWindow::Complete(std::uint64_t id, PublishResult result, Completions& done) {
  Entry& entry = At(id);
  entry.answered = true;
  if (entry.outstanding) --outstanding_;
  entry.outstanding = false;
  --unanswered_;
  unanswered_bytes_ -= entry.content;
  done.push_back({std::move(entry.callback), std::move(result)});
  entry.callback = nullptr;
  CountAnswered(id);
  while (!frame_ends_.empty() && frame_ends_.front() <= id) frame_ends_.pop_front();
}

/// Results of DELIVERED and SETTLED come in any order: a batch before which others wait gives its
/// bytes back once nothing of it can be sent again.
void PublishWindow::CountAnswered(std::uint64_t id) {
  if (id < batches_.front().first_id + batches_.front().count) return;
  Batch& batch = BatchOf(id);
  if (++batch.answered == batch.count && batch.sealed) batch.elements = nullptr;
}

void PublishWindow::DropAnswered() {
  while (first_id_ < next_id_ && entries_.front().answered) {
    dropped_end_ = entries_.front().end;
    entries_.PopFront();
    ++first_id_;
  }
  next_to_write_ = std::max(next_to_write_, first_id_);
  while (!batches_.empty() && batches_.front().first_id + batches_.front().count <= first_id_) {
    batches_.pop_front();
  }
}

void PublishWindow::OnConfirmed(std::uint64_t first_id, std::uint64_t count,
                                std::uint64_t first_sequence, Completions& done) {
  const std::uint64_t begin = std::max(first_id, first_id_);
  const std::uint64_t end = std::min(next_id_, first_id + count);
  for (std::uint64_t id = begin; id < end; ++id) {
    if (At(id).answered) continue;
    PublishOutcome outcome;
    outcome.sequence = first_sequence + (id - first_id);
    Complete(id, outcome, done);
  }
  DropAnswered();
}

void PublishWindow::OnResult(std::uint64_t id, PublishResult result, Completions& done) {
  if (id < first_id_ || id >= next_id_ || At(id).answered) return;
  Complete(id, std::move(result), done);
  DropAnswered();
}

void PublishWindow::Expire(Time unsent_before, Time sent_before, Completions& done) {
  for (const Batch& batch : batches_) {
    if (batch.begun > unsent_before) break;
    const std::uint64_t end = batch.first_id + batch.count;
    for (std::uint64_t id = std::max(batch.first_id, first_id_); id < end; ++id) {
      Entry& entry = At(id);
      if (entry.answered) continue;
      if (!entry.written) {
        Complete(id, OwnError(Reason::kBlockedTimeout, "the message could not be sent in time"),
                 done);
      } else if (batch.begun <= sent_before) {
        Complete(id, Unknown("no answer came in time"), done);
      }
    }
  }
  DropAnswered();
}

void PublishWindow::FailAll(const absl::Status& sent, const absl::Status& unsent,
                            Completions& done) {
  for (std::uint64_t id = first_id_; id < next_id_; ++id) {
    if (!At(id).answered) Complete(id, At(id).written ? sent : unsent, done);
  }
  DropAnswered();
}

}  // namespace mqd::client
