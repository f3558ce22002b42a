#include "server/queue/dedup_index.h"

#include <algorithm>
#include <utility>

namespace mqd::queue {

const DedupEntry* DedupIndex::Find(const KeyHash& hash, WallMs seen_after_ms) const {
  const auto found = entries_.find(hash);
  if (found == entries_.end()) return nullptr;
  const DedupEntry& entry = found->second;
  return entry.pending == 0 && entry.first_seen_ms < seen_after_ms ? nullptr : &entry;
}

std::optional<Sequence> DedupIndex::Insert(const KeyHash& hash, const DedupEntry& entry) {
  const auto [place, is_new] = entries_.try_emplace(hash, entry);
  order_.emplace_back(hash, entry.first_seen_ms);
  if (is_new) return std::nullopt;
  return std::exchange(place->second, entry).sequence;
}

void DedupIndex::Erase(const KeyHash& hash) { entries_.erase(hash); }

void DedupIndex::Settle(const KeyHash& hash, TransactionId transaction) {
  const auto found = entries_.find(hash);
  if (found != entries_.end() && found->second.pending == transaction) found->second.pending = 0;
}

std::vector<DedupRowId> DedupIndex::Clear() {
  std::vector<DedupRowId> gone;
  for (const auto& [hash, entry] : entries_) {
    if (entry.pending == 0) gone.push_back({entry.sequence, hash});
  }
  std::sort(gone.begin(), gone.end());  // a hash table has no order that a second run would keep
  for (const DedupRowId& row : gone) entries_.erase(row.hash);
  return gone;
}

void DedupIndex::DropStaleFront() {
  while (!order_.empty()) {
    const auto found = entries_.find(order_.front().first);
    if (found != entries_.end() && found->second.first_seen_ms == order_.front().second) return;
    order_.pop_front();
  }
}

bool DedupIndex::MayPop(const std::pair<KeyHash, WallMs>& entry) const {
  const auto found = entries_.find(entry.first);
  if (found == entries_.end() || found->second.first_seen_ms != entry.second) return false;
  return found->second.pending == 0;  // pending ones are few: one transaction's at a time
}

std::optional<DedupRowId> DedupIndex::PopOldest(WallMs seen_until_ms) {
  DropStaleFront();
  for (auto next = order_.begin(); next != order_.end() && next->second <= seen_until_ms; ++next) {
    if (!MayPop(*next)) continue;
    const auto found = entries_.find(next->first);
    const DedupRowId gone{found->second.sequence, found->first};
    order_.erase(next);
    entries_.erase(found);
    return gone;
  }
  return std::nullopt;
}

bool DedupIndex::CanPop(std::size_t keys, WallMs seen_until_ms) const {
  for (auto next = order_.begin(); next != order_.end() && next->second <= seen_until_ms; ++next) {
    if (keys == 0) break;
    if (MayPop(*next)) --keys;
  }
  return keys == 0;
}

std::optional<WallMs> DedupIndex::oldest_ms() const {
  if (order_.empty()) return std::nullopt;
  return order_.front().second;
}

}  // namespace mqd::queue
