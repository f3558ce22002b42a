#include "storage/rocks_log_order.h"

#include <fcntl.h>

#include "proto/base/assert.h"
#include "rocksdb/write_batch.h"
#include "storage/byte_codec.h"
#include "storage/posix_file.h"

namespace mqd::storage {
namespace {

// Of a record in the log: checksum (4 bytes), length (2), type.
constexpr std::size_t kTypeOffset = 6;

/// Whether the log begins with a record rather than with zeroes.
bool BeginsWithARecord(const std::string& log_path) {
  const absl::StatusOr<File> file = File::Open(log_path, O_RDONLY);
  if (!file.ok()) return false;
  const absl::StatusOr<std::string> header = file->ReadAt(kTypeOffset + 1, 0);
  return header.ok() && header->size() == kTypeOffset + 1 && (*header)[kTypeOffset] != 0;
}

}  // namespace

rocksdb::WalFilter::WalProcessingOption RocksLogOrder::LogRecordFound(
    unsigned long long, const std::string& log_file_name, const rocksdb::WriteBatch& batch,
    rocksdb::WriteBatch*, bool*) {
  MQD_ASSERT(batch.GetDataSize() >= 8);  // it begins with the number of its first change
  const std::uint64_t first = LoadLittleEndian64(batch.Data().data());
  if (!next_ && !lost_) lost_ = !BeginsWithARecord(log_file_name);
  if (lost_ || first != next_.value_or(first)) return WalProcessingOption::kIgnoreCurrentRecord;
  next_ = first + batch.Count();
  if (log_file_name != last_log_) last_log_ = log_file_name;
  return WalProcessingOption::kContinueProcessing;
}

}  // namespace mqd::storage
