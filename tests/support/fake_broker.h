#pragma once

// fake_broker.h: the two streams of a broker, played by the test frame by frame. A real gRPC server
// without any rule of its own: the test accepts a stream, reads what the client wrote, and answers.
//
// Threads:   the test's thread; each stream has one of gRPC's beside it.
// Ownership: sessions must not outlive the broker. Its destructor ends every stream.
// Limits:    none; a read waits until the client writes or the stream ends.

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "grpcpp/grpcpp.h"
#include "mqd/v1/broker.grpc.pb.h"

namespace mqd::test {

/// One stream of a client. Pings are answered and not shown, unless told otherwise.
template <class Request, class Response>
class FakeSession {
 public:
  using Stream = grpc::ServerReaderWriter<Response, Request>;

  explicit FakeSession(Stream* stream) : stream_(stream) {}

  /// The next frame; false when the client has ended the stream.
  bool Read(Request* frame) {
    while (stream_->Read(frame)) {
      if (!answer_pings_ || !frame->has_ping()) return true;
      Response pong;
      pong.mutable_pong()->set_nonce(frame->ping().nonce());
      stream_->Write(pong);
    }
    return false;
  }
  bool Write(const Response& frame) { return stream_->Write(frame); }

  /// Ends the stream.
  void End(grpc::Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    status_ = std::move(status);
    ended_ = true;
    changed_.notify_all();
  }
  /// Ends it as a connection that breaks does.
  void Break() { End({grpc::StatusCode::UNAVAILABLE, "the test broke the stream"}); }

  void answer_pings(bool answer) { answer_pings_ = answer; }

  grpc::Status WaitEnd() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
    return status_;
  }

 private:
  Stream* const stream_;
  bool answer_pings_ = true;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  grpc::Status status_;
};

using FakePublish = FakeSession<v1::PublishStreamRequest, v1::PublishStreamResponse>;
using FakeConsume = FakeSession<v1::ConsumeStreamRequest, v1::ConsumeStreamResponse>;

class FakeBroker final : public v1::BrokerService::Service {
 public:
  /// Port 0: any.
  explicit FakeBroker(int port = 0);
  ~FakeBroker() override;

  /// Ends every stream, and from now on each new one at once.
  void EndAll();

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  /// Wait for the next stream of the client.
  std::shared_ptr<FakePublish> AcceptPublish();
  std::shared_ptr<FakeConsume> AcceptConsume();

  grpc::Status PublishStream(grpc::ServerContext* context, FakePublish::Stream* stream) override;
  grpc::Status ConsumeStream(grpc::ServerContext* context, FakeConsume::Stream* stream) override;

 private:
  template <class Session>
  std::shared_ptr<Session> Accept(std::deque<std::shared_ptr<Session>>& waiting);
  template <class Session>
  grpc::Status Serve(typename Session::Stream* stream,
                     std::deque<std::shared_ptr<Session>>& waiting);

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  bool ending_ = false;
  std::deque<std::shared_ptr<FakePublish>> publishes_;
  std::deque<std::shared_ptr<FakeConsume>> consumes_;
  std::deque<std::weak_ptr<FakePublish>> all_publishes_;
  std::deque<std::weak_ptr<FakeConsume>> all_consumes_;
};

/// The frames that tests send most.
v1::PublishStreamResponse OpenedPublish(bool resumed = false, std::uint64_t credit_messages = 1'000,
                                        std::uint64_t credit_bytes = 1U << 20);
v1::PublishStreamResponse Confirm(std::uint64_t first_publish_id, std::uint64_t count,
                                  std::uint64_t first_sequence);
v1::ConsumeStreamResponse OpenedConsume();
/// `count` messages with payloads "m<sequence>"; sequence and delivery id are the same number.
v1::ConsumeStreamResponse Deliver(std::uint64_t first_id, std::uint64_t count,
                                  std::int64_t lease_ms = 30'000);
/// A result of `settle` that accepts every entry.
v1::ConsumeStreamResponse Settled(const v1::SettleBatch& settle);
v1::DeliveryRange Range(std::uint64_t first, std::uint64_t last);

}  // namespace mqd::test
