// record_codec_meta.cc: the rows of table meta.
#include "proto/base/assert.h"
#include "storage/byte_codec.h"
#include "storage/record_codec.h"

namespace mqd::storage {
namespace {

constexpr std::uint8_t kVersion = 1;

// The first byte of a key says what the row is about.
constexpr char kQueueRowTag = 'q';
constexpr char kNamespaceRowTag = 'n';
constexpr char kRedriveRowTag = 'r';

/// The states of mqd.v1.RedriveState are 1 to this.
constexpr std::uint8_t kRedriveStateMax = 5;

}  // namespace

std::string QueueRowPrefix() { return std::string(1, kQueueRowTag); }

std::string QueueRowKey(QueueId queue) {
  std::string key(1, kQueueRowTag);
  AppendBigEndian64(key, queue);
  return key;
}

std::string NamespaceRowPrefix() { return std::string(1, kNamespaceRowTag); }

std::string NamespaceRowKey(std::string_view name) {
  std::string key(1, kNamespaceRowTag);
  return key.append(name);
}

std::string RedriveRowPrefix() { return std::string(1, kRedriveRowTag); }

std::string RedriveRowKey(std::uint64_t task) {
  std::string key(1, kRedriveRowTag);
  AppendBigEndian64(key, task);
  return key;
}

std::string EncodeQueueRecord(const QueueRecord& record) {
  RecordWriter writer(kVersion);
  writer.Varint(record.id);
  writer.String(record.name);
  writer.String(record.settings);
  writer.Varint(record.generation);
  writer.Signed(record.create_time_ms);
  writer.Byte(record.closed ? 1 : 0);
  writer.Varint(record.sequence_limit);
  return std::move(writer).Finish();
}

absl::StatusOr<QueueRecord> DecodeQueueRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "queue", kVersion);
  if (!reader.ok()) return reader.status();
  QueueRecord record;
  record.id = reader->Varint();
  record.name = reader->String();
  record.settings = reader->String();
  record.generation = reader->Varint();
  record.create_time_ms = reader->Signed();
  record.closed = reader->Bool();
  record.sequence_limit = reader->Varint();
  return Finished(*reader, "queue", std::move(record));
}

std::string EncodeNamespaceRecord(const NamespaceRecord& record) {
  RecordWriter writer(kVersion);
  writer.String(record.name);
  writer.Signed(record.create_time_ms);
  writer.Varint(record.max_queues);
  writer.Varint(record.max_messages);
  writer.Varint(record.max_bytes);
  return std::move(writer).Finish();
}

absl::StatusOr<NamespaceRecord> DecodeNamespaceRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "namespace", kVersion);
  if (!reader.ok()) return reader.status();
  NamespaceRecord record;
  record.name = reader->String();
  record.create_time_ms = reader->Signed();
  record.max_queues = reader->Varint();
  record.max_messages = reader->Varint();
  record.max_bytes = reader->Varint();
  return Finished(*reader, "namespace", std::move(record));
}

std::string EncodeRedriveRecord(const RedriveRecord& record) {
  MQD_ASSERT(record.state >= 1 && record.state <= kRedriveStateMax);
  RecordWriter writer(kVersion);
  writer.Varint(record.id);
  writer.String(record.queue);
  writer.String(record.target);
  writer.String(record.origin_filter);
  writer.String(record.reason_filter);
  writer.Signed(record.before_ms);
  writer.Signed(record.after_ms);
  writer.Varint(record.max_messages);
  writer.Varint(record.max_rate);
  writer.Byte(record.dry_run ? 1 : 0);
  writer.Byte(record.state);
  writer.Varint(record.matched);
  writer.Varint(record.moved);
  writer.Varint(record.skipped);
  writer.Varint(record.cursor);
  writer.Varint(record.end_sequence);
  writer.Signed(record.start_time_ms);
  writer.Signed(record.end_time_ms);
  writer.Byte(record.error_reason);
  writer.String(record.error);
  return std::move(writer).Finish();
}

absl::StatusOr<RedriveRecord> DecodeRedriveRecord(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "redrive", kVersion);
  if (!reader.ok()) return reader.status();
  RedriveRecord record;
  record.id = reader->Varint();
  record.queue = reader->String();
  record.target = reader->String();
  record.origin_filter = reader->String();
  record.reason_filter = reader->String();
  record.before_ms = reader->Signed();
  record.after_ms = reader->Signed();
  record.max_messages = reader->Varint();
  record.max_rate = reader->Varint();
  record.dry_run = reader->Bool();
  record.state = reader->Byte();
  if (record.state < 1 || record.state > kRedriveStateMax) reader->Fail();
  record.matched = reader->Varint();
  record.moved = reader->Varint();
  record.skipped = reader->Varint();
  record.cursor = reader->Varint();
  record.end_sequence = reader->Varint();
  record.start_time_ms = reader->Signed();
  record.end_time_ms = reader->Signed();
  record.error_reason = reader->Byte();
  record.error = reader->String();
  return Finished(*reader, "redrive", std::move(record));
}

}  // namespace mqd::storage
