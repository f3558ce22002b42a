// null_broker.cc: speaks the wire protocol of mqd and keeps nothing: what gRPC and the client
// library cost by themselves. Enough of the protocol for mqctl bench and the driver of mqd.
//
//   null_broker HOST:PORT      ends with SIGTERM

#include <csignal>
#include <iostream>

#include "mqd/v1/admin.grpc.pb.h"
#include "mqd/v1/broker.grpc.pb.h"
#include "server/limits.h"
#include "tests/bench/ceilings/null_streams.h"

namespace mqd::bench {
namespace {

using RawService = v1::BrokerService::WithRawCallbackMethod_PublishStream<
    v1::BrokerService::WithRawCallbackMethod_ConsumeStream<v1::BrokerService::Service>>;
using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

class Broker final : public RawService {
 public:
  explicit Broker(NullQueues& queues) : queues_(queues) {}
  Reactor* PublishStream(grpc::CallbackServerContext*) override { return Start<NullPublish>(); }
  Reactor* ConsumeStream(grpc::CallbackServerContext*) override { return Start<NullConsume>(); }

 private:
  template <class Stream>
  Reactor* Start() {
    const auto stream = std::make_shared<Stream>(queues_);
    stream->Begin();
    return stream.get();
  }

  NullQueues& queues_;
};

class Admin final : public v1::AdminService::Service {
 public:
  explicit Admin(NullQueues& queues) : queues_(queues) {}

  grpc::Status CreateQueue(grpc::ServerContext*, const v1::CreateQueueRequest* request,
                           v1::CreateQueueResponse* response) override {
    queues_.Find(request->name());
    response->set_created(true);
    response->mutable_queue()->set_name(request->name());
    *response->mutable_queue()->mutable_settings() = request->settings();
    return grpc::Status::OK;
  }
  grpc::Status DeleteQueue(grpc::ServerContext*, const v1::DeleteQueueRequest* request,
                           v1::DeleteQueueResponse*) override {
    queues_.Erase(request->name());
    return grpc::Status::OK;
  }

 private:
  NullQueues& queues_;
};

int Serve(const char* address) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // also in the threads of gRPC
  NullQueues queues;
  Broker broker(queues);
  Admin admin(queues);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits::kFrameBytesMax));
  builder.SetMaxSendMessageSize(static_cast<int>(limits::kFrameBytesMax));
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&broker);
  builder.RegisterService(&admin);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    std::cerr << "null_broker: cannot listen on " << address << '\n';
    return 71;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return 0;
}

}  // namespace
}  // namespace mqd::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: null_broker HOST:PORT\n";
    return 64;
  }
  return mqd::bench::Serve(argv[1]);
}
