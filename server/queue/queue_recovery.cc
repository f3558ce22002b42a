#include "server/queue/queue_recovery.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "storage/record_codec.h"

namespace mqd::queue {
namespace {

using storage::Table;

absl::Status Named(const absl::Status& status, const char* table, std::string_view key) {
  return {status.code(),
          absl::StrCat("table ", table, ", key ",
                       absl::BytesToHexString(absl::string_view(key.data(), key.size())), ": ",
                       std::string(status.message()))};
}

/// Decodes each row of the queue in `table` and hands key and record to `take`.
template <class Key, class Record, class Take>
absl::Status ReadTable(const storage::Reader& reader, storage::ShardId shard, Table table,
                       const char* name, const std::string& prefix,
                       absl::StatusOr<Key> (*decode_key)(std::string_view),
                       absl::StatusOr<Record> (*decode)(std::string_view), Take&& take) {
  return reader.Scan(shard, table, prefix, [&](std::string_view key, std::string_view value) {
    absl::StatusOr<Key> id = decode_key(key);
    if (!id.ok()) return Named(id.status(), name, key);
    absl::StatusOr<Record> record = decode(value);
    if (!record.ok()) return Named(record.status(), name, key);
    take(*id, *std::move(record));
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<RecoveredQueue> RecoverQueue(const storage::Reader& reader, storage::ShardId shard,
                                            storage::QueueRecord record) {
  RecoveredQueue queue;
  absl::StatusOr<QueueSettings> settings = DecodeSettings(record.settings);
  if (!settings.ok()) return Named(settings.status(), "meta", storage::QueueRowKey(record.id));
  queue.settings = *std::move(settings);
  const std::string prefix = storage::QueuePrefix(record.id);
  queue.record = std::move(record);

  std::map<storage::Sequence, storage::SettleRecord> settles;
  absl::Status status = ReadTable(
      reader, shard, Table::kSettles, "settles", prefix, storage::SequenceOfRowKey,
      storage::DecodeSettleRecord,
      [&](storage::Sequence first, storage::SettleRecord row) { settles[first] = std::move(row); });
  if (!status.ok()) return status;
  status =
      ReadTable(reader, shard, Table::kChunks, "chunks", prefix, storage::SequenceOfRowKey,
                storage::DecodeChunkRecord, [&](storage::Sequence first, storage::ChunkRecord row) {
                  queue.chunks.push_back({std::move(row), std::move(settles[first])});
                });
  if (!status.ok()) return status;
  status = ReadTable(reader, shard, Table::kAttempts, "attempts", prefix, storage::SequenceOfRowKey,
                     storage::DecodeAttemptRecord,
                     [&](storage::Sequence sequence, storage::AttemptRecord row) {
                       queue.attempts.emplace_back(sequence, std::move(row));
                     });
  if (!status.ok()) return status;
  status = ReadTable(reader, shard, Table::kDedup, "dedup", prefix, storage::DedupRowOfKey,
                     storage::DecodeDedupRecord,
                     [&](const storage::DedupRowId& id, storage::DedupRecord row) {
                       row.key.clear();
                       queue.dedup.emplace_back(id, std::move(row));
                     });
  if (!status.ok()) return status;
  status = ReadTable(reader, shard, Table::kProducers, "producers", prefix,
                     storage::ProducerOfRowKey, storage::DecodeProducerRecord,
                     [&](const storage::ProducerId& id, storage::ProducerRecord row) {
                       queue.producers.emplace_back(id, std::move(row));
                     });
  if (!status.ok()) return status;
  return queue;
}

absl::StatusOr<std::vector<storage::QueueRecord>> ListQueueRecords(const storage::Reader& reader,
                                                                   storage::ShardId shard) {
  std::vector<storage::QueueRecord> records;
  absl::Status status = reader.Scan(shard, Table::kMeta, storage::QueueRowPrefix(),
                                    [&](std::string_view key, std::string_view value) {
                                      absl::StatusOr<storage::QueueRecord> record =
                                          storage::DecodeQueueRecord(value);
                                      if (!record.ok()) return Named(record.status(), "meta", key);
                                      records.push_back(*std::move(record));
                                      return absl::OkStatus();
                                    });
  if (!status.ok()) return status;
  return records;
}

absl::StatusOr<storage::QueueRecord> FindQueueRecord(const storage::Reader& reader,
                                                     storage::ShardId shard, storage::QueueId id) {
  absl::StatusOr<std::vector<storage::QueueRecord>> records = ListQueueRecords(reader, shard);
  if (!records.ok()) return records.status();
  for (storage::QueueRecord& record : *records) {
    if (record.id == id) return std::move(record);
  }
  return absl::NotFoundError(absl::StrCat("queue ", id, " has no row"));
}

}  // namespace mqd::queue
