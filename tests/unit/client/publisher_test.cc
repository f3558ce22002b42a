#include "mqd/publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "mqd/client.h"
#include "tests/support/fake_broker.h"

namespace mqd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Confirm;
using test::FakeBroker;
using test::FakePublish;
using test::OpenedPublish;
using ::testing::ElementsAre;

constexpr ReconnectBackoff kFast = {.initial = milliseconds(1), .max = milliseconds(20)};

class PublisherTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (broker_ != nullptr) broker_->EndAll();
  }

  void Start(PublisherOptions options = {}) {
    auto client = Client::Connect({.address = broker_->address(), .backoff = kFast});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    options.queue = "orders";
    options.close_timeout = milliseconds(1);
    auto publisher = client_->NewPublisher(options);
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    publisher_ = *std::move(publisher);
  }

  /// Accepts the publisher's next stream and answers its open frame.
  std::shared_ptr<FakePublish> Accept(const v1::PublishStreamResponse& opened) {
    std::shared_ptr<FakePublish> session = broker_->AcceptPublish();
    v1::PublishStreamRequest open;
    EXPECT_TRUE(session->Read(&open));
    EXPECT_EQ(open.open().queue(), "orders");
    producer_ids_.push_back(open.open().producer_id());
    session->Write(opened);
    return session;
  }

  /// Reads batches until `count` messages have come: their ids and payloads, "3:a".
  static std::vector<std::string> Read(FakePublish& session, std::size_t count) {
    std::vector<std::string> messages;
    v1::PublishStreamRequest frame;
    while (messages.size() < count && session.Read(&frame)) {
      std::uint64_t id = frame.batch().first_publish_id();
      for (const v1::Message& message : frame.batch().messages()) {
        messages.push_back(std::to_string(id++) + ":" + message.payload());
      }
    }
    return messages;
  }

  std::future<PublishResult> Publish(const std::string& payload, const std::string& key = {}) {
    return publisher_->Publish({.payload = payload, .idempotency_key = key});
  }

  std::unique_ptr<FakeBroker> broker_ = std::make_unique<FakeBroker>();
  std::unique_ptr<Client> client_;
  std::unique_ptr<Publisher> publisher_;
  std::vector<std::string> producer_ids_;
};

