#include "storage/record_codec.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/status/status.h"
#include "proto/base/assert.h"
#include "storage/body.h"
#include "storage/byte_codec.h"

namespace mqd::storage {
namespace {

// One version a kind of record, so that one can change alone. Older ones are read.
constexpr std::uint8_t kVersion = 1;
/// 2: attempt notes, deliver_after; no idempotency key in a control.
constexpr std::uint8_t kChunkVersion = 2;
/// 2: attempt notes in the place of one last error.
constexpr std::uint8_t kAttemptVersion = 2;

constexpr std::size_t kQueuePrefixBytes = 8;

// The shortest encodings, for ByteReader::Count().
constexpr std::size_t kControlBytesMin = 7;
constexpr std::size_t kOriginBytesMin = 5;
constexpr std::size_t kNoteBytesMin = 4;
constexpr std::size_t kRefBytesMin = 2;
/// As limits::kDeliverAfterMax, which the edge holds messages to.
constexpr std::size_t kRefsMax = 16;
constexpr std::size_t kRangeBytesMin = 2;
constexpr std::size_t kProducerRangeBytesMin = 3;

template <class Number>
void WriteNumbers(RecordWriter& writer, const std::vector<Number>& numbers) {
  writer.Varint(numbers.size());
  for (const Number number : numbers) writer.Varint(number);
}

std::vector<std::uint32_t> ReadNumbers(ByteReader& reader) {
  std::vector<std::uint32_t> numbers;
  const std::size_t count = reader.Count(1);
  if (count > kBodyMessagesMax) reader.Fail();
  for (std::size_t i = 0; reader.ok() && i < count; ++i) numbers.push_back(reader.Varint32());
  return numbers;
}

void WriteNotes(RecordWriter& writer, const std::vector<AttemptNote>& notes) {
  writer.Varint(notes.size());
  for (const AttemptNote& note : notes) {
    writer.Varint(note.attempt);
    writer.Signed(note.time_ms);
    writer.String(note.consumer);
    writer.String(note.error);
  }
}

std::vector<AttemptNote> ReadNotes(ByteReader& reader) {
  std::vector<AttemptNote> notes;
  const std::size_t count = reader.Count(kNoteBytesMin);
  if (count > kAttemptNotesMax) reader.Fail();
  for (std::size_t i = 0; reader.ok() && i < count; ++i) {
    AttemptNote& note = notes.emplace_back();
    note.attempt = reader.Varint32();
    note.time_ms = reader.Signed();
    note.consumer = reader.String();
    note.error = reader.String();
  }
  return notes;
}

void WriteOrigin(RecordWriter& writer, const DeadLetterOrigin& origin) {
  writer.String(origin.queue);
  writer.Varint(origin.sequence);
  writer.String(origin.reason);
  writer.Varint(origin.attempts);
  writer.Signed(origin.time_ms);
  WriteNotes(writer, origin.notes);
}

DeadLetterOrigin ReadOrigin(ByteReader& reader) {
  DeadLetterOrigin origin;
  origin.queue = reader.String();
  origin.sequence = reader.Varint();
  origin.reason = reader.String();
  origin.attempts = reader.Varint32();
  origin.time_ms = reader.Signed();
  if (reader.version() > 1) origin.notes = ReadNotes(reader);
  return origin;
}

void WriteControl(RecordWriter& writer, const MessageControl& control) {
  writer.Varint(control.index);
  writer.Signed(control.deliver_at_ms);
  writer.Signed(control.expires_at_ms);
  writer.Varint(control.priority);
  writer.String(control.ordering_key);
  writer.Varint(control.dead_letter.size());
  for (const DeadLetterOrigin& origin : control.dead_letter) WriteOrigin(writer, origin);
  writer.Varint(control.deliver_after.size());
  for (const MessageRef& ref : control.deliver_after) {
    writer.Varint(ref.queue);
    writer.Varint(ref.sequence);
  }
}

MessageControl ReadControl(ByteReader& reader) {
  MessageControl control;
  control.index = reader.Varint32();
  control.deliver_at_ms = reader.Signed();
  control.expires_at_ms = reader.Signed();
  control.priority = reader.Varint32();
  control.ordering_key = reader.String();
  if (reader.version() == 1) reader.String();  // an idempotency key, which nothing used
  const std::size_t origins = reader.Count(kOriginBytesMin);
  if (origins > 1) reader.Fail();
  for (std::size_t i = 0; reader.ok() && i < origins; ++i) {
    control.dead_letter.push_back(ReadOrigin(reader));
  }
  if (reader.version() == 1) return control;
  const std::size_t refs = reader.Count(kRefBytesMin);
  if (refs > kRefsMax) reader.Fail();
  for (std::size_t i = 0; reader.ok() && i < refs; ++i) {
    const QueueId queue = reader.Varint();
    control.deliver_after.push_back({queue, reader.Varint()});
  }
  return control;
}

bool Rises(const std::vector<std::uint32_t>& numbers) {
  return std::adjacent_find(numbers.begin(), numbers.end(), std::greater_equal<>()) ==
         numbers.end();
}

/// The shape that records.h promises.
bool IsConsistent(const ChunkRecord& record) {
  if (record.count > kBodyMessagesMax) return false;
  if (!record.offsets.empty() && record.offsets.size() != record.count) return false;
  if (!Rises(record.offsets)) return false;
  if (record.charges.size() > 1 && record.charges.size() != record.count) return false;
  if (record.charges.empty() && record.count != 0) return false;
  const MessageControl* last = nullptr;
  for (const MessageControl& control : record.controls) {
    if (control.index >= record.count || control.dead_letter.size() > 1) return false;
    if (last != nullptr && last->index >= control.index) return false;
    last = &control;
  }
  return true;
}

}  // namespace

std::string QueuePrefix(QueueId queue) {
  std::string key;
  AppendBigEndian64(key, queue);
  return key;
}

std::string ChunkRowKey(QueueId queue, Sequence first_sequence) {
  std::string key = QueuePrefix(queue);
  AppendBigEndian64(key, first_sequence);
  return key;
}

std::string BodyRowKey(QueueId queue, ChunkKey key) {
  std::string row = ChunkRowKey(queue, key.first_sequence);
  AppendBigEndian32(row, key.generation);
  return row;
}

std::string AttemptRowKey(QueueId queue, Sequence sequence) { return ChunkRowKey(queue, sequence); }

std::string DedupRowKey(QueueId queue, const DedupRowId& row) {
  std::string key = QueuePrefix(queue);
  if (row.sequence != DedupRowId::kByHash) AppendBigEndian64(key, row.sequence);
  AppendBigEndian64(key, row.hash.high);
  AppendBigEndian64(key, row.hash.low);
  return key;
}

std::string ProducerRowKey(QueueId queue, const ProducerId& producer) {
  std::string key = QueuePrefix(queue);
  key.append(reinterpret_cast<const char*>(producer.data()), producer.size());
  return key;
}

absl::StatusOr<Sequence> SequenceOfRowKey(std::string_view key) {
  if (key.size() != kQueuePrefixBytes + 8) {
    return absl::DataLossError("the key of a chunk, settle or attempt row has a wrong length");
  }
  return LoadBigEndian64(key.data() + kQueuePrefixBytes);
}

absl::StatusOr<DedupRowId> DedupRowOfKey(std::string_view key) {
  const std::size_t size = key.size();
  if (size != kQueuePrefixBytes + 16 && size != kQueuePrefixBytes + 24) {
    return absl::DataLossError("the key of a dedup row has a wrong length");
  }
  const char* hash = key.data() + size - 16;
  return DedupRowId{.sequence = size == kQueuePrefixBytes + 16
                                    ? DedupRowId::kByHash
                                    : LoadBigEndian64(key.data() + kQueuePrefixBytes),
                    .hash = {LoadBigEndian64(hash), LoadBigEndian64(hash + 8)}};
}

absl::StatusOr<ProducerId> ProducerOfRowKey(std::string_view key) {
  ProducerId producer;
  if (key.size() != kQueuePrefixBytes + producer.size()) {
    return absl::DataLossError("the key of a producer row has a wrong length");
  }
  std::memcpy(producer.data(), key.data() + kQueuePrefixBytes, producer.size());
  return producer;
}

std::string EncodeChunkRecord(const ChunkRecord& record) {
  MQD_ASSERT(IsConsistent(record));
  RecordWriter writer(kChunkVersion);
  writer.Varint(record.key.first_sequence);
  writer.Varint(record.key.generation);
  writer.Signed(record.publish_time_ms);
  writer.Varint(record.count);
  writer.Varint(record.body_bytes);
  WriteNumbers(writer, record.offsets);
  WriteNumbers(writer, record.charges);
  writer.Varint(record.controls.size());
  for (const MessageControl& control : record.controls) WriteControl(writer, control);
  return std::move(writer).Finish();
}

absl::StatusOr<ChunkRecord> DecodeChunkRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "chunk", kChunkVersion);
  if (!reader.ok()) return reader.status();
  ChunkRecord record;
  record.key.first_sequence = reader->Varint();
  record.key.generation = reader->Varint32();
  record.publish_time_ms = reader->Signed();
  record.count = reader->Varint32();
  record.body_bytes = reader->Varint();
  record.offsets = ReadNumbers(*reader);
  record.charges = ReadNumbers(*reader);
  const std::size_t controls = reader->Count(kControlBytesMin);
  if (controls > kBodyMessagesMax) reader->Fail();
  record.controls.reserve(reader->ok() ? controls : 0);
  for (std::size_t i = 0; reader->ok() && i < controls; ++i) {
    record.controls.push_back(ReadControl(*reader));
  }
  if (!IsConsistent(record)) reader->Fail();
  return Finished(*reader, "chunk", std::move(record));
}

