// broker_service.cc: step 1 of 5 (rpc edge). Where calls of clients come in.
#include "server/rpc/broker_service.h"

#include <memory>
#include <utility>

#include "server/rpc/consume_session.h"
#include "server/rpc/handshake.h"
#include "server/rpc/metadata_check.h"
#include "server/rpc/publish_session.h"
#include "server/rpc/settle_request.h"
#include "server/rpc/status_map.h"
#include "server/rpc/unary_publish.h"
#include "server/rpc/unary_receive.h"

namespace mqd::rpc {
namespace {

template <class Session>
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartSession(
    const RpcDeps& deps, grpc::CallbackServerContext& context) {
  auto session = std::make_shared<Session>(deps, context);
  session->Begin();
  return session.get();
}

/// A settle always gets its answer from the queue, so a reactor without a cancel is enough.
grpc::Status FillResponse(SettleAnswer answer, v1::SettleResponse& out) {
  if (answer.error) {
    // The entries that were at fault are told in the text: a failed call has no response.
    queue::ErrorInfo error = *std::move(answer.error);
    if (!answer.exceptions.empty()) error.message += ": " + answer.exceptions[0].second.message;
    for (const v1::PublishResult& result : answer.publish_results) {
      if (result.has_error()) error.message += "; " + result.error().message();
    }
    return ToGrpc(queue::ToStatus(error));
  }
  out.set_settled(answer.settled);
  for (const auto& exception : answer.exceptions) ToProto(exception, *out.add_exceptions());
  for (v1::PublishResult& result : answer.publish_results) {
    *out.add_publish_results() = std::move(result);
  }
  return grpc::Status::OK;
}

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* BrokerService::PublishStream(
    grpc::CallbackServerContext* context) {
  return StartSession<PublishSession>(deps_, *context);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* BrokerService::ConsumeStream(
    grpc::CallbackServerContext* context) {
  return StartSession<ConsumeSession>(deps_, *context);
}

grpc::ServerUnaryReactor* BrokerService::Publish(grpc::CallbackServerContext* context,
                                                 const grpc::ByteBuffer* request,
                                                 grpc::ByteBuffer* response) {
  return UnaryPublish::Start(deps_, *context, *request, *response);
}

grpc::ServerUnaryReactor* BrokerService::Receive(grpc::CallbackServerContext* context,
                                                 const grpc::ByteBuffer* request,
                                                 grpc::ByteBuffer* response) {
  if (absl::Status taken = CheckMetadata(*context); !taken.ok()) {  // it may wait for a minute
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(taken));
    return reactor;
  }
  return UnaryReceive::Start(deps_, *request, *response);
}

grpc::ServerUnaryReactor* BrokerService::Settle(grpc::CallbackServerContext* context,
                                                const v1::SettleRequest* request,
                                                v1::SettleResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kSettle, request->queue());
  if (!allowed.ok()) {
    reactor->Finish(ToGrpc(allowed));
    return reactor;
  }
  auto found = FindQueue(deps_.registry, request->queue());
  if (!found.ok()) {
    reactor->Finish(ToGrpc(found.status()));
    return reactor;
  }
  RunSettle(deps_, *std::move(found), request->entries(), request->publishes(),
            [reactor, response](SettleAnswer answer) {
              reactor->Finish(FillResponse(std::move(answer), *response));
            });
  return reactor;
}

}  // namespace mqd::rpc
