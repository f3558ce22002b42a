#include "storage/rocks_reclaim.h"

#include <algorithm>

#include "rocksdb/experimental.h"
#include "rocksdb/table_properties.h"
#include "storage/rocks_status.h"

namespace mqd::storage {
namespace {

std::uint64_t Property(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family,
                       const std::string& name) {
  std::uint64_t value = 0;
  db.GetIntProperty(family, name, &value);
  return value;
}

}  // namespace

void RocksReclaim::NoteRangeDeleted(std::string begin, std::string end) {
  deleted_ranges_.emplace_back(std::move(begin), std::move(end));
  ranges_flushed_ = false;
}

void RocksReclaim::NoteBody(bool deleted) { latest_.push_back(deleted); }

absl::Status RocksReclaim::Tick() {
  if (!deleted_ranges_.empty()) {
    if (!ranges_flushed_) {
      ranges_flushed_ = true;
      return StartFlush();
    }
    if (!FlushIsDone()) return absl::OkStatus();
    for (const auto& [begin, end] : std::exchange(deleted_ranges_, {})) {
      const rocksdb::Slice first = begin;
      const rocksdb::Slice behind = end;
      absl::Status status = StartCompaction(&first, end.empty() ? nullptr : &behind);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
  const Estimate estimate = EstimateGarbage();
  if (estimate.garbage_bytes < std::max(kGarbageBytesMin, estimate.live_bytes)) {
    return absl::OkStatus();
  }
  return estimate.in_memtable ? StartFlush() : StartCompaction(nullptr, nullptr);
}

// Each SingleDelete that still exists has a body somewhere below that is garbage.
RocksReclaim::Estimate RocksReclaim::EstimateGarbage() {
  using P = rocksdb::DB::Properties;
  rocksdb::DB& db = database_.db();
  rocksdb::ColumnFamilyHandle* bodies = database_.family(Table::kBodies);
  const std::uint64_t deletes = CountDeletesInMemtable();
  const std::uint64_t file_bytes = Property(db, bodies, P::kLiveSstFilesSize);
  if (file_bytes < kGarbageBytesMin) return {};

  std::uint64_t file_puts = 0;
  std::uint64_t file_deletes = 0;
  rocksdb::TablePropertiesCollection files;
  if (!db.GetPropertiesOfAllTables(bodies, &files).ok()) return {};
  for (const auto& [name, properties] : files) {
    file_deletes += properties->num_deletions;
    file_puts += properties->num_entries - properties->num_deletions;
  }
  // In the memtable, deletes cancel puts first; what is left over hits the files.
  const std::uint64_t puts = latest_.size() - deletes;
  const std::uint64_t excess = deletes > puts ? deletes - puts : 0;

  Estimate estimate;
  const std::uint64_t body_bytes = file_bytes / std::max<std::uint64_t>(1, file_puts);
  estimate.garbage_bytes = std::min(file_bytes, (file_deletes + excess) * body_bytes);
  estimate.live_bytes = file_bytes - estimate.garbage_bytes;
  estimate.in_memtable = excess > file_deletes;
  return estimate;
}

std::uint64_t RocksReclaim::CountDeletesInMemtable() {
  const std::uint64_t entries = Property(database_.db(), database_.family(Table::kBodies),
                                         rocksdb::DB::Properties::kNumEntriesActiveMemTable);
  while (latest_.size() > entries) latest_.pop_front();
  return static_cast<std::uint64_t>(std::count(latest_.begin(), latest_.end(), true));
}

absl::Status RocksReclaim::StartFlush() const {
  rocksdb::FlushOptions options;
  options.wait = false;
  options.allow_write_stall = true;
  return FromRocks(database_.db().Flush(options, database_.family(Table::kBodies)),
                   "flush deleted bodies");
}

absl::Status RocksReclaim::StartCompaction(const rocksdb::Slice* begin,
                                           const rocksdb::Slice* end) const {
  return FromRocks(rocksdb::experimental::SuggestCompactRange(
                       &database_.db(), database_.family(Table::kBodies), begin, end),
                   "compact deleted bodies");
}

bool RocksReclaim::FlushIsDone() const {
  return Property(database_.db(), database_.family(Table::kBodies),
                  rocksdb::DB::Properties::kNumImmutableMemTable) == 0;
}

}  // namespace mqd::storage
