#pragma once

// server_call.h: gRPC's side of one stream at the broker: carries out what a session starts, and
// calls its reactions, each as an event of its own.
//
// Threads:   one.
// Ownership: shared by the broker's list, the stream and its events, until the session is done.
// Limits:    memory only.

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"
#include "server/rpc/broker_service.h"
#include "tests/simulation/network.h"

namespace mqd::simulation {

class ServerCall final
    : public grpc::ServerCallbackReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>,
      public StreamEnd,
      public std::enable_shared_from_this<ServerCall> {
 public:
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  ServerCall(std::shared_ptr<Stream> stream, std::function<void()> done)
      : stream_(std::move(stream)), done_(std::move(done)) {}

  void Begin(rpc::BrokerService& service);
  /// What the broker's timer does.
  void Tick(std::int64_t now_ns);
  /// The process ends: all reactions that are due, at once. The client learns of it then.
  void Kill(std::int64_t notice_ns);
  /// The session gives its client up.
  void CancelByBroker();

  void OnFrame(const std::string& frame) override;
  void OnHalfClosed() override;
  void OnClosed(const grpc::Status& status) override;

  // ---- what the session starts
  void Finish(grpc::Status status) override;
  void SendInitialMetadata() override {}
  void Read(grpc::ByteBuffer* frame) override;
  void Write(const grpc::ByteBuffer* frame, grpc::WriteOptions options) override;
  void WriteAndFinish(const grpc::ByteBuffer* frame, grpc::WriteOptions options,
                      grpc::Status status) override;

 private:
  grpc::internal::ServerReactor* reactor() override { return reactor_; }
  void CallOnDone() override {}
  void Post();
  void React();
  bool ReactToRead();

  const std::shared_ptr<Stream> stream_;
  const std::function<void()> done_;
  grpc::CallbackServerContext context_;
  Reactor* reactor_ = nullptr;  // null when it is done
  std::deque<std::string> inbox_;
  grpc::ByteBuffer* read_ = nullptr;
  bool half_closed_ = false;
  bool cancelled_ = false;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace mqd::simulation
