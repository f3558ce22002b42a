// What an operator is told of: dead letters that find no room, once, and when that is over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>

#include "asio/thread_pool.hpp"
#include "proto/base/mutex.h"
#include "server/queue/live_queue_actor.h"
#include "server/queue/transaction.h"
#include "storage/memory_store.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::HasSubstr;

/// Dead-letters everything that it is given.
class Undertaker final : public ConsumeSink {
 public:
  explicit Undertaker(QueueActor& queue) : queue_(queue) {}
  void OnAttached(std::uint32_t, absl::StatusOr<std::int64_t>) override {}
  void OnDeliveries(std::uint32_t, DeliveryBatch batch) override {
    for (const DeliveryRun& run : batch.runs) {
      const DeliveryRange range{run.first_delivery_id, run.first_delivery_id + run.count - 1};
      queue_.Settle({{range, DeadLetterOutcome{"no good"}}},
                    [](const absl::StatusOr<SettleResult>&) {});
    }
  }
  void OnWantCredit(std::uint32_t) override {}
  void OnCreditReturned(std::uint32_t, std::uint64_t, std::int64_t, bool) override {}
  void OnLeaseLost(std::uint32_t, std::vector<DeliveryRange>, LeaseLostCode) override {}
  void OnRecall(std::uint32_t, std::vector<DeliveryRange>) override {}
  void OnEndOfQueue(std::uint32_t) override {}
  void OnDrained(std::uint32_t, std::uint64_t, std::uint64_t) override {}
  void OnGoAway(std::uint32_t, GoAwayCode, ErrorInfo) override {}

 private:
  QueueActor& queue_;
};

/// Queues whose clock is moved by hand; it is far ahead, so that no timer goes off by itself.
class Ward final : public QueueDirectory {
 public:
  ~Ward() override {
    pool_.stop();
    pool_.join();
  }

  absl::StatusOr<std::shared_ptr<QueueActor>> Find(std::string_view name) const override {
    const auto found = queues_.find(std::string(name));
    if (found != queues_.end()) return found->second;
    return ToStatus({.reason = Reason::kQueueNotFound, .message = "there is no such queue"});
  }
  std::shared_ptr<QueueActor> FindById(QueueId) const override { return nullptr; }
  void Forget(const std::string&, QueueId) override {}

  void Add(QueueId id, const std::string& name, QueueSettings settings) {
    const storage::QueueRecord record{.id = id, .name = name, .settings = EncodeSettings(settings)};
    storage::Batch batch;
    batch.PutQueue(record);
    store_.Append(storage::ShardId{0}, store_.CurrentEpoch(), std::move(batch),
                  storage::Sync::kFlush, [](storage::CommitResult) {});
    ActorDeps deps{.store = &store_,
                   .directory = this,
                   .ledger = ledger_,
                   .on_alarm = [this](const QueueAlarm& alarm) { Note(alarm); },
                   .cached_bytes = cached_bytes_,
                   .cache_bytes_max = 1 << 30,
                   .pool = pool_.get_executor(),
                   .clock =
                       [this] {
                         return Now{steady_ns_.load(), 1'700'000'000'000};
                       }};
    queues_[name] = std::make_shared<LiveQueueActor>(
        std::move(deps), RecoveredQueue{.record = record, .settings = settings});
  }
  LiveQueueActor& queue(const std::string& name) { return *queues_.at(name); }

  bool Publish(const std::string& from, const std::string& to, std::vector<std::string> payloads) {
    static const QueueHarness maker;
    TransactionTarget target{.queue = queues_.at(to), .batch = maker.BatchOf(payloads)};
    std::vector<TransactionTarget> targets;
    targets.push_back(std::move(target));
    std::promise<bool> committed;
    RunTransaction({queues_.at(from), {}, {}, {}}, std::move(targets),
                   [&](const TransactionResult& result) { committed.set_value(result.committed); });
    return committed.get_future().get();
  }
  void Advance(std::int64_t ms) {
    steady_ns_ += ms * kNsPerMs;
    for (const auto& [name, queue] : queues_) queue->Post(Tick{});
  }
  /// Waits until so many came, since the start.
  std::vector<QueueAlarm> Alarms(std::size_t count) {
    base::MutexLock lock(mutex_);
    while (alarms_.size() < count) lock.Wait(some_);
    return alarms_;
  }

