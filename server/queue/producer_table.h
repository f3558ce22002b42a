#pragma once

// producer_table.h: what resuming producers have stored, so that a resend adds no duplicate. A
// mirror of table producers.
//
// Threads: One at a time.
// Limits: kProducersMax producers; a producer's ranges are bounded by its publish window, since
// answered ids go.

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/queue/events.h"

namespace mqd::queue {

/// A producer that is gone this long is forgotten; its unanswered messages then have an unknown
/// outcome.
inline constexpr WallMs kProducerRetentionMs = 600'000;
inline constexpr std::size_t kProducersMax = 10'000;

struct Producer {
  storage::ProducerRecord record;
  PublisherId connected = 0;  // 0: gone
  bool dirty = false;         // changed since the last record was written

  /// Where `publish_id` is stored; none when it is not.
  std::optional<Sequence> Find(std::uint64_t publish_id) const;
  /// Adds one id; joins it to the range before when both rise by one.
  void Add(std::uint64_t publish_id, Sequence sequence);
  /// Forgets ids up to `answered_through`.
  void Trim(std::uint64_t answered_through);
};

class ProducerTable {
 public:
  Producer* Find(const ProducerId& id);
  Producer& Insert(const ProducerId& id);
  void Restore(const ProducerId& id, storage::ProducerRecord record);

  /// Takes out producers that are gone too long, and the longest gone beyond kProducersMax.
  std::vector<ProducerId> Expire(WallMs now_ms);
  std::size_t size() const { return producers_.size(); }

 private:
  absl::flat_hash_map<ProducerId, Producer> producers_;
};

}  // namespace mqd::queue
