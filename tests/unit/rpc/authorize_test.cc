#include "server/rpc/authorize.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "grpcpp/generic/generic_stub.h"
#include "mqd/v1/admin.pb.h"
#include "mqd/v1/broker.pb.h"
#include "server/rpc/buffers.h"
#include "tests/support/streams.h"
#include "tests/unit/rpc/rpc_broker.h"

namespace mqd::rpc {
namespace {

/// Refuses everyone, and remembers for what.
class Refusal final : public Authorizer {
 public:
  absl::Status Authorize(const Principal&, Action action, std::string_view) const override {
    const std::lock_guard lock(mutex_);
    asked_.push_back(ToString(action));
    return queue::ToStatus({.reason = queue::Reason::kPermissionDenied, .message = "nobody may"});
  }

  std::vector<std::string> TakeAsked() const {
    const std::lock_guard lock(mutex_);
    return std::exchange(asked_, {});
  }

 private:
  mutable std::mutex mutex_;
  mutable std::vector<std::string> asked_;
};

/// The first thing a client sends: an open frame naming a queue, or an empty request.
grpc::ByteBuffer FirstMessage(const google::protobuf::MethodDescriptor& method) {
  if (method.name() == "PublishStream") {
    v1::PublishStreamRequest request;
    request.mutable_open()->set_queue("orders");
    return ToBuffer(request);
  }
  if (method.name() == "ConsumeStream") {
    v1::ConsumeStreamRequest request;
    request.mutable_open()->add_queues()->set_queue("orders");
    return ToBuffer(request);
  }
  return grpc::ByteBuffer(std::vector<grpc::Slice>(1).data(), 1);
}

grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel,
                  const google::protobuf::MethodDescriptor& method) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue completions;
  const auto wait = [&] {
    void* tag = nullptr;
    bool ok = false;
    completions.Next(&tag, &ok);
  };
  const std::string path = "/" + method.service()->full_name() + "/" + method.name();
  auto call = stub.PrepareCall(&context, path, &completions);
  call->StartCall(nullptr);
  wait();
  call->WriteLast(FirstMessage(method), grpc::WriteOptions(), nullptr);
  wait();
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  wait();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

TEST(AuthorizeTest, EveryCallOfEveryServiceAsks) {
  const Refusal refusal;
  RpcBroker broker(refusal);
  broker.Create("orders");
  for (const auto* file :
       {v1::BrokerService::service_full_name(), v1::AdminService::service_full_name()}) {
    const auto* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(file);
    ASSERT_NE(service, nullptr);
    for (int i = 0; i < service->method_count(); ++i) {
      SCOPED_TRACE(service->method(i)->full_name());
      const grpc::Status status = Call(broker.channel(), *service->method(i));
      EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << status.error_message();
      EXPECT_EQ(test::DetailOf(status).reason(), v1::REASON_PERMISSION_DENIED);
      EXPECT_EQ(refusal.TakeAsked().size(), 1u);
    }
  }
}

}  // namespace
}  // namespace mqd::rpc
