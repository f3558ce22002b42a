#pragma once

// dedup_index.h: which idempotency keys were seen within the window. A mirror of table dedup in
// memory.
//
// The window runs from the first acceptance of a key and does not slide; a settled message keeps
// its key until then.
//
// Threads: One at a time.
// Limits: dedup_max_entries; about 100 bytes an entry.

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/queue/events.h"

namespace mqd::queue {

struct DedupEntry {
  Sequence sequence = 0;
  std::uint64_t digest = 0;
  WallMs first_seen_ms = 0;
  TransactionId pending = 0;  // the transaction that must end before the entry counts; 0: none
};

class DedupIndex {
 public:
  /// Null when unknown or first seen before `seen_after_ms`; one that is pending is known until its
  /// transaction ends.
  const DedupEntry* Find(const KeyHash& hash, WallMs seen_after_ms) const;

  /// The transaction that the key waited for has committed.
  void Settle(const KeyHash& hash, TransactionId transaction);

  /// Answers the sequence of the expired entry of the same hash that it replaces.
  std::optional<Sequence> Insert(const KeyHash& hash, const DedupEntry& entry);
  void Erase(const KeyHash& hash);
  /// Forgets every key that waits for no transaction, and returns them, sorted.
  std::vector<DedupRowId> Clear();

  /// Takes out the oldest entry first seen up to `seen_until_ms` that waits for no transaction;
  /// none when there is none.
  std::optional<DedupRowId> PopOldest(WallMs seen_until_ms);

  /// Whether PopOldest(seen_until_ms) would find so many.
  bool CanPop(std::size_t keys, WallMs seen_until_ms) const;

  /// When the oldest entry was first seen; none when empty.
  std::optional<WallMs> oldest_ms() const;

  std::size_t size() const { return entries_.size(); }

 private:
  struct Hasher {
    std::size_t operator()(const KeyHash& hash) const { return hash.low; }  // already a hash
  };
  /// Whether an order entry is still its key's, and the key waits for no transaction.
  bool MayPop(const std::pair<KeyHash, WallMs>& entry) const;
  /// Drops order entries whose key was erased or seen anew.
  void DropStaleFront();

  absl::flat_hash_map<KeyHash, DedupEntry, Hasher> entries_;
  std::deque<std::pair<KeyHash, WallMs>> order_;  // by acceptance
};

}  // namespace mqd::queue
