// raw_producer.cc: publishing without the client library.

#include "tests/crash/raw_producer.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <array>

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;

constexpr int kKeepaliveMs = 10'000;  // as the library has it
constexpr int kReconnectMinMs = 10;
constexpr int kReconnectMaxMs = 50;
constexpr int kConnectMs = 4'000;  // of one attempt
constexpr std::uint64_t kBatchMax = 30;
constexpr auto kStreamTime = milliseconds(4'000);
constexpr auto kCallTime = milliseconds(2'000);
constexpr auto kBlockTime = milliseconds(500);
constexpr auto kPauseTime = milliseconds(5);
constexpr std::array<std::uint32_t, 3> kStreamQueues = {kPlainQueue, kBoundedQueue, kSourceQueue};
constexpr std::array<std::uint32_t, 2> kUnaryQueues = {kPlainQueue, kKeyedQueue};

}  // namespace

std::shared_ptr<grpc::Channel> QuickChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // as the library has it
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void SetDeadline(milliseconds timeout, grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  context.set_wait_for_ready(true);
}

void SetMilliseconds(milliseconds time, google::protobuf::Duration& out) {
  out.set_seconds(time.count() / 1'000);
  out.set_nanos(static_cast<std::int32_t>(time.count() % 1'000) * 1'000'000);
}

RawProducer::RawProducer(World& world, const std::string& address, std::uint32_t process)
    : world_(world),
      process_(process),
      random_(world.RandomOf(process)),
      stub_(v1::BrokerService::NewStub(QuickChannel(address))) {}

void RawProducer::Run() {
  while (world_.stop_producers().WaitFor(kPauseTime)) {
    session_ = world_.NextSession();
    if (OneIn(random_, 3)) {
      RunUnary(kUnaryQueues[Below(random_, kUnaryQueues.size())]);
    } else {
      RunStream(kStreamQueues[Below(random_, kStreamQueues.size())]);
    }
  }
}

template <class Request>
std::vector<OperationId> RawProducer::AddMessages(std::uint32_t queue, Request& request) {
  std::vector<OperationId> ids;
  for (std::uint64_t left = 1 + Below(random_, kBatchMax); left > 0; --left) {
    if (!world_.TakeTurn()) break;
    const std::uint64_t message = world_.NextMessage();
    const std::uint64_t key = queue == kKeyedQueue ? message : 0;
    v1::Message& out = *request.add_messages();
    out.set_payload(PayloadOf(message));
    out.set_idempotency_key(KeyText(key));
    ids.push_back(world_.history().Invoke({.kind = Kind::kPublish,
                                           .process = process_,
                                           .queue = queue,
                                           .session = session_,
                                           .message = message,
                                           .digest = DigestOf(out.payload()),
                                           .key = key}));
  }
  return ids;
}

template <class Result>
void RawProducer::End(OperationId id, const Result& result) {
  if (result.has_error()) {
    const Outcome outcome = OutcomeOfReason(result.error().reason());
    return world_.EndPublish(id, outcome, 0, false, result.error().message());
  }
  if (result.has_duplicate()) {
    world_.EndPublish(id, Outcome::kOk, result.duplicate().sequence(), true, {});
  }
}

// ---- streams

bool RawProducer::Open(Stream& stream, std::uint32_t queue) {
  next_publish_id_ = 1;
  v1::PublishStreamRequest open;
  open.mutable_open()->set_queue(QueueName(queue));
  v1::PublishStreamResponse answer;
  return stream.Write(open) && stream.Read(&answer) && answer.has_opened();
}

void RawProducer::RunStream(std::uint32_t queue) {
  grpc::ClientContext context;
  SetDeadline(kStreamTime, context);
  const auto stream = stub_->PublishStream(&context);
  bool good = Open(*stream, queue);
  const Clock::time_point end = Clock::now() + kStreamTime / 2;
  while (good && Clock::now() < end && !world_.stop_producers().stopped()) {
    good = RunBatch(*stream, queue);
  }
  if (good) stream->WritesDone();
  v1::PublishStreamResponse rest;
  while (stream->Read(&rest)) {
  }
  stream->Finish();
}

bool RawProducer::RunBatch(Stream& stream, std::uint32_t queue) {
  v1::PublishStreamRequest request;
  v1::PublishBatch& batch = *request.mutable_batch();
  batch.set_first_publish_id(next_publish_id_);
  SetMilliseconds(kBlockTime, *batch.mutable_timeout());
  const std::vector<OperationId> ids = AddMessages(queue, batch);
  if (ids.empty()) return true;
  next_publish_id_ += ids.size();
  if (!stream.Write(request)) return false;
  std::size_t answered = 0;
  v1::PublishStreamResponse response;
  while (answered < ids.size()) {
    if (!stream.Read(&response)) return false;
    if (response.has_confirms()) {
      answered += TakeResults(response.confirms(), batch.first_publish_id(), ids);
    }
  }
  return true;
}

std::size_t RawProducer::TakeResults(const v1::Confirms& confirms, std::uint64_t first_id,
                                     const std::vector<OperationId>& ids) {
  std::size_t count = 0;
  for (const v1::ConfirmedRange& range : confirms.ranges()) {
    for (std::uint64_t i = 0; i < range.count(); ++i, ++count) {
      world_.EndPublish(ids.at(range.first_publish_id() + i - first_id), Outcome::kOk,
                        range.first_sequence() + i, false, {});
    }
  }
  for (const v1::PublishException& exception : confirms.exceptions()) {
    End(ids.at(exception.publish_id() - first_id), exception);
    ++count;
  }
  return count;
}

// ---- unary calls

void RawProducer::RunUnary(std::uint32_t queue) {
  grpc::ClientContext context;
  v1::PublishRequest request;
  v1::PublishResponse response;
  request.set_queue(QueueName(queue));
  const std::vector<OperationId> ids = AddMessages(queue, request);
  if (ids.empty()) return;
  SetDeadline(kCallTime, context);
  if (!stub_->Publish(&context, request, &response).ok()) return;  // unknown
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const v1::PublishResult& result = response.results().at(static_cast<int>(i));
    End(ids[i], result);
    if (!result.has_published()) continue;
    world_.EndPublish(ids[i], Outcome::kOk, result.published().sequence(), false, {});
  }
}

}  // namespace mqd::crash