std::string EncodeSettleRecord(const SettleRecord& record) {
  RecordWriter writer(kVersion);
  writer.Varint(record.settled.size());
  std::uint32_t last_end = 0;
  for (const auto& [begin, end] : record.settled) {
    MQD_ASSERT(begin < end && begin >= last_end);
    writer.Varint(begin - last_end);
    writer.Varint(end - begin);
    last_end = end;
  }
  return std::move(writer).Finish();
}

absl::StatusOr<SettleRecord> DecodeSettleRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "settle", kVersion);
  if (!reader.ok()) return reader.status();
  SettleRecord record;
  const std::size_t ranges = reader->Count(kRangeBytesMin);
  std::uint64_t last_end = 0;
  for (std::size_t i = 0; reader->ok() && i < ranges; ++i) {
    const std::uint64_t begin = last_end + reader->Varint32();
    last_end = begin + reader->Varint32();
    if (last_end == begin || last_end > std::numeric_limits<std::uint32_t>::max()) reader->Fail();
    record.settled.emplace_back(begin, last_end);
  }
  return Finished(*reader, "settle", std::move(record));
}

std::string EncodeAttemptRecord(const AttemptRecord& record) {
  RecordWriter writer(kAttemptVersion);
  writer.Varint(record.attempts);
  writer.Byte(static_cast<std::uint8_t>(record.state));
  writer.Signed(record.not_before_ms);
  WriteNotes(writer, record.notes);
  return std::move(writer).Finish();
}

