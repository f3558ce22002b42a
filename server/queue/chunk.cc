#include "server/queue/chunk.h"

#include <algorithm>

#include "proto/base/assert.h"

namespace mqd::queue {

using storage::ChunkRecord;
using storage::MessageControl;
using storage::Sequence;

Sequence Chunk::SequenceAt(std::uint32_t index) const {
  MQD_ASSERT(index < count);
  return key.first_sequence + (offsets.empty() ? index : offsets[index]);
}

std::optional<std::uint32_t> Chunk::IndexOf(Sequence sequence) const {
  if (sequence < key.first_sequence || count == 0) return std::nullopt;
  const Sequence offset = sequence - key.first_sequence;
  if (offsets.empty()) {
    if (offset >= count) return std::nullopt;
    return static_cast<std::uint32_t>(offset);
  }
  const auto found = std::lower_bound(offsets.begin(), offsets.end(), offset);
  if (found == offsets.end() || *found != offset) return std::nullopt;
  return static_cast<std::uint32_t>(found - offsets.begin());
}

std::uint32_t Chunk::ChargeAt(std::uint32_t index) const {
  return charges.size() == 1 ? charges[0] : charges[index];
}

std::uint64_t Chunk::ChargeOf(std::uint32_t first, std::uint32_t last) const {
  if (charges.size() == 1) return std::uint64_t{charges[0]} * (last - first);
  std::uint64_t sum = 0;
  for (std::uint32_t index = first; index < last; ++index) sum += charges[index];
  return sum;
}

std::uint32_t Chunk::ContiguousEnd(std::uint32_t index, std::uint32_t end) const {
  if (offsets.empty()) return end;
  std::uint32_t last = index + 1;
  while (last < end && offsets[last] == offsets[last - 1] + 1) ++last;
  return last;
}

const MessageControl* Chunk::ControlOf(std::uint32_t index) const {
  // Where every message has one (a KEYED queue), it stands at its own index.
  if (index < controls.size() && controls[index].index == index) return &controls[index];
  const auto found = std::lower_bound(
      controls.begin(), controls.end(), index,
      [](const MessageControl& control, std::uint32_t value) { return control.index < value; });
  return found != controls.end() && found->index == index ? &*found : nullptr;
}

std::uint32_t Chunk::NextFresh() const {
  std::uint32_t index = cursor;
  while (index < count) {
    const std::uint32_t next = settled.SkipFrom(held.SkipFrom(index));
    if (next == index) break;
    index = next;
  }
  return std::min(index, count);
}

std::uint32_t Chunk::FreshEnd(std::uint32_t index) const {
  return settled.NextFrom(index, held.NextFrom(index, count));
}

ChunkRecord Chunk::ToRecord() const {
  return ChunkRecord{.key = key,
                     .publish_time_ms = publish_time_ms,
                     .offsets = offsets,
                     .charges = charges,
                     .count = count,
                     .body_bytes = body_bytes,
                     .controls = controls};
}

Chunk Chunk::FromRecord(ChunkRecord record) {
  Chunk chunk;
  chunk.key = record.key;
  chunk.publish_time_ms = record.publish_time_ms;
  chunk.count = record.count;
  chunk.offsets = std::move(record.offsets);
  chunk.charges = std::move(record.charges);
  chunk.body_bytes = record.body_bytes;
  chunk.controls = std::move(record.controls);
  chunk.committed = true;
  chunk.on_disk = true;
  return chunk;
}

}  // namespace mqd::queue
