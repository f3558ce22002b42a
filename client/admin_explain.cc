// admin_explain.cc: of Admin: explaining, dead letters, namespaces.

#include <utility>

#include "client/admin_call.h"
#include "client/status_map.h"
#include "mqd/admin.h"

namespace mqd {
namespace {

using client::AdminCall;
using client::AdminStub;
using client::FromProto;
using client::Named;
using client::OfQueue;

void Put(const Subject& subject, v1::ExplainRequest& request) {
  switch (subject.kind) {
    case Subject::Kind::kQueue:
      return;
    case Subject::Kind::kConsumerId:
      return request.set_consumer_id(subject.id);
    case Subject::Kind::kPublisherId:
      return request.set_publisher_id(subject.id);
    case Subject::Kind::kConsumerName:
      return request.set_consumer_name(subject.name);
    case Subject::Kind::kPublisherName:
      return request.set_publisher_name(subject.name);
    case Subject::Kind::kOrderingKey:
      return request.set_ordering_key(subject.name);
    case Subject::Kind::kMessage:
      return request.set_sequence(subject.id);
  }
}

absl::StatusOr<PeekedMessage> Find(client::Connection& connection,
                                   const v1::FindMessageRequest& request) {
  auto response = AdminCall(connection, request, &AdminStub::FindMessage);
  if (!response.ok()) return response.status();
  return FromProto(response->message());
}

template <class Response>
absl::StatusOr<Redrive> RedriveOf(const absl::StatusOr<Response>& response) {
  if (!response.ok()) return response.status();
  return FromProto(response->redrive());
}

template <class Request>
Request OfTask(std::string_view task_id) {
  Request request;
  request.set_task_id(std::string(task_id));
  return request;
}

}  // namespace

absl::StatusOr<std::vector<Explanation>> Admin::Explain(std::string_view queue,
                                                        const Subject& subject) {
  auto request = OfQueue<v1::ExplainRequest>(queue);
  Put(subject, request);
  auto response = AdminCall(*connection_, request, &AdminStub::Explain);
  if (!response.ok()) return response.status();
  std::vector<Explanation> explanations;
  for (const v1::Explanation& one : response->explanations()) {
    explanations.push_back(FromProto(one));
  }
  return explanations;
}

absl::StatusOr<PeekedMessage> Admin::FindMessage(std::string_view queue, std::uint64_t sequence) {
  auto request = OfQueue<v1::FindMessageRequest>(queue);
  request.set_sequence(sequence);
  return Find(*connection_, request);
}

absl::StatusOr<PeekedMessage> Admin::FindMessageByKey(std::string_view queue,
                                                      std::string_view idempotency_key) {
  auto request = OfQueue<v1::FindMessageRequest>(queue);
  request.set_idempotency_key(std::string(idempotency_key));
  return Find(*connection_, request);
}

absl::StatusOr<CancelResult> Admin::CancelMessages(std::string_view queue,
                                                   std::span<const std::uint64_t> sequences) {
  auto request = OfQueue<v1::CancelMessagesRequest>(queue);
  request.mutable_sequences()->Add(sequences.begin(), sequences.end());
  auto response = AdminCall(*connection_, request, &AdminStub::CancelMessages);
  if (!response.ok()) return response.status();
  CancelResult result{.cancelled = response->cancelled()};
  for (const v1::CancelException& one : response->exceptions()) {
    result.errors.push_back({one.sequence(), client::StatusOf(one.error())});
  }
  return result;
}

absl::StatusOr<DedupEntry> Admin::GetDedupEntry(std::string_view queue,
                                                std::string_view idempotency_key) {
  auto request = OfQueue<v1::GetDedupEntryRequest>(queue);
  request.set_idempotency_key(std::string(idempotency_key));
  auto response = AdminCall(*connection_, request, &AdminStub::GetDedupEntry);
  if (!response.ok()) return response.status();
  return DedupEntry{.sequence = response->sequence(),
                    .status = static_cast<MessageStatus>(response->status()),
                    .first_seen = FromProto(response->first_seen()),
                    .expires = FromProto(response->expires())};
}

absl::Status Admin::ForgetDedupEntry(std::string_view queue, std::string_view idempotency_key) {
  auto request = OfQueue<v1::ForgetDedupEntryRequest>(queue);
  request.set_idempotency_key(std::string(idempotency_key));
  return AdminCall(*connection_, request, &AdminStub::ForgetDedupEntry).status();
}

absl::StatusOr<std::vector<HistoryEntry>> Admin::GetHistory(std::string_view queue,
                                                            std::uint64_t sequence,
                                                            std::uint32_t limit) {
  auto request = OfQueue<v1::GetHistoryRequest>(queue);
  request.set_sequence(sequence);
  request.set_limit(limit);
  auto response = AdminCall(*connection_, request, &AdminStub::GetHistory);
  if (!response.ok()) return response.status();
  std::vector<HistoryEntry> entries;
  for (const v1::HistoryEntry& one : response->entries()) entries.push_back(FromProto(one));
  return entries;
}

absl::StatusOr<QueueClients> Admin::ListClients(std::string_view queue) {
  auto response =
      AdminCall(*connection_, OfQueue<v1::ListClientsRequest>(queue), &AdminStub::ListClients);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

// ---- dead letters

absl::StatusOr<Redrive> Admin::StartRedrive(std::string_view queue, const RedriveOptions& options) {
  auto request = OfQueue<v1::StartRedriveRequest>(queue);
  request.set_target(options.target);
  client::ToProto(options.filter, request.mutable_filter());
  if (options.max_rate) *request.mutable_max_rate() = client::ToProto(*options.max_rate);
  request.set_dry_run(options.dry_run);
  return RedriveOf(AdminCall(*connection_, request, &AdminStub::StartRedrive));
}

absl::StatusOr<Redrive> Admin::GetRedrive(std::string_view task_id) {
  return RedriveOf(
      AdminCall(*connection_, OfTask<v1::GetRedriveRequest>(task_id), &AdminStub::GetRedrive));
}

absl::StatusOr<std::vector<Redrive>> Admin::ListRedrives(std::string_view queue) {
  auto response =
      AdminCall(*connection_, OfQueue<v1::ListRedrivesRequest>(queue), &AdminStub::ListRedrives);
  if (!response.ok()) return response.status();
  std::vector<Redrive> redrives;
  for (const v1::Redrive& one : response->redrives()) redrives.push_back(FromProto(one));
  return redrives;
}

absl::StatusOr<Redrive> Admin::CancelRedrive(std::string_view task_id) {
  return RedriveOf(AdminCall(*connection_, OfTask<v1::CancelRedriveRequest>(task_id),
                             &AdminStub::CancelRedrive));
}

// ---- namespaces

absl::StatusOr<CreatedNamespace> Admin::CreateNamespace(std::string_view name,
                                                        const NamespaceQuotas& quotas) {
  auto request = Named<v1::CreateNamespaceRequest>(name);
  *request.mutable_quotas() = client::ToProto(quotas);
  auto response = AdminCall(*connection_, request, &AdminStub::CreateNamespace);
  if (!response.ok()) return response.status();
  return CreatedNamespace{.name_space = FromProto(response->namespace_()),
                          .created = response->created()};
}

absl::StatusOr<Namespace> Admin::GetNamespace(std::string_view name) {
  auto response =
      AdminCall(*connection_, Named<v1::GetNamespaceRequest>(name), &AdminStub::GetNamespace);
  if (!response.ok()) return response.status();
  return FromProto(response->namespace_());
}

absl::StatusOr<NamespacePage> Admin::ListNamespaces(std::uint32_t page_size,
                                                    std::string_view page_token) {
  v1::ListNamespacesRequest request;
  request.set_page_size(page_size);
  request.set_page_token(std::string(page_token));
  auto response = AdminCall(*connection_, request, &AdminStub::ListNamespaces);
  if (!response.ok()) return response.status();
  NamespacePage page{.next_page_token = response->next_page_token()};
  for (const v1::Namespace& one : response->namespaces()) {
    page.namespaces.push_back(FromProto(one));
  }
  return page;
}

absl::StatusOr<Namespace> Admin::UpdateNamespace(std::string_view name,
                                                 const NamespaceQuotas& quotas) {
  auto request = Named<v1::UpdateNamespaceRequest>(name);
  *request.mutable_quotas() = client::ToProto(quotas);
  auto response = AdminCall(*connection_, request, &AdminStub::UpdateNamespace);
  if (!response.ok()) return response.status();
  return FromProto(response->namespace_());
}

absl::StatusOr<std::uint64_t> Admin::DeleteNamespace(std::string_view name, bool force) {
  auto request = Named<v1::DeleteNamespaceRequest>(name);
  request.set_force(force);
  auto response = AdminCall(*connection_, request, &AdminStub::DeleteNamespace);
  if (!response.ok()) return response.status();
  return response->deleted_queues();
}

}  // namespace mqd
