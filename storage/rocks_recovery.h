#pragma once

// rocks_recovery.h: what happens between the opening of the database and the first batch: is it the
// right database, is everything there that was confirmed, and which epoch is this?
//
// Threads: one at a time, before anything else uses the database.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/data_dir.h"
#include "storage/rocks_database.h"
#include "storage/rocks_log_writer.h"

namespace mqd::storage {

/// Opening replays the log and then deletes it. Hard links keep it until the outcome is judged, as
/// evidence and for rescue. Links that are already there, from a start that was refused, stay.
absl::Status KeepLogs(const DataDir& directory);
absl::Status DropKeptLogs(const DataDir& directory);

struct Recovered {
  HeadRow head;  // with the epoch of this open, which is durable
  AppliedIndexes applied;
  CommitWatermark watermark;
};

/// Writes the identity of a new database or checks that of an old one, compares the log with the
/// watermark, and makes the next epoch durable.
///
/// Fails with
///   kFailedPrecondition   a newer format, or the database of another data directory
///   kDataLoss             confirmed groups are missing (unless `accept_data_loss`), or a row of
///                         the node is damaged
absl::StatusOr<Recovered> Recover(const DataDir& directory, const RocksDatabase& database,
                                  bool accept_data_loss);

}  // namespace mqd::storage
