#include "mqd/select.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "mqd/client.h"
#include "tests/support/fake_broker.h"

namespace mqd {
namespace {

using std::chrono::milliseconds;
using test::Deliver;
using test::FakeBroker;
using test::FakeConsume;
using test::OpenedConsume;
using test::Settled;
using ::testing::ElementsAre;

class SelectTest : public ::testing::Test {
 protected:
  void TearDown() override { broker_.EndAll(); }

  /// A handler that writes down "arm:payload".
  Handler Note(const std::string& arm) {
    return [this, arm](Delivery& delivery) {
      handled_.push_back(arm + ":" + std::string(delivery.payload()));
    };
  }

  void Start(SelectOptions options) {
    auto client = Client::Connect({.address = broker_.address()});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    auto select = Select::Make(*client_, std::move(options));
    ASSERT_TRUE(select.ok()) << select.status();
    select_ = *std::move(select);
    session_ = broker_.AcceptConsume();
    v1::ConsumeStreamRequest frame;
    ASSERT_TRUE(session_->Read(&frame));
    open_ = frame.open();
    session_->Write(OpenedConsume());
  }

  /// Two arms, "high" and "low".
  SelectOptions TwoArms() {
    SelectOptions options;
    options.arms.resize(2);
    options.arms[0].queue.queue = "high";
    options.arms[0].queue.priority = 9;
    options.arms[0].handler = Note("high");
    options.arms[1].queue.queue = "low";
    options.arms[1].queue.priority = 1;
    options.arms[1].handler = Note("low");
    return options;
  }

  void Send(std::uint32_t queue_index, std::uint64_t id) {
    v1::ConsumeStreamResponse frame = Deliver(id, 1);
    frame.mutable_deliveries()->set_queue_index(queue_index);
    session_->Write(frame);
  }

  /// The next settle of the client.
  v1::SettleBatch NextSettle() {
    v1::ConsumeStreamRequest frame;
    while (session_->Read(&frame)) {
      if (!frame.has_settle()) continue;
      session_->Write(Settled(frame.settle()));
      return frame.settle();
    }
    ADD_FAILURE() << "the stream ended without a settle";
    return {};
  }

  void EndQueues() {
    for (const std::uint32_t index : {0U, 1U}) {
      v1::ConsumeStreamResponse end;
      end.mutable_end_of_queue()->set_queue_index(index);
      session_->Write(end);
    }
  }

  FakeBroker broker_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Select> select_;
  std::shared_ptr<FakeConsume> session_;
  v1::ConsumeOpen open_;
  std::vector<std::string> handled_;
};

TEST_F(SelectTest, ModePrioritiesAndFloorAreAskedOfTheBroker) {
  SelectOptions options = TwoArms();
  options.mode = SelectMode::kPriority;
  options.ageing_floor = milliseconds(1'500);
  options.client_name = "chooser";
  Start(std::move(options));
  EXPECT_EQ(open_.select_mode(), v1::SELECT_MODE_PRIORITY);
  ASSERT_EQ(open_.queues_size(), 2);
  EXPECT_EQ(open_.queues(0).priority(), 9u);
  EXPECT_EQ(open_.ageing_floor().seconds(), 1);
  EXPECT_EQ(open_.client_name(), "chooser");
}

TEST_F(SelectTest, EachMessageRunsTheHandlerOfItsQueueAndIsAcked) {
  Start(TwoArms());
  Send(1, 7);
  EXPECT_EQ(select_->Wait()->arm, 1u);
  const v1::SettleBatch first = NextSettle();
  EXPECT_EQ(first.queue_index(), 1u);
  EXPECT_TRUE(first.entries(0).has_ack());
  Send(0, 8);
  EXPECT_EQ(select_->Wait()->arm, 0u);
  EXPECT_EQ(NextSettle().queue_index(), 0u);
  EXPECT_THAT(handled_, ElementsAre("low:m7", "high:m8"));
}

TEST_F(SelectTest, OneMessageOfCreditIsGrantedUnlessMoreIsAskedFor) {
  Start(TwoArms());
  v1::ConsumeStreamRequest frame;
  ASSERT_TRUE(session_->Read(&frame));
  EXPECT_EQ(frame.credit().messages(), 1u);
}

TEST_F(SelectTest, AnExceptionOfAHandlerIsARetry) {
  SelectOptions options = TwoArms();
  options.arms[0].handler = [](Delivery&) { throw std::runtime_error("broken"); };
  Start(std::move(options));
  Send(0, 1);
  ASSERT_TRUE(select_->Wait().ok());
  EXPECT_EQ(NextSettle().entries(0).retry().error(), "broken");
}

TEST_F(SelectTest, TheTimeoutArmRunsWhenNothingComes) {
  int timeouts = 0;
  SelectOptions options = TwoArms();
  options.timeout = milliseconds(0);
  options.on_timeout = [&] { ++timeouts; };
  Start(std::move(options));
  EXPECT_EQ(select_->Wait()->kind, Selected::Kind::kTimeout);
  EXPECT_EQ(select_->Wait()->kind, Selected::Kind::kTimeout);
  EXPECT_EQ(timeouts, 2);
}

TEST_F(SelectTest, CancelEndsAWaitOfAnotherThread) {
  std::atomic<int> cancels = 0;
  SelectOptions options = TwoArms();
  options.on_cancel = [&] { ++cancels; };
  Start(std::move(options));
  auto run = std::async(std::launch::async, [this] { return select_->Run(); });
  select_->Cancel();
  EXPECT_TRUE(run.get().ok());
  EXPECT_EQ(cancels, 1);
}

TEST_F(SelectTest, CancelGoesBeforeMessagesThatAreThere) {
  Start(TwoArms());
  Send(0, 1);
  while (select_->consumer().Stats().delivered == 0) std::this_thread::yield();
  select_->Cancel();
  EXPECT_EQ(select_->Wait()->kind, Selected::Kind::kCancelled);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(SelectTest, AHandlerMayCancel) {
  SelectOptions options = TwoArms();
  options.arms[0].handler = [this](Delivery&) { select_->Cancel(); };
  Start(std::move(options));
  Send(0, 1);
  EXPECT_TRUE(select_->Run().ok());
  EXPECT_TRUE(NextSettle().entries(0).has_ack()) << "what was handled is settled after all";
}

TEST_F(SelectTest, RunEndsWhenEveryQueueHas) {
  Start(TwoArms());
  EndQueues();
  EXPECT_TRUE(select_->Run().ok());
  EXPECT_EQ(select_->Wait()->kind, Selected::Kind::kEnded);
}

TEST_F(SelectTest, ARefusedStreamIsAnError) {
  auto client = Client::Connect({.address = broker_.address()});
  ASSERT_TRUE(client.ok());
  auto select = Select::Make(**client, TwoArms());
  ASSERT_TRUE(select.ok());
  const auto session = broker_.AcceptConsume();
  session->End({grpc::StatusCode::NOT_FOUND, "QUEUE_NOT_FOUND: no queue high"});
  EXPECT_EQ((*select)->Wait().status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SelectTest, AnArmWithoutAHandlerIsRefused) {
  auto client = Client::Connect({.address = broker_.address()});
  ASSERT_TRUE(client.ok());
  SelectOptions options = TwoArms();
  options.arms[1].handler = {};
  EXPECT_EQ(Select::Make(**client, std::move(options)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mqd
