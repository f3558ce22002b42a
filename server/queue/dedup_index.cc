#include "server/queue/dedup_index.h"

namespace mqd::queue {

const DedupEntry* DedupIndex::Find(const KeyHash& hash, WallMs seen_after_ms) const {
  const auto found = entries_.find(hash);
  if (found == entries_.end() || found->second.first_seen_ms < seen_after_ms) return nullptr;
  return &found->second;
}

void DedupIndex::Insert(const KeyHash& hash, const DedupEntry& entry) {
  entries_.insert_or_assign(hash, entry);
  order_.emplace_back(hash, entry.first_seen_ms);
}

void DedupIndex::Erase(const KeyHash& hash) { entries_.erase(hash); }

void DedupIndex::Settle(const KeyHash& hash, TransactionId transaction) {
  const auto found = entries_.find(hash);
  if (found != entries_.end() && found->second.pending == transaction) found->second.pending = 0;
}

std::vector<KeyHash> DedupIndex::Clear() {
  std::vector<KeyHash> gone;
  for (const auto& [hash, entry] : entries_) {
    if (entry.pending == 0) gone.push_back(hash);
  }
  for (const KeyHash& hash : gone) entries_.erase(hash);
  return gone;
}

void DedupIndex::DropStaleFront() {
  while (!order_.empty()) {
    const auto found = entries_.find(order_.front().first);
    if (found != entries_.end() && found->second.first_seen_ms == order_.front().second) return;
    order_.pop_front();
  }
}

std::optional<KeyHash> DedupIndex::PopOldest(WallMs seen_until_ms) {
  DropStaleFront();
  if (order_.empty() || order_.front().second > seen_until_ms) return std::nullopt;
  const KeyHash hash = order_.front().first;
  if (entries_.find(hash)->second.pending != 0) return std::nullopt;
  order_.pop_front();
  entries_.erase(hash);
  return hash;
}

std::optional<WallMs> DedupIndex::oldest_ms() const {
  if (order_.empty()) return std::nullopt;
  return order_.front().second;
}

}  // namespace mqd::queue
