#pragma once

// settle_request.h: step 2 of 5 (session). A settle of a stream or of a unary call, from the wire
// to the queue and back.
//
// Threads: Any; `done` is called once, on any thread, perhaps inside the call.
// Ownership: The request may go when RunSettle() has returned.
// Limits: limits::kSettleEntriesMax entries, limits::kSettlePublishesMax messages,
// limits::kReasonBytesMax of text.

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "google/protobuf/repeated_field.h"
#include "mqd/v1/broker.pb.h"
#include "server/queue/queue_actor.h"
#include "server/rpc/rpc_deps.h"

namespace mqd::rpc {

struct SettleAnswer {
  std::uint64_t settled = 0;
  std::vector<std::pair<queue::DeliveryRange, queue::ErrorInfo>> exceptions;
  std::vector<v1::PublishResult> publish_results;
  std::optional<queue::ErrorInfo> error;  // the whole request failed
};

using SettleEntries = google::protobuf::RepeatedPtrField<v1::SettleEntry>;
using SettlePublishes = google::protobuf::RepeatedPtrField<v1::TransactionalPublish>;

/// Settles `entries` at `source`. Without `publishes` an entry that is wrong is refused by itself
/// and the others are settled; with them, all or nothing.
void RunSettle(const RpcDeps& deps, std::shared_ptr<queue::QueueActor> source,
               const SettleEntries& entries, const SettlePublishes& publishes,
               absl::AnyInvocable<void(SettleAnswer)> done);

void ToProto(const std::pair<queue::DeliveryRange, queue::ErrorInfo>& exception,
             v1::SettleException& out);

/// Ranges of a Started frame; BAD_FIELD for one that ends before it begins.
absl::StatusOr<std::vector<queue::DeliveryRange>> FromProto(
    const google::protobuf::RepeatedPtrField<v1::DeliveryRange>& ranges);
void ToProto(const std::vector<queue::DeliveryRange>& ranges,
             google::protobuf::RepeatedPtrField<v1::DeliveryRange>& out);

}  // namespace mqd::rpc
