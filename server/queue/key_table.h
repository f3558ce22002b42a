#pragma once

// key_table.h: ordering keys that have messages waiting or at work.
//
// Threads: One at a time.
// Ownership: Pointers to a KeyState stay valid while rows point to it or it is busy.
// Limits: As many keys as messages at the worst; bounded by the queue's max_messages.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "server/queue/events.h"

namespace mqd::queue {

struct KeyState {
  std::string name;
  std::uint64_t hash = 0;
  /// In line: ready, and where the key is exclusive (KEYED) also those that wait for a retry.
  absl::btree_set<Sequence> waiting;
  /// KEYED: the one that stands in the lanes for the key; 0: none. Else all that wait stand there.
  Sequence placed = 0;
  std::uint32_t placed_priority = 0;
  ConsumerId placed_with = 0;  // 0: for anybody; else STICKY, or who has those before it
  /// Messages in flight, or whose settle or return is not committed.
  std::uint32_t busy = 0;
  std::uint32_t rows = 0;  // of the held table that point here, in whatever state
  absl::btree_map<Sequence, DeliveryId> flights;  // that have a lease, or are orphans
  bool broken = false;    // one came back: nothing follows until the key is free
  DeliveryId flight = 0;  // the latest delivery
  ConsumerId holder = 0;  // who got it
  DeliveryId fence = 0;   // since this holder has the key
  ConsumerId owner = 0;   // STICKY: whose it is; 0: nobody is there
};

/// FNV-1a (Fowler, Noll, Vo): the same for a name in every process.
std::uint64_t HashOfKey(std::string_view name);

/// How much a consumer deserves a key; the highest has it (D. Thaler, C. Ravishankar, "Using
/// name-based mappings to increase hit rates", 1998: highest random weight).
std::uint64_t KeyScore(std::uint64_t key_hash, ConsumerId consumer);

class KeyTable {
 public:
  KeyState& Get(std::string_view name);
  /// Null when the key has neither rows nor work.
  const KeyState* Find(std::string_view name) const;
  /// Forgets a key that has nothing left.
  void DropIfIdle(KeyState& key);
  void DropAllIdle();

  /// Calls `visit` with each key.
  template <class Visit>
  void ForEach(Visit&& visit) {
    for (auto& [name, key] : keys_) visit(*key);
  }
  std::size_t size() const { return keys_.size(); }

 private:
  absl::flat_hash_map<std::string_view, std::unique_ptr<KeyState>> keys_;  // named by their own
};

}  // namespace mqd::queue
