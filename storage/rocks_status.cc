#include "storage/rocks_status.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace mqd::storage {
namespace {

absl::StatusCode CodeOf(const rocksdb::Status& status) {
  if (status.IsNoSpace()) return absl::StatusCode::kResourceExhausted;
  switch (status.code()) {
    case rocksdb::Status::kOk:
      return absl::StatusCode::kOk;
    case rocksdb::Status::kNotFound:
      return absl::StatusCode::kNotFound;
    case rocksdb::Status::kCorruption:
      return absl::StatusCode::kDataLoss;
    case rocksdb::Status::kNotSupported:
      return absl::StatusCode::kUnimplemented;
    case rocksdb::Status::kInvalidArgument:
      return absl::StatusCode::kInvalidArgument;
    case rocksdb::Status::kIOError:
      return absl::StatusCode::kUnavailable;
    case rocksdb::Status::kShutdownInProgress:
      return absl::StatusCode::kCancelled;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::string_view Advice(const rocksdb::Status& status) {
  if (status.IsNoSpace()) return "free some space on the volume and start again";
  if (status.IsCorruption()) {
    return "keep a copy of the data directory, then restore it from a backup";
  }
  if (status.IsInvalidArgument()) {
    return "a newer mqd may have written it: start that one, or restore a backup";
  }
  return "look at the volume and the kernel's log, then start again";
}

}  // namespace

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view doing) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(CodeOf(status),
                      absl::StrCat("cannot ", std::string(doing), ": ", status.ToString()));
}

std::string RowName(absl::string_view table, absl::string_view key) {
  return absl::StrCat("table ", table, ", row ", absl::BytesToHexString(key));
}

absl::Status OpenFailure(const rocksdb::Status& status, const std::string& path,
                         absl::string_view damaged) {
  if (status.ok()) return absl::OkStatus();
  // RocksDB looks for a missing table file under an old ending last, and names that.
  const std::string what = absl::StrReplaceAll(status.ToString(), {{".ldb", ".sst"}});
  return absl::Status(CodeOf(status), absl::StrCat("cannot open the database ", path, ": ", what,
                                                   damaged.empty() ? "" : "; damaged: ", damaged,
                                                   "; ", Advice(status)));
}

}  // namespace mqd::storage
