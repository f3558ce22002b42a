// Clients that are broken or worse: a clear error on that entry or stream, while the traffic of
// others goes on over the streams that it has.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "grpcpp/grpcpp.h"
#include "tests/integration/witness.h"
#include "tests/support/mqd_process.h"
#include "tests/support/streams.h"

namespace mqd::test {
namespace {

using grpc::ByteBuffer;

constexpr int kTimes = 20;  // each offence, so that it meets the others' traffic
constexpr std::uint64_t kHuge = UINT64_MAX;

ByteBuffer BufferOf(const std::string& bytes) {
  grpc::Slice slice(bytes);
  return {&slice, 1};
}

class HostileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(process_.WaitReady()) << process_.log();
    grpc::ChannelArguments arguments;  // not the connection of the others
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(process_.address(), grpc::InsecureChannelCredentials(),
                                         arguments);
    stub_ = v1::BrokerService::NewStub(channel_);
    witness_ = std::make_unique<Witness>(process_.address());
    auto client = Client::Connect({.address = process_.address()});
    ASSERT_TRUE(client.ok()) << client.status();
    ASSERT_TRUE((*client)->NewAdmin()->CreateQueue("victim", {}).ok());
    witness_->CheckGoesOn();
  }
  void TearDown() override {
    if (witness_ != nullptr) witness_->CheckGoesOn();
    witness_.reset();
    process_.Signal(SIGTERM);
    EXPECT_EQ(process_.WaitExit(), 0) << process_.log();
  }

  /// Sends bytes as frames and answers how the stream ends.
  v1::ErrorInfo EndOf(const std::string& method, const std::vector<std::string>& frames) {
    const std::string path = "/mqd.v1.BrokerService/" + method;
    const grpc::internal::RpcMethod bidi(path.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kStreamDeadline);
    const std::unique_ptr<grpc::ClientReaderWriter<ByteBuffer, ByteBuffer>> stream(
        grpc::internal::ClientReaderWriterFactory<ByteBuffer, ByteBuffer>::Create(channel_.get(),
                                                                                  bidi, &context));
    for (const std::string& frame : frames) stream->Write(BufferOf(frame));
    ByteBuffer frame;
    while (stream->Read(&frame)) continue;
    return DetailOf(stream->Finish());
  }

  static std::string PublishOpen(const std::string& queue) {
    v1::PublishStreamRequest request;
    request.mutable_open()->set_queue(queue);
    return request.SerializeAsString();
  }
  static std::string ConsumeOpen(const std::string& queue) {
    v1::ConsumeStreamRequest request;
    request.mutable_open()->add_queues()->set_queue(queue);
    return request.SerializeAsString();
  }

  /// Both kinds of stream to `queue` are refused so.
  void ExpectRefused(const std::string& queue, v1::Reason reason) {
    for (int i = 0; i < kTimes; ++i) {
      for (const v1::ErrorInfo& info : {EndOf("PublishStream", {PublishOpen(queue)}),
                                        EndOf("ConsumeStream", {ConsumeOpen(queue)})}) {
        ASSERT_EQ(info.reason(), reason) << queue << ": " << info.ShortDebugString();
        ASSERT_FALSE(info.message().empty());
      }
    }
  }

  /// `message` is refused with `reason`, and the ones around it on its stream are stored.
  v1::ErrorInfo ExpectRefusedAlone(const v1::Message& message, v1::Reason reason) {
    PublishStream stream(*stub_);
    stream.Open("victim");
    stream.Send(1, {MessageWith("before")});
    stream.Send(2, {message});
    stream.Send(3, {MessageWith("after")});
    const v1::Confirms results = stream.Results(3);
    EXPECT_EQ(results.exceptions_size(), 1);
    if (results.exceptions_size() != 1) return {};
    EXPECT_EQ(results.exceptions(0).publish_id(), 2u);
    EXPECT_EQ(results.exceptions(0).error().reason(), reason);
    stream.HalfClose();
    EXPECT_TRUE(stream.Finish().ok());
    return results.exceptions(0).error();
  }

  MqdProcess process_{MqdProcess::Options{.flags = {"--shutdown-grace", "5s"}}};
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::BrokerService::Stub> stub_;
  std::unique_ptr<Witness> witness_;
};

