// metadata_check.cc: step 1 of 5 (rpc edge). Holds callers to limits::kMetadataBytesMax.
#include "server/rpc/metadata_check.h"

#include "server/limits.h"
#include "server/rpc/status_map.h"

namespace mqd::rpc {

absl::Status CheckMetadata(const grpc::ServerContextBase& context) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : context.client_metadata()) bytes += key.size() + value.size();
  if (bytes <= limits::kMetadataBytesMax) return absl::OkStatus();
  return queue::ToStatus({.reason = queue::Reason::kBadField,
                          .resource = "metadata",
                          .message = "the call has more metadata than is allowed",
                          .limit = limits::kMetadataBytesMax,
                          .current = bytes});
}

}  // namespace mqd::rpc
