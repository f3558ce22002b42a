// SIGTERM while a thousand streams are open: the drain ends in time, and nothing confirmed is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <set>

#include "mqd/client.h"
#include "proto/base/mutex.h"
#include "tests/support/figures.h"
#include "tests/support/mqd_process.h"
#include "tests/support/streams.h"

namespace mqd::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kStreamsOfAKind = 500;
constexpr int kConnections = 4;

/// Streams that are open and say nothing.
class IdleStreams {
 public:
  explicit IdleStreams(const std::string& address) {
    for (int i = 0; i < kConnections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      stubs_.push_back(v1::BrokerService::NewStub(
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)));
    }
    for (int i = 0; i < kStreamsOfAKind; ++i) {
      v1::BrokerService::Stub& stub = *stubs_[static_cast<std::size_t>(i % kConnections)];
      publish_.push_back(std::make_unique<PublishStream>(stub));
      publish_.back()->Open("idle");
      consume_.push_back(std::make_unique<ConsumeStream>(stub));
      consume_.back()->Open("idle");
      consume_.back()->Grant(10);
    }
  }

  /// Publishers finish when they are told to go; consumers hold nothing and are ended.
  void Obey() { ObeyAllBut(0); }

  /// So many publishers do not listen.
  void ObeyAllBut(std::size_t deaf) {
    for (std::size_t i = deaf; i < publish_.size(); ++i) {
      auto& stream = publish_[i];
      const auto frame = stream->Next();
      ASSERT_TRUE(frame && frame->has_go_away());
      EXPECT_EQ(frame->go_away().code(), v1::GO_AWAY_CODE_DRAINING);
      stream->HalfClose();
      EXPECT_TRUE(stream->Finish().ok());
    }
    for (auto& stream : consume_) {
      EXPECT_EQ(DetailOf(stream->Finish()).reason(), v1::REASON_DRAINING);
    }
  }

 private:
  std::vector<std::unique_ptr<v1::BrokerService::Stub>> stubs_;
  std::vector<std::unique_ptr<PublishStream>> publish_;
  std::vector<std::unique_ptr<ConsumeStream>> consume_;
};

/// Publishes numbers, each once, until the first that is not confirmed.
class Counting {
 public:
  explicit Counting(const std::string& address)
      : client_(Client::Connect({.address = address}).value()),
        publisher_(client_->NewPublisher({.queue = "orders"}).value()),
        thread_([this] { Run(); }) {}
  ~Counting() {
    if (thread_.joinable()) Stop();
  }

  void WaitConfirmed(int count) {
    base::MutexLock lock(mutex_);
    while (confirmed_ < count && !ended_) lock.Wait(changed_);
    EXPECT_FALSE(ended_);
  }
  /// The number up to which all are confirmed.
  int Stop() {
    publisher_->Close(std::chrono::milliseconds(0)).IgnoreError();
    thread_.join();
    base::MutexLock lock(mutex_);
    return confirmed_;
  }

 private:
  void Run() {
    constexpr int kAhead = 100;
    for (int next = 0;; next += kAhead) {
      std::vector<std::future<PublishResult>> sent;
      for (int i = 0; i < kAhead; ++i) {
        sent.push_back(publisher_->Publish({.payload = std::to_string(next + i)}));
      }
      for (auto& result : sent) {
        const bool ok = result.get().ok();
        base::MutexLock lock(mutex_);
        ended_ = !ok;
        if (ok) ++confirmed_;
        changed_.notify_all();
        if (ended_) return;
      }
    }
  }

