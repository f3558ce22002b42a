#include <gtest/gtest.h>

#include "server/limits.h"
#include "tests/support/streams.h"
#include "tests/unit/rpc/rpc_broker.h"

namespace mqd::rpc {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kInterval = limits::kPingInterval;
constexpr milliseconds kTimeout = limits::kPingTimeout;

class SessionTimeTest : public testing::Test {
 protected:
  void SetUp() override { broker_.Create("orders"); }

  /// Opens `stream`, on which the test answers pings or does not.
  static void Open(
      grpc::ClientReaderWriter<v1::ConsumeStreamRequest, v1::ConsumeStreamResponse>& stream) {
    v1::ConsumeStreamRequest request;
    request.mutable_open()->add_queues()->set_queue("orders");
    stream.Write(request);
    v1::ConsumeStreamResponse frame;
    ASSERT_TRUE(stream.Read(&frame));
    ASSERT_TRUE(frame.has_opened()) << frame.ShortDebugString();
  }

  void Publish(const std::string& payload) {
    test::PublishStream stream(broker_.stub());
    stream.Open("orders");
    stream.Send(1, {test::MessageWith(payload)});
    stream.Results(1);
  }

  Authorizer everyone_;
  RpcBroker broker_{everyone_};
};

TEST_F(SessionTimeTest, AQuietClientIsPinged) {
  grpc::ClientContext context;
  auto stream = broker_.stub().ConsumeStream(&context);
  Open(*stream);
  v1::ConsumeStreamResponse frame;
  broker_.Tick(kInterval + milliseconds(1));
  ASSERT_TRUE(stream->Read(&frame));
  EXPECT_TRUE(frame.has_ping()) << frame.ShortDebugString();
  context.TryCancel();
}

TEST_F(SessionTimeTest, AClientThatDoesNotAnswerAPingIsCutOffAndItsDeliveriesReleased) {
  Publish("a");
  grpc::ClientContext context;
  auto stream = broker_.stub().ConsumeStream(&context);
  Open(*stream);
  v1::ConsumeStreamRequest request;
  v1::ConsumeStreamResponse frame;
  request.mutable_credit()->set_messages(1);
  request.mutable_credit()->set_bytes(1'000);
  stream->Write(request);
  ASSERT_TRUE(stream->Read(&frame));
  ASSERT_TRUE(frame.has_deliveries());

  broker_.Tick(kInterval + milliseconds(1));
  broker_.Tick(kInterval + kTimeout + milliseconds(2));
  grpc::ClientContext other;
  v1::ReceiveRequest receive;
  receive.set_queue("orders");
  receive.mutable_wait()->set_seconds(30);
  v1::ReceiveResponse again;
  ASSERT_TRUE(broker_.stub().Receive(&other, receive, &again).ok());
  ASSERT_EQ(again.runs_size(), 1);
  EXPECT_EQ(again.runs(0).delivery_attempt(), 2u) << "a silent client counts as having started";
  while (stream->Read(&frame)) continue;
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(SessionTimeTest, AClientThatAnswersPingsStays) {
  test::PublishStream stream(broker_.stub());
  stream.Open("orders");
  for (int i = 1; i <= 5; ++i) {
    broker_.Tick(i * (kTimeout + milliseconds(1)));
    stream.Send(static_cast<std::uint64_t>(i), {test::MessageWith("x")});
    stream.Results(1);  // reads, and answers, the ping before it
  }
  stream.HalfClose();
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(SessionTimeTest, AStreamThatDoesNotOpenIsEnded) {
  grpc::ClientContext context;
  auto stream = broker_.stub().PublishStream(&context);
  while (broker_.sessions().publish_streams() == 0) std::this_thread::yield();
  broker_.Tick(limits::kOpenTimeout + milliseconds(1));
  v1::PublishStreamResponse frame;
  EXPECT_FALSE(stream->Read(&frame));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(test::DetailOf(status).reason(), v1::REASON_BAD_FIELD) << test::Describe(status);
}

TEST_F(SessionTimeTest, ADrainEndsAtItsDeadlineAndCountsWhatIsLeft) {
  Publish("a");
  Publish("b");
  test::ConsumeStream stream(broker_.stub());
  stream.Open("orders");
  stream.Grant(2);
  const auto deliveries = stream.Take(2);
  ASSERT_EQ(deliveries.size(), 2u);
  stream.Drain(std::chrono::minutes(5));
  EXPECT_EQ(stream.Ack(deliveries[0].id).settled(), 1u);  // by then the drain has begun, too
  broker_.Tick(std::chrono::minutes(6));
  const auto frame = stream.Next();
  ASSERT_TRUE(frame && frame->has_drained());
  EXPECT_EQ(frame->drained().settled(), 1u);
  EXPECT_EQ(frame->drained().released(), 0u);
  EXPECT_EQ(frame->drained().abandoned(), 1u);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(SessionTimeTest, ASettleWithoutAQueueIsRefusedInADrainToo) {
  Publish("a");
  test::ConsumeStream stream(broker_.stub());
  stream.Open("orders");
  stream.Grant(1);
  const auto deliveries = stream.Take(1);
  stream.Drain(std::chrono::minutes(5));
  v1::SettleBatch nowhere;
  nowhere.set_settle_id(7);
  nowhere.set_queue_index(1);
  stream.Settle(nowhere);
  EXPECT_EQ(stream.Settled().error().reason(), v1::REASON_BAD_FIELD);
  EXPECT_EQ(stream.Ack(deliveries.at(0).id).settled(), 1u);
  const auto frame = stream.Next();
  ASSERT_TRUE(frame && frame->has_drained());
  EXPECT_EQ(frame->drained().settled(), 1u);
}

TEST_F(SessionTimeTest, ManyIdleStreamsEndWithTheBroker) {
  std::vector<std::unique_ptr<test::ConsumeStream>> streams;
  for (int i = 0; i < 50; ++i) {
    streams.push_back(std::make_unique<test::ConsumeStream>(broker_.stub()));
    streams.back()->Open("orders");
  }
  EXPECT_EQ(broker_.sessions().consume_streams(), 50u);
  broker_.sessions().EndAll();
  for (auto& stream : streams) {
    EXPECT_EQ(test::DetailOf(stream->Finish()).reason(), v1::REASON_DRAINING);
  }
  EXPECT_TRUE(
      broker_.sessions().WaitEmpty(std::chrono::steady_clock::now() + std::chrono::seconds(10)));
}

}  // namespace
}  // namespace mqd::rpc