 private:
  void Note(const QueueAlarm& alarm) {
    base::MutexLock lock(mutex_);
    alarms_.push_back(alarm);
    some_.notify_one();
  }

  std::atomic<std::int64_t> steady_ns_{1'000'000'000'000'000'000};
  asio::thread_pool pool_{1};
  storage::MemoryStore store_;
  const std::shared_ptr<NamespaceLedger> ledger_ = std::make_shared<NamespaceLedger>("default");
  const std::shared_ptr<std::atomic<std::uint64_t>> cached_bytes_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
  std::map<std::string, std::shared_ptr<LiveQueueActor>> queues_;
  base::Mutex mutex_;
  std::condition_variable some_;
  std::vector<QueueAlarm> alarms_ ABSL_GUARDED_BY(mutex_);
};

TEST(QueueAlarmTest, DeadLettersWithoutRoomAreToldOfOnceAndWhenTheyHaveFoundSome) {
  Ward ward;
  ward.Add(1, "default/jobs", {.dead_letter_queue = "default/dead"});
  ward.Add(2, "default/dead", {.max_messages = 1});
  ASSERT_TRUE(ward.Publish("default/dead", "default/jobs", {"a", "b", "c"}));
  LiveQueueActor& jobs = ward.queue("default/jobs");
  jobs.Attach(AttachConsumer{.consumer = 1}, 0, std::make_shared<Undertaker>(jobs));
  jobs.Post(GrantCredit{1, 10, 1 << 20});
  const QueueAlarm raised = ward.Alarms(1).front();
  EXPECT_TRUE(raised.raised);
  EXPECT_EQ(raised.queue, "default/jobs");
  EXPECT_THAT(raised.text, HasSubstr("queue default/dead"));
  for (int second = 0; second < 5; ++second) ward.Advance(1'500);
  QueueSettings wider;
  wider.max_messages = 10;
  std::promise<bool> updated;
  ward.queue("default/dead").Update(wider, 0, [&](const absl::StatusOr<QueueInfo>& info) {
    updated.set_value(info.ok());
  });
  ASSERT_TRUE(updated.get_future().get());
  std::size_t moved = 0;
  while (moved < 3) {  // the tries that were under way have to come back first
    ward.Advance(1'500);
    std::promise<std::size_t> held;
    ward.queue("default/dead").Info([&](const absl::StatusOr<QueueInfo>& info) {
      held.set_value(info.ok() ? info->stats.ready : 0);
    });
    moved = held.get_future().get();
  }
  const std::vector<QueueAlarm> alarms = ward.Alarms(2);
  EXPECT_EQ(alarms.size(), 2u);
  EXPECT_FALSE(alarms[1].raised);
  EXPECT_THAT(alarms[1].text, HasSubstr("queue default/jobs"));
}

TEST(QueueAlarmTest, MissingDeadLetterQueueIsToldOfToo) {
  Ward ward;
  ward.Add(1, "default/jobs", {.dead_letter_queue = "default/nobody"});
  ward.Add(2, "default/other", {});
  ASSERT_TRUE(ward.Publish("default/other", "default/jobs", {"a"}));
  LiveQueueActor& jobs = ward.queue("default/jobs");
  jobs.Attach(AttachConsumer{.consumer = 1}, 0, std::make_shared<Undertaker>(jobs));
  jobs.Post(GrantCredit{1, 10, 1 << 20});
  EXPECT_THAT(ward.Alarms(1).front().text, HasSubstr("there is no such queue"));
}

}  // namespace
}  // namespace mqd::queue::testing
