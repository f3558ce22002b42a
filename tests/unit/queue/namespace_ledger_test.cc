// However many queues take at the same time: a quota is never passed, and nothing is forgotten.
#include "server/queue/namespace_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

namespace mqd::queue {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kNoQuota = NamespaceLedger::kNoQuota;

TEST(NamespaceLedgerTest, TakesUpToTheQuotaAndThenSaysWhatToDo) {
  const auto ledger = std::make_shared<NamespaceLedger>("billing");
  ledger->SetQuota(2, kNoQuota);
  QuotaShare share(ledger);
  EXPECT_FALSE(share.Take(70).has_value());
  EXPECT_FALSE(share.Full().has_value());
  EXPECT_FALSE(share.Take(80).has_value());
  ASSERT_TRUE(share.Full().has_value());
  const std::optional<ErrorInfo> refusal = share.Take(64);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, Reason::kQuotaExceeded);
  EXPECT_EQ(refusal->resource, "namespace billing");
  EXPECT_EQ(refusal->limit, 2u);
  EXPECT_EQ(refusal->current, 2u);
  EXPECT_THAT(refusal->message, HasSubstr("hold 2 of 2 messages"));
  EXPECT_THAT(refusal->message, HasSubstr("raise the namespace's max_messages"));
  EXPECT_EQ(ledger->messages(), 2u);
  EXPECT_EQ(ledger->bytes(), 150u);
}

TEST(NamespaceLedgerTest, MessageWithoutRoomInBytesGivesItsPlaceBack) {
  const auto ledger = std::make_shared<NamespaceLedger>("billing");
  ledger->SetQuota(10, 200);
  QuotaShare share(ledger);
  EXPECT_FALSE(share.Take(150).has_value());
  EXPECT_TRUE(share.Full().has_value());
  const std::optional<ErrorInfo> refusal = share.Take(51);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_THAT(refusal->message, HasSubstr("hold 150 of 200 bytes"));
  EXPECT_EQ(ledger->messages(), 1u);
  EXPECT_FALSE(share.Take(50).has_value());
  EXPECT_TRUE(share.Take(kNoQuota).has_value()) << "no sum wraps around";
}

TEST(NamespaceLedgerTest, QuotaBelowWhatIsHeldDropsNothingAndTakesNothing) {
  const auto ledger = std::make_shared<NamespaceLedger>("billing");
  QuotaShare share(ledger);
  EXPECT_EQ(share.gate(), nullptr);
  share.Count(5, 500);
  ledger->SetQuota(3, kNoQuota);
  ASSERT_EQ(share.gate(), &share);
  EXPECT_TRUE(share.Take(64).has_value());
  share.Count(3, 300);
  EXPECT_TRUE(share.Take(64).has_value());
  share.Count(2, 200);
  EXPECT_FALSE(share.Take(64).has_value());
  EXPECT_EQ(ledger->messages(), 3u);
}

TEST(NamespaceLedgerTest, WhatWasTakenAndNotKeptIsGivenBack) {
  const auto ledger = std::make_shared<NamespaceLedger>("billing");
  ledger->SetQuota(4, kNoQuota);
  {
    QuotaShare share(ledger);
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(share.Take(100).has_value());
    share.Count(1, 100);  // the queue refused two of them for a reason of its own
    EXPECT_EQ(ledger->messages(), 1u);
    EXPECT_EQ(ledger->bytes(), 100u);
    share.Count(4, 420);
    EXPECT_EQ(ledger->bytes(), 420u);
  }
  EXPECT_EQ(ledger->messages(), 0u) << "a queue that is gone holds nothing";
  EXPECT_EQ(ledger->bytes(), 0u);
}

/// Queues on threads of their own, which take, keep a part and give back, at random.
class Race {
 public:
  Race(std::uint64_t max_messages, std::uint64_t max_bytes)
      : max_messages_(max_messages), max_bytes_(max_bytes) {
    ledger_->SetQuota(max_messages, max_bytes);
  }

  void Run(unsigned threads, int rounds) {
    std::vector<std::thread> queues;
    for (unsigned i = 0; i < threads; ++i) {
      queues.emplace_back([this, i, rounds] { Queue(i, rounds); });
    }
    for (std::thread& queue : queues) queue.join();
    EXPECT_FALSE(passed_.load());
    EXPECT_GT(taken_.load(), 0u);
    EXPECT_GT(refused_.load(), 0u);
    EXPECT_EQ(ledger_->messages(), 0u);
    EXPECT_EQ(ledger_->bytes(), 0u);
  }

 private:
  void Queue(unsigned number, int rounds) {
    std::mt19937_64 random(number);
    QuotaShare share(ledger_);
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    for (int round = 0; round < rounds; ++round) {
      for (std::uint64_t wanted = random() % 20; wanted > 0; --wanted) {
        const std::uint64_t size = 64 + random() % 100;
        if (share.Take(size).has_value()) {
          ++refused_;
          continue;
        }
        ++taken_;
        if (held_messages_.fetch_add(1) + 1 > max_messages_) passed_ = true;
        if (held_bytes_.fetch_add(size) + size > max_bytes_) passed_ = true;
        ++messages;
        bytes += size;
      }
      if (random() % 3 == 0) {
        held_messages_ -= messages;
        held_bytes_ -= bytes;
        messages = bytes = 0;
      }
      share.Count(messages, bytes);
    }
    held_messages_ -= messages;
    held_bytes_ -= bytes;
  }

  const std::uint64_t max_messages_;
  const std::uint64_t max_bytes_;
  const std::shared_ptr<NamespaceLedger> ledger_ = std::make_shared<NamespaceLedger>("billing");
  std::atomic<std::uint64_t> held_messages_{0};  // counted beside the ledger
  std::atomic<std::uint64_t> held_bytes_{0};
  std::atomic<std::uint64_t> taken_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<bool> passed_{false};
};

TEST(NamespaceLedgerTest, ManyThreadsNeverPassAQuotaOfMessages) {
  Race(40, kNoQuota).Run(8, 5'000);
}

TEST(NamespaceLedgerTest, ManyThreadsNeverPassAQuotaOfBytes) {
  Race(kNoQuota, 4'000).Run(8, 5'000);
}

TEST(NamespaceLedgerTest, ManyThreadsNeverPassEither) { Race(40, 4'000).Run(8, 5'000); }

TEST(NamespaceLedgerTest, EveryPlaceOfTheQuotaIsGivenOut) {
  const auto ledger = std::make_shared<NamespaceLedger>("billing");
  ledger->SetQuota(10'000, kNoQuota);
  std::atomic<std::uint64_t> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 2'000; ++n) taken += ledger->Take(64).has_value() ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken.load(), 10'000u);
}

}  // namespace
}  // namespace mqd::queue
