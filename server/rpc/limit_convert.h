#pragma once

// limit_convert.h: mqd.v1.Limit to and from numbers.
//
// Threads: pure functions.

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "mqd/v1/types.pb.h"

namespace mqd::rpc {

/// None when it is not `present`; queue::kUnlimited when it says so. BAD_FIELD, naming `field`, for
/// a Limit without its value and for a number that stands for unlimited.
absl::StatusOr<std::optional<std::uint64_t>> FromLimit(bool present, const v1::Limit& limit,
                                                       std::string_view field);

/// queue::kUnlimited is said in words.
void SetLimit(std::uint64_t value, v1::Limit& out);

}  // namespace mqd::rpc