  const std::unique_ptr<Client> client_;
  const std::unique_ptr<Publisher> publisher_;
  base::Mutex mutex_;
  std::condition_variable changed_;
  int confirmed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

void CreateQueues(const MqdProcess& process) {
  auto client = Client::Connect({.address = process.address()});
  ASSERT_TRUE(client.ok()) << client.status();
  for (const char* name : {"idle", "orders"}) {
    ASSERT_TRUE((*client)->NewAdmin()->CreateQueue(name, {}).ok());
  }
}

/// Every message of the queue, settled.
std::multiset<int> TakeAll(const std::string& address) {
  const auto client = Client::Connect({.address = address}).value();
  std::multiset<int> all;
  for (;;) {
    // After a restart bodies are on disk only: a call that does not wait may find none in memory.
    const auto received =
        client->Receive("orders", {.max_messages = 1'000, .wait = std::chrono::seconds(2)});
    EXPECT_TRUE(received.ok()) << received.status();
    if (!received.ok() || received->messages.empty()) return all;
    for (const ReceivedMessage& each : received->messages) {
      all.insert(std::stoi(each.message.payload));
    }
    const std::uint64_t first = received->messages.front().delivery_id;
    const SettleEntry ack = {.first_delivery_id = first,
                             .last_delivery_id = received->messages.back().delivery_id};
    EXPECT_TRUE(client->Settle("orders", {&ack, 1}).ok());
  }
}

TEST(ShutdownTest, AThousandStreamsThatObeyEndLongBeforeTheGraceAndNothingConfirmedIsLost) {
  MqdProcess process({.flags = {"--shutdown-grace", "1h"}});
  ASSERT_TRUE(process.WaitReady()) << process.log();
  CreateQueues(process);
  IdleStreams idle(process.address());
  Counting counting(process.address());
  counting.WaitConfirmed(1'000);
  process.Signal(SIGTERM);
  idle.Obey();
  EXPECT_EQ(process.WaitExit(), 0) << process.log();
  const int confirmed = counting.Stop();

  MqdProcess again({}, process.data());
  ASSERT_TRUE(again.WaitReady()) << again.log();
  const std::multiset<int> found = TakeAll(again.address());
  EXPECT_GE(confirmed, 1'000);
  for (int i = 0; i < confirmed; ++i) {
    EXPECT_EQ(found.count(i), 1u) << i << " of " << confirmed << " was confirmed";
  }
}

TEST(ShutdownTest, AThousandStreamsThatDoNotListenEndWithTheGrace) {
  MqdProcess process({.flags = {"--shutdown-grace", "1s"}});
  ASSERT_TRUE(process.WaitReady()) << process.log();
  CreateQueues(process);
  IdleStreams idle(process.address());
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitExit(), 0) << process.log();
  EXPECT_THAT(process.log(), HasSubstr("the grace of 1000 ms is over with streams left"));
}

/// MQD_ROUNDS of them, on one store, with a random part of the publishers that does not listen.
TEST(ShutdownTest, AThousandStreamsUnderLoadEndInTenSecondsRoundAfterRound) {
  constexpr int kRounds = 10;
  constexpr std::chrono::seconds kMost{10};
  const char* const wanted = std::getenv("MQD_ROUNDS");
  const int rounds = wanted == nullptr ? kRounds : std::stoi(wanted);
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  TemporaryDirectory directory;
  std::uint64_t confirmed = 0;
  std::uint64_t failed = 0;
  for (int round = 0; round < rounds; ++round) {
    MqdProcess process({.flags = {"--shutdown-grace", "1s"}}, directory.path("data"));
    ASSERT_TRUE(process.WaitReady()) << process.log();
    if (round == 0) CreateQueues(process);
    IdleStreams idle(process.address());
    Counting counting(process.address());
    counting.WaitConfirmed(1'000);
    process.Signal(SIGTERM);
    const auto begin = std::chrono::steady_clock::now();
    idle.ObeyAllBut(std::uniform_int_distribution<std::size_t>(0, kStreamsOfAKind)(random));
    const int code = process.WaitExit();
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_EQ(code, 0) << process.log();
    EXPECT_LE(took, kMost);
    if (code != 0 || took > kMost) ++failed;
    confirmed += static_cast<std::uint64_t>(counting.Stop());
  }
  MqdProcess again({}, directory.path("data"));
  ASSERT_TRUE(again.WaitReady()) << again.log();
  const std::size_t found = TakeAll(again.address()).size();
  EXPECT_GE(found, confirmed);
  testing::AddFigure({.promise = "R15",
                      .trials = static_cast<std::uint64_t>(rounds),
                      .confirmed = confirmed,
                      .violations = failed + (found < confirmed ? confirmed - found : 0),
                      .note = "a thousand streams in each"});
}

TEST(ShutdownTest, StreamThatOpensDuringTheDrainIsRefused) {
  MqdProcess process({.flags = {"--shutdown-grace", "1h"}});
  ASSERT_TRUE(process.WaitReady()) << process.log();
  CreateQueues(process);
  const auto stub = v1::BrokerService::NewStub(
      grpc::CreateChannel(process.address(), grpc::InsecureChannelCredentials()));
  PublishStream early(*stub);
  early.Open("orders");
  process.Signal(SIGTERM);
  const auto frame = early.Next();
  ASSERT_TRUE(frame && frame->has_go_away());
  ConsumeStream late(*stub);
  EXPECT_EQ(DetailOf(late.Finish()).reason(), v1::REASON_DRAINING);
  early.HalfClose();
  EXPECT_TRUE(early.Finish().ok());
  EXPECT_EQ(process.WaitExit(), 0) << process.log();
  EXPECT_THAT(process.log(), Not(HasSubstr("is over with streams left")));
}

}  // namespace
}  // namespace mqd::test
