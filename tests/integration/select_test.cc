// One select stream over eight full queues, through the library: shares by weight, and strict
// priority that starves nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "mqd/client.h"
#include "tests/support/mqd_process.h"

namespace mqd {
namespace {

constexpr std::size_t kQueues = 8;

class SelectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(process_.WaitReady()) << process_.log();
    client_ = Client::Connect({.address = process_.address()}).value();
  }

  static std::string Name(std::size_t queue) { return "q" + std::to_string(queue); }

  /// Queues in memory, each with `messages`.
  void Fill(std::size_t messages) {
    const auto admin = client_->NewAdmin();
    QueueSettings settings;
    settings.durability = Durability::kMemory;
    for (std::size_t queue = 0; queue < kQueues; ++queue) {
      ASSERT_TRUE(admin->CreateQueue(Name(queue), settings).ok());
      auto publisher = client_->NewPublisher({.queue = Name(queue)}).value();
      for (std::size_t i = 0; i < messages; ++i) {
        const absl::Status accepted = publisher->Publish(
            MessageView{.payload = "x"},
            [](const PublishResult& result) { EXPECT_TRUE(result.ok()) << result.status(); });
        ASSERT_TRUE(accepted.ok()) << accepted;
      }
      ASSERT_TRUE(publisher->Close(std::chrono::seconds(60)).ok());
    }
  }

  /// Which queue each of the first `count` deliveries came from.
  std::vector<std::size_t> Take(ConsumerOptions options, std::size_t count) {
    auto consumer = client_->NewConsumer(std::move(options)).value();
    std::vector<std::size_t> queues;
    while (queues.size() < count) {
      absl::StatusOr<Delivery> delivery = consumer->Next(std::chrono::seconds(30));
      EXPECT_TRUE(delivery.ok()) << delivery.status();
      if (!delivery.ok()) break;
      queues.push_back(static_cast<std::size_t>(delivery->queue().back() - '0'));
      delivery->Settle(Outcome::Ack());
    }
    return queues;
  }

  test::MqdProcess process_{test::MqdProcess::Options{}};
  std::unique_ptr<Client> client_;
};

TEST_F(SelectTest, SharesFollowTheWeightsWithinFivePercent) {
  constexpr std::size_t kDeliveries = 100'000;
  Fill(30'000);
  ConsumerOptions options;
  for (std::size_t queue = 0; queue < kQueues; ++queue) {
    const auto weight = static_cast<std::uint32_t>(kQueues - queue);
    options.queues.push_back({.queue = Name(queue), .weight = weight});
  }
  std::array<std::size_t, kQueues> counts{};
  for (const std::size_t queue : Take(std::move(options), kDeliveries)) ++counts[queue];
  for (std::size_t queue = 0; queue < kQueues; ++queue) {
    const double share = static_cast<double>(kQueues - queue) / 36.0 * kDeliveries;
    EXPECT_NEAR(static_cast<double>(counts[queue]), share, 0.05 * share) << Name(queue);
  }
}

TEST_F(SelectTest, StrictPriorityServesTheHighestFirst) {
  Fill(100);
  ConsumerOptions options{.select_mode = SelectMode::kPriority, .credit_messages_max = 16};
  for (std::size_t queue = 0; queue < kQueues; ++queue) {
    options.queues.push_back({.queue = Name(queue), .priority = static_cast<std::uint32_t>(queue)});
  }
  const std::vector<std::size_t> order = Take(std::move(options), kQueues * 100);
  ASSERT_EQ(order.size(), kQueues * 100);
  // The stream's first grant may go to whoever asked first.
  std::size_t out_of_order = 0;
  for (std::size_t i = 1; i < order.size(); ++i) out_of_order += order[i] > order[i - 1];
  EXPECT_LE(out_of_order, 2 * kQueues);
  EXPECT_EQ(order.back(), 0u);
}

}  // namespace
}  // namespace mqd
