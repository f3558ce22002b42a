#pragma once

// record_codec.h: keys and values of the tables, as bytes. FORMAT.md is the specification,
// tests/unit/storage holds golden bytes. Every value is: version u8 | fields | XXH3-64 of all
// before it, u64 LE. Keys hold big-endian numbers, so that rows lie in order of queue and sequence.
//
// Decode... functions fail with kDataLoss when a checksum or field is wrong and kFailedPrecondition
// when the version is newer than this program.
//
// Threads: pure functions.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/records.h"
#include "storage/types.h"

namespace mqd::storage {

// Keys, without the shard.
std::string QueueRowPrefix();            // table meta: all queues
std::string QueueRowKey(QueueId queue);  // table meta
std::string NamespaceRowPrefix();        // table meta: all namespaces
std::string NamespaceRowKey(std::string_view name);
std::string RedriveRowPrefix();  // table meta: all redrive tasks
std::string RedriveRowKey(std::uint64_t task);
std::string QueuePrefix(QueueId queue);  // every other table: all rows of a queue
std::string ChunkRowKey(QueueId queue, Sequence first_sequence);
std::string BodyRowKey(QueueId queue, ChunkKey key);
std::string AttemptRowKey(QueueId queue, Sequence sequence);
std::string DedupRowKey(QueueId queue, const DedupRowId& row);
std::string ProducerRowKey(QueueId queue, const ProducerId& producer);

// The way back; the key is one that a scan with the queue's prefix gave.
absl::StatusOr<Sequence> SequenceOfRowKey(std::string_view key);  // chunks, settles, attempts
absl::StatusOr<DedupRowId> DedupRowOfKey(std::string_view key);
absl::StatusOr<ProducerId> ProducerOfRowKey(std::string_view key);

std::string EncodeQueueRecord(const QueueRecord& record);
std::string EncodeChunkRecord(const ChunkRecord& record);
std::string EncodeSettleRecord(const SettleRecord& record);
std::string EncodeAttemptRecord(const AttemptRecord& record);
std::string EncodeDedupRecord(const DedupRecord& record);
std::string EncodeProducerRecord(const ProducerRecord& record);
std::string EncodeNamespaceRecord(const NamespaceRecord& record);
std::string EncodeRedriveRecord(const RedriveRecord& record);

absl::StatusOr<QueueRecord> DecodeQueueRecord(std::string_view value);
absl::StatusOr<ChunkRecord> DecodeChunkRecord(std::string_view value);
absl::StatusOr<SettleRecord> DecodeSettleRecord(std::string_view value);
absl::StatusOr<AttemptRecord> DecodeAttemptRecord(std::string_view value);
absl::StatusOr<DedupRecord> DecodeDedupRecord(std::string_view value);
absl::StatusOr<ProducerRecord> DecodeProducerRecord(std::string_view value);
absl::StatusOr<NamespaceRecord> DecodeNamespaceRecord(std::string_view value);
absl::StatusOr<RedriveRecord> DecodeRedriveRecord(std::string_view value);

}  // namespace mqd::storage
