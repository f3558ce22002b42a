#pragma once

// rocks_reclaim.h: gives the disk space of deleted bodies back.
//
// RocksDB compacts when files grow in number or size, but the deletion of a large body is a small
// row: after a backlog is consumed, its bodies would lie on the disk until enough new ones come.
//
// Threads: One at a time.
// Ownership: Borrows the database.
// Limits: Keeps garbage under about max(kGarbageBytesMin, live bytes); rewrites no more than one
//            live byte for each byte of garbage.

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "storage/rocks_database.h"

namespace mqd::storage {

class RocksReclaim {
 public:
  static constexpr std::uint64_t kGarbageBytesMin = 48u << 20;

  explicit RocksReclaim(const RocksDatabase& database) : database_(database) {}

  /// A body was put, or deleted, in the group that is written next.
  void NoteBody(bool deleted);

  /// All bodies from `begin` up to `end` (whole keys, not included) have been deleted.
  void NoteRangeDeleted(std::string begin, std::string end);

  /// Starts a flush or compaction when it pays. Never waits for one.
  absl::Status Tick();

 private:
  struct Estimate {
    std::uint64_t live_bytes = 0;
    std::uint64_t garbage_bytes = 0;
    bool in_memtable = false;  // the deletions are not in a file yet, so no compaction sees them
  };

  Estimate EstimateGarbage();
  std::uint64_t CountDeletesInMemtable();
  absl::Status StartFlush() const;
  absl::Status StartCompaction(const rocksdb::Slice* begin, const rocksdb::Slice* end) const;
  bool FlushIsDone() const;

  const RocksDatabase& database_;
  std::vector<std::pair<std::string, std::string>> deleted_ranges_;
  bool ranges_flushed_ = false;
  // Whether each of the latest writes was a deletion: at least of all that the memtable holds.
  // RocksDB counts the entries of a memtable and, of deletions, those that are no SingleDelete.
  std::deque<bool> latest_;
};

}  // namespace mqd::storage
