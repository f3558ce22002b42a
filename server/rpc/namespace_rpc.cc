// namespace_rpc.cc: step 1 of 5 (rpc edge). The calls of AdminService about namespaces.
#include "server/rpc/namespace_rpc.h"

#include <utility>

#include "server/limits.h"
#include "server/rpc/admin_answer.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/limit_convert.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {

absl::StatusOr<queue::NamespaceQuotas> FromProto(const v1::NamespaceQuotas& wire) {
  auto queues = FromLimit(wire.has_max_queues(), wire.max_queues(), "max_queues");
  if (!queues.ok()) return queues.status();
  auto messages = FromLimit(wire.has_max_messages(), wire.max_messages(), "max_messages");
  if (!messages.ok()) return messages.status();
  auto bytes = FromLimit(wire.has_max_bytes(), wire.max_bytes(), "max_bytes");
  if (!bytes.ok()) return bytes.status();
  return queue::NamespaceQuotas{*queues, *messages, *bytes};
}

v1::Namespace ToProto(const queue::NamespaceInfo& info) {
  v1::Namespace out;
  out.set_name(info.record.name);
  SetLimit(info.record.max_queues, *out.mutable_quotas()->mutable_max_queues());
  SetLimit(info.record.max_messages, *out.mutable_quotas()->mutable_max_messages());
  SetLimit(info.record.max_bytes, *out.mutable_quotas()->mutable_max_bytes());
  if (info.record.create_time_ms != 0) {
    SetTimestamp(info.record.create_time_ms, *out.mutable_create_time());
  }
  out.set_queues(info.queues);
  out.set_messages(info.messages);
  out.set_bytes(info.bytes);
  return out;
}

AdminService::Reactor* AdminService::CreateNamespace(Context* context,
                                                     const v1::CreateNamespaceRequest* request,
                                                     v1::CreateNamespaceResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kChangeQueue, request->name());
  if (!allowed.ok()) return Fail(*context, allowed);
  auto quotas = FromProto(request->quotas());
  if (!quotas.ok()) return Fail(*context, quotas.status());
  Reactor* reactor = context->DefaultReactor();
  deps_.registry.namespaces().Create(
      request->name(), *quotas,
      Answer<queue::CreatedNamespace>(reactor, [response](const auto& created) {
        *response->mutable_namespace_() = ToProto(created.info);
        response->set_created(created.created);
      }));
  return reactor;
}

AdminService::Reactor* AdminService::GetNamespace(Context* context,
                                                  const v1::GetNamespaceRequest* request,
                                                  v1::GetNamespaceResponse* response) {
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kViewQueue, request->name());
  if (!allowed.ok()) return Fail(*context, allowed);
  const auto info = deps_.registry.namespaces().Get(request->name());
  if (!info.ok()) return Fail(*context, info.status());
  *response->mutable_namespace_() = ToProto(*info);
  Reactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

AdminService::Reactor* AdminService::ListNamespaces(Context* context,
                                                    const v1::ListNamespacesRequest* request,
                                                    v1::ListNamespacesResponse* response) {
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kViewNode, "node");
  if (!allowed.ok()) return Fail(*context, allowed);
  const std::uint32_t size =
      request->page_size() == 0 ? limits::kPageSizeDefault : request->page_size();
  if (size > limits::kPageSizeMax) {
    return Fail(*context, BadFieldStatus("page_size", "too many", limits::kPageSizeMax, size));
  }
  auto page = deps_.registry.namespaces().List(request->page_token(), size + 1);
  if (page.size() > size) {
    page.pop_back();
    response->set_next_page_token(page.back().record.name);
  }
  for (const queue::NamespaceInfo& info : page) *response->add_namespaces() = ToProto(info);
  Reactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

AdminService::Reactor* AdminService::UpdateNamespace(Context* context,
                                                     const v1::UpdateNamespaceRequest* request,
                                                     v1::UpdateNamespaceResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kChangeQueue, request->name());
  if (!allowed.ok()) return Fail(*context, allowed);
  auto quotas = FromProto(request->quotas());
  if (!quotas.ok()) return Fail(*context, quotas.status());
  Reactor* reactor = context->DefaultReactor();
  deps_.registry.namespaces().Update(
      request->name(), *quotas,
      Answer<queue::NamespaceInfo>(reactor, [response](const queue::NamespaceInfo& info) {
        *response->mutable_namespace_() = ToProto(info);
      }));
  return reactor;
}

AdminService::Reactor* AdminService::DeleteNamespace(Context* context,
                                                     const v1::DeleteNamespaceRequest* request,
                                                     v1::DeleteNamespaceResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kChangeQueue, request->name());
  if (!allowed.ok()) return Fail(*context, allowed);
  Reactor* reactor = context->DefaultReactor();
  deps_.registry.namespaces().Delete(
      request->name(), request->force(),
      Answer<std::uint64_t>(
          reactor, [response](std::uint64_t queues) { response->set_deleted_queues(queues); }));
  return reactor;
}

}  // namespace mqd::rpc
