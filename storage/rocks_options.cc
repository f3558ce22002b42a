#include "storage/rocks_options.h"

#include "rocksdb/cache.h"
#include "rocksdb/memtablerep.h"
#include "rocksdb/table.h"
#include "rocksdb/utilities/table_properties_collectors.h"
#include "rocksdb/write_buffer_manager.h"
#include "storage/batch.h"

namespace mqd::storage {
namespace {

constexpr std::size_t kMiB = 1u << 20;

rocksdb::ColumnFamilyOptions CommonFamily(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  // Two, and one flush at a time: releases before 7.9 may reorder updates when more are in play.
  options.max_write_buffer_number = 2;
  options.level_compaction_dynamic_level_bytes = true;
  options.compression = rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 16 * 1024;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

std::size_t RowWriteBufferBytes(Table table) {
  switch (table) {
    case Table::kChunks:
    case Table::kDedup:
      return 8 * kMiB;
    case Table::kSettles:
    case Table::kAttempts:
      return 4 * kMiB;
    default:
      return 2 * kMiB;
  }
}

/// Small rows that come and go: queues, chunk heads, settles, attempts, dedup, producers.
rocksdb::ColumnFamilyOptions RowFamily(const std::shared_ptr<rocksdb::Cache>& cache,
                                       std::size_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options = CommonFamily(cache);
  options.write_buffer_size = write_buffer_bytes;
  options.target_file_size_base = 8 * kMiB;
  options.max_bytes_for_level_base = 32 * kMiB;
  // Deleted rows must not lie in front of live ones at the next start.
  options.table_properties_collector_factories.push_back(
      rocksdb::NewCompactOnDeletionCollectorFactory(1024, 512, 0.5));
  return options;
}

/// A row an idempotency key, in the order in which they come, read at a start only: an array that
/// is sorted when it is flushed costs the commit thread less than a list that is always in order.
rocksdb::ColumnFamilyOptions DedupFamily(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options = RowFamily(cache, RowWriteBufferBytes(Table::kDedup));
  options.memtable_factory = std::make_shared<rocksdb::VectorRepFactory>();
  // Hashes do not compress. Where many queues share a file, levels 0 and 1 overlap: merge many.
  options.compression_per_level = {rocksdb::kNoCompression, rocksdb::kNoCompression,
                                   rocksdb::kLZ4Compression};
  options.level0_file_num_compaction_trigger = 8;
  return options;
}

/// A row a chunk, 1 KiB to 17 MiB. A body that is deleted before its memtable is flushed never
/// reaches a table file, so the memtable is as large as the budget allows.
rocksdb::ColumnFamilyOptions BodyFamily(const std::shared_ptr<rocksdb::Cache>& cache,
                                        std::size_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options = CommonFamily(cache);
  options.write_buffer_size = write_buffer_bytes;
  options.target_file_size_base = 32 * kMiB;
  options.max_bytes_for_level_base = 256 * kMiB;
  // What is flushed is often deleted soon after: compress only what has stayed.
  options.compression_per_level = {rocksdb::kNoCompression, rocksdb::kLZ4Compression};
  return options;
}

rocksdb::ColumnFamilyOptions FamilyOf(Table table, const RocksBudget& budget,
                                      const std::shared_ptr<rocksdb::Cache>& cache) {
  switch (table) {
    case Table::kBodies:
      return BodyFamily(cache, budget.memtable_bytes * 2 / 5);
    case Table::kDedup:
      return DedupFamily(cache);
    default:
      return RowFamily(cache, RowWriteBufferBytes(table));
  }
}

}  // namespace

rocksdb::DBOptions DatabaseOptions(const RocksBudget& budget, rocksdb::Env* env, bool create) {
  rocksdb::DBOptions options;
  options.env = env;
  options.create_if_missing = create;
  options.create_missing_column_families = create;

  // FORMAT.md, "Recovery": take the log up to its first damage, then compare with the watermark.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.recycle_log_file_num = 0;
  options.manual_wal_flush = false;
  options.track_and_verify_wals_in_manifest = false;  // 7.8.3 reports WALs missing that are not
  options.max_total_wal_size = budget.memtable_bytes + budget.memtable_bytes / 4;
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(budget.memtable_bytes);

  // A failed write or sync ends the process; nothing is tried again behind our back.
  options.max_bgerror_resume_count = 0;
  options.paranoid_checks = true;

  // One writer: the machinery for many only costs.
  options.allow_concurrent_memtable_write = false;
  options.enable_write_thread_adaptive_yield = false;
  options.max_background_jobs = 2;
  options.bytes_per_sync = 1 * kMiB;  // table files must not hold up the sync of the log

  options.info_log_level = rocksdb::WARN_LEVEL;  // the default depends on NDEBUG
  options.keep_log_file_num = 2;
  options.max_log_file_size = 4 * kMiB;
  options.max_manifest_file_size = 8 * kMiB;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> FamilyDescriptors(const RocksBudget& budget) {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(budget.block_cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  families.emplace_back(kNodeFamily, RowFamily(cache, 2 * kMiB));
  for (std::size_t i = 0; i < kTableCount; ++i) {
    const auto table = static_cast<Table>(i);
    families.emplace_back(std::string(TableName(table)), FamilyOf(table, budget, cache));
  }
  return families;
}

}  // namespace mqd::storage
