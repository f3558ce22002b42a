#include "client/grpc_threads.h"

#include <grpcpp/create_channel.h>

#include <memory>

#include "mqd/v1/admin.grpc.pb.h"

namespace mqd::client {
namespace {

/// A call that fails at once on a channel that leads nowhere: having made it, the channel holds the
/// threads.
struct Keeper {
  std::shared_ptr<grpc::Channel> channel = grpc::CreateChannel("", nullptr);
  std::unique_ptr<v1::AdminService::Stub> stub = v1::AdminService::NewStub(channel);
  grpc::ClientContext context;
  v1::GetNodeStatusRequest request;
  v1::GetNodeStatusResponse response;

  Keeper() {
    stub->async()->GetNodeStatus(&context, &request, &response, [](const grpc::Status&) {});
  }
};

}  // namespace

void KeepGrpcThreads() {
  // For the life of the process; used, or the compiler drops the pointer and it looks like a leak.
  [[gnu::used]] static const Keeper* const keeper = new Keeper;
}

}  // namespace mqd::client
