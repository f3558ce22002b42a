#pragma once

// streams.h: the two streams as a test speaks them: blocking, frame by frame, with the generated
// classes and without the client library.
//
// A stream has a deadline, so that a broker which does not answer fails the test instead of
// hanging it. Pings are answered and not shown.
//
// Threads: one at a time for one stream.
// Ownership: the stub must outlive the streams.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "mqd/v1/broker.grpc.pb.h"

namespace mqd::test {

inline constexpr std::chrono::seconds kStreamDeadline{30};

v1::Message MessageWith(std::string payload, std::string idempotency_key = {});

/// The typed detail of a failed call.
v1::ErrorInfo DetailOf(const grpc::Status& status);

/// "OK", or the reason in the status' detail and its text.
std::string Describe(const grpc::Status& status);

class PublishStream {
 public:
  explicit PublishStream(v1::BrokerService::Stub& stub);
  ~PublishStream();

  bool Write(const v1::PublishStreamRequest& frame) { return stream_->Write(frame); }
  /// Sends open and reads opened; fails the test when another frame or the end comes.
  v1::PublishOpened Open(const std::string& queue, const std::string& producer_id = {});
  void Send(std::uint64_t first_publish_id, const std::vector<v1::Message>& messages);
  void Send(const v1::PublishBatch& batch);

  /// The next frame; none at the end of the stream. Credit is added up and not shown.
  std::optional<v1::PublishStreamResponse> Next();
  /// Confirms frames, joined, until there are results for `count` messages.
  v1::Confirms Results(std::uint64_t count);
  /// Sends one message and answers its result as an exception, or the sequence.
  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  /// Reads what is left and answers how the stream ended.
  grpc::Status Finish();

  std::uint64_t credit_messages() const { return credit_messages_; }
  std::uint64_t credit_bytes() const { return credit_bytes_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::PublishStreamRequest, v1::PublishStreamResponse>>
      stream_;
  bool finished_ = false;
  std::uint64_t credit_messages_ = 0;
  std::uint64_t credit_bytes_ = 0;
};

/// One delivery, taken out of its run.
struct Delivery {
  std::uint32_t queue_index = 0;
  std::uint64_t id = 0;
  std::uint64_t sequence = 0;
  std::uint32_t attempt = 0;
  v1::Message message;
  v1::DeadLetterInfo dead_letter;
};

std::vector<Delivery> Unpack(std::uint32_t queue_index,
                             const google::protobuf::RepeatedPtrField<v1::DeliveryRun>& runs);

class ConsumeStream {
 public:
  explicit ConsumeStream(v1::BrokerService::Stub& stub);
  ~ConsumeStream();

  bool Write(const v1::ConsumeStreamRequest& frame) { return stream_->Write(frame); }
  v1::ConsumeOpened Open(const std::string& queue, bool marks_started = false);
  v1::ConsumeOpened Open(const v1::ConsumeOpen& open);
  void Grant(std::uint64_t messages, std::uint64_t bytes = 1 << 20);
  void Started(std::uint64_t delivery_id);
  void Settle(const v1::SettleBatch& batch);
  void Drain(std::chrono::milliseconds deadline);

  std::optional<v1::ConsumeStreamResponse> Next();
  /// Deliveries until there are `count`; other frames before that fail the test.
  std::vector<Delivery> Take(std::size_t count);
  /// The next frame, which must be the results of a settle.
  v1::SettleResults Settled();
  /// Settles one delivery with an outcome that `fill` sets, and answers the results.
  v1::SettleResults Ack(std::uint64_t delivery_id);

  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish();

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ConsumeStreamRequest, v1::ConsumeStreamResponse>>
      stream_;
  bool finished_ = false;
  std::uint64_t next_settle_id_ = 1'000'000;
};

}  // namespace mqd::test
