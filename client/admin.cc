#include "mqd/admin.h"

#include <utility>

#include "client/connection.h"
#include "client/convert.h"
#include "client/unary.h"

namespace mqd {
namespace {

using client::FromProto;
using client::StatusOf;
using client::ToProto;
using client::UnaryCall;

using Stub = v1::AdminService::Stub;

/// Runs one call; the response, or the status of its failure.
template <class Response, class Request>
absl::StatusOr<Response> Call(client::Connection& connection, const Request& request,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*)) {
  UnaryCall call(connection.options().call_timeout);
  Response response;
  absl::Status status = StatusOf((connection.admin().*method)(call.context(), request, &response));
  if (!status.ok()) return status;
  return response;
}

template <class Request>
Request Named(std::string_view name) {
  Request request;
  request.set_name(std::string(name));
  return request;
}

PeekedMessage FromProto(const v1::PeekedMessage& from) {
  PeekedMessage to;
  to.sequence = from.sequence();
  to.status = static_cast<MessageStatus>(from.status());
  to.attempts = from.attempts();
  to.publish_time = client::FromProto(from.publish_time());
  if (from.has_deliver_at()) to.deliver_at = client::FromProto(from.deliver_at());
  to.message = client::FromProto(from.message());
  to.delivery_id = from.delivery_id();
  to.last_error = from.last_error();
  return to;
}

}  // namespace

Admin::Admin(std::shared_ptr<client::Connection> connection) : connection_(std::move(connection)) {}

Admin::~Admin() = default;

absl::StatusOr<CreatedQueue> Admin::CreateQueue(std::string_view name,
                                                const QueueSettings& settings) {
  auto request = Named<v1::CreateQueueRequest>(name);
  *request.mutable_settings() = ToProto(settings);
  auto response = Call(*connection_, request, &Stub::CreateQueue);
  if (!response.ok()) return response.status();
  return CreatedQueue{.queue = FromProto(response->queue()), .created = response->created()};
}

absl::StatusOr<Queue> Admin::GetQueue(std::string_view name) {
  auto response = Call(*connection_, Named<v1::GetQueueRequest>(name), &Stub::GetQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<QueuePage> Admin::ListQueues(const ListOptions& options) {
  v1::ListQueuesRequest request;
  request.set_namespace_(options.name_space);
  request.set_prefix(options.prefix);
  request.set_page_size(options.page_size);
  request.set_page_token(options.page_token);
  auto response = Call(*connection_, request, &Stub::ListQueues);
  if (!response.ok()) return response.status();
  QueuePage page;
  for (const v1::Queue& queue : response->queues()) page.queues.push_back(FromProto(queue));
  page.next_page_token = response->next_page_token();
  return page;
}

absl::StatusOr<Queue> Admin::UpdateQueue(std::string_view name, const QueueSettings& settings,
                                         const UpdateOptions& options) {
  auto request = Named<v1::UpdateQueueRequest>(name);
  *request.mutable_settings() = ToProto(settings);
  const std::vector<std::string> mask = options.mask.empty() ? settings.SetFields() : options.mask;
  for (const std::string& field : mask) request.mutable_update_mask()->add_paths(field);
  request.set_expected_generation(options.expected_generation.value_or(0));
  auto response = Call(*connection_, request, &Stub::UpdateQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<std::uint64_t> Admin::DeleteQueue(std::string_view name, bool force) {
  auto request = Named<v1::DeleteQueueRequest>(name);
  request.set_force(force);
  auto response = Call(*connection_, request, &Stub::DeleteQueue);
  if (!response.ok()) return response.status();
  return response->deleted_messages();
}

absl::StatusOr<std::uint64_t> Admin::PurgeQueue(std::string_view name, bool purge_dedup) {
  auto request = Named<v1::PurgeQueueRequest>(name);
  request.set_purge_dedup(purge_dedup);
  auto response = Call(*connection_, request, &Stub::PurgeQueue);
  if (!response.ok()) return response.status();
  return response->purged_messages();
}

absl::StatusOr<Queue> Admin::CloseQueue(std::string_view name) {
  auto response = Call(*connection_, Named<v1::CloseQueueRequest>(name), &Stub::CloseQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<Queue> Admin::ReopenQueue(std::string_view name) {
  auto response = Call(*connection_, Named<v1::ReopenQueueRequest>(name), &Stub::ReopenQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<QueueStats> Admin::GetQueueStats(std::string_view name) {
  auto response = Call(*connection_, Named<v1::GetQueueStatsRequest>(name), &Stub::GetQueueStats);
  if (!response.ok()) return response.status();
  return FromProto(response->stats());
}

absl::StatusOr<std::vector<PeekedMessage>> Admin::PeekMessages(std::string_view queue,
                                                               const PeekOptions& options) {
  v1::PeekMessagesRequest request;
  request.set_queue(std::string(queue));
  request.set_status(static_cast<v1::MessageStatus>(options.status));
  request.set_from_sequence(options.from_sequence);
  request.set_limit(options.limit);
  auto response = Call(*connection_, request, &Stub::PeekMessages);
  if (!response.ok()) return response.status();
  std::vector<PeekedMessage> messages;
  for (const v1::PeekedMessage& message : response->messages()) {
    messages.push_back(FromProto(message));
  }
  return messages;
}

absl::StatusOr<NodeStatus> Admin::GetNodeStatus() {
  auto response = Call(*connection_, v1::GetNodeStatusRequest(), &Stub::GetNodeStatus);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

}  // namespace mqd
