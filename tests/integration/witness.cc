#include "tests/integration/witness.h"

#include <future>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mqd::test {
namespace {

constexpr int kRoundMessages = 20;
constexpr std::chrono::seconds kWait{30};

}  // namespace

Witness::Witness(const std::string& address) {
  client_ = Client::Connect({.address = address}).value();
  EXPECT_TRUE(client_->NewAdmin()->CreateQueue("witness", {}).ok());
  publisher_ = client_->NewPublisher({.queue = "witness"}).value();
  consumer_ = client_->NewConsumer({.queues = {{.queue = "witness"}}}).value();
  thread_ = std::thread([this] { Run(); });
}

Witness::~Witness() {
  stopping_ = true;
  thread_.join();
}

void Witness::Run() {
  while (!stopping_) {
    absl::Status status = Round();
    base::MutexLock lock(mutex_);
    ++rounds_;
    if (!status.ok()) failure_ = std::move(status);
    changed_.notify_all();
    if (!failure_.ok()) return;
  }
}

absl::Status Witness::Round() {
  std::vector<std::future<PublishResult>> sent;
  for (int i = 0; i < kRoundMessages; ++i) sent.push_back(publisher_->Publish({.payload = "x"}));
  for (auto& result : sent) {
    if (absl::Status status = result.get().status(); !status.ok()) return status;
  }
  for (int i = 0; i < kRoundMessages; ++i) {
    absl::StatusOr<Delivery> delivery = consumer_->Next(kWait);
    if (!delivery.ok()) return delivery.status();
    delivery->Settle(Outcome::Ack());
  }
  return absl::OkStatus();
}

void Witness::CheckGoesOn() {
  {
    base::MutexLock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + kWait;
    const int wanted = rounds_ + 2;
    while (failure_.ok() && rounds_ < wanted) {
      if (lock.WaitUntil(changed_, until) == std::cv_status::timeout) break;
    }
    EXPECT_TRUE(failure_.ok()) << failure_;
    EXPECT_GE(rounds_, wanted) << "the other streams stand still";
  }
  EXPECT_EQ(publisher_->Stats().connects, 1u);
  const ConsumerStats stats = consumer_->Stats();
  EXPECT_EQ(stats.connects, 1u);
  EXPECT_EQ(stats.stale + stats.lease_lost, 0u);
}

}  // namespace mqd::test
