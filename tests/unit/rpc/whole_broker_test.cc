// Promises that need the edge and the rules together, over the wire.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/streams.h"
#include "tests/unit/rpc/rpc_broker.h"

namespace mqd::rpc {
namespace {

using test::MessageWith;

class WholeBrokerTest : public testing::Test {
 protected:
  /// Publishes one message in a stream of its own, and answers its result.
  v1::Confirms Publish(const std::string& queue, const v1::Message& message) {
    test::PublishStream stream(broker_.stub());
    stream.Open(queue);
    stream.Send(1, {message});
    return stream.Results(1);
  }

  static v1::Message Keyed(const std::string& payload, const std::string& key) {
    v1::Message message = MessageWith(payload);
    message.set_ordering_key(key);
    return message;
  }

  v1::ReceiveResponse Receive(const std::string& queue, std::int64_t wait_s = 20) {
    grpc::ClientContext context;
    v1::ReceiveRequest request;
    request.set_queue(queue);
    request.set_client_name("tester");
    request.mutable_wait()->set_seconds(wait_s);
    v1::ReceiveResponse response;
    const grpc::Status status = broker_.stub().Receive(&context, request, &response);
    EXPECT_TRUE(status.ok()) << test::Describe(status);
    return response;
  }

  /// Settles one delivery with what `set` sets.
  template <class Set>
  void Settle(const std::string& queue, std::uint64_t delivery_id, Set set) {
    grpc::ClientContext context;
    v1::SettleRequest request;
    request.set_queue(queue);
    v1::SettleEntry& entry = *request.add_entries();
    entry.mutable_range()->set_first_delivery_id(delivery_id);
    entry.mutable_range()->set_last_delivery_id(delivery_id);
    set(entry);
    v1::SettleResponse response;
    ASSERT_TRUE(broker_.stub().Settle(&context, request, &response).ok());
    ASSERT_EQ(response.exceptions_size(), 0) << response.ShortDebugString();
  }

  v1::Explanation Why(const std::string& queue, const v1::ExplainRequest& subject = {}) {
    grpc::ClientContext context;
    v1::ExplainRequest request = subject;
    request.set_queue(queue);
    v1::ExplainResponse response;
    const grpc::Status status = broker_.admin().Explain(&context, request, &response);
    EXPECT_TRUE(status.ok()) << test::Describe(status);
    return response.explanations_size() > 0 ? response.explanations(0) : v1::Explanation();
  }

