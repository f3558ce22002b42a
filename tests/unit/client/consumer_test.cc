#include "mqd/consumer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "mqd/client.h"
#include "tests/support/fake_broker.h"

namespace mqd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Deliver;
using test::FakeBroker;
using test::FakeConsume;
using test::OpenedConsume;
using test::Range;
using test::Settled;
using ::testing::ElementsAre;

constexpr ReconnectBackoff kFast = {.initial = milliseconds(1), .max = milliseconds(20)};

/// A handler's gate: handlers wait in Pass() until the test opens it.
class Gate {
 public:
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void WaitFor(int handlers) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= handlers; });
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class ConsumerTest : public ::testing::Test {
 protected:
  void TearDown() override { broker_.EndAll(); }

  void Start(ConsumerOptions options) {
    auto client = Client::Connect({.address = broker_.address(), .backoff = kFast});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    if (options.queues.empty()) options.queues = {{.queue = "orders"}};
    auto consumer = client_->NewConsumer(std::move(options));
    ASSERT_TRUE(consumer.ok()) << consumer.status();
    consumer_ = *std::move(consumer);
  }

  /// Accepts the next stream, answers its open frame and takes its first credit.
  std::shared_ptr<FakeConsume> Accept(v1::ConsumeStreamResponse opened = OpenedConsume()) {
    std::shared_ptr<FakeConsume> session = broker_.AcceptConsume();
    v1::ConsumeStreamRequest frame;
    EXPECT_TRUE(session->Read(&frame));
    open_ = frame.open();
    session->Write(opened);
    EXPECT_TRUE(session->Read(&frame));
    EXPECT_TRUE(frame.has_credit()) << frame.ShortDebugString();
    credit_ = frame.credit();
    return session;
  }

  /// The next settle; adds up credit and collects started marks on the way.
  v1::SettleBatch NextSettle(FakeConsume& session) {
    v1::ConsumeStreamRequest frame;
    while (session.Read(&frame)) {
      if (frame.has_settle()) return frame.settle();
      Note(frame);
    }
    ADD_FAILURE() << "the stream ended without a settle";
    return {};
  }

  /// Reads settles, accepting them, until `count` deliveries are settled: "ack 1-3", ...
  std::vector<std::string> Settles(FakeConsume& session, std::uint64_t count) {
    std::vector<std::string> texts;
    std::uint64_t seen = 0;
    while (seen < count && !HasFailure()) {
      const v1::SettleBatch batch = NextSettle(session);
      for (const v1::SettleEntry& entry : batch.entries()) {
        const v1::DeliveryRange& range = entry.range();
        seen += range.last_delivery_id() - range.first_delivery_id() + 1;
        texts.push_back(NameOf(entry) + " " + std::to_string(range.first_delivery_id()) + "-" +
                        std::to_string(range.last_delivery_id()));
      }
      session.Write(Settled(batch));
    }
    return texts;
  }

  static std::string NameOf(const v1::SettleEntry& entry) {
    if (entry.has_ack()) return "ack";
    if (entry.has_retry()) return "retry";
    if (entry.has_release()) return "release";
    return entry.has_dead_letter() ? "dead_letter" : "extend";
  }

  void Note(const v1::ConsumeStreamRequest& frame) {
    if (frame.has_credit()) {
      credit_.set_messages(credit_.messages() + frame.credit().messages());
      credit_.set_bytes(credit_.bytes() + frame.credit().bytes());
    }
    for (const v1::DeliveryRange& range : frame.started().ranges()) {
      for (auto id = range.first_delivery_id(); id <= range.last_delivery_id(); ++id) {
        started_.push_back(id);
      }
    }
  }

  /// Reads until a started mark has come.
  void ReadStarted(FakeConsume& session) {
    v1::ConsumeStreamRequest frame;
    while (started_.empty() && session.Read(&frame)) Note(frame);
  }

  FakeBroker broker_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Consumer> consumer_;
  v1::ConsumeOpen open_;
  v1::Credit credit_;
  std::vector<std::uint64_t> started_;
};

TEST_F(ConsumerTest, OutcomesOfHandlersAreSettled) {
  Start({.handler = [](Delivery& delivery) -> Outcome {
    if (delivery.payload() == "m1") return Outcome::Ack();
    if (delivery.payload() == "m2") return Outcome::Retry("again");
    if (delivery.payload() == "m3") return Outcome::DeadLetter("never");
    if (delivery.payload() == "m4") return Outcome::Release();
    throw std::runtime_error("broken");
  }});
  const auto session = Accept();
  EXPECT_TRUE(open_.marks_started());
  session->Write(Deliver(1, 5));
  auto settles = Settles(*session, 5);
  std::sort(settles.begin(), settles.end());
  EXPECT_THAT(settles,
              ElementsAre("ack 1-1", "dead_letter 3-3", "release 4-4", "retry 2-2", "retry 5-5"));
}

