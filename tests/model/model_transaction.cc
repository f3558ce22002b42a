// model_transaction.cc: the target's side of an atomic request, of a dead letter and of a divert.

#include <set>

#include "tests/model/queue_model.h"

namespace mqd::queue::testing {

void QueueModel::Prepare(ModelWaiter waiter) {
  Used();
  if (waiters_.empty() && AdmitTransaction(waiter)) return;
  waiters_.push_back(std::move(waiter));
}

bool QueueModel::AdmitTransaction(ModelWaiter& waiter) {
  std::vector<ModelSent> fresh;
  std::string verdict = JudgeTransaction(waiter, fresh);
  if (verdict.empty() && !fresh.empty()) verdict = JudgeTransactionRoom(waiter, fresh);
  if (verdict.starts_with("wait")) {
    waiter.waits_for = verdict;
    return false;
  }
  dues_.prepared.emplace_back(waiter.transaction, verdict);
  if (!verdict.empty()) return true;
  ModelPrepared& prepared = prepared_[waiter.transaction];
  for (const ModelSent& sent : fresh) {
    const Sequence sequence = next_sequence_++;
    messages_[sequence] = MessageOf(sent);
    prepared.sequences.push_back(sequence);
    if (sent.key.empty() || waiter.bypass) continue;
    Remember(sent, sequence, true);
    prepared.keys.push_back(sent.key);
  }
  return true;
}

/// All or nothing: the reason when one of them cannot be.
std::string QueueModel::JudgeTransaction(const ModelWaiter& waiter,
                                         std::vector<ModelSent>& fresh) const {
  std::string refused;
  std::set<std::string> keys;
  for (const ModelSent& sent : waiter.messages) {
    std::string refusal = Refusal(sent, waiter.bypass);
    const bool has_key = !sent.key.empty() && !waiter.bypass;
    if (refusal.empty() && has_key) {
      refusal = JudgeKey(sent);
      if (refusal.starts_with("wait")) return refusal;
      if (refusal.starts_with("duplicate")) continue;
      if (refusal.empty() && !keys.insert(sent.key).second) refusal = "BAD_FIELD";
      if (refusal.empty() && !HasDedupRoom(keys.size())) refusal = "DEDUP_FULL";
    }
    if (refused.empty()) refused = refusal;
    fresh.push_back(sent);
  }
  return refused;
}

std::string QueueModel::JudgeTransactionRoom(const ModelWaiter& waiter,
                                             const std::vector<ModelSent>& fresh) {
  const std::uint64_t count = fresh.size();
  std::uint64_t bytes = 0;
  for (const ModelSent& sent : fresh) bytes += sent.charge;
  const bool waits = WaitsWhenFull() && !waiter.bypass;
  if (!waiter.bypass && !publish_rate_.Has(clock_.steady_ms, settings_.max_publish_rate)) {
    return waits ? "wait for the rate" : "RATE_LIMITED";
  }
  const bool could =
      count <= std::max<std::uint64_t>(settings_.max_messages, 1) && bytes <= settings_.max_bytes;
  if (!HasRoom(count, bytes)) {
    const bool drops = settings_.overflow_policy == OverflowPolicy::kDropOldest && !waiter.bypass;
    const auto victims = drops ? VictimsFor(count, bytes) : std::vector<Sequence>{};
    if (victims.empty()) {
      const bool commits = Count(ModelState::kCommitting) + Count(ModelState::kSettling) > 0;
      if (could && drops && commits) return "wait for a commit";
      if (could && waits) return "wait for room";
      return "QUEUE_FULL";
    }
    if (world_.quota_full) return "QUOTA_EXCEEDED";
    Drop(victims);
  }
  if (world_.quota_full) return "QUOTA_EXCEEDED";
  if (!waiter.bypass) publish_rate_.Take(clock_.steady_ms, settings_.max_publish_rate, count);
  return "";
}

std::vector<std::function<void()>> QueueModel::PartOf(TransactionId transaction) {
  std::vector<std::function<void()>> part;
  const auto found = prepared_.find(transaction);
  if (found == prepared_.end() || !durable()) return part;
  for (const Sequence sequence : found->second.sequences) {
    part.push_back(
        [this, sequence, message = messages_.at(sequence)] { disk_.messages[sequence] = message; });
  }
  for (const std::string& key : found->second.keys) {
    ModelKey entry = dedup_.at(key);
    entry.pending = false;
    part.push_back([this, key, entry] { disk_.dedup[key] = entry; });
  }
  return part;
}

void QueueModel::EndTransaction(TransactionId transaction, bool committed) {
  const auto found = prepared_.find(transaction);
  if (found == prepared_.end()) return;
  const ModelPrepared prepared = std::move(found->second);
  prepared_.erase(found);
  for (const std::string& key : prepared.keys) {
    if (committed) {
      dedup_[key].pending = false;
    } else {
      dedup_.erase(key);
    }
  }
  for (const Sequence sequence : prepared.sequences) {
    if (!committed) {
      messages_.erase(sequence);
      continue;
    }
    ++counts_.published;
    Place(sequence, messages_.at(sequence));
  }
}

}  // namespace mqd::queue::testing
