// The calls that look at messages and clients: what they ask, what they show, what they refuse.
#include <gtest/gtest.h>

#include "proto/wire/frame_write.h"
#include "server/rpc/look_convert.h"
#include "tests/support/streams.h"
#include "tests/unit/rpc/fake_queue.h"
#include "tests/unit/rpc/rpc_broker.h"

namespace mqd::rpc {
namespace {

class ExplainRpcTest : public testing::Test {
 protected:
  std::unique_ptr<FakeRegistry> Queues() {
    auto registry = std::make_unique<FakeRegistry>();
    queue_ = registry->Add("default/orders");
    return registry;
  }

  template <class Request, class Response>
  grpc::Status Call(grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*,
                                                                   const Request&, Response*),
                    Request request, Response& response) {
    request.set_queue("orders");
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + test::kStreamDeadline);
    return (broker_.admin().*method)(&context, request, &response);
  }

  /// The field that the call was refused for.
  template <class Request, class Response>
  std::string Refused(grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*),
                      Request request) {
    Response response;
    const v1::ErrorInfo detail = test::DetailOf(Call(method, std::move(request), response));
    EXPECT_EQ(detail.reason(), v1::REASON_BAD_FIELD);
    return detail.resource();
  }

  /// Explains the subject that `set` sets, and answers what the queue was asked about.
  template <class Subject, class Set>
  Subject Asked(Set set) {
    v1::ExplainRequest request;
    set(request);
    v1::ExplainResponse response;
    EXPECT_TRUE(Call(&Stub::Explain, request, response).ok());
    return std::get<Subject>(queue_->WaitFor<queue::Explain>().subject);
  }

  using Stub = v1::AdminService::Stub;
  Authorizer everyone_;
  std::shared_ptr<FakeQueue> queue_;
  RpcBroker broker_{everyone_, Queues()};
};

TEST_F(ExplainRpcTest, EverySubjectReachesTheQueue) {
  Asked<queue::ExplainQueue>([](v1::ExplainRequest&) {});
  EXPECT_EQ(Asked<queue::ExplainConsumer>([](auto& r) { r.set_consumer_id(17); }).id, 17u);
  EXPECT_EQ(Asked<queue::ExplainConsumer>([](auto& r) { r.set_consumer_name("a"); }).name, "a");
  EXPECT_EQ(Asked<queue::ExplainPublisher>([](auto& r) { r.set_publisher_id(3); }).id, 3u);
  EXPECT_EQ(Asked<queue::ExplainPublisher>([](auto& r) { r.set_publisher_name("b"); }).name, "b");
  EXPECT_EQ(Asked<queue::ExplainKey>([](auto& r) { r.set_ordering_key("k"); }).key, "k");
  EXPECT_EQ(Asked<queue::ExplainMessage>([](auto& r) { r.set_sequence(42); }).sequence, 42u);
}

TEST_F(ExplainRpcTest, ASubjectThatCannotBeIsRefusedByName) {
  const auto refused = [&](auto set) {
    v1::ExplainRequest request;
    set(request);
    return Refused(&Stub::Explain, request);
  };
  EXPECT_EQ(refused([](auto& r) { r.set_consumer_id(0); }), "field consumer_id");
  EXPECT_EQ(refused([](auto& r) { r.set_publisher_id(0); }), "field publisher_id");
  EXPECT_EQ(refused([](auto& r) { r.set_consumer_name(""); }), "field consumer_name");
  EXPECT_EQ(refused([](auto& r) { r.set_publisher_name(""); }), "field publisher_name");
  EXPECT_EQ(refused([](auto& r) { r.set_ordering_key(std::string(129, 'k')); }),
            "field ordering_key");
  EXPECT_EQ(refused([](auto& r) { r.set_sequence(0); }), "field sequence");
}

TEST_F(ExplainRpcTest, AnExplanationArrivesWhole) {
  queue_->explanations = {{.cause = queue::Cause::kKeyHeld,
                           .text = "held by delivery 9",
                           .resource = "consumer 17 (billing-3)",
                           .delivery_id = 9,
                           .sequence = 4,
                           .since_ms = 1'000,
                           .until_ms = 31'000,
                           .limit = 1,
                           .current = 2},
                          {.cause = queue::Cause::kIdle}};
  v1::ExplainResponse response;
  ASSERT_TRUE(Call(&Stub::Explain, v1::ExplainRequest(), response).ok());
  ASSERT_EQ(response.explanations_size(), 2);
  const v1::Explanation& first = response.explanations(0);
  EXPECT_EQ(first.cause(), v1::CAUSE_KEY_HELD);
  EXPECT_EQ(first.text(), "held by delivery 9");
  EXPECT_EQ(first.resource(), "consumer 17 (billing-3)");
  EXPECT_EQ(first.delivery_id(), 9u);
  EXPECT_EQ(first.sequence(), 4u);
  EXPECT_EQ(first.since().seconds(), 1);
  EXPECT_EQ(first.until().seconds(), 31);
  EXPECT_EQ(first.limit(), 1u);
  EXPECT_EQ(first.current(), 2u);
  EXPECT_EQ(response.explanations(1).cause(), v1::CAUSE_IDLE);
  EXPECT_FALSE(response.explanations(1).has_since()) << "not known is not 1970";
}

