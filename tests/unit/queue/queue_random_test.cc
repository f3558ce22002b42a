// Random events, from seeds, against what must hold after every step.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "server/queue/queue_core.h"
#include "tests/unit/queue/queue_harness.h"

namespace mqd::queue::testing {
namespace {

constexpr std::uint64_t kMessagesMax = 50;
constexpr int kSeeds = 300;
constexpr int kSteps = 400;

/// What one run knows from outside: payload = a number that is published once.
struct Ledger {
  std::set<std::string> confirmed;
  std::set<std::string> acked;
  std::map<DeliveryId, Seen> held;
  std::set<DeliveryId> used;
  std::map<ConsumerId, std::int64_t> credit;
};

class RandomRun {
 public:
  explicit RandomRun(unsigned seed) : random_(seed), queue_(SettingsOf(seed)) { Reattach(); }

  void Run() {
    for (int step = 0; step < kSteps; ++step) {
      OneStep();
      Observe();
      if (::testing::Test::HasFatalFailure()) return;
    }
    DrainAll();
  }

 private:
  static QueueSettings SettingsOf(unsigned seed) {
    QueueSettings settings{.max_messages = kMessagesMax, .max_attempts = 1'000};
    if (seed % 2 == 0) settings.overflow_policy = OverflowPolicy::kBlock;
    return settings;
  }

  std::uint64_t Pick(std::uint64_t below) { return random_() % below; }

  void Reattach() {
    queue_.Publisher(1);
    for (const ConsumerId consumer : {10, 11}) {
      ledger_.credit[consumer] = 5;
      queue_.Consumer(consumer, 5, consumer == 11);
    }
  }

  void OneStep() {
    switch (Pick(10)) {
      case 0:
      case 1:
      case 2:
        return Publish();
      case 3:
      case 4:
        return Settle();
      case 5:
        queue_.CommitNext();
        return;
      case 6:
        return queue_.CommitAll();
      case 7:
        return queue_.Advance(static_cast<std::int64_t>(Pick(12'000)));
      case 8:
        queue_.around().cache_full = Pick(2) == 0;
        return;
      default:
        if (Pick(6) != 0) return Grant();
        queue_.Restart();
        unconfirmed_.clear();
        ledger_.held.clear();
        Reattach();
    }
  }

  void Publish() {
    std::vector<std::string> payloads;
    for (std::uint64_t i = 0; i <= Pick(6); ++i) payloads.push_back(std::to_string(next_++));
    queue_.Publish(1, payloads);
    for (const std::string& payload : payloads) unconfirmed_.push_back(payload);
  }

  void Grant() {
    const ConsumerId consumer = 10 + Pick(2);
    ledger_.credit[consumer] += 3;
    queue_.Step(GrantCredit{consumer, 3, 1'000});
  }

  void Settle() {
    if (ledger_.held.empty()) return;
    auto entry = ledger_.held.begin();
    std::advance(entry, Pick(ledger_.held.size()));
    const Seen seen = entry->second;
    ledger_.held.erase(entry);
    SettleOutcome outcome = AckOutcome{};
    if (Pick(3) == 0) outcome = RetryOutcome{static_cast<std::int64_t>(Pick(3)) * 1'000'000, "x"};
    if (Pick(5) == 0) outcome = ReleaseOutcome{};
    const bool ack = std::holds_alternative<AckOutcome>(outcome);
    Observe();
    std::vector<Effect> none;
    const SettleResult result = queue_.Settle({seen.id, seen.id}, std::move(outcome));
    if (ack && result.settled == 1) ledger_.acked.insert(seen.payload);
  }

  void Observe() {
    for (const SendConfirms& sent : queue_.Take<SendConfirms>()) {
      for (const ConfirmedRange& range : sent.confirms.ranges) {
        for (std::uint64_t i = 0; i < range.count; ++i) Confirm(range.first_publish_id + i);
      }
    }
    queue_.Take<SendLeaseLost>();
    queue_.Take<SendBlocked>();
    for (const Seen& seen : queue_.TakeDeliveries()) {
      ASSERT_TRUE(ledger_.used.insert(seen.id).second) << "delivery id used twice";
      ASSERT_FALSE(ledger_.acked.contains(seen.payload)) << "settled message delivered";
      ASSERT_GE(--ledger_.credit[seen.consumer], 0) << "credit passed";
      ledger_.held[seen.id] = seen;
    }
    const QueueStats stats = queue_.Stats();
    const std::uint64_t backlog =
        stats.ready + stats.in_flight + stats.delayed + stats.parked + stats.committing;
    ASSERT_LE(backlog, kMessagesMax) << "bound passed";
    ASSERT_LE(stats.ready, kMessagesMax) << "a count went below zero";
  }

  /// Publish ids of a stream begin at 1 with each restart, as does unconfirmed_.
  void Confirm(std::uint64_t publish_id) {
    ASSERT_LE(publish_id, unconfirmed_.size());
    ledger_.confirmed.insert(unconfirmed_[publish_id - 1]);
  }

  void DrainAll() {
    for (int round = 0; round < 400; ++round) {
      queue_.CommitAll();
      for (const ConsumerId consumer : {10, 11}) {
        ledger_.credit[consumer] += 10;
        queue_.Step(GrantCredit{consumer, 10, 10'000});
      }
      Observe();
      while (!ledger_.held.empty()) {
        const Seen seen = ledger_.held.begin()->second;
        ledger_.held.erase(ledger_.held.begin());
        if (queue_.Settle({seen.id, seen.id}, AckOutcome{}).settled == 1) {
          ledger_.acked.insert(seen.payload);
        }
        Observe();
      }
      queue_.Advance(40'000);
    }
    for (const std::string& payload : ledger_.confirmed) {
      ASSERT_TRUE(ledger_.acked.contains(payload)) << "confirmed message " << payload << " is lost";
    }
    EXPECT_EQ(queue_.Stats().backlog_bytes, 0u);
  }

  std::mt19937 random_;
  QueueHarness queue_;
  Ledger ledger_;
  std::uint64_t next_ = 0;
  std::vector<std::string> unconfirmed_;
};

TEST(QueueRandomTest, NothingConfirmedIsLostNothingSettledReturnsAndBoundsHold) {
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRun(seed).Run();
    ASSERT_FALSE(HasFatalFailure());
  }
}

}  // namespace
}  // namespace mqd::queue::testing
