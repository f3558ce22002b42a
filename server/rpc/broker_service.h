#pragma once

// broker_service.h: step 1 of 5 (rpc edge). The calls of BrokerService; each begins with
// Authorize() where its queue is known, and is carried on by a session or a call object.
//
// The calls that carry messages are raw: their bytes are scanned, kept and sent as they are.
//
// Threads: gRPC's; nothing blocks.
// Ownership: Outlives the gRPC server's calls.

#include "mqd/v1/broker.grpc.pb.h"
#include "server/rpc/rpc_deps.h"

namespace mqd::rpc {

/// The service with raw streams, Publish and Receive, and a decoded Settle.
using RawBrokerService = v1::BrokerService::WithRawCallbackMethod_PublishStream<
    v1::BrokerService::WithRawCallbackMethod_ConsumeStream<
        v1::BrokerService::WithRawCallbackMethod_Publish<
            v1::BrokerService::WithRawCallbackMethod_Receive<
                v1::BrokerService::WithCallbackMethod_Settle<v1::BrokerService::Service>>>>>;

class BrokerService final : public RawBrokerService {
 public:
  explicit BrokerService(const RpcDeps& deps) : deps_(deps) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* PublishStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ConsumeStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Receive(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Settle(grpc::CallbackServerContext* context,
                                   const v1::SettleRequest* request,
                                   v1::SettleResponse* response) override;

 private:
  const RpcDeps& deps_;
};

}  // namespace mqd::rpc
