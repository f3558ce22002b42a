#include "client/settle_book.h"

#include <utility>

#include "client/convert.h"
#include "client/status_map.h"

namespace mqd::client {
namespace {

void Encode(const SettleBook::Entry& entry, v1::SettleBatch& batch) {
  v1::SettleEntry* out = batch.add_entries();
  out->mutable_range()->set_first_delivery_id(entry.range.first);
  out->mutable_range()->set_last_delivery_id(entry.range.last);
  if (entry.extend) {
    SetExtend(entry.lease, out);
  } else {
    SetOutcome(entry.outcome, out);
  }
}

/// The first error that concerns `range`; of an atomic settle, that of any of its publishes.
absl::Status ErrorOf(const v1::SettleResults& results, IdRange range, bool atomic) {
  if (results.has_error()) return StatusOf(results.error());
  for (const v1::SettleException& exception : results.exceptions()) {
    const v1::DeliveryRange& failed = exception.range();
    const bool apart =
        failed.last_delivery_id() < range.first || failed.first_delivery_id() > range.last;
    if (!apart) return StatusOf(exception.error());
  }
  for (const v1::PublishResult& publish : results.publish_results()) {
    if (atomic && publish.has_error()) return StatusOf(publish.error());
  }
  return absl::OkStatus();
}

bool IsStale(const absl::Status& status) { return ReasonOf(status) == Reason::kStaleDelivery; }

absl::Status BrokeBeforeTheAnswer() {
  return OwnError(Reason::kOutcomeUnknown, "the stream broke before the answer came");
}

std::uint64_t CountOf(IdRange range) { return range.last - range.first + 1; }

}  // namespace

void SettleBook::Add(Entry entry) {
  const bool plain_ack =
      !entry.extend && entry.outcome.kind == Outcome::Kind::kAck && !entry.callback;
  if (plain_ack) return Ack(entry.queue_index, entry.range);
  queues_[entry.queue_index].others.push_back(std::move(entry));
}

void SettleBook::AddAtomic(Entry entry, std::vector<QueuePublish> publishes) {
  atomics_.push_back({std::move(entry), std::move(publishes)});
}

bool SettleBook::sent() const {
  for (const PerQueue& queue : queues_) {
    if (!queue.acks.empty() || !queue.others.empty()) return false;
  }
  return atomics_.empty();
}

std::optional<std::string> SettleBook::NextFrame() {
  if (!atomics_.empty()) return AtomicFrame();
  if (plain_in_flight_ >= kFramesMax) return std::nullopt;
  for (std::size_t tried = 0; tried < queues_.size(); ++tried) {
    const std::uint32_t index = next_queue_;
    next_queue_ = static_cast<std::uint32_t>((next_queue_ + 1) % queues_.size());
    if (queues_[index].acks.empty() && queues_[index].others.empty()) continue;
    return PlainFrame(index);
  }
  return std::nullopt;
}

std::string SettleBook::AtomicFrame() {
  Atomic atomic = std::move(atomics_.front());
  atomics_.pop_front();
  v1::ConsumeStreamRequest frame;
  v1::SettleBatch& batch = *frame.mutable_settle();
  batch.set_settle_id(next_settle_id_);
  batch.set_queue_index(atomic.entry.queue_index);
  Encode(atomic.entry, batch);
  for (const QueuePublish& publish : atomic.publishes) ToProto(publish, batch.add_publishes());
  InFlight& sent = in_flight_[next_settle_id_++];
  sent.queue_index = atomic.entry.queue_index;
  sent.atomic = true;
  sent.entries.push_back(std::move(atomic.entry));
  return frame.SerializeAsString();
}

std::string SettleBook::PlainFrame(std::uint32_t queue_index) {
  PerQueue& queue = queues_[queue_index];
  InFlight& sent = in_flight_[next_settle_id_];
  sent.queue_index = queue_index;
  for (const IdRange range : queue.acks.Take(kEntriesMax)) {
    sent.entries.push_back({.queue_index = queue_index, .range = range});
  }
  while (!queue.others.empty() && sent.entries.size() < kEntriesMax) {
    sent.entries.push_back(std::move(queue.others.front()));
    queue.others.pop_front();
  }
  v1::ConsumeStreamRequest frame;
  v1::SettleBatch& batch = *frame.mutable_settle();
  batch.set_settle_id(next_settle_id_++);
  batch.set_queue_index(queue_index);
  for (const Entry& entry : sent.entries) Encode(entry, batch);
  ++plain_in_flight_;
  return frame.SerializeAsString();
}

void SettleBook::OnResults(const v1::SettleResults& results, Answers& answers) {
  const auto found = in_flight_.find(results.settle_id());
  if (found == in_flight_.end()) return;
  InFlight sent = std::move(found->second);
  in_flight_.erase(found);
  if (!sent.atomic) --plain_in_flight_;
  for (Entry& entry : sent.entries) {
    absl::Status failed = ErrorOf(results, entry.range, sent.atomic);
    if (failed.ok() || IsStale(failed)) {
      for (std::string& line : entry.held) answers.held.push_back(std::move(line));
    } else if (!entry.held.empty()) {
      answers.stuck[{sent.queue_index, entry.range.first}] = std::move(entry.held);
    }
    if (entry.resent && IsStale(failed)) failed = BrokeBeforeTheAnswer();
    if (!entry.extend && failed.ok()) answers.settled += CountOf(entry.range);
    if (!entry.callback) continue;
    if (!failed.ok()) {
      answers.calls.push_back({std::move(entry.callback), failed});
      continue;
    }
    SettleResult result{.settled = CountOf(entry.range), .publishes = {}};
    for (const v1::PublishResult& one : results.publish_results()) {
      result.publishes.push_back(FromProto(one));
    }
    answers.calls.push_back({std::move(entry.callback), std::move(result)});
  }
  for (const v1::SettleException& exception : results.exceptions()) {
    const IdRange range = {exception.range().first_delivery_id(),
                           exception.range().last_delivery_id()};
    if (exception.error().reason() == v1::REASON_STALE_DELIVERY) answers.stale += CountOf(range);
    answers.errors.push_back({sent.queue_index, range, StatusOf(exception.error())});
  }
  if (results.has_error() && !sent.entries.empty()) {
    const IdRange whole = {sent.entries.front().range.first, sent.entries.back().range.last};
    answers.errors.push_back({sent.queue_index, whole, StatusOf(results.error())});
  }
}

void SettleBook::OnDown(Answers& answers) {
  // With the stream all deliveries of before are gone, and the lines begin anew.
  for (PerQueue& queue : queues_) {
    for (Entry& entry : queue.others) entry.held.clear();
  }
  for (Atomic& atomic : atomics_) atomic.entry.held.clear();
  for (auto& [id, sent] : std::exchange(in_flight_, {})) {
    for (Entry& entry : sent.entries) {
      if (sent.atomic) {
        answers.calls.push_back({std::move(entry.callback), BrokeBeforeTheAnswer()});
      } else if (!entry.extend) {
        entry.held.clear();
        entry.resent = true;
        Add(std::move(entry));
      }
    }
  }
  plain_in_flight_ = 0;
}

void SettleBook::FailAll(const absl::Status& status, Answers& answers) {
  const auto fail = [&](Entry& entry) {
    if (entry.callback) answers.calls.push_back({std::move(entry.callback), status});
  };
  for (auto& [id, sent] : in_flight_) {
    for (Entry& entry : sent.entries) fail(entry);
  }
  for (Atomic& atomic : atomics_) fail(atomic.entry);
  for (PerQueue& queue : queues_) {
    for (Entry& entry : queue.others) fail(entry);
    queue = {};
  }
  in_flight_.clear();
  atomics_.clear();
  plain_in_flight_ = 0;
}

}  // namespace mqd::client
