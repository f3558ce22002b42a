#pragma once

// node_rows.h: the rows that the store keeps for itself, next to the tables: who the database is,
// how far its log has come, how far each shard has come. FORMAT.md, "Table node".
//
// Threads: pure functions.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/data_dir.h"
#include "storage/types.h"

namespace mqd::storage {

/// In front of the rows of the node itself; no shard may have this number.
inline constexpr ShardId kNodeShard{0xFFFF};

/// Written in every group.
struct HeadRow {
  Epoch epoch = 0;
  std::uint64_t group = 0;  // dense, from 1
  bool operator==(const HeadRow&) const = default;
};

/// Written for each shard that a group touches.
struct AppliedRow {
  Epoch epoch = 0;
  Index index = 0;
  bool operator==(const AppliedRow&) const = default;
};

struct IdentityRow {
  std::uint64_t format = kFormatVersion;
  Identity identity;
  bool operator==(const IdentityRow&) const = default;
};

/// The two bytes with which every key of the database begins.
std::string ShardPrefix(ShardId shard);
/// The way back; `key` has at least two bytes.
ShardId ShardOfKey(std::string_view key);

// Whole keys, shard included.
std::string HeadRowKey();
std::string IdentityRowKey();
std::string AppliedRowKey(ShardId shard);

std::string EncodeHeadRow(const HeadRow& row);
std::string EncodeAppliedRow(const AppliedRow& row);
std::string EncodeIdentityRow(const IdentityRow& row);

// Fail as in record_codec.h.
absl::StatusOr<HeadRow> DecodeHeadRow(std::string_view value);
absl::StatusOr<AppliedRow> DecodeAppliedRow(std::string_view value);
absl::StatusOr<IdentityRow> DecodeIdentityRow(std::string_view value);

}  // namespace mqd::storage
