#pragma once

// admin_service.h: step 1 of 5 (rpc edge). The calls of AdminService. Each begins with Authorize(),
// finds its queue, and answers when the queue has answered.
//
// Files: admin_service.cc queues and the node · explain_rpc.cc looking at messages and clients
// Threads: gRPC's; nothing blocks.
// Ownership: Outlives the gRPC server's calls.

#include "mqd/v1/admin.grpc.pb.h"
#include "server/rpc/rpc_deps.h"

namespace mqd::rpc {

class AdminService final : public v1::AdminService::CallbackService {
 public:
  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

  explicit AdminService(const RpcDeps& deps) : deps_(deps) {}

  Reactor* CreateQueue(Context*, const v1::CreateQueueRequest*, v1::CreateQueueResponse*) override;
  Reactor* GetQueue(Context*, const v1::GetQueueRequest*, v1::GetQueueResponse*) override;
  Reactor* ListQueues(Context*, const v1::ListQueuesRequest*, v1::ListQueuesResponse*) override;
  Reactor* UpdateQueue(Context*, const v1::UpdateQueueRequest*, v1::UpdateQueueResponse*) override;
  Reactor* DeleteQueue(Context*, const v1::DeleteQueueRequest*, v1::DeleteQueueResponse*) override;
  Reactor* PurgeQueue(Context*, const v1::PurgeQueueRequest*, v1::PurgeQueueResponse*) override;
  Reactor* CloseQueue(Context*, const v1::CloseQueueRequest*, v1::CloseQueueResponse*) override;
  Reactor* ReopenQueue(Context*, const v1::ReopenQueueRequest*, v1::ReopenQueueResponse*) override;
  Reactor* GetQueueStats(Context*, const v1::GetQueueStatsRequest*,
                         v1::GetQueueStatsResponse*) override;
  Reactor* GetNodeStatus(Context*, const v1::GetNodeStatusRequest*,
                         v1::GetNodeStatusResponse*) override;

  Reactor* PeekMessages(Context*, const v1::PeekMessagesRequest*,
                        v1::PeekMessagesResponse*) override;
  Reactor* Explain(Context*, const v1::ExplainRequest*, v1::ExplainResponse*) override;
  Reactor* FindMessage(Context*, const v1::FindMessageRequest*, v1::FindMessageResponse*) override;
  Reactor* CancelMessages(Context*, const v1::CancelMessagesRequest*,
                          v1::CancelMessagesResponse*) override;
  Reactor* GetDedupEntry(Context*, const v1::GetDedupEntryRequest*,
                         v1::GetDedupEntryResponse*) override;
  Reactor* ForgetDedupEntry(Context*, const v1::ForgetDedupEntryRequest*,
                            v1::ForgetDedupEntryResponse*) override;
  Reactor* GetHistory(Context*, const v1::GetHistoryRequest*, v1::GetHistoryResponse*) override;
  Reactor* ListClients(Context*, const v1::ListClientsRequest*, v1::ListClientsResponse*) override;

  Reactor* StartRedrive(Context*, const v1::StartRedriveRequest*,
                        v1::StartRedriveResponse*) override;
  Reactor* GetRedrive(Context*, const v1::GetRedriveRequest*, v1::GetRedriveResponse*) override;
  Reactor* ListRedrives(Context*, const v1::ListRedrivesRequest*,
                        v1::ListRedrivesResponse*) override;
  Reactor* CancelRedrive(Context*, const v1::CancelRedriveRequest*,
                         v1::CancelRedriveResponse*) override;

  Reactor* CreateNamespace(Context*, const v1::CreateNamespaceRequest*,
                           v1::CreateNamespaceResponse*) override;
  Reactor* GetNamespace(Context*, const v1::GetNamespaceRequest*,
                        v1::GetNamespaceResponse*) override;
  Reactor* ListNamespaces(Context*, const v1::ListNamespacesRequest*,
                          v1::ListNamespacesResponse*) override;
  Reactor* UpdateNamespace(Context*, const v1::UpdateNamespaceRequest*,
                           v1::UpdateNamespaceResponse*) override;
  Reactor* DeleteNamespace(Context*, const v1::DeleteNamespaceRequest*,
                           v1::DeleteNamespaceResponse*) override;

 private:
  /// Authorizes and finds; an error is what the call ends with.
  absl::StatusOr<std::shared_ptr<queue::QueueActor>> Open(Action action,
                                                          const std::string& name) const;

  const RpcDeps& deps_;
};

}  // namespace mqd::rpc
