#pragma once

// raw_producer.h: a thread that publishes through generated stubs: streams without a producer id,
// which cannot be resumed, and unary calls. What a broken one has not answered is unknown for good.
//
// Threads:   Run() on its own thread until World::stop_producers().
// Ownership: the World outlives it.
// Limits:    every call has a deadline of some seconds.

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>
#include <vector>

#include "mqd/v1/broker.grpc.pb.h"
#include "tests/crash/world.h"

namespace mqd::crash {

/// A channel that tries again quickly when the broker comes back.
std::shared_ptr<grpc::Channel> QuickChannel(const std::string& address);

/// A context with a deadline from now.
void SetDeadline(std::chrono::milliseconds timeout, grpc::ClientContext& context);

void SetMilliseconds(std::chrono::milliseconds time, google::protobuf::Duration& out);

class RawProducer {
 public:
  RawProducer(World& world, const std::string& address, std::uint32_t process);

  void Run();

 private:
  using Stream = grpc::ClientReaderWriter<v1::PublishStreamRequest, v1::PublishStreamResponse>;

  void RunStream(std::uint32_t queue);
  bool Open(Stream& stream, std::uint32_t queue);
  /// One batch, and every result of it; false when the stream broke.
  bool RunBatch(Stream& stream, std::uint32_t queue);
  std::size_t TakeResults(const v1::Confirms& confirms, std::uint64_t first_id,
                          const std::vector<OperationId>& ids);
  void RunUnary(std::uint32_t queue);
  /// Adds messages to a batch or a request, and to the history.
  template <class Request>
  std::vector<OperationId> AddMessages(std::uint32_t queue, Request& request);
  template <class Result>
  void End(OperationId id, const Result& result);

  World& world_;
  const std::uint32_t process_;
  Random random_;
  std::unique_ptr<v1::BrokerService::Stub> stub_;
  std::uint64_t session_ = 0;
  std::uint64_t next_publish_id_ = 1;
};

}  // namespace mqd::crash
