#pragma once

// rocks_options.h: how RocksDB is set up, with the reason for each choice that is not its default.
//
// Threads: pure functions.

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "rocksdb/db.h"
#include "rocksdb/options.h"

namespace mqd::storage {

struct RocksBudget {
  /// All memtables together. Also bounds the log: it is kept to about as much.
  std::size_t memtable_bytes = 80u << 20;
  std::size_t block_cache_bytes = 16u << 20;
};

/// The family of the store's own rows (node_rows.h); RocksDB insists on one of this name.
inline constexpr const char* kNodeFamily = "default";

rocksdb::DBOptions DatabaseOptions(const RocksBudget& budget, rocksdb::Env* env, bool create);

/// The node family first, then one a Table in the order of its values.
std::vector<rocksdb::ColumnFamilyDescriptor> FamilyDescriptors(const RocksBudget& budget);

}  // namespace mqd::storage
