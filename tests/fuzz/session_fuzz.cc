// A whole session with a scripted peer: the input is the frames that a client sends on one of the
// two streams, as bytes that may be anything. The stream ends well or with a typed error, and other
// clients do not notice.
//
// Input: a byte of flags (1: consume, 2: cancel instead of half-close), then frames, each with a
// byte that says how long it is.
#include <set>
#include <vector>

#include "grpcpp/impl/codegen/sync_stream.h"
#include "proto/base/assert.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/streams.h"
#include "tests/unit/rpc/rpc_broker.h"

namespace {

using grpc::ByteBuffer;
using Stream = grpc::ClientReaderWriter<ByteBuffer, ByteBuffer>;

constexpr std::chrono::milliseconds kDeadline{500};
constexpr int kInputsBetweenChecks = 16;

/// What PROTOCOL.md gives for clients' faults and the end of a stream.
const std::set<grpc::StatusCode> kExpected = {
    grpc::OK,          grpc::INVALID_ARGUMENT,   grpc::NOT_FOUND, grpc::FAILED_PRECONDITION,
    grpc::ABORTED,     grpc::RESOURCE_EXHAUSTED, grpc::CANCELLED, grpc::ALREADY_EXISTS,

    grpc::UNAVAILABLE, grpc::DEADLINE_EXCEEDED};

class Peer {
 public:
  Peer() {
    mqd::queue::QueueSettings settings;
    settings.max_messages = 1'000;
    broker_.Create("jobs", settings);
    broker_.Create("witness");
  }

  void Play(mqd::fuzz::Input input) {
    const std::uint8_t flags = input.Byte();
    const char* path =
        flags & 1 ? "/mqd.v1.BrokerService/ConsumeStream" : "/mqd.v1.BrokerService/PublishStream";
    const grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::BIDI_STREAMING,
                                           broker_.channel());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    std::unique_ptr<Stream> stream(
        grpc::internal::ClientReaderWriterFactory<ByteBuffer, ByteBuffer>::Create(
            broker_.channel().get(), method, &context));
    bool open = true;
    while (open && !input.empty()) {
      const std::string_view frame = input.Text();
      const grpc::Slice slice(frame.data(), frame.size());
      open = stream->Write(ByteBuffer(&slice, 1));
    }
    if (flags & 2) context.TryCancel();
    stream->WritesDone();
    for (ByteBuffer answer; stream->Read(&answer);) answer.Clear();
    CheckEnd(stream->Finish());
    if (++inputs_ % kInputsBetweenChecks == 0) CheckOthers();
  }

 private:
  static void CheckEnd(const grpc::Status& status) {
    MQD_ASSERT(kExpected.contains(status.error_code()));
    const bool ended_here =
        status.error_code() == grpc::CANCELLED || status.error_code() == grpc::DEADLINE_EXCEEDED;
    if (status.ok() || ended_here) return;
    MQD_ASSERT(mqd::test::DetailOf(status).reason() != mqd::v1::REASON_UNSPECIFIED);
    MQD_ASSERT(!status.error_message().empty());
  }

  /// One message goes through another queue.
  void CheckOthers() {
    mqd::test::PublishStream publisher(broker_.stub());
    publisher.Open("witness");
    publisher.Send(1, {mqd::test::MessageWith("x")});
    MQD_ASSERT(publisher.Results(1).exceptions_size() == 0);
    mqd::test::ConsumeStream consumer(broker_.stub());
    consumer.Open("witness");
    consumer.Grant(1);
    MQD_ASSERT(consumer.Ack(consumer.Take(1).at(0).id).exceptions_size() == 0);
  }

  mqd::rpc::Authorizer everyone_;
  mqd::rpc::RpcBroker broker_{everyone_};
  std::uint64_t inputs_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Peer& peer = *new Peer;  // its threads live as long as the process
  peer.Play(mqd::fuzz::Input(data, size));
  return 0;
}