TEST_F(ConsumerTest, ADeliveryShowsWhatWasSent) {
  std::promise<void> checked;
  Start({.handler = [&](Delivery& delivery) {
    EXPECT_EQ(delivery.queue(), "orders");
    EXPECT_EQ(delivery.payload(), "body");
    EXPECT_EQ(delivery.header("trace"), "abc");
    EXPECT_EQ(delivery.header("none"), std::nullopt);
    EXPECT_EQ(delivery.sequence(), 7u);
    EXPECT_EQ(delivery.delivery_id(), 9u);
    EXPECT_EQ(delivery.attempt(), 3u);
    EXPECT_EQ(delivery.fence(), 2u);
    EXPECT_EQ(delivery.dead_letter().value().queue, "default/other");
    EXPECT_EQ(delivery.dead_letter().value().notes.at(0).consumer, "billing-3");
    checked.set_value();
  }});
  const auto session = Accept();
  v1::ConsumeStreamResponse frame = Deliver(9, 1);
  v1::DeliveryRun& run = *frame.mutable_deliveries()->mutable_runs(0);
  run.set_first_sequence(7);
  run.set_delivery_attempt(3);
  run.set_fence(2);
  run.mutable_dead_letter()->set_queue("default/other");
  run.mutable_dead_letter()->add_notes()->set_consumer("billing-3");
  run.mutable_messages(0)->set_payload("body");
  (*run.mutable_messages(0)->mutable_headers())["trace"] = "abc";
  session->Write(frame);
  checked.get_future().get();
  EXPECT_THAT(Settles(*session, 1), ElementsAre("ack 9-9"));
}

TEST_F(ConsumerTest, CreditIsRepaidOnlyForWhatIsWorkedOff) {
  Gate gate;
  Start({.handler = [&](Delivery&) { gate.Pass(); },
         .credit_messages_initial = 4,
         .credit_messages_max = 4});
  const auto session = Accept();
  EXPECT_EQ(credit_.messages(), 4u);
  session->Write(Deliver(1, 4));
  gate.WaitFor(1);
  ReadStarted(*session);
  EXPECT_EQ(credit_.messages(), 4u);
  EXPECT_THAT(started_, ElementsAre(1));
  gate.Open();
  Settles(*session, 4);
  v1::ConsumeStreamRequest frame;
  while (credit_.messages() < 8 && session->Read(&frame)) Note(frame);
  EXPECT_EQ(credit_.messages(), 8u);
}

TEST_F(ConsumerTest, LostLeasesLeaveTheBufferAndAreSeenByTheirHandler) {
  Gate gate;
  std::promise<bool> lost;
  Start({.handler = [&](Delivery& delivery) {
    if (delivery.delivery_id() == 1) {
      gate.Pass();
      lost.set_value(delivery.lease_lost());
    }
  }});
  const auto session = Accept();
  session->Write(Deliver(1, 3));
  gate.WaitFor(1);
  v1::ConsumeStreamResponse frame;
  *frame.mutable_lease_lost()->add_ranges() = Range(1, 2);
  session->Write(frame);
  session->Write(Deliver(4, 1));
  while (consumer_->Stats().delivered < 4) std::this_thread::yield();
  gate.Open();
  EXPECT_TRUE(lost.get_future().get());
  std::vector<std::uint64_t> acked;
  while (acked.size() < 3 && !HasFailure()) {
    const v1::SettleBatch batch = NextSettle(*session);
    for (const auto& entry : batch.entries()) {
      for (auto id = entry.range().first_delivery_id(); id <= entry.range().last_delivery_id();
           ++id) {
        acked.push_back(id);
      }
    }
    session->Write(Settled(batch));
  }
  std::sort(acked.begin(), acked.end());
  EXPECT_THAT(acked, ElementsAre(1, 3, 4)) << "2 was lost before it was begun";
}

TEST_F(ConsumerTest, RecalledDeliveriesAreReleasedUnlessBegun) {
  Gate gate;
  Start({.handler = [&](Delivery&) { gate.Pass(); }});
  const auto session = Accept();
  session->Write(Deliver(1, 3));
  gate.WaitFor(1);
  v1::ConsumeStreamResponse frame;
  *frame.mutable_recall()->add_ranges() = Range(1, 3);
  session->Write(frame);
  EXPECT_THAT(Settles(*session, 2), ElementsAre("release 2-3"));
  gate.Open();
  EXPECT_THAT(Settles(*session, 1), ElementsAre("ack 1-1"));
}

