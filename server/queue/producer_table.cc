#include "server/queue/producer_table.h"

#include <algorithm>

namespace mqd::queue {

using storage::ProducerRange;

std::optional<Sequence> Producer::Find(std::uint64_t publish_id) const {
  const auto after = std::upper_bound(
      record.ranges.begin(), record.ranges.end(), publish_id,
      [](std::uint64_t id, const ProducerRange& range) { return id < range.first_publish_id; });
  if (after == record.ranges.begin()) return std::nullopt;
  const ProducerRange& range = *std::prev(after);
  const std::uint64_t offset = publish_id - range.first_publish_id;
  if (offset >= range.count) return std::nullopt;
  return range.first_sequence + offset;
}

void Producer::Add(std::uint64_t publish_id, Sequence sequence) {
  dirty = true;
  record.last_publish_id = std::max(record.last_publish_id, publish_id);
  const auto after = std::upper_bound(
      record.ranges.begin(), record.ranges.end(), publish_id,
      [](std::uint64_t id, const ProducerRange& range) { return id < range.first_publish_id; });
  if (after != record.ranges.begin()) {
    ProducerRange& before = *std::prev(after);
    if (before.first_publish_id + before.count == publish_id &&
        before.first_sequence + before.count == sequence) {
      ++before.count;
      return;
    }
  }
  record.ranges.insert(after, {publish_id, 1, sequence});
}

void Producer::Trim(std::uint64_t answered_through) {
  std::size_t gone = 0;
  for (ProducerRange& range : record.ranges) {
    if (range.first_publish_id > answered_through) break;
    const std::uint64_t answered = answered_through - range.first_publish_id + 1;
    if (answered < range.count) {
      range.first_publish_id += answered;
      range.first_sequence += answered;
      range.count -= answered;
      break;
    }
    ++gone;
  }
  record.ranges.erase(record.ranges.begin(), record.ranges.begin() + static_cast<long>(gone));
}

Producer* ProducerTable::Find(const ProducerId& id) {
  const auto found = producers_.find(id);
  return found == producers_.end() ? nullptr : &found->second;
}

Producer& ProducerTable::Insert(const ProducerId& id) { return producers_[id]; }

void ProducerTable::Restore(const ProducerId& id, storage::ProducerRecord record) {
  producers_[id].record = std::move(record);
}

std::vector<ProducerId> ProducerTable::Expire(WallMs now_ms) {
  std::vector<std::pair<WallMs, ProducerId>> gone;
  for (const auto& [id, producer] : producers_) {
    if (producer.connected == 0) gone.emplace_back(producer.record.last_seen_ms, id);
  }
  std::sort(gone.begin(), gone.end());
  std::vector<ProducerId> expired;
  for (const auto& [last_seen_ms, id] : gone) {
    if (last_seen_ms + kProducerRetentionMs > now_ms && producers_.size() <= kProducersMax) break;
    producers_.erase(id);
    expired.push_back(id);
  }
  return expired;
}

}  // namespace mqd::queue