absl::StatusOr<AttemptRecord> DecodeAttemptRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "attempt", kAttemptVersion);
  if (!reader.ok()) return reader.status();
  AttemptRecord record;
  record.attempts = reader->Varint32();
  const std::uint8_t state = reader->Byte();
  if (state > static_cast<std::uint8_t>(HeldState::kParked)) reader->Fail();
  record.state = static_cast<HeldState>(state);
  record.not_before_ms = reader->Signed();
  if (reader->version() > 1) {
    record.notes = ReadNotes(*reader);
  } else if (std::string error(reader->String()); !error.empty()) {
    record.notes.push_back({.attempt = record.attempts, .consumer = "", .error = std::move(error)});
  }
  return Finished(*reader, "attempt", std::move(record));
}

std::string EncodeDedupRecord(const DedupRecord& record) {
  RecordWriter writer(kVersion);
  writer.Varint(record.sequence);
  writer.Varint(record.digest);
  writer.Signed(record.first_seen_ms);
  writer.String(record.key);
  return std::move(writer).Finish();
}

absl::StatusOr<DedupRecord> DecodeDedupRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "dedup", kVersion);
  if (!reader.ok()) return reader.status();
  DedupRecord record;
  record.sequence = reader->Varint();
  record.digest = reader->Varint();
  record.first_seen_ms = reader->Signed();
  record.key = reader->String();
  return Finished(*reader, "dedup", std::move(record));
}

std::string EncodeProducerRecord(const ProducerRecord& record) {
  RecordWriter writer(kVersion);
  writer.Varint(record.last_publish_id);
  writer.Signed(record.last_seen_ms);
  writer.Varint(record.ranges.size());
  for (const ProducerRange& range : record.ranges) {
    writer.Varint(range.first_publish_id);
    writer.Varint(range.count);
    writer.Varint(range.first_sequence);
  }
  return std::move(writer).Finish();
}

absl::StatusOr<ProducerRecord> DecodeProducerRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "producer", kVersion);
  if (!reader.ok()) return reader.status();
  ProducerRecord record;
  record.last_publish_id = reader->Varint();
  record.last_seen_ms = reader->Signed();
  const std::size_t ranges = reader->Count(kProducerRangeBytesMin);
  for (std::size_t i = 0; reader->ok() && i < ranges; ++i) {
    ProducerRange range;
    range.first_publish_id = reader->Varint();
    range.count = reader->Varint();
    range.first_sequence = reader->Varint();
    record.ranges.push_back(range);
  }
  return Finished(*reader, "producer", std::move(record));
}

}  // namespace mqd::storage
