#pragma once

// rocks_log_order.h: lets no record of the log be replayed behind one that is missing.
//
// RocksDB takes a record of zeroes for the unused rest of a preallocated block, skips the block and
// goes on, whatever the recovery mode. A hole that a power cut or a bad disk has left would so
// swallow the groups in it and keep the ones behind it. Each record has the number of its first
// change and how many it has, so a gap can be told: what comes behind one is ignored, as behind any
// damage.
//
// Threads: One at a time: RocksDB's replay.
// Limits: A record that continues exactly where the last good one ended is taken, as RocksDB does.

#include <cstdint>
#include <optional>
#include <string>

#include "rocksdb/wal_filter.h"

namespace mqd::storage {

class RocksLogOrder final : public rocksdb::WalFilter {
 public:
  const char* Name() const override { return "mqd.LogOrder"; }

  WalProcessingOption LogRecordFound(unsigned long long log_number,
                                     const std::string& log_file_name,
                                     const rocksdb::WriteBatch& batch,
                                     rocksdb::WriteBatch* new_batch, bool* batch_changed) override;

  /// Path of the log that the last record which was taken stands in; empty when there was none.
  const std::string& last_log() const { return last_log_; }

 private:
  std::string last_log_;
  std::optional<std::uint64_t> next_;  // unset before the first record
  bool lost_ = false;                  // it is not known where the log should go on
};

}  // namespace mqd::storage