// Between the answer and its callback there is a moment: many trials.
TEST_F(PublisherTest, FlushReturnsOnlyAfterTheCallbacks) {
  Start();
  v1::PublishStreamResponse opened = OpenedPublish();
  opened.mutable_opened()->mutable_credit()->set_messages(1'000'000);
  opened.mutable_opened()->mutable_credit()->set_bytes(1'000'000'000);
  const auto session = Accept(opened);
  for (std::uint64_t id = 1; id <= 3'000; ++id) {
    std::atomic<bool> called = false;
    ASSERT_TRUE(publisher_->Publish({.payload = "a"}, [&](const auto&) { called = true; }).ok());
    Read(*session, 1);
    session->Write(Confirm(id, 1, id));
    ASSERT_TRUE(publisher_->Flush(seconds(20)).ok());
    ASSERT_TRUE(called) << "in trial " << id;
  }
}

TEST_F(PublisherTest, EachMessageGetsItsOwnResult) {
  Start();
  auto published = Publish("a");
  auto duplicate = Publish("b", "key");
  auto dropped = Publish("c");
  auto failed = Publish("d");
  const auto session = Accept(OpenedPublish());
  EXPECT_THAT(Read(*session, 4), ElementsAre("1:a", "2:b", "3:c", "4:d"));
  v1::PublishStreamResponse frame = Confirm(1, 1, 70);
  v1::PublishException* exception = frame.mutable_confirms()->add_exceptions();
  exception->set_publish_id(2);
  exception->mutable_duplicate()->set_sequence(12);
  exception->mutable_duplicate()->set_status(v1::MESSAGE_STATUS_SETTLED);
  exception = frame.mutable_confirms()->add_exceptions();
  exception->set_publish_id(3);
  exception->mutable_dropped()->set_policy(v1::OVERFLOW_POLICY_DROP_NEWEST);
  exception = frame.mutable_confirms()->add_exceptions();
  exception->set_publish_id(4);
  exception->mutable_error()->set_reason(v1::REASON_QUEUE_FULL);
  exception->mutable_error()->set_retryable(true);
  exception->mutable_error()->set_limit(1'000);
  session->Write(frame);

  EXPECT_EQ(published.get().value().sequence, 70u);
  const PublishOutcome second = duplicate.get().value();
  EXPECT_EQ(second.kind, PublishOutcome::Kind::kDuplicate);
  EXPECT_EQ(second.sequence, 12u);
  EXPECT_EQ(second.status, MessageStatus::kSettled);
  EXPECT_EQ(dropped.get().value().dropped_by, OverflowPolicy::kDropNewest);
  const absl::Status status = failed.get().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const std::optional<ErrorInfo> info = ErrorInfoOf(status);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason, Reason::kQueueFull);
  EXPECT_TRUE(info->retryable);
  EXPECT_EQ(info->limit, 1'000u);
}

TEST_F(PublisherTest, MessagesGatherWhileTheFrameBeforeThemHasNoAnswer) {
  Start();
  const auto session = Accept(OpenedPublish());
  auto a = Publish("a");
  EXPECT_THAT(Read(*session, 1), ElementsAre("1:a"));
  for (const char* payload : {"b", "c", "d"}) (void)Publish(payload);
  session->Write(Confirm(1, 1, 1));
  EXPECT_THAT(Read(*session, 3), ElementsAre("2:b", "3:c", "4:d"));
  EXPECT_EQ(publisher_->Stats().frames, 2u);
}

TEST_F(PublisherTest, ABrokenStreamIsResumedWithTheSameIdsInOrder) {
  Start();
  auto a = Publish("a");
  auto b = Publish("b");
  auto c = Publish("c");
  const auto first = Accept(OpenedPublish());
  EXPECT_THAT(Read(*first, 3), ElementsAre("1:a", "2:b", "3:c"));
  first->Write(Confirm(1, 1, 1));
  EXPECT_TRUE(a.get().ok());
  first->Break();

  const auto second = Accept(OpenedPublish(true));
  EXPECT_EQ(producer_ids_[0].size(), 16u);
  EXPECT_EQ(producer_ids_[0], producer_ids_[1]);
  EXPECT_THAT(Read(*second, 2), ElementsAre("2:b", "3:c"));
  second->Write(Confirm(2, 2, 2));
  auto d = Publish("d");
  EXPECT_THAT(Read(*second, 1), ElementsAre("4:d"));
  second->Write(Confirm(4, 1, 4));
  EXPECT_EQ(b.get().value().sequence, 2u);
  EXPECT_EQ(c.get().value().sequence, 3u);
  EXPECT_EQ(d.get().value().sequence, 4u);
  EXPECT_EQ(publisher_->Stats().resent, 2u);
}

TEST_F(PublisherTest, AForgottenProducerResendsKeysAndReportsTheRest) {
  Start();
  auto plain = Publish("plain");
  auto keyed = Publish("keyed", "key");
  const auto first = Accept(OpenedPublish());
  EXPECT_EQ(Read(*first, 2).size(), 2u);
  first->Break();
  const auto second = Accept(OpenedPublish(false));
  EXPECT_EQ(ReasonOf(plain.get().status()), Reason::kOutcomeUnknown);
  EXPECT_THAT(Read(*second, 1), ElementsAre("2:keyed"));
  second->Write(Confirm(2, 1, 5));
  EXPECT_TRUE(keyed.get().ok());
}

TEST_F(PublisherTest, ABrokerThatComesBackLaterIsFound) {
  Start();
  const int port = broker_->port();
  const auto first = Accept(OpenedPublish());
  auto a = Publish("a");
  EXPECT_EQ(Read(*first, 1).size(), 1u);
  broker_.reset();
  auto b = Publish("b");
  broker_ = std::make_unique<FakeBroker>(port);
  const auto second = Accept(OpenedPublish(true));
  EXPECT_THAT(Read(*second, 1), ElementsAre("1:a"));
  second->Write(Confirm(1, 1, 1));
  EXPECT_TRUE(a.get().ok());
  EXPECT_THAT(Read(*second, 1), ElementsAre("2:b"));
  second->Write(Confirm(2, 1, 2));
  EXPECT_TRUE(b.get().ok());
}

TEST_F(PublisherTest, CreditIsNeverPassed) {
  Start();
  for (const char* payload : {"a", "b", "c", "d", "e"}) (void)Publish(payload);
  const auto session = Accept(OpenedPublish(false, 2));
  EXPECT_THAT(Read(*session, 2), ElementsAre("1:a", "2:b"));
  session->Write(Confirm(1, 2, 1));
  EXPECT_EQ(publisher_->Flush(milliseconds(20)).code(), absl::StatusCode::kDeadlineExceeded)
      << "the others have no credit, whatever is confirmed";
  v1::PublishStreamResponse credit;
  credit.mutable_credit()->set_messages(3);
  session->Write(credit);
  EXPECT_THAT(Read(*session, 3), ElementsAre("3:c", "4:d", "5:e"));
}

TEST_F(PublisherTest, ARefusedQueueFailsWhatWaitsAndWhatFollows) {
  Start();
  const auto session = broker_->AcceptPublish();
  auto a = Publish("a");
  session->End({grpc::StatusCode::NOT_FOUND, "no such queue"});
  EXPECT_EQ(a.get().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Publish("b").get().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(publisher_->ConnectionStatus().code(), absl::StatusCode::kNotFound);
}

TEST_F(PublisherTest, AFullWindowRefusesOrWaitsForRoom) {
  Start({.unconfirmed_messages_max = 1, .when_full = WhenFull::kRefuse});
  const auto session = Accept(OpenedPublish());
  auto a = Publish("a");
  EXPECT_EQ(Publish("b").get().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Read(*session, 1).size(), 1u);
  session->Write(Confirm(1, 1, 1));
  EXPECT_TRUE(a.get().ok());
  auto c = Publish("c");
  EXPECT_THAT(Read(*session, 1), ElementsAre("2:c"));
}

TEST_F(PublisherTest, ABlockedPublisherGoesOnWhenThereIsRoom) {
  Start({.unconfirmed_messages_max = 1, .full_timeout = seconds(20)});
  const auto session = Accept(OpenedPublish());
  auto a = Publish("a");
  auto b = std::async(std::launch::async, [this] { return Publish("b").get(); });
  EXPECT_THAT(Read(*session, 1), ElementsAre("1:a"));
  session->Write(Confirm(1, 1, 1));
  EXPECT_THAT(Read(*session, 1), ElementsAre("2:b"));
  session->Write(Confirm(2, 1, 2));
  EXPECT_TRUE(b.get().ok());
}

TEST_F(PublisherTest, BeingBlockedIsToldWithTheReason) {
  std::promise<absl::Status> blocked;
  std::promise<absl::Status> unblocked;
  Start({.on_blocked = [&](const absl::Status& reason) {
    (reason.ok() ? unblocked : blocked).set_value(reason);
  }});
  const auto session = Accept(OpenedPublish());
  v1::PublishStreamResponse frame;
  frame.mutable_blocked()->mutable_reason()->set_reason(v1::REASON_QUEUE_FULL);
  session->Write(frame);
  EXPECT_EQ(ReasonOf(blocked.get_future().get()), Reason::kQueueFull);
  EXPECT_EQ(ReasonOf(publisher_->Stats().blocked), Reason::kQueueFull);
  EXPECT_EQ(publisher_->Stats().blocked_total, 1u);
  frame.mutable_blocked()->clear_reason();
  session->Write(frame);
  EXPECT_TRUE(unblocked.get_future().get().ok());
  EXPECT_TRUE(publisher_->Stats().blocked.ok());
}

TEST_F(PublisherTest, AllResultsHaveBeenToldWhenItIsGone) {
  std::promise<void> never;
  bool told = false;
  Start({.close_timeout = milliseconds(1)});
  const auto session = Accept(OpenedPublish());
  ASSERT_TRUE(publisher_
                  ->Publish({.payload = "unanswered"},
                            [&](const PublishResult&) {
                              never.get_future().wait_for(milliseconds(200));
                              told = true;
                            })
                  .ok());
  EXPECT_THAT(Read(*session, 1), ElementsAre("1:unanswered"));
  publisher_.reset();
  EXPECT_TRUE(told);
}

TEST_F(PublisherTest, EveryFieldOfAMessageIsSent) {
  Start({.confirm_level = ConfirmLevel::kSettled, .timeout = seconds(9)});
  const auto session = Accept(OpenedPublish());
  const std::vector<MessageRef> after = {{"first", 7}};
  (void)publisher_->Publish({.payload = "x",
                             .ordering_key = "customer",
                             .priority = 9,
                             .delay = milliseconds(1'500),
                             .deliver_at = WallTime(seconds(77)),
                             .ttl = seconds(3),
                             .deliver_after = after});
  v1::PublishStreamRequest frame;
  ASSERT_TRUE(session->Read(&frame));
  EXPECT_EQ(frame.batch().confirm_level(), v1::CONFIRM_LEVEL_SETTLED);
  EXPECT_EQ(frame.batch().timeout().seconds(), 9);
  const v1::Message& message = frame.batch().messages(0);
  EXPECT_EQ(message.ordering_key(), "customer");
  EXPECT_EQ(message.priority(), 9u);
  EXPECT_EQ(message.delay().seconds(), 1);
  EXPECT_EQ(message.delay().nanos(), 500'000'000);
  EXPECT_EQ(message.deliver_at().seconds(), 77);
  EXPECT_EQ(message.ttl().seconds(), 3);
  EXPECT_EQ(message.deliver_after(0).queue(), "first");
  EXPECT_EQ(message.deliver_after(0).sequence(), 7u);
}

TEST_F(PublisherTest, ResultsMayComeInAnyOrderAndTheWindowCountsFromTheOldest) {
  Start({.confirm_level = ConfirmLevel::kDelivered,
         .unconfirmed_messages_max = 2,
         .when_full = WhenFull::kRefuse});
  const auto session = Accept(OpenedPublish());
  auto a = Publish("a");
  auto b = Publish("b");
  EXPECT_EQ(Read(*session, 2).size(), 2u);
  session->Write(Confirm(2, 1, 2));
  EXPECT_EQ(b.get().value().sequence, 2u);
  EXPECT_EQ(Publish("c").get().status().code(), absl::StatusCode::kResourceExhausted)
      << "what is behind the oldest is remembered";
  session->Write(Confirm(1, 1, 1));
  EXPECT_EQ(a.get().value().sequence, 1u);
  auto d = Publish("d");
  EXPECT_THAT(Read(*session, 1), ElementsAre("3:d"));
}

TEST_F(PublisherTest, OneThatIsFencedOffDoesNotComeBack) {
  Start({.client_name = "old", .take_over = true});
  const auto session = broker_->AcceptPublish();
  v1::PublishStreamRequest frame;
  ASSERT_TRUE(session->Read(&frame));
  EXPECT_TRUE(frame.open().take_over());
  EXPECT_EQ(frame.open().client_name(), "old");
  session->Write(OpenedPublish());
  auto a = Publish("a");
  EXPECT_EQ(Read(*session, 1).size(), 1u);
  v1::PublishStreamResponse go_away;
  go_away.mutable_go_away()->set_code(v1::GO_AWAY_CODE_FENCED);
  session->Write(go_away);
  EXPECT_EQ(ReasonOf(a.get().status()), Reason::kFenced);
  EXPECT_EQ(ReasonOf(Publish("b").get().status()), Reason::kFenced);
}

TEST_F(PublisherTest, ADeadBrokerIsLeft) {
  Start();
  v1::PublishStreamResponse opened = OpenedPublish();
  opened.mutable_opened()->mutable_limits()->mutable_ping_interval()->set_nanos(1'000'000);
  opened.mutable_opened()->mutable_limits()->mutable_ping_timeout()->set_nanos(1'000'000);
  const auto first = broker_->AcceptPublish();
  first->answer_pings(false);
  v1::PublishStreamRequest frame;
  ASSERT_TRUE(first->Read(&frame));
  first->Write(opened);
  ASSERT_TRUE(first->Read(&frame));
  EXPECT_TRUE(frame.has_ping());
  EXPECT_FALSE(first->Read(&frame)) << "the client ends a stream whose pings are not answered";
  first->Break();
  Accept(OpenedPublish(true))->Break();
}

TEST_F(PublisherTest, APingOfTheBrokerIsAnswered) {
  Start();
  const auto session = Accept(OpenedPublish());
  v1::PublishStreamResponse ping;
  ping.mutable_ping()->set_nonce(99);
  session->Write(ping);
  v1::PublishStreamRequest frame;
  ASSERT_TRUE(session->Read(&frame));
  EXPECT_EQ(frame.pong().nonce(), 99u);
}

TEST_F(PublisherTest, GoAwayLeavesOnceAllIsAnswered) {
  Start();
  const auto first = Accept(OpenedPublish());
  auto a = Publish("a");
  EXPECT_EQ(Read(*first, 1).size(), 1u);
  v1::PublishStreamResponse go_away;
  go_away.mutable_go_away()->set_code(v1::GO_AWAY_CODE_DRAINING);
  first->Write(go_away);
  first->Write(Confirm(1, 1, 1));
  EXPECT_TRUE(a.get().ok());
  v1::PublishStreamRequest frame;
  EXPECT_FALSE(first->Read(&frame)) << "the client ends its side";
  first->End(grpc::Status::OK);
  const auto second = Accept(OpenedPublish(true));
  auto b = Publish("b");
  EXPECT_THAT(Read(*second, 1), ElementsAre("2:b"));
}

TEST_F(PublisherTest, CallbacksRunInOrderAndFlushWaitsForThem) {
  Start();
  std::vector<std::uint64_t> sequences;
  for (int i = 0; i < 3; ++i) {
    const absl::Status accepted = publisher_->Publish(
        {.payload = "x"},
        [&](const PublishResult& result) { sequences.push_back(result.value().sequence); });
    ASSERT_TRUE(accepted.ok());
  }
  const auto session = Accept(OpenedPublish());
  EXPECT_EQ(Read(*session, 3).size(), 3u);
  session->Write(Confirm(1, 3, 10));
  ASSERT_TRUE(publisher_->Flush(seconds(20)).ok());
  EXPECT_THAT(sequences, ElementsAre(10, 11, 12));
}

TEST_F(PublisherTest, CloseCompletesWhatIsLeft) {
  Start();
  const auto session = Accept(OpenedPublish(false, 1));
  auto sent = Publish("sent");
  auto unsent = Publish("unsent");
  EXPECT_EQ(Read(*session, 1).size(), 1u);
  EXPECT_EQ(publisher_->Close(milliseconds(1)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(sent.get().status()), Reason::kOutcomeUnknown);
  EXPECT_EQ(unsent.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Publish("late").get().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PublisherTest, TooLargeIsRefusedAtOnce) {
  Start();
  const auto session = Accept(OpenedPublish());
  auto small = Publish("small");
  EXPECT_EQ(Read(*session, 1).size(), 1u);
  EXPECT_EQ(ReasonOf(Publish(std::string((1 << 20) + 1, 'x')).get().status()),
            Reason::kMessageTooLarge);
}

}  // namespace
}  // namespace mqd