TEST_F(ExplainRpcTest, AMessageIsFoundBySequenceOrByTheHashOfItsKey) {
  v1::FindMessageResponse response;
  v1::FindMessageRequest request;
  request.set_sequence(5);
  ASSERT_TRUE(Call(&Stub::FindMessage, request, response).ok());
  const auto by_sequence = queue_->WaitFor<queue::FindMessage>();
  EXPECT_EQ(by_sequence.sequence, 5u);
  EXPECT_FALSE(by_sequence.key);
  request.set_idempotency_key("order-1");
  ASSERT_TRUE(Call(&Stub::FindMessage, request, response).ok());
  const wire::IdempotencyKeyHash hash = wire::HashOfKey("order-1");
  EXPECT_EQ(queue_->WaitFor<queue::FindMessage>().key, (queue::KeyHash{hash.high, hash.low}));
  EXPECT_EQ(Refused(&Stub::FindMessage, v1::FindMessageRequest()), "field by");
  request.set_idempotency_key("");
  EXPECT_EQ(Refused(&Stub::FindMessage, request), "field idempotency_key");
}

TEST_F(ExplainRpcTest, AFoundMessageIsShownWithItsAttemptsAndItsOrigin) {
  std::string element;
  wire::AppendElement({.payload = "body"}, element);
  storage::Body::Builder body;
  body.Append(element);
  const storage::AttemptNote note{
      .attempt = 2, .time_ms = 7'000, .consumer = "billing-3", .error = "no such account"};
  queue_->found = {
      .sequence = 5,
      .status = queue::MessageStatus::kParked,
      .attempts = 2,
      .publish_time_ms = 1'000,
      .notes = {{.attempt = 1}, note},
      .dead_letter =
          storage::DeadLetterOrigin{.queue = "default/mail", .sequence = 3, .notes = {note}},
      .body = std::move(body).Finish()};
  v1::FindMessageRequest request;
  request.set_sequence(5);
  v1::FindMessageResponse response;
  ASSERT_TRUE(Call(&Stub::FindMessage, request, response).ok());
  const v1::PeekedMessage& message = response.message();
  EXPECT_EQ(message.status(), v1::MESSAGE_STATUS_PARKED);
  EXPECT_EQ(message.message().payload(), "body");
  EXPECT_EQ(message.last_error(), "no such account");
  ASSERT_EQ(message.notes_size(), 2);
  EXPECT_EQ(message.notes(1).consumer(), "billing-3");
  EXPECT_EQ(message.notes(1).time().seconds(), 7);
  EXPECT_EQ(message.dead_letter().queue(), "default/mail");
  EXPECT_EQ(message.dead_letter().notes_size(), 1);

  v1::PeekMessagesResponse peeked;
  ASSERT_TRUE(Call(&Stub::PeekMessages, v1::PeekMessagesRequest(), peeked).ok());
  ASSERT_EQ(peeked.messages_size(), 1);
  EXPECT_EQ(peeked.messages(0).SerializeAsString(), message.SerializeAsString());
}

TEST_F(ExplainRpcTest, AMessageThatIsGoneIsShownWithoutItsBody) {
  queue_->found = {.sequence = 5, .status = queue::MessageStatus::kSettled};
  v1::FindMessageRequest request;
  request.set_sequence(5);
  v1::FindMessageResponse response;
  ASSERT_TRUE(Call(&Stub::FindMessage, request, response).ok());
  EXPECT_EQ(response.message().status(), v1::MESSAGE_STATUS_SETTLED);
  EXPECT_FALSE(response.message().has_message());
  EXPECT_FALSE(response.message().has_publish_time());
}

TEST_F(ExplainRpcTest, ACancelSaysWhatItDidNotCancel) {
  queue_->cancel_result = {
      .cancelled = 1,
      .exceptions = {{8, {.reason = queue::Reason::kMessageNotFound, .message = "gone"}}}};
  v1::CancelMessagesRequest request;
  request.add_sequences(7);
  request.add_sequences(8);
  v1::CancelMessagesResponse response;
  ASSERT_TRUE(Call(&Stub::CancelMessages, request, response).ok());
  EXPECT_EQ(queue_->WaitFor<queue::CancelMessages>().sequences,
            (std::vector<queue::Sequence>{7, 8}));
  EXPECT_EQ(response.cancelled(), 1u);
  ASSERT_EQ(response.exceptions_size(), 1);
  EXPECT_EQ(response.exceptions(0).sequence(), 8u);
  EXPECT_EQ(response.exceptions(0).error().reason(), v1::REASON_MESSAGE_NOT_FOUND);

  EXPECT_EQ(Refused(&Stub::CancelMessages, v1::CancelMessagesRequest()), "field sequences");
  while (request.sequences_size() <= 1'024) request.add_sequences(1);
  EXPECT_EQ(Refused(&Stub::CancelMessages, request), "field sequences");
}

TEST_F(ExplainRpcTest, AKeyIsShownAndForgotten) {
  queue_->dedup = {.sequence = 9,
                   .status = queue::MessageStatus::kSettled,
                   .first_seen_ms = 1'000,
                   .expires_ms = 601'000};
  v1::GetDedupEntryRequest get;
  get.set_idempotency_key("order-1");
  v1::GetDedupEntryResponse got;
  ASSERT_TRUE(Call(&Stub::GetDedupEntry, get, got).ok());
  EXPECT_EQ(got.sequence(), 9u);
  EXPECT_EQ(got.status(), v1::MESSAGE_STATUS_SETTLED);
  EXPECT_EQ(got.first_seen().seconds(), 1);
  EXPECT_EQ(got.expires().seconds(), 601);
  v1::ForgetDedupEntryRequest forget;
  forget.set_idempotency_key("order-1");
  v1::ForgetDedupEntryResponse forgotten;
  ASSERT_TRUE(Call(&Stub::ForgetDedupEntry, forget, forgotten).ok());
  EXPECT_EQ(queue_->WaitFor<queue::GetDedup>().key, queue_->WaitFor<queue::ForgetDedup>().key);
  EXPECT_EQ(Refused(&Stub::GetDedupEntry, v1::GetDedupEntryRequest()), "field idempotency_key");
  EXPECT_EQ(Refused(&Stub::ForgetDedupEntry, v1::ForgetDedupEntryRequest()),
            "field idempotency_key");
}

TEST_F(ExplainRpcTest, HistoryHasAPageOfItsOwnSize) {
  queue_->history = {{.first = 3,
                      .last = 5,
                      .time_ms = 2'000,
                      .transition = queue::Transition::kCancelled,
                      .attempt = 1,
                      .client_name = "billing-3",
                      .text = "by an operator"}};
  v1::GetHistoryRequest request;
  request.set_sequence(4);
  v1::GetHistoryResponse response;
  ASSERT_TRUE(Call(&Stub::GetHistory, request, response).ok());
  const auto asked = queue_->WaitFor<queue::GetHistory>();
  EXPECT_EQ(asked.sequence, 4u);
  EXPECT_EQ(asked.limit, 100u);
  ASSERT_EQ(response.entries_size(), 1);
  EXPECT_EQ(response.entries(0).first_sequence(), 3u);
  EXPECT_EQ(response.entries(0).last_sequence(), 5u);
  EXPECT_EQ(response.entries(0).transition(), v1::TRANSITION_CANCELLED);
  EXPECT_EQ(response.entries(0).client_name(), "billing-3");
  request.set_limit(1'001);
  EXPECT_EQ(Refused(&Stub::GetHistory, request), "field limit");
}

TEST_F(ExplainRpcTest, ClientsAreListedWithWhatTheyHold) {
  queue_->clients = {
      .publishers = {{.id = 3, .client_name = "shop", .since_ms = 1'000, .waiting = 4}},
      .consumers = {{.id = 17,
                     .client_name = "billing",
                     .since_ms = 2'000,
                     .in_flight = 5,
                     .credit_messages = 6,
                     .credit_bytes = -7,
                     .delivered = 8,
                     .acked = 9,
                     .draining = true,
                     .standby = true,
                     .select = true}}};
  v1::ListClientsResponse response;
  ASSERT_TRUE(Call(&Stub::ListClients, v1::ListClientsRequest(), response).ok());
  ASSERT_EQ(response.publishers_size(), 1);
  EXPECT_EQ(response.publishers(0).publisher_id(), 3u);
  EXPECT_EQ(response.publishers(0).waiting(), 4u);
  ASSERT_EQ(response.consumers_size(), 1);
  const v1::ConsumerInfo& consumer = response.consumers(0);
  EXPECT_EQ(consumer.consumer_id(), 17u);
  EXPECT_EQ(consumer.client_name(), "billing");
  EXPECT_EQ(consumer.in_flight(), 5u);
  EXPECT_EQ(consumer.credit_bytes(), -7);
  EXPECT_EQ(consumer.acked_total(), 9u);
  EXPECT_TRUE(consumer.draining() && consumer.standby() && consumer.select());
}

}  // namespace
}  // namespace mqd::rpc
