#include "storage/rocks_recovery.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/mutant.h"
#include "storage/rocks_status.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;

absl::Status WriteSynced(const RocksDatabase& database, rocksdb::WriteBatch batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  return FromRocks(database.db().Write(options, &batch), "write to the log");
}

absl::Status WriteIdentity(const DataDir& directory, const RocksDatabase& database) {
  rocksdb::WriteBatch batch;
  batch.Put(database.node_family(), IdentityRowKey(),
            EncodeIdentityRow({kFormatVersion, directory.identity()}));
  return WriteSynced(database, std::move(batch));
}

/// A row of the node that cannot be had: which one, where, and what to do.
absl::Status NodeRowFailure(const DataDir& directory, const std::string& key,
                            const absl::Status& why) {
  return absl::Status(
      why.code(),
      absl::StrCat(RowName("node", key), " of ", directory.database_path(), ": ", why.message(),
                   absl::IsDataLoss(why)
                       ? "; keep a copy of the data directory, then restore it from a backup"
                       : ""));
}

/// Where the log stopped being readable.
std::string EndOfTheLog(const DataDir& directory, const std::string& last_log) {
  if (!last_log.empty()) {
    return absl::StrCat("The last record that could be read is in ",
                        fs::path(last_log).filename().string());
  }
  std::error_code error;
  std::string first;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(directory.kept_logs_path(), error)) {
    const std::string name = entry.path().filename();
    if (entry.file_size(error) > 0 && (first.empty() || name < first)) first = name;
  }
  return first.empty() ? "There is no log" : absl::StrCat("No record could be read of ", first);
}

absl::Status CheckIdentity(const DataDir& directory, const RocksDatabase& database) {
  absl::StatusOr<std::string> value = database.GetNodeRow(IdentityRowKey());
  if (absl::IsNotFound(value.status()) && directory.initialising()) {
    return WriteIdentity(directory, database);
  }
  if (absl::IsNotFound(value.status())) {
    return absl::DataLossError(absl::StrCat(
        "the database in ", directory.path(), " has no identity row: it is empty or not whole. ",
        EndOfTheLog(directory, database.last_log()), "; restore the data directory from a backup"));
  }
  if (!value.ok()) return NodeRowFailure(directory, IdentityRowKey(), value.status());
  absl::StatusOr<IdentityRow> row = DecodeIdentityRow(*value);
  if (!row.ok()) return NodeRowFailure(directory, IdentityRowKey(), row.status());
  if (row->format > kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the database in ", directory.path(), " has format ", row->format,
                     " and this program knows formats up to ", kFormatVersion,
                     "; start the newer mqd that wrote it"));
  }
  if (row->identity == directory.identity()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the database in ", directory.path(), " belongs to disk ", row->identity.disk,
                   " and FORMAT names disk ", directory.identity().disk,
                   ": two data directories have been mixed; put back what belongs together"));
}

absl::StatusOr<HeadRow> ReadHead(const DataDir& directory, const RocksDatabase& database) {
  absl::StatusOr<std::string> value = database.GetNodeRow(HeadRowKey());
  if (absl::IsNotFound(value.status())) return HeadRow();
  if (!value.ok()) return NodeRowFailure(directory, HeadRowKey(), value.status());
  absl::StatusOr<HeadRow> head = DecodeHeadRow(*value);
  if (!head.ok()) return NodeRowFailure(directory, HeadRowKey(), head.status());
  return head;
}

absl::StatusOr<AppliedIndexes> ReadApplied(const DataDir& directory,
                                           const RocksDatabase& database) {
  AppliedIndexes applied;
  absl::Status status =
      database.ScanNodeRows("applied", [&](ShardId shard, std::string_view value) {
        absl::StatusOr<AppliedRow> row = DecodeAppliedRow(value);
        if (!row.ok()) return NodeRowFailure(directory, AppliedRowKey(shard), row.status());
        applied[shard] = row->index;
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return applied;
}

absl::StatusOr<CommitWatermark> OpenWatermark(const DataDir& directory, bool accept_data_loss) {
  const std::string path = directory.watermark_path();
  // Nothing was confirmed yet, whatever a first open that was cut short has left of its files.
  if (directory.initialising()) return CommitWatermark::Create(path);
  absl::StatusOr<CommitWatermark> watermark = CommitWatermark::Open(path);
  const absl::Status& status = watermark.status();
  if (!absl::IsNotFound(status) && !absl::IsDataLoss(status)) return watermark;
  if (accept_data_loss) return CommitWatermark::Create(path);
  return absl::DataLossError(absl::StrCat(
      status.message(),
      ": it cannot be told whether confirmed messages are missing; restore the data directory from "
      "a backup, or start once with accept_data_loss to go on"));
}

absl::Status ConfirmedGroupsMissing(const DataDir& directory, const std::string& last_log,
                                    std::uint64_t found, std::uint64_t confirmed) {
  return absl::DataLossError(absl::StrCat(
      "the log in ", directory.path(), " ends at group ", found, " but group ", confirmed,
      " was confirmed: ", confirmed - found, " groups of confirmed messages are missing. ",
      EndOfTheLog(directory, last_log), "; the log as it was found is in ",
      directory.kept_logs_path(),
      "; restore the data directory from a backup, or start once with accept_data_loss to go on "
      "without them"));
}

}  // namespace

absl::Status KeepLogs(const DataDir& directory) {
  const fs::path kept = directory.kept_logs_path();
  std::error_code error;
  if (!fs::create_directory(kept, error)) {
    return error ? ErrnoStatus(error.value(), "make", kept.string()) : absl::OkStatus();
  }
  for (const fs::directory_entry& entry :
       fs::directory_iterator(directory.database_path(), error)) {
    if (entry.path().extension() != ".log") continue;
    fs::create_hard_link(entry.path(), kept / entry.path().filename(), error);
    if (error) return ErrnoStatus(error.value(), "link to", entry.path().string());
  }
  return absl::OkStatus();  // no database yet: nothing to keep
}

absl::Status DropKeptLogs(const DataDir& directory) {
  std::error_code error;
  fs::remove_all(directory.kept_logs_path(), error);
  return error ? ErrnoStatus(error.value(), "remove", directory.kept_logs_path())
               : absl::OkStatus();
}

absl::StatusOr<Recovered> Recover(const DataDir& directory, const RocksDatabase& database,
                                  bool accept_data_loss) {
  if (absl::Status status = CheckIdentity(directory, database); !status.ok()) return status;
  absl::StatusOr<HeadRow> head = ReadHead(directory, database);
  if (!head.ok()) return head.status();
  absl::StatusOr<CommitWatermark> watermark = OpenWatermark(directory, accept_data_loss);
  if (!watermark.ok()) return watermark.status();
  if (head->group < watermark->group() && !MQD_MUTANT(missing_groups_accepted)) {
    if (!accept_data_loss) {
      return ConfirmedGroupsMissing(directory, database.last_log(), head->group,
                                    watermark->group());
    }
    head->group = watermark->group();  // so that numbers of lost groups are not used again
  }
  absl::StatusOr<AppliedIndexes> applied = ReadApplied(directory, database);
  if (!applied.ok()) return applied.status();

  ++head->epoch;
  ++head->group;
  rocksdb::WriteBatch batch;
  batch.Put(database.node_family(), HeadRowKey(), EncodeHeadRow(*head));
  if (absl::Status status = WriteSynced(database, std::move(batch)); !status.ok()) return status;
  if (absl::Status status = watermark->Advance(head->group); !status.ok()) return status;
  return Recovered{*head, *std::move(applied), *std::move(watermark)};
}

}  // namespace mqd::storage