/// Sends `bytes` on a bare connection and waits until the broker closes it.
void Throw(int port, const std::string& bytes) {
  const int link = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{.tv_sec = 30, .tv_usec = 0};
  setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  ASSERT_EQ(connect(link, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  send(link, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  char answer[4096];
  ssize_t length = 0;
  while ((length = recv(link, answer, sizeof(answer), 0)) > 0) continue;
  EXPECT_TRUE(length == 0 || errno == ECONNRESET) << "the connection stays open";
  close(link);
}

TEST_F(HostileTest, GarbageOnThePortEndsItsConnectionOnly) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (int i = 0; i < kTimes; ++i) {
    std::string noise(4'096, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    noise[0] = 'x';  // what begins like HTTP/2 may wait for more
    Throw(process_.port(), noise);
    Throw(process_.port(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    Throw(process_.port(), preface + std::string(2'000, '\xff'));
  }
}

TEST_F(HostileTest, FrameThatLiesAboutSizesEndsItsStreamOnly) {
  const std::string lies[] = {
      {"\x12\x7f", 2},                                      // a batch longer than the frame
      {"\x12\xff\xff\xff\xff\x0f", 6},                      // one of 4 GiB
      {"\x12\x06\x08\x01\x7a\x64xx", 8},                    // a message longer than its batch
      {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}  // one of 2^64-1 bytes
  };
  for (int i = 0; i < kTimes; ++i) {
    for (const std::string& lie : lies) {
      const v1::ErrorInfo info = EndOf("PublishStream", {PublishOpen("victim"), lie});
      ASSERT_EQ(info.reason(), v1::REASON_BAD_FIELD) << info.ShortDebugString();
      const v1::ErrorInfo other = EndOf("ConsumeStream", {ConsumeOpen("victim"), lie});
      ASSERT_EQ(other.reason(), v1::REASON_BAD_FIELD) << other.ShortDebugString();
    }
  }
}

TEST_F(HostileTest, UnknownQueueIsSaidToBeUnknown) {
  ExpectRefused("vitcim", v1::REASON_QUEUE_NOT_FOUND);
}

TEST_F(HostileTest, NameThatClimbsIsRefused) {
  for (const char* name : {"../victim", "default/../victim", ".."}) {
    ExpectRefused(name, v1::REASON_BAD_FIELD);
  }
}

TEST_F(HostileTest, MessageOfSeventeenMebibytesFailsAlone) {
  const v1::ErrorInfo info =
      ExpectRefusedAlone(MessageWith(std::string(17u << 20, 'x')), v1::REASON_MESSAGE_TOO_LARGE);
  EXPECT_EQ(info.limit(), 1u << 20);
  EXPECT_EQ(info.current(), 17u << 20);
}

TEST_F(HostileTest, NegativeDurationIsRefusedWhereItStands) {
  v1::Message message = MessageWith("x");
  message.mutable_ttl()->set_seconds(-1);
  EXPECT_EQ(ExpectRefusedAlone(message, v1::REASON_BAD_FIELD).resource(), "field ttl");
  v1::PublishStreamRequest publish;
  publish.mutable_batch()->set_first_publish_id(1);
  publish.mutable_batch()->mutable_timeout()->set_seconds(-1);
  *publish.mutable_batch()->add_messages() = MessageWith("x");
  v1::ConsumeStreamRequest drain;
  drain.mutable_drain()->mutable_deadline()->set_nanos(-1);
  for (int i = 0; i < kTimes; ++i) {
    const v1::ErrorInfo info =
        EndOf("PublishStream", {PublishOpen("victim"), publish.SerializeAsString()});
    ASSERT_EQ(info.reason(), v1::REASON_BAD_FIELD) << info.ShortDebugString();
    const v1::ErrorInfo other =
        EndOf("ConsumeStream", {ConsumeOpen("victim"), drain.SerializeAsString()});
    ASSERT_EQ(other.reason(), v1::REASON_BAD_FIELD) << other.ShortDebugString();
  }
}

TEST_F(HostileTest, CreditWithoutEndIsRefused) {
  for (const auto& [messages, bytes] : {std::pair(kHuge, kHuge), {kHuge, 1}, {1, kHuge}}) {
    v1::ConsumeStreamRequest grant;
    grant.mutable_credit()->set_messages(messages);
    grant.mutable_credit()->set_bytes(bytes);
    for (int i = 0; i < kTimes; ++i) {
      const v1::ErrorInfo info =
          EndOf("ConsumeStream", {ConsumeOpen("victim"), grant.SerializeAsString()});
      ASSERT_EQ(info.reason(), v1::REASON_CREDIT_EXCEEDED) << info.ShortDebugString();
    }
  }
}

}  // namespace
}  // namespace mqd::test
