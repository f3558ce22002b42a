#include "storage/rocks_log_writer.h"

#include <algorithm>
#include <utility>

#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "storage/rocks_status.h"

namespace mqd::storage {
namespace {

/// A group's memory is kept for the next one, unless it was an unusually large one.
constexpr std::size_t kGroupMemoryKeptMax = CommitLoop::kGroupBytesMax + (1u << 20);

rocksdb::Slice Slice(std::string_view view) { return {view.data(), view.size()}; }

bool AddsBody(const Op& op) { return op.body != nullptr; }

}  // namespace

RocksLogWriter::RocksLogWriter(const RocksDatabase& database, Start start)
    : database_(database),
      head_(start.head),
      applied_(std::move(start.applied)),
      watermark_(std::move(start.watermark)),
      written_group_(start.head.group),
      reclaim_(database),
      disk_watch_(start.disk_low_watermark_bytes) {
  ReadDisk(start.free_bytes);
}

bool RocksLogWriter::HasRoomFor(const Batch& batch) const {
  if (MQD_MUTANT(full_disk_ignored)) return true;
  if (std::none_of(batch.ops().begin(), batch.ops().end(), AddsBody)) return true;
  // Half of the watermark at most: a queue refuses at the watermark, and before the log does.
  const std::uint64_t reserve = std::min(kDiskReserveBytes, disk_watch_.watermark_bytes() / 2);
  // Twice: once into the log, once into a table file.
  const std::uint64_t spent = 2 * (written_since_reading_ + group_.GetDataSize() + batch.bytes());
  return disk_watch_.free_bytes() >= reserve + (reserve == 0 ? 0 : spent);
}

Index RocksLogWriter::Add(ShardId shard, const Batch& batch) {
  MQD_ASSERT(shard != kNodeShard);
  const std::string prefix = ShardPrefix(shard);
  for (const Op& op : batch.ops()) AddOp(prefix, op);
  if (std::find(touched_.begin(), touched_.end(), shard) == touched_.end()) {
    touched_.push_back(shard);
  }
  return ++applied_[shard];
}

void RocksLogWriter::AddOp(std::string_view shard_prefix, const Op& op) {
  const rocksdb::Slice key_parts[] = {Slice(shard_prefix), Slice(op.key)};
  const rocksdb::SliceParts key(key_parts, 2);
  rocksdb::ColumnFamilyHandle* family = database_.family(op.table);
  rocksdb::Status status;
  if (op.table == Table::kBodies && op.kind != OpKind::kDeletePrefix) {
    reclaim_.NoteBody(op.kind == OpKind::kDeleteOnce);
  }
  switch (op.kind) {
    case OpKind::kPut:
    case OpKind::kPutOnce: {
      const rocksdb::Slice value = Slice(op.body ? op.body->encoded() : op.value);
      status = group_.Put(family, key, rocksdb::SliceParts(&value, 1));
      break;
    }
    case OpKind::kDelete:
      status = group_.Delete(family, key);
      break;
    case OpKind::kDeleteOnce:
      status = group_.SingleDelete(family, key);
      break;
    case OpKind::kDeletePrefix:
      AddDeletePrefix(shard_prefix, op);
      break;
  }
  MQD_ASSERT(status.ok());  // only a batch above 4 GiB fails
}

void RocksLogWriter::AddDeletePrefix(std::string_view shard_prefix, const Op& op) {
  std::string begin = std::string(shard_prefix).append(op.key);
  std::string end = BehindPrefix(begin);
  MQD_ASSERT(!end.empty());  // kNodeShard is the last shard and has no tables
  MQD_ASSERT(group_.DeleteRange(database_.family(op.table), begin, end).ok());
  if (op.table == Table::kBodies) reclaim_.NoteRangeDeleted(std::move(begin), std::move(end));
}

absl::Status RocksLogWriter::Commit() {
  ++head_.group;
  for (const ShardId shard : touched_) {
    const AppliedRow row{head_.epoch, applied_[shard]};
    group_.Put(database_.node_family(), AppliedRowKey(shard), EncodeAppliedRow(row));
  }
  group_.Put(database_.node_family(), HeadRowKey(), EncodeHeadRow(head_));
  const rocksdb::Status written = database_.db().Write(rocksdb::WriteOptions(), &group_);
  written_since_reading_ += group_.GetDataSize();
  if (disk_watch_.free_bytes() < disk_watch_.watermark_bytes() + 2 * written_since_reading_ &&
      disk_watch_.watermark_bytes() > 0) {
    disk_low_.store(true, std::memory_order_relaxed);  // until the next reading says otherwise
  }
  touched_.clear();
  if (group_.GetDataSize() > kGroupMemoryKeptMax) {
    group_ = rocksdb::WriteBatch();
  } else {
    group_.Clear();
  }
  if (!written.ok() && !MQD_MUTANT(write_error_ignored)) {
    return FromRocks(written, "write to the log");
  }
  written_group_.store(head_.group, std::memory_order_release);
  return absl::OkStatus();
}

absl::Status RocksLogWriter::Flush() {
  const std::uint64_t group = written_group_.load(std::memory_order_acquire);
  const rocksdb::Status synced =
      MQD_MUTANT(sync_skipped) ? rocksdb::Status::OK() : database_.db().SyncWAL();
  if (!synced.ok()) return FromRocks(synced, "sync the log");
  return watermark_.Advance(group);
}

absl::Status RocksLogWriter::Maintain() {
  if (absl::Status fault = database_.background_fault(); !fault.ok()) return fault;
  absl::StatusOr<std::uint64_t> free_bytes = database_.FreeBytes();
  if (!free_bytes.ok()) return free_bytes.status();
  ReadDisk(*free_bytes);
  return reclaim_.Tick();
}

void RocksLogWriter::ReadDisk(std::uint64_t free_bytes) {
  disk_watch_.Update(free_bytes);
  written_since_reading_ = 0;
  disk_low_.store(disk_watch_.low(), std::memory_order_relaxed);
  disk_free_bytes_.store(free_bytes, std::memory_order_relaxed);
}

RocksLogWriter::Disk RocksLogWriter::disk() const {
  return {disk_low_.load(std::memory_order_relaxed),
          disk_free_bytes_.load(std::memory_order_relaxed), disk_watch_.watermark_bytes()};
}

}  // namespace mqd::storage
