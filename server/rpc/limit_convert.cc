#include "server/rpc/limit_convert.h"

#include "server/queue/settings.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {

absl::StatusOr<std::optional<std::uint64_t>> FromLimit(bool present, const v1::Limit& limit,
                                                       std::string_view field) {
  if (!present) return std::optional<std::uint64_t>();
  if (limit.kind_case() == v1::Limit::kUnlimited && limit.unlimited()) {
    return std::optional<std::uint64_t>(queue::kUnlimited);
  }
  if (limit.kind_case() != v1::Limit::kValue) {
    return BadFieldStatus(field, "give a value, or unlimited: true");
  }
  if (limit.value() == queue::kUnlimited) {
    return BadFieldStatus(field, "too large; say unlimited if you mean it");
  }
  return std::optional<std::uint64_t>(limit.value());
}

void SetLimit(std::uint64_t value, v1::Limit& out) {
  if (value == queue::kUnlimited) {
    out.set_unlimited(true);
  } else {
    out.set_value(value);
  }
}

}  // namespace mqd::rpc
