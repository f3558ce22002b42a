#pragma once

// redrive_rpc.h: step 1 of 5 (rpc edge). Redrives between the wire and the inside; the calls of
// AdminService about them are in redrive_rpc.cc.
//
// Threads: pure functions.

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "mqd/v1/admin.pb.h"
#include "server/queue/events.h"
#include "storage/records.h"

namespace mqd::rpc {

/// What to start, with full names. BAD_FIELD for a name, time or rate that cannot be.
absl::StatusOr<storage::RedriveRecord> FromProto(const v1::StartRedriveRequest& wire);

v1::Redrive ToProto(const storage::RedriveRecord& record);

/// What of a stored message counts again when it is put back: ordering key, priority and ttl. Its
/// delay has passed, and what it waited for is settled. None when there is nothing.
std::optional<queue::SpecialFields> SpecialOfStored(std::string_view element);

}  // namespace mqd::rpc
