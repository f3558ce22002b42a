#pragma once

// settings_convert.h: queue settings, statistics and descriptions between the wire and the inside.
//
// Threads: pure functions.
// Limits: queue::Validate() holds the values against them; here only what cannot be represented is
// refused.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/field_mask.pb.h"
#include "mqd/v1/admin.pb.h"
#include "mqd/v1/types.pb.h"
#include "server/queue/effects.h"
#include "server/queue/settings.h"

namespace mqd::rpc {

/// `base` with every field that is set in `wire`. BAD_FIELD, naming the field, for a negative or
/// overflowing duration, an enum value that is not known, and a Limit without its value.
absl::StatusOr<queue::QueueSettings> ApplySettings(const v1::QueueSettings& wire,
                                                   queue::QueueSettings base);

/// `base` with the fields that `mask` names taken from `wire`; one that `wire` does not set goes
/// back to its default. BAD_FIELD for a path that is no setting, and for an empty mask.
absl::StatusOr<queue::QueueSettings> ApplyMask(const v1::QueueSettings& wire,
                                               const google::protobuf::FieldMask& mask,
                                               const queue::QueueSettings& base);

/// Every field set.
v1::QueueSettings ToProto(const queue::QueueSettings& settings);
v1::QueueStats ToProto(const queue::QueueStats& stats);
v1::Queue ToProto(const queue::QueueInfo& info);

}  // namespace mqd::rpc