  Authorizer everyone_;
  RpcBroker broker_{everyone_};
};

TEST_F(WholeBrokerTest, ADeliveredConfirmComesWithTheDelivery) {
  broker_.Create("orders");
  test::PublishStream publisher(broker_.stub());
  publisher.Open("orders");
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  batch.set_confirm_level(v1::CONFIRM_LEVEL_DELIVERED);
  *batch.add_messages() = MessageWith("a");
  publisher.Send(batch);
  const auto received = Receive("orders");
  ASSERT_EQ(received.runs_size(), 1);
  const v1::Confirms confirms = publisher.Results(1);
  ASSERT_EQ(confirms.ranges_size(), 1);
  EXPECT_EQ(confirms.ranges(0).first_sequence(), received.runs(0).first_sequence());
}

TEST_F(WholeBrokerTest, ARendezvousStoresNothingUntilAConsumerWaits) {
  broker_.Create("meet", {.max_messages = 0});
  const v1::Confirms alone = Publish("meet", MessageWith("nobody"));
  ASSERT_EQ(alone.exceptions_size(), 1);
  EXPECT_EQ(alone.exceptions(0).error().reason(), v1::REASON_QUEUE_FULL);
  test::ConsumeStream consumer(broker_.stub());
  consumer.Open("meet");
  consumer.Grant(1);
  while (Why("meet").cause() == v1::CAUSE_NO_CONSUMERS) continue;
  v1::Confirms met = Publish("meet", MessageWith("somebody"));
  while (met.exceptions_size() > 0) met = Publish("meet", MessageWith("somebody"));
  EXPECT_EQ(consumer.Take(1).at(0).message.payload(), "somebody");
}

TEST_F(WholeBrokerTest, PrioritiesGoFirstAndSequencesInsideThem) {
  broker_.Create("orders");
  std::vector<v1::Message> messages;
  for (int i = 0; i < 6; ++i) {
    messages.push_back(MessageWith(std::to_string(i)));
    messages.back().set_priority(static_cast<std::uint32_t>(i % 3));
  }
  test::PublishStream publisher(broker_.stub());
  publisher.Open("orders");
  publisher.Send(1, messages);
  publisher.Results(6);
  test::ConsumeStream consumer(broker_.stub());
  consumer.Open("orders");
  consumer.Grant(6);
  std::string order;
  for (const test::Delivery& delivery : consumer.Take(6)) order += delivery.message.payload();
  EXPECT_EQ(order, "251403");
}

TEST_F(WholeBrokerTest, OneMessageOfAKeyIsInFlightAndWhyNamesItsHolder) {
  broker_.Create("orders", {.ordering = queue::Ordering::kKeyed});
  Publish("orders", Keyed("first", "k"));
  Publish("orders", Keyed("second", "k"));
  const auto first = Receive("orders");
  ASSERT_EQ(first.runs_size(), 1);
  EXPECT_EQ(first.runs(0).messages(0).payload(), "first");
  EXPECT_GT(first.runs(0).fence(), 0u);
  EXPECT_EQ(Receive("orders", 0).runs_size(), 0) << "the key is held";
  v1::ExplainRequest key;
  key.set_ordering_key("k");
  EXPECT_EQ(Why("orders", key).cause(), v1::CAUSE_KEY_HELD);
  EXPECT_EQ(Why("orders", key).delivery_id(), first.runs(0).first_delivery_id());
  Settle("orders", first.runs(0).first_delivery_id(), [](auto& entry) { entry.mutable_ack(); });
  const auto second = Receive("orders");
  ASSERT_EQ(second.runs_size(), 1);
  EXPECT_GT(second.runs(0).fence(), first.runs(0).fence()) << "another consumer has the key";
}

TEST_F(WholeBrokerTest, AnOrderingKeyNeedsAQueueThatOrdersByIt) {
  broker_.Create("orders");
  const v1::Confirms refused = Publish("orders", Keyed("x", "k"));
  ASSERT_EQ(refused.exceptions_size(), 1);
  EXPECT_EQ(refused.exceptions(0).error().resource(), "field ordering_key");
}

TEST_F(WholeBrokerTest, AMessageWaitsUntilTheOneItNamesIsSettled) {
  broker_.Create("orders");
  broker_.Create("mail");
  const std::uint64_t cause = Publish("orders", MessageWith("cause")).ranges(0).first_sequence();
  v1::Message effect = MessageWith("effect");
  effect.add_deliver_after()->set_queue("orders");
  effect.mutable_deliver_after(0)->set_sequence(cause);
  const v1::Confirms stored = Publish("mail", effect);
  ASSERT_EQ(stored.ranges_size(), 1) << stored.ShortDebugString();
  EXPECT_EQ(broker_.Stats("mail").delayed, 1u);
  v1::ExplainRequest subject;
  subject.set_sequence(stored.ranges(0).first_sequence());
  EXPECT_EQ(Why("mail", subject).cause(), v1::CAUSE_WAITS_FOR_MESSAGE);
  const auto first = Receive("orders");
  Settle("orders", first.runs(0).first_delivery_id(), [](auto& entry) { entry.mutable_ack(); });
  const auto second = Receive("mail");
  ASSERT_EQ(second.runs_size(), 1);
  EXPECT_EQ(second.runs(0).messages(0).payload(), "effect");

  effect.mutable_deliver_after(0)->set_sequence(cause + 1'000);
  EXPECT_EQ(Publish("mail", effect).exceptions(0).error().resource(), "field deliver_after");
}

TEST_F(WholeBrokerTest, WhatIsDeliveredAtMostOnceHasNoLease) {
  broker_.Create("feed", {.delivery = queue::DeliveryMode::kAtMostOnce});
  Publish("feed", MessageWith("x"));
  const auto received = Receive("feed");
  ASSERT_EQ(received.runs_size(), 1);
  EXPECT_EQ(received.runs(0).lease().seconds(), 0);
  EXPECT_EQ(broker_.Stats("feed").in_flight, 0u);
  EXPECT_EQ(broker_.Stats("feed").ready, 0u);
}

TEST_F(WholeBrokerTest, AnExtraConsumerIsRefusedWithTheHolderOrTakesOver) {
  broker_.Create("orders", {.max_consumers = 1});
  v1::ConsumeStreamRequest request;
  v1::ConsumeOpen& open = *request.mutable_open();
  open.add_queues()->set_queue("orders");
  open.set_client_name("first");
  test::ConsumeStream first(broker_.stub());
  first.Open(open);
  open.set_client_name("second");
  {
    test::ConsumeStream refused(broker_.stub());
    refused.Write(request);
    const v1::ErrorInfo detail = test::DetailOf(refused.Finish());
    EXPECT_EQ(detail.reason(), v1::REASON_CARDINALITY);
    EXPECT_NE(detail.message().find("first"), std::string::npos) << detail.message();
  }
  open.set_take_over(true);
  test::ConsumeStream second(broker_.stub());
  second.Open(open);
  const auto frame = first.Next();
  ASSERT_TRUE(frame && frame->has_go_away());
  EXPECT_EQ(frame->go_away().code(), v1::GO_AWAY_CODE_FENCED);
}

TEST_F(WholeBrokerTest, ADeadLetterTellsItsAttempts) {
  broker_.Create("dead");
  queue::QueueSettings settings{.max_attempts = 2, .dead_letter_queue = "default/dead"};
  settings.retry_backoff.initial = std::chrono::milliseconds(0);
  broker_.Create("orders", settings);
  Publish("orders", MessageWith("x"));
  v1::ConsumeOpen open;
  open.add_queues()->set_queue("orders");
  open.set_client_name("billing-3");
  test::ConsumeStream consumer(broker_.stub());
  consumer.Open(open);
  consumer.Grant(2);
  for (const char* error : {"no such account", "still no such account"}) {
    Settle("orders", consumer.Take(1).at(0).id,
           [&](auto& entry) { entry.mutable_retry()->set_error(error); });
  }
  const auto dead = Receive("dead");
  ASSERT_EQ(dead.runs_size(), 1);
  const v1::DeadLetterInfo& origin = dead.runs(0).dead_letter();
  EXPECT_EQ(origin.queue(), "default/orders");
  ASSERT_EQ(origin.notes_size(), 2) << origin.ShortDebugString();
  EXPECT_EQ(origin.notes(0).error(), "no such account");
  EXPECT_EQ(origin.notes(1).consumer(), "billing-3");
}

TEST_F(WholeBrokerTest, ADelayedMessageIsFoundByItsKeyAndCancelled) {
  broker_.Create("orders");
  v1::Message later = MessageWith("x", "order-1");
  later.mutable_delay()->set_seconds(3'600);
  const std::uint64_t sequence = Publish("orders", later).ranges(0).first_sequence();
  grpc::ClientContext find_context;
  v1::FindMessageRequest find;
  find.set_queue("orders");
  find.set_idempotency_key("order-1");
  v1::FindMessageResponse found;
  ASSERT_TRUE(broker_.admin().FindMessage(&find_context, find, &found).ok());
  EXPECT_EQ(found.message().sequence(), sequence);
  EXPECT_EQ(found.message().status(), v1::MESSAGE_STATUS_DELAYED);
  EXPECT_EQ(found.message().message().payload(), "x");

  grpc::ClientContext cancel_context;
  v1::CancelMessagesRequest cancel;
  cancel.set_queue("orders");
  cancel.add_sequences(sequence);
  v1::CancelMessagesResponse cancelled;
  ASSERT_TRUE(broker_.admin().CancelMessages(&cancel_context, cancel, &cancelled).ok());
  EXPECT_EQ(cancelled.cancelled(), 1u);
  EXPECT_EQ(broker_.Stats("orders").delayed, 0u);
  EXPECT_EQ(broker_.Stats("orders").cancelled, 1u);
}

TEST_F(WholeBrokerTest, AForgottenKeyMayBeUsedAgain) {
  broker_.Create("orders");
  Publish("orders", MessageWith("x", "order-1"));
  EXPECT_EQ(Publish("orders", MessageWith("y", "order-1")).exceptions(0).error().reason(),
            v1::REASON_IDEMPOTENCY_CONFLICT);
  grpc::ClientContext context;
  v1::ForgetDedupEntryRequest forget;
  forget.set_queue("orders");
  forget.set_idempotency_key("order-1");
  v1::ForgetDedupEntryResponse forgotten;
  ASSERT_TRUE(broker_.admin().ForgetDedupEntry(&context, forget, &forgotten).ok());
  EXPECT_EQ(Publish("orders", MessageWith("y", "order-1")).ranges_size(), 1);
}

TEST_F(WholeBrokerTest, APrioritySelectTakesTheHigherQueueFirst) {
  broker_.Create("low");
  broker_.Create("high");
  for (const char* name : {"low", "high"}) {
    test::PublishStream publisher(broker_.stub());
    publisher.Open(name);
    publisher.Send(1, std::vector<v1::Message>(20, MessageWith(name)));
    publisher.Results(20);
  }
  v1::ConsumeOpen open;
  open.set_select_mode(v1::SELECT_MODE_PRIORITY);
  open.add_queues()->set_queue("low");
  open.add_queues()->set_queue("high");
  open.mutable_queues(1)->set_priority(9);
  test::ConsumeStream consumer(broker_.stub());
  consumer.Open(open);
  consumer.Grant(40);
  const auto deliveries = consumer.Take(40);
  ASSERT_EQ(deliveries.size(), 40u);
  const auto high = std::find_if(deliveries.begin(), deliveries.end(),
                                 [](const auto& d) { return d.queue_index == 1; });
  // Credit may have come while only one queue had asked; from its first delivery on it goes first.
  ASSERT_LE(high - deliveries.begin(), 16);
  for (auto at = high; at != high + 20; ++at) EXPECT_EQ(at->queue_index, 1u);
}

TEST_F(WholeBrokerTest, ClientsAreListedByTheNamesTheyGave) {
  broker_.Create("orders");
  test::ConsumeStream consumer(broker_.stub());
  v1::ConsumeOpen open;
  open.add_queues()->set_queue("orders");
  open.set_client_name("billing-3");
  consumer.Open(open);
  grpc::ClientContext context;
  v1::ListClientsRequest request;
  request.set_queue("orders");
  v1::ListClientsResponse clients;
  ASSERT_TRUE(broker_.admin().ListClients(&context, request, &clients).ok());
  ASSERT_EQ(clients.consumers_size(), 1);
  EXPECT_EQ(clients.consumers(0).client_name(), "billing-3");
}

}  // namespace
}  // namespace mqd::rpc