TEST_F(ConsumerTest, ABrokenStreamDropsTheBufferAndSettlesOverTheNext) {
  Gate gate;
  Start({.handler = [&](Delivery&) { gate.Pass(); }});
  const auto first = Accept();
  first->Write(Deliver(1, 3));
  gate.WaitFor(1);
  first->Break();
  const auto second = Accept();
  gate.Open();
  EXPECT_THAT(Settles(*second, 1), ElementsAre("ack 1-1"));
  EXPECT_EQ(consumer_->Stats().dropped_on_reconnect, 2u);
  second->Write(Deliver(10, 1));
  EXPECT_THAT(Settles(*second, 1), ElementsAre("ack 10-10"));
}

TEST_F(ConsumerTest, RefusedSettlesAreTold) {
  std::promise<SettleError> told;
  Start({.handler = [](Delivery&) {},
         .on_settle_error = [&](const SettleError& error) { told.set_value(error); }});
  const auto session = Accept();
  session->Write(Deliver(5, 1));
  v1::ConsumeStreamResponse answer = Settled(NextSettle(*session));
  v1::SettleException& exception = *answer.mutable_settled()->add_exceptions();
  *exception.mutable_range() = Range(5, 5);
  exception.mutable_error()->set_reason(v1::REASON_STALE_DELIVERY);
  session->Write(answer);
  const SettleError error = told.get_future().get();
  EXPECT_EQ(error.queue, "orders");
  EXPECT_EQ(error.first_delivery_id, 5u);
  EXPECT_EQ(ReasonOf(error.status), Reason::kStaleDelivery);
  EXPECT_EQ(consumer_->Stats().stale, 1u);
}

TEST_F(ConsumerTest, ADeliveryMayBeSettledLaterWithPublishes) {
  std::promise<Delivery> kept;
  Start({.handler = [&](Delivery& delivery) {
    kept.set_value(std::move(delivery));
    return Outcome::Deferred();
  }});
  const auto session = Accept();
  session->Write(Deliver(1, 1));
  Delivery delivery = kept.get_future().get();
  std::promise<absl::StatusOr<SettleResult>> result;
  delivery.Settle(Outcome::Ack(), {{.queue = "out", .messages = {{.payload = "x"}}}},
                  [&](const absl::StatusOr<SettleResult>& answer) { result.set_value(answer); });
  EXPECT_FALSE(delivery.pending());
  const v1::SettleBatch batch = NextSettle(*session);
  ASSERT_EQ(batch.publishes_size(), 1);
  EXPECT_EQ(batch.publishes(0).queue(), "out");
  v1::ConsumeStreamResponse answer = Settled(batch);
  answer.mutable_settled()->add_publish_results()->mutable_published()->set_sequence(77);
  session->Write(answer);
  const absl::StatusOr<SettleResult> settled = result.get_future().get();
  ASSERT_TRUE(settled.ok()) << settled.status();
  EXPECT_EQ(settled->publishes.at(0).value().sequence, 77u);
}

TEST_F(ConsumerTest, AForgottenDeliveryIsReleased) {
  Start({});
  const auto session = Accept();
  session->Write(Deliver(1, 1));
  { const absl::StatusOr<Delivery> delivery = consumer_->Next(seconds(20)); }
  EXPECT_THAT(Settles(*session, 1), ElementsAre("release 1-1"));
}

