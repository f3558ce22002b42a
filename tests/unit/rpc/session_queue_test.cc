// What sessions and calls ask of a queue, and what they make of its answers.
#include <gtest/gtest.h>

#include "tests/support/streams.h"
#include "tests/unit/rpc/fake_queue.h"
#include "tests/unit/rpc/rpc_broker.h"

namespace mqd::rpc {
namespace {

class SessionQueueTest : public testing::Test {
 protected:
  std::unique_ptr<FakeRegistry> Queues() {
    auto registry = std::make_unique<FakeRegistry>();
    orders_ = registry->Add("default/orders");
    mail_ = registry->Add("default/mail");
    registry->Add("other/orders");
    return registry;
  }

  static v1::Message After(const std::string& queue, std::uint64_t sequence) {
    v1::Message message = test::MessageWith("x");
    message.add_deliver_after()->set_queue(queue);
    message.mutable_deliver_after(0)->set_sequence(sequence);
    return message;
  }

  Authorizer everyone_;
  std::shared_ptr<FakeQueue> orders_;
  std::shared_ptr<FakeQueue> mail_;
  RpcBroker broker_{everyone_, Queues()};
};

// ---- who comes

TEST_F(SessionQueueTest, APublisherBringsItsNameAndMayTakeOver) {
  test::PublishStream stream(broker_.stub());
  v1::PublishStreamRequest request;
  request.mutable_open()->set_queue("orders");
  request.mutable_open()->set_client_name("shop-3");
  request.mutable_open()->set_take_over(true);
  stream.Write(request);
  const auto attach = orders_->WaitFor<queue::AttachPublisher>();
  EXPECT_EQ(attach.client_name, "shop-3");
  EXPECT_TRUE(attach.take_over);
}

TEST_F(SessionQueueTest, AConsumerBringsItsNameAndMayTakeOver) {
  test::ConsumeStream stream(broker_.stub());
  v1::ConsumeOpen open;
  open.add_queues()->set_queue("orders");
  open.set_client_name("billing-3");
  open.set_take_over(true);
  open.set_marks_started(true);
  open.set_in_flight_per_key(7);
  stream.Open(open);
  const auto attach = orders_->WaitFor<queue::AttachConsumer>();
  EXPECT_EQ(attach.client_name, "billing-3");
  EXPECT_TRUE(attach.take_over);
  EXPECT_TRUE(attach.marks_started);
  EXPECT_EQ(attach.in_flight_per_key, 7u);
  EXPECT_FALSE(attach.on_demand);
}

TEST_F(SessionQueueTest, UnaryCallsHaveANameToo) {
  grpc::ClientContext publish_context;
  v1::PublishRequest publish;
  publish.set_queue("orders");
  publish.add_messages()->set_priority(10);  // refused at the edge: the fake answers nothing
  v1::PublishResponse published;
  ASSERT_TRUE(broker_.stub().Publish(&publish_context, publish, &published).ok());
  EXPECT_EQ(published.results(0).error().resource(), "field priority");
  EXPECT_EQ(orders_->WaitFor<queue::AttachPublisher>().client_name, "unary");

  for (const std::string name : {"cron-7", ""}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + test::kStreamDeadline);
    v1::ReceiveRequest receive;
    receive.set_queue("mail");
    receive.set_client_name(name);
    v1::ReceiveResponse received;
    std::thread caller([&] { broker_.stub().Receive(&context, receive, &received); });
    EXPECT_EQ(mail_->WaitFor<queue::AttachConsumer>().client_name, name.empty() ? "unary" : name);
    mail_->WaitFor<queue::DrainConsumer>();
    mail_->consumer()->OnDrained(0, 0, 0);
    caller.join();
  }
}

// ---- publishing

TEST_F(SessionQueueTest, SpecialFieldsAndTheLevelReachTheQueue) {
  test::PublishStream stream(broker_.stub());
  stream.Open("orders");
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  batch.set_confirm_level(v1::CONFIRM_LEVEL_SETTLED);
  *batch.add_messages() = test::MessageWith("plain");
  *batch.add_messages() = After("mail", 7);
  batch.mutable_messages(1)->set_ordering_key("customer-7");
  stream.Send(batch);
  const auto posted = orders_->WaitFor<queue::PublishBatch>();
  EXPECT_EQ(posted.level, queue::ConfirmLevel::kSettled);
  ASSERT_EQ(posted.messages.size(), 2u);
  EXPECT_EQ(posted.messages[0].special, 0u);
  ASSERT_EQ(posted.messages[1].special, 1u);
  EXPECT_EQ(posted.specials[0].ordering_key, "customer-7");
  const std::vector<storage::MessageRef> expected = {{mail_->id(), 7}};
  EXPECT_EQ(posted.specials[0].deliver_after, expected);
}

TEST_F(SessionQueueTest, AReferenceStaysInItsNamespaceAndNamesAQueue) {
  test::PublishStream stream(broker_.stub());
  stream.Open("orders");
  stream.Send(1, {After("other/orders", 1), After("nowhere", 1), After("", 1)});
  const auto posted = orders_->WaitFor<queue::PublishBatch>();
  ASSERT_EQ(posted.specials.size(), 3u);
  for (const queue::SpecialFields& each : posted.specials) ASSERT_NE(each.fault, nullptr);
  EXPECT_EQ(posted.specials[0].fault->reason, queue::Reason::kBadField);
  EXPECT_EQ(posted.specials[0].fault->resource, "field deliver_after");
  EXPECT_EQ(posted.specials[1].fault->reason, queue::Reason::kQueueNotFound);
  EXPECT_EQ(posted.specials[2].fault->reason, queue::Reason::kBadField);
}

TEST_F(SessionQueueTest, AnAtomicPublishTakesNoReference) {
  test::ConsumeStream stream(broker_.stub());
  stream.Open("orders");
  v1::SettleBatch batch;
  batch.set_settle_id(1);
  v1::SettleEntry& entry = *batch.add_entries();
  entry.mutable_range()->set_first_delivery_id(1);
  entry.mutable_range()->set_last_delivery_id(1);
  entry.mutable_ack();
  v1::TransactionalPublish& publish = *batch.add_publishes();
  publish.set_queue("mail");
  *publish.add_messages() = After("mail", 1);
  stream.Settle(batch);
  const v1::SettleResults results = stream.Settled();
  EXPECT_TRUE(results.has_error());
  ASSERT_EQ(results.publish_results_size(), 1);
  EXPECT_EQ(results.publish_results(0).error().resource(), "field deliver_after");
}

TEST_F(SessionQueueTest, AWaitIsToldWhenItBeginsAndWhenItEnds) {
  test::PublishStream stream(broker_.stub());
  stream.Open("orders");
  orders_->publisher()->OnBlocked(5, queue::ErrorInfo{.reason = queue::Reason::kQueueFull});
  auto frame = stream.Next();
  ASSERT_TRUE(frame && frame->has_blocked());
  EXPECT_EQ(frame->blocked().first_publish_id(), 5u);
  EXPECT_EQ(frame->blocked().reason().reason(), v1::REASON_QUEUE_FULL);
  orders_->publisher()->OnBlocked(5, std::nullopt);
  frame = stream.Next();
  ASSERT_TRUE(frame && frame->has_blocked());
  EXPECT_FALSE(frame->blocked().has_reason());
}

TEST_F(SessionQueueTest, ManyWaitsDoNotEndTheStreamOfAPublisherThatReadsSlowly) {
  test::PublishStream stream(broker_.stub());
  stream.Open("orders");
  const auto sink = orders_->publisher();
  for (int i = 0; i < 100'000; ++i) {
    sink->OnBlocked(1, queue::ErrorInfo{.reason = queue::Reason::kRateLimited});
    sink->OnBlocked(1, std::nullopt);
  }
  sink->OnBlocked(2, queue::ErrorInfo{.reason = queue::Reason::kQueueFull});
  for (;;) {
    const auto frame = stream.Next();
    ASSERT_TRUE(frame) << test::Describe(stream.Finish());
    if (frame->has_blocked() && frame->blocked().first_publish_id() == 2) break;
  }
}

TEST_F(SessionQueueTest, APublisherThatIsFencedOffIsToldSo) {
  test::PublishStream stream(broker_.stub());
  stream.Open("orders");
  orders_->publisher()->OnGoAway(queue::GoAwayCode::kFenced, {.reason = queue::Reason::kFenced,
                                                              .message = "another has taken over"});
  const auto frame = stream.Next();
  ASSERT_TRUE(frame && frame->has_go_away());
  EXPECT_EQ(frame->go_away().code(), v1::GO_AWAY_CODE_FENCED);
  EXPECT_EQ(test::DetailOf(stream.Finish()).reason(), v1::REASON_FENCED);
}

// ---- consuming

TEST_F(SessionQueueTest, APrioritySelectAsksTheHigherQueueFirst) {
  test::ConsumeStream stream(broker_.stub());
  v1::ConsumeOpen open;
  open.set_select_mode(v1::SELECT_MODE_PRIORITY);
  open.mutable_ageing_floor()->set_seconds(3'600);
  open.add_queues()->set_queue("orders");
  v1::SelectQueue& high = *open.add_queues();
  high.set_queue("mail");
  high.set_priority(9);
  stream.Open(open);
  EXPECT_TRUE(orders_->WaitFor<queue::AttachConsumer>().on_demand);
  const queue::ConsumerId mail_consumer = mail_->WaitFor<queue::AttachConsumer>().consumer;
  orders_->consumer()->OnWantCredit(0);
  mail_->consumer()->OnWantCredit(1);
  stream.Grant(10);
  const auto grant = mail_->WaitFor<queue::GrantCredit>();
  EXPECT_EQ(grant.consumer, mail_consumer);
  EXPECT_EQ(grant.messages, 10u);
  mail_->consumer()->OnCreditReturned(1, 10, 1 << 20, false);
  EXPECT_EQ(orders_->WaitFor<queue::GrantCredit>().messages, 10u);
}

TEST_F(SessionQueueTest, ASelectThatContradictsItselfIsRefusedByName) {
  const auto refused = [&](auto set) {
    test::ConsumeStream stream(broker_.stub());
    v1::ConsumeStreamRequest request;
    request.mutable_open()->add_queues()->set_queue("orders");
    set(*request.mutable_open());
    stream.Write(request);
    return test::DetailOf(stream.Finish()).resource();
  };
  EXPECT_EQ(refused([](auto& open) { open.mutable_queues(0)->set_priority(1); }),
            "field queues.priority");
  EXPECT_EQ(refused([](auto& open) { open.mutable_ageing_floor()->set_seconds(1); }),
            "field ageing_floor");
  EXPECT_EQ(refused([](auto& open) {
              open.set_select_mode(v1::SELECT_MODE_PRIORITY);
              open.mutable_ageing_floor()->set_nanos(1'000'000);
            }),
            "field ageing_floor");
  EXPECT_EQ(refused([](auto& open) { open.set_select_mode(static_cast<v1::SelectMode>(3)); }),
            "field select_mode");
  EXPECT_EQ(refused([](auto& open) { open.set_in_flight_per_key(1'025); }),
            "field in_flight_per_key");
}

TEST_F(SessionQueueTest, ARecallNamesTheDeliveriesThatAreAskedBack) {
  test::ConsumeStream stream(broker_.stub());
  stream.Open("orders", true);
  orders_->consumer()->OnRecall(0, {{3, 5}, {9, 9}});
  const auto frame = stream.Next();
  ASSERT_TRUE(frame && frame->has_recall());
  ASSERT_EQ(frame->recall().ranges_size(), 2);
  EXPECT_EQ(frame->recall().ranges(0).first_delivery_id(), 3u);
  EXPECT_EQ(frame->recall().ranges(0).last_delivery_id(), 5u);
}

}  // namespace
}  // namespace mqd::rpc
