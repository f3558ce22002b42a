#pragma once

// rocks_status.h: what RocksDB reports, as the statuses and sentences of mqd.
//
// Threads: pure functions.

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rocksdb/status.h"

namespace mqd::storage {

/// `doing` begins the message: "write to the log".
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view doing);

/// "table chunks, row 0000..": how every message about a row names it.
std::string RowName(absl::string_view table, absl::string_view key);

/// A failure of opening the database at `path`, with what to do about it. `damaged` names files
/// that cannot be read; empty when there are none.
absl::Status OpenFailure(const rocksdb::Status& status, const std::string& path,
                         absl::string_view damaged);

}  // namespace mqd::storage
