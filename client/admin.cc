#include "mqd/admin.h"

#include <utility>

#include "client/admin_call.h"

namespace mqd {
namespace {

using client::AdminCall;
using client::AdminStub;
using client::FromProto;
using client::Named;
using client::ToProto;

}  // namespace

Admin::Admin(std::shared_ptr<client::Connection> connection) : connection_(std::move(connection)) {}

Admin::~Admin() = default;

absl::StatusOr<CreatedQueue> Admin::CreateQueue(std::string_view name,
                                                const QueueSettings& settings) {
  auto request = Named<v1::CreateQueueRequest>(name);
  *request.mutable_settings() = ToProto(settings);
  auto response = AdminCall(*connection_, request, &AdminStub::CreateQueue);
  if (!response.ok()) return response.status();
  return CreatedQueue{.queue = FromProto(response->queue()), .created = response->created()};
}

absl::StatusOr<Queue> Admin::GetQueue(std::string_view name) {
  auto response = AdminCall(*connection_, Named<v1::GetQueueRequest>(name), &AdminStub::GetQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<QueuePage> Admin::ListQueues(const ListOptions& options) {
  v1::ListQueuesRequest request;
  request.set_namespace_(options.name_space);
  request.set_prefix(options.prefix);
  request.set_page_size(options.page_size);
  request.set_page_token(options.page_token);
  auto response = AdminCall(*connection_, request, &AdminStub::ListQueues);
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
  auto response = AdminCall(*connection_, request, &AdminStub::UpdateQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<std::uint64_t> Admin::DeleteQueue(std::string_view name, bool force) {
  auto request = Named<v1::DeleteQueueRequest>(name);
  request.set_force(force);
  auto response = AdminCall(*connection_, request, &AdminStub::DeleteQueue);
  if (!response.ok()) return response.status();
  return response->deleted_messages();
}

absl::StatusOr<std::uint64_t> Admin::PurgeQueue(std::string_view name, bool purge_dedup) {
  auto request = Named<v1::PurgeQueueRequest>(name);
  request.set_purge_dedup(purge_dedup);
  auto response = AdminCall(*connection_, request, &AdminStub::PurgeQueue);
  if (!response.ok()) return response.status();
  return response->purged_messages();
}

absl::StatusOr<Queue> Admin::CloseQueue(std::string_view name) {
  auto response =
      AdminCall(*connection_, Named<v1::CloseQueueRequest>(name), &AdminStub::CloseQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<Queue> Admin::ReopenQueue(std::string_view name) {
  auto response =
      AdminCall(*connection_, Named<v1::ReopenQueueRequest>(name), &AdminStub::ReopenQueue);
  if (!response.ok()) return response.status();
  return FromProto(response->queue());
}

absl::StatusOr<QueueStats> Admin::GetQueueStats(std::string_view name) {
  auto response =
      AdminCall(*connection_, Named<v1::GetQueueStatsRequest>(name), &AdminStub::GetQueueStats);
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
  auto response = AdminCall(*connection_, request, &AdminStub::PeekMessages);
  if (!response.ok()) return response.status();
  std::vector<PeekedMessage> messages;
  for (const v1::PeekedMessage& message : response->messages()) {
    messages.push_back(FromProto(message));
  }
  return messages;
}

absl::StatusOr<NodeStatus> Admin::GetNodeStatus() {
  auto response = AdminCall(*connection_, v1::GetNodeStatusRequest(), &AdminStub::GetNodeStatus);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

}  // namespace mqd