TEST_F(ConsumerTest, NextAnswersMessagesThenTheEnd) {
  Start({});
  const auto session = Accept();
  EXPECT_EQ(consumer_->Next(milliseconds(1)).status().code(), absl::StatusCode::kDeadlineExceeded);
  session->Write(Deliver(1, 1));
  absl::StatusOr<Delivery> delivery = consumer_->Next(seconds(20));
  ASSERT_TRUE(delivery.ok()) << delivery.status();
  EXPECT_EQ(delivery->payload(), "m1");
  delivery->Settle(Outcome::Ack());
  v1::ConsumeStreamResponse end;
  end.mutable_end_of_queue()->set_queue_index(0);
  session->Write(end);
  EXPECT_EQ(consumer_->Next(seconds(20)).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(ConsumerTest, LeasesOfRunningHandlersAreProlonged) {
  Gate gate;
  Start({.handler = [&](Delivery&) { gate.Pass(); }});
  const auto session = Accept();
  session->Write(Deliver(1, 1, 1'000));
  gate.WaitFor(1);
  EXPECT_THAT(Settles(*session, 1), ElementsAre("extend 1-1"));
  gate.Open();
  EXPECT_THAT(Settles(*session, 1), ElementsAre("ack 1-1"));
}

TEST_F(ConsumerTest, DrainGivesBackTheBufferAndWaitsForHandlers) {
  Gate gate;
  Start({.handler = [&](Delivery&) { gate.Pass(); }});
  const auto session = Accept();
  session->Write(Deliver(1, 3));
  gate.WaitFor(1);
  auto drained = std::async(std::launch::async, [this] { return consumer_->Drain(seconds(20)); });
  v1::ConsumeStreamRequest frame;
  while (session->Read(&frame) && !frame.has_drain()) Note(frame);
  EXPECT_EQ(frame.drain().deadline().seconds(), 20);
  EXPECT_THAT(started_, ::testing::Contains(1)) << "marked before the drain";
  gate.Open();
  EXPECT_THAT(Settles(*session, 1), ElementsAre("ack 1-1"));
  v1::ConsumeStreamResponse answer;
  answer.mutable_drained()->set_settled(1);
  answer.mutable_drained()->set_released(2);
  session->Write(answer);
  session->End(grpc::Status::OK);
  const absl::StatusOr<DrainCounts> counts = drained.get();
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->settled, 1u);
  EXPECT_EQ(counts->released, 2u);
}

TEST_F(ConsumerTest, StopSendsTheLastSettles) {
  Gate gate;
  Start({.handler = [&](Delivery&) { gate.Pass(); }});
  const auto session = Accept();
  session->Write(Deliver(1, 2));
  gate.WaitFor(1);
  auto stopped = std::async(std::launch::async, [this] { consumer_->Stop(); });
  gate.Open();
  EXPECT_THAT(Settles(*session, 1), ElementsAre("ack 1-1"));
  session->End(grpc::Status::OK);
  stopped.get();
}

TEST_F(ConsumerTest, GoAwayLeavesOnceAllIsSettled) {
  Start({.handler = [](Delivery&) {}});
  const auto first = Accept();
  first->Write(Deliver(1, 1));
  v1::ConsumeStreamResponse go_away;
  go_away.mutable_go_away()->set_code(v1::GO_AWAY_CODE_DRAINING);
  first->Write(go_away);
  EXPECT_THAT(Settles(*first, 1), ElementsAre("ack 1-1"));
  v1::ConsumeStreamRequest frame;
  while (first->Read(&frame)) Note(frame);
  first->End(grpc::Status::OK);
  Accept();
}

TEST_F(ConsumerTest, WhatWasSettledOnDeliveryIsNeitherMarkedNorSettled) {
  Start({.handler = [](Delivery&) -> Outcome { return Outcome::Retry("no effect"); }});
  const auto session = Accept();
  session->Write(Deliver(1, 3, 0));
  session->Write(Deliver(4, 1));
  EXPECT_THAT(Settles(*session, 1), ElementsAre("retry 4-4"));
  EXPECT_THAT(started_, ::testing::Not(::testing::Contains(::testing::Le(3u))));
  EXPECT_EQ(consumer_->Stats().running, 0u);
}

TEST_F(ConsumerTest, WhatWasSettledOnDeliveryIsKeptOverABrokenStream) {
  Start({});
  const auto first = Accept();
  first->Write(Deliver(1, 2, 0));
  first->Write(Deliver(3, 1));
  while (consumer_->Stats().delivered < 3) std::this_thread::yield();
  first->Break();
  const auto second = Accept();
  std::promise<absl::StatusOr<SettleResult>> settled;
  auto delivery = consumer_->Next(seconds(20));
  ASSERT_TRUE(delivery.ok());
  EXPECT_TRUE(delivery->settled_on_delivery());
  EXPECT_EQ(delivery->payload(), "m1");
  delivery->Settle(Outcome::Ack(), [&](const auto& result) { settled.set_value(result); });
  EXPECT_TRUE(settled.get_future().get().ok());
  EXPECT_EQ(consumer_->Next(seconds(20))->payload(), "m2");
  EXPECT_EQ(consumer_->Next(milliseconds(1)).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(consumer_->Stats().dropped_on_reconnect, 1u);
}

TEST_F(ConsumerTest, OneThatIsFencedOffDoesNotComeBack) {
  Start({.client_name = "old", .take_over = true});
  const auto session = Accept();
  EXPECT_TRUE(open_.take_over());
  EXPECT_EQ(open_.client_name(), "old");
  v1::ConsumeStreamResponse go_away;
  go_away.mutable_go_away()->set_code(v1::GO_AWAY_CODE_FENCED);
  go_away.mutable_go_away()->mutable_error()->set_message("taken over by new");
  session->Write(go_away);
  const absl::Status status = consumer_->Next(seconds(20)).status();
  EXPECT_EQ(ReasonOf(status), Reason::kFenced) << status;
  EXPECT_EQ(ReasonOf(consumer_->ConnectionStatus()), Reason::kFenced);
}

TEST_F(ConsumerTest, WithoutMarksNothingIsToldToHaveBegun) {
  Start({.handler = [](Delivery&) {}, .marks_started = false});
  const auto session = Accept();
  EXPECT_FALSE(open_.marks_started());
  session->Write(Deliver(1, 1));
  Settles(*session, 1);
  EXPECT_TRUE(started_.empty());
}

TEST_F(ConsumerTest, ADeadBrokerIsLeft) {
  Start({.handler = [](Delivery&) {}});
  v1::ConsumeStreamResponse opened = OpenedConsume();
  opened.mutable_opened()->mutable_limits()->mutable_ping_interval()->set_nanos(1'000'000);
  opened.mutable_opened()->mutable_limits()->mutable_ping_timeout()->set_nanos(1'000'000);
  const auto first = broker_.AcceptConsume();
  first->answer_pings(false);
  v1::ConsumeStreamRequest frame;
  ASSERT_TRUE(first->Read(&frame));
  first->Write(opened);
  while (first->Read(&frame)) Note(frame);
  first->Break();
  Accept();
}

TEST_F(ConsumerTest, NothingCallsBackOnceItIsGone) {
  std::promise<void> entered;
  std::promise<void> never;
  bool called = false;
  bool returned = false;
  Start({.handler = [](Delivery&) {},
         .on_connection =
             [&](const absl::Status& status) {
               if (status.ok() || std::exchange(called, true)) return;
               entered.set_value();
               never.get_future().wait_for(milliseconds(200));
               returned = true;
             }});
  Accept()->Break();
  entered.get_future().wait();
  consumer_.reset();
  EXPECT_TRUE(returned);
}

TEST_F(ConsumerTest, RefusedSettlesAreToldThoughItEnds) {
  std::promise<void> entered;
  std::promise<void> ending;
  int told = 0;
  Start({.handler = [](Delivery&) {},
         .on_settle_error =
             [&](const SettleError&) {
               if (++told > 1) return;
               entered.set_value();
               ending.get_future().wait();
             }});
  const auto session = Accept();
  for (const std::uint64_t id : {5, 6}) {
    session->Write(Deliver(id, 1));
    v1::ConsumeStreamResponse answer = Settled(NextSettle(*session));
    v1::SettleException& exception = *answer.mutable_settled()->add_exceptions();
    *exception.mutable_range() = Range(id, id);
    exception.mutable_error()->set_reason(v1::REASON_STALE_DELIVERY);
    session->Write(answer);
    if (id == 5) entered.get_future().wait();
  }
  session->Write(Deliver(7, 1));
  session->Write(Settled(NextSettle(*session)));  // it has read what was written before
  std::thread ender([&] { consumer_.reset(); });
  v1::ConsumeStreamRequest frame;
  while (session->Read(&frame)) {
  }
  ending.set_value();
  ender.join();
  EXPECT_EQ(told, 2);
}

TEST_F(ConsumerTest, ManyHandlersSettleEveryDeliveryOnce) {
  Start({.handler = [](Delivery&) {}, .concurrency = 4});
  const auto session = Accept();
  std::uint64_t sent = 0;
  std::vector<int> acks(2'001);
  std::uint64_t acked = 0;
  while (acked < 2'000 && !HasFailure()) {
    const std::uint64_t count = std::min<std::uint64_t>(credit_.messages() - sent, 2'000 - sent);
    if (count > 0) session->Write(Deliver(sent + 1, count));
    sent += count;
    v1::ConsumeStreamRequest frame;
    ASSERT_TRUE(session->Read(&frame));
    Note(frame);
    if (!frame.has_settle()) continue;
    for (const auto& entry : frame.settle().entries()) {
      for (auto id = entry.range().first_delivery_id(); id <= entry.range().last_delivery_id();
           ++id) {
        ++acks[id];
        ++acked;
      }
    }
    session->Write(Settled(frame.settle()));
  }
  EXPECT_EQ(std::count(acks.begin() + 1, acks.end(), 1), 2'000);
}

}  // namespace
}  // namespace mqd
