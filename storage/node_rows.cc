#include "storage/node_rows.h"

#include <utility>

#include "storage/byte_codec.h"

namespace mqd::storage {
namespace {

constexpr std::uint8_t kVersion = 1;

}  // namespace

std::string ShardPrefix(ShardId shard) {
  std::string prefix;
  AppendBigEndian16(prefix, static_cast<std::uint16_t>(shard));
  return prefix;
}

ShardId ShardOfKey(std::string_view key) { return ShardId{LoadBigEndian16(key.data())}; }

std::string HeadRowKey() { return ShardPrefix(kNodeShard) + "head"; }
std::string IdentityRowKey() { return ShardPrefix(kNodeShard) + "identity"; }
std::string AppliedRowKey(ShardId shard) { return ShardPrefix(shard) + "applied"; }

std::string EncodeHeadRow(const HeadRow& row) {
  RecordWriter writer(kVersion);
  writer.Varint(row.epoch);
  writer.Varint(row.group);
  return std::move(writer).Finish();
}

std::string EncodeAppliedRow(const AppliedRow& row) {
  RecordWriter writer(kVersion);
  writer.Varint(row.epoch);
  writer.Varint(row.index);
  return std::move(writer).Finish();
}

std::string EncodeIdentityRow(const IdentityRow& row) {
  RecordWriter writer(kVersion);
  writer.Varint(row.format);
  writer.String(row.identity.cluster);
  writer.String(row.identity.node);
  writer.String(row.identity.disk);
  return std::move(writer).Finish();
}

absl::StatusOr<HeadRow> DecodeHeadRow(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "head", kVersion);
  if (!reader.ok()) return reader.status();
  HeadRow row;
  row.epoch = reader->Varint();
  row.group = reader->Varint();
  return Finished(*reader, "head", row);
}

absl::StatusOr<AppliedRow> DecodeAppliedRow(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "applied", kVersion);
  if (!reader.ok()) return reader.status();
  AppliedRow row;
  row.epoch = reader->Varint();
  row.index = reader->Varint();
  return Finished(*reader, "applied", row);
}

absl::StatusOr<IdentityRow> DecodeIdentityRow(std::string_view value) {
  absl::StatusOr<ByteReader> reader = OpenRecord(value, "identity", kVersion);
  if (!reader.ok()) return reader.status();
  IdentityRow row;
  row.format = reader->Varint();
  row.identity.cluster = reader->String();
  row.identity.node = reader->String();
  row.identity.disk = reader->String();
  return Finished(*reader, "identity", std::move(row));
}

}  // namespace mqd::storage
