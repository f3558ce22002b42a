#pragma once

// golden_records.h: one example of every kind of value that the store writes, with its bytes as
// they stand in storage/FORMAT.md. A change of these bytes is a change of the format.
//
// Threads: pure functions.

#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/node_rows.h"
#include "storage/records.h"

namespace mqd::storage {

QueueRecord ExampleQueue();
ChunkRecord ExampleChunk();
ChunkRecord ExampleRewrittenChunk();
SettleRecord ExampleSettles();
AttemptRecord ExampleAttempt();
DedupRecord ExampleDedup();
ProducerRecord ExampleProducer();
NamespaceRecord ExampleNamespace();
RedriveRecord ExampleRedrive();
HeadRow ExampleHead();
AppliedRow ExampleApplied();
IdentityRow ExampleIdentity();

struct GoldenRecord {
  std::string name;     // without spaces
  std::string bytes;    // from the hex of FORMAT.md
  std::string encoded;  // the example as it is written today
  /// Decodes and encodes again.
  std::function<absl::StatusOr<std::string>(std::string_view)> recode;
  /// Decodes and compares with the example.
  std::function<bool(std::string_view)> is_example;
};
void PrintTo(const GoldenRecord& record, std::ostream* out);

/// Of every kind, in its newest version.
const std::vector<GoldenRecord>& GoldenRecords();
/// Of versions that are read and no longer written.
const std::vector<GoldenRecord>& OldGoldenRecords();
/// Both.
std::vector<GoldenRecord> GoldenRecordsOfEveryVersion();

/// Puts the right checksum in the place of the last eight bytes.
std::string Resealed(std::string value);

}  // namespace mqd::storage
