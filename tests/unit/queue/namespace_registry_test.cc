// Namespaces and their quotas over a registry with threads, and over restarts.
#include "server/queue/namespace_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <map>
#include <thread>

#include "proto/base/mutex.h"
#include "tests/support/queue_broker.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<CreatedNamespace> CreateNamespace(Broker& broker, const std::string& name,
                                                 NamespaceQuotas quotas = {}) {
  return broker.Wait<CreatedNamespace>(
      [&](auto done) { broker.registry().namespaces().Create(name, quotas, std::move(done)); });
}

absl::StatusOr<NamespaceInfo> UpdateNamespace(Broker& broker, const std::string& name,
                                              NamespaceQuotas quotas) {
  return broker.Wait<NamespaceInfo>(
      [&](auto done) { broker.registry().namespaces().Update(name, quotas, std::move(done)); });
}

absl::StatusOr<std::uint64_t> DeleteNamespace(Broker& broker, const std::string& name, bool force) {
  return broker.Wait<std::uint64_t>(
      [&](auto done) { broker.registry().namespaces().Delete(name, force, std::move(done)); });
}

NamespaceInfo InfoOf(Broker& broker, const std::string& name) {
  const auto info = broker.registry().namespaces().Get(name);
  EXPECT_TRUE(info.ok()) << info.status();
  return info.value_or(NamespaceInfo{});
}

std::vector<std::string> NamesIn(Broker& broker, const std::string& after, std::size_t limit) {
  std::vector<std::string> names;
  for (const NamespaceInfo& info : broker.registry().namespaces().List(after, limit)) {
    names.push_back(info.record.name);
  }
  return names;
}

Reason ReasonOf(const absl::Status& status) { return ErrorInfoOf(status).reason; }

// ---- rows

TEST(NamespaceRegistryTest, CreatesGetsListsAndDeletes) {
  Broker broker(std::make_unique<storage::MemoryStore>());
  const auto made = CreateNamespace(broker, "billing", {.max_queues = 3, .max_messages = 10});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_TRUE(made->created);
  EXPECT_EQ(made->info.record.max_queues, 3u);
  EXPECT_EQ(made->info.record.max_bytes, kUnlimited);
  EXPECT_GT(made->info.record.create_time_ms, 0);
  EXPECT_FALSE(CreateNamespace(broker, "billing", {.max_queues = 3, .max_messages = 10})->created);
  const auto different = CreateNamespace(broker, "billing", {.max_queues = 4});
  EXPECT_EQ(ReasonOf(different.status()), Reason::kNamespaceExistsDifferent);
  EXPECT_THAT(std::string(different.status().message()), HasSubstr("max_queues: 3, not 4"));
  EXPECT_THAT(std::string(different.status().message()),
              HasSubstr("max_messages: 10, not unlimited"));
  broker.Made("audit/log");
  EXPECT_THAT(NamesIn(broker, "", 10), ElementsAre("audit", "billing"));
  EXPECT_THAT(NamesIn(broker, "audit", 10), ElementsAre("billing"));
  EXPECT_THAT(NamesIn(broker, "", 1), ElementsAre("audit"));
  EXPECT_EQ(*DeleteNamespace(broker, "billing", false), 0u);
  EXPECT_EQ(ReasonOf(broker.registry().namespaces().Get("billing").status()),
            Reason::kNamespaceNotFound);
  EXPECT_EQ(ReasonOf(DeleteNamespace(broker, "billing", true).status()),
            Reason::kNamespaceNotFound);
  EXPECT_EQ(ReasonOf(CreateNamespace(broker, "no/name").status()), Reason::kBadField);
  EXPECT_EQ(ReasonOf(CreateNamespace(broker, "").status()), Reason::kBadField);
}

TEST(NamespaceRegistryTest, NamespaceWithQueuesNeedsNoRowAndGetsOneByAnUpdate) {
  Broker broker(std::make_unique<storage::MemoryStore>());
  broker.Made("audit/log");
  EXPECT_EQ(InfoOf(broker, "audit").queues, 1u);
  EXPECT_EQ(InfoOf(broker, "audit").record.create_time_ms, 0);
  EXPECT_GT(UpdateNamespace(broker, "audit", {.max_queues = 1})->record.create_time_ms, 0);
  EXPECT_EQ(ReasonOf(broker.Create("audit/more").status()), Reason::kQuotaExceeded);
  EXPECT_EQ(ReasonOf(UpdateNamespace(broker, "nobody", {}).status()), Reason::kNamespaceNotFound);
  const auto deleted = broker.Wait<std::uint64_t>(
      [&](auto done) { broker.registry().Delete("audit/log", true, std::move(done)); });
  ASSERT_TRUE(deleted.ok());
  EXPECT_EQ(InfoOf(broker, "audit").queues, 0u) << "the row stays";
  EXPECT_EQ(*DeleteNamespace(broker, "audit", false), 0u);
  EXPECT_THAT(NamesIn(broker, "", 10), ElementsAre());
}

TEST(NamespaceRegistryTest, UpdateLeavesAloneWhatItDoesNotName) {
  Broker broker(std::make_unique<storage::MemoryStore>());
  ASSERT_TRUE(CreateNamespace(broker, "billing", {.max_queues = 3, .max_bytes = 500}).ok());
  const auto updated =
      UpdateNamespace(broker, "billing", {.max_messages = 7, .max_bytes = kUnlimited});
  ASSERT_TRUE(updated.ok());
  EXPECT_EQ(updated->record.max_queues, 3u);
  EXPECT_EQ(updated->record.max_messages, 7u);
  EXPECT_EQ(updated->record.max_bytes, kUnlimited);
}

TEST(NamespaceRegistryTest, DeletedByForceItTakesItsQueuesAlongAndNoOthers) {
  Broker broker(std::make_unique<storage::MemoryStore>());
  for (const char* name : {"billing/a", "billing/b", "billing2/c"}) broker.Made(name);
  ASSERT_TRUE(CreateNamespace(broker, "billing").ok());
  const auto refused = DeleteNamespace(broker, "billing", false);
  EXPECT_EQ(ReasonOf(refused.status()), Reason::kNamespaceNotEmpty);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("2 queues"));
  EXPECT_EQ(*DeleteNamespace(broker, "billing", true), 2u);
  EXPECT_FALSE(broker.registry().Find("billing/a").ok());
  EXPECT_TRUE(broker.registry().Find("billing2/c").ok());
  EXPECT_THAT(NamesIn(broker, "", 10), ElementsAre("billing2"));
}

TEST(NamespaceRegistryTest, RowsAndQuotasSurviveARestart) {
  auto disk = std::make_shared<storage::MemoryDisk>();
  {
    Broker broker(std::make_unique<storage::MemoryStore>(disk));
    ASSERT_TRUE(CreateNamespace(broker, "billing", {.max_queues = 1}).ok());
    ASSERT_TRUE(CreateNamespace(broker, "gone", {.max_queues = 1}).ok());
    ASSERT_TRUE(DeleteNamespace(broker, "gone", false).ok());
    broker.Made("billing/a");
  }
  Broker broker(std::make_unique<storage::MemoryStore>(disk));
  EXPECT_THAT(NamesIn(broker, "", 10), ElementsAre("billing"));
  EXPECT_EQ(InfoOf(broker, "billing").queues, 1u);
  EXPECT_EQ(ReasonOf(broker.Create("billing/b").status()), Reason::kQuotaExceeded);
}

TEST(NamespaceRegistryTest, EveryChangeIsAnsweredUnderUnknownOutcomesAndTheStoreAgrees) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto disk = std::make_shared<storage::MemoryDisk>();
    std::map<std::string, std::uint64_t> known;
    {
      Broker broker(Chaos(disk, seed, 30));
      for (std::uint64_t i = 1; i <= 20; ++i) {
        const std::string name = "n" + std::to_string(i % 5);
        (void)CreateNamespace(broker, name, {.max_queues = i});
        (void)UpdateNamespace(broker, name, {.max_queues = i});
        if (i % 3 == 0) (void)DeleteNamespace(broker, name, false);
      }
      for (const NamespaceInfo& info : broker.registry().namespaces().List("", 100)) {
        known[info.record.name] = info.record.max_queues;
      }
    }
    Broker broker(std::make_unique<storage::MemoryStore>(disk));
    std::map<std::string, std::uint64_t> stored;
    for (const NamespaceInfo& info : broker.registry().namespaces().List("", 100)) {
      stored[info.record.name] = info.record.max_queues;
    }
    EXPECT_EQ(stored, known);
  }
}

// ---- queues against the quota

TEST(NamespaceRegistryTest, ManyCreationsAtOnceNeverPassMaxQueues) {
  Broker broker(Chaos(std::make_shared<storage::MemoryDisk>(), 1, 0));
  ASSERT_TRUE(CreateNamespace(broker, "billing", {.max_queues = 5}).ok());
  std::vector<std::promise<Reason>> answers(12);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    broker.registry().Create("billing/q" + std::to_string(i), {},
                             [&answer = answers[i]](const absl::StatusOr<CreatedQueue>& made) {
                               answer.set_value(made.ok() ? Reason{} : ReasonOf(made.status()));
                             });
  }
  std::map<Reason, int> count;
  for (auto& answer : answers) ++count[answer.get_future().get()];
  EXPECT_EQ(count[Reason{}], 5);
  EXPECT_EQ(count[Reason::kQuotaExceeded], 7);
  EXPECT_TRUE(broker.Create("other/q").ok());
  EXPECT_EQ(InfoOf(broker, "billing").queues, 5u);
  const auto refused = broker.Create("billing/more");
  EXPECT_EQ(ErrorInfoOf(refused.status()).limit, 5u);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("raise the namespace's max_queue"));
}

/// Publishes to one queue of several, each on a thread of its own, and counts what was stored.
class Stream final : public PublishSink {
 public:
  /// The queue belongs to its registry, and will own this stream.
  Stream(const std::shared_ptr<QueueActor>& queue, PublisherId id) : queue_(*queue), id_(id) {}

  void Run(const std::shared_ptr<Stream>& self, int messages) {
    queue_.Attach(AttachPublisher{.publisher = id_}, self);
    const QueueHarness maker;
    for (int i = 1; i <= messages; ++i) {
      PublishBatch batch = maker.BatchOf({"m"});
      batch.publisher = id_;
      batch.first_publish_id = static_cast<std::uint64_t>(i);
      queue_.Post(std::move(batch));
    }
    base::MutexLock lock(mutex_);
    while (stored_ + refused_ < static_cast<std::uint64_t>(messages)) lock.Wait(answered_);
  }

  void OnAttached(absl::StatusOr<AttachedPublisher>) override {}
  void OnConfirms(Confirms confirms) override {
    base::MutexLock lock(mutex_);
    for (const ConfirmedRange& range : confirms.ranges) stored_ += range.count;
    refused_ += confirms.exceptions.size();
    answered_.notify_one();
  }
  void OnBlocked(std::uint64_t, std::optional<ErrorInfo>) override {}
  void OnGoAway(GoAwayCode, ErrorInfo) override {}

  std::uint64_t stored() {
    base::MutexLock lock(mutex_);
    return stored_;
  }

 private:
  QueueActor& queue_;
  const PublisherId id_;
  base::Mutex mutex_;
  std::condition_variable answered_;
  std::uint64_t stored_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST(NamespaceRegistryTest, HeldIsCountedWithoutAQuotaAndOverARestart) {
  auto disk = std::make_shared<storage::MemoryDisk>();
  {
    Broker broker(std::make_unique<storage::MemoryStore>(disk));
    const auto a = std::make_shared<Stream>(broker.Made("billing/a"), 1);
    const auto b = std::make_shared<Stream>(broker.Made("billing/b"), 2);
    a->Run(a, 5);
    b->Run(b, 7);
    EXPECT_EQ(InfoOf(broker, "billing").messages, 12u);
    EXPECT_EQ(InfoOf(broker, "billing").bytes, 12u * (kOverheadBytes + 1));
  }
  Broker broker(std::make_unique<storage::MemoryStore>(disk));
  EXPECT_EQ(InfoOf(broker, "billing").messages, 12u);
  const auto queue = *broker.registry().Find("billing/b");
  const auto purged =
      broker.Wait<std::uint64_t>([&](auto done) { queue->Purge(false, std::move(done)); });
  EXPECT_EQ(*purged, 7u);
  EXPECT_EQ(InfoOf(broker, "billing").messages, 5u);
  ASSERT_TRUE(broker
                  .Wait<std::uint64_t>([&](auto done) {
                    broker.registry().Delete("billing/a", true, std::move(done));
                  })
                  .ok());
  EXPECT_EQ(InfoOf(broker, "billing").messages, 0u);
  EXPECT_EQ(InfoOf(broker, "billing").bytes, 0u);
}

/// Takes and acks what comes, one by one.
class Drainer final : public ConsumeSink {
 public:
  explicit Drainer(QueueActor& queue) : queue_(queue) {}
  void OnAttached(std::uint32_t, absl::StatusOr<std::int64_t>) override {}
  void OnDeliveries(std::uint32_t, DeliveryBatch batch) override {
    for (const DeliveryRun& run : batch.runs) {
      const DeliveryRange range{run.first_delivery_id, run.first_delivery_id + run.count - 1};
      queue_.Settle({{range, AckOutcome{}}}, [](const absl::StatusOr<SettleResult>&) {});
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
  QueueActor& queue_;  // which owns this
};

TEST(NamespaceRegistryTest, QueuesThatRunAtTheSameTimeFillTheQuotaExactly) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Broker broker(Chaos(std::make_shared<storage::MemoryDisk>(), seed, 0));
    ASSERT_TRUE(CreateNamespace(broker, "billing", {.max_messages = 150}).ok());
    std::vector<std::shared_ptr<Stream>> streams;
    for (const char* name : {"billing/a", "billing/b", "billing/c"}) {
      streams.push_back(std::make_shared<Stream>(broker.Made(name), streams.size() + 1));
    }
    std::vector<std::thread> threads;
    for (const auto& stream : streams) threads.emplace_back([&] { stream->Run(stream, 100); });
    for (std::thread& thread : threads) thread.join();
    std::uint64_t stored = 0;
    for (const auto& stream : streams) stored += stream->stored();
    EXPECT_EQ(stored, 150u);
    EXPECT_EQ(InfoOf(broker, "billing").messages, 150u);
  }
}

TEST(NamespaceRegistryTest, QueuesNeverPassTheQuotaWhileMessagesComeAndGo) {
  Broker broker(Chaos(std::make_shared<storage::MemoryDisk>(), 7, 0));
  ASSERT_TRUE(CreateNamespace(broker, "billing", {.max_messages = 20}).ok());
  std::vector<std::shared_ptr<Stream>> streams;
  for (const char* name : {"billing/a", "billing/b"}) {
    const auto queue = broker.Made(name);
    streams.push_back(std::make_shared<Stream>(queue, streams.size() + 1));
    queue->Attach(AttachConsumer{.consumer = streams.size()}, 0, std::make_shared<Drainer>(*queue));
    queue->Post(GrantCredit{streams.size(), 100'000, 1 << 30});
  }
  std::atomic<bool> running{true};
  std::thread watcher([&] {
    while (running.load()) EXPECT_LE(InfoOf(broker, "billing").messages, 20u);
  });
  std::vector<std::thread> threads;
  for (const auto& stream : streams) threads.emplace_back([&] { stream->Run(stream, 2'000); });
  for (std::thread& thread : threads) thread.join();
  std::uint64_t stored = streams[0]->stored() + streams[1]->stored();
  // Publishers that were refused at once may have ended before anything was settled.
  const auto queue = *broker.registry().Find("billing/a");
  for (PublisherId id = 3; id < 1'000 && stored <= 20; ++id) {
    const auto more = std::make_shared<Stream>(queue, id);
    more->Run(more, 100);
    stored += more->stored();
  }
  running = false;
  watcher.join();
  EXPECT_GT(stored, 20u) << "what was settled made room";
}

TEST(NamespaceRegistryTest, QuotaSetBelowTheLoadDropsNothingAndHoldsOnceItIsAnswered) {
  Broker broker(std::make_unique<storage::MemoryStore>());
  const auto queue = broker.Made("billing/a");
  const auto before = std::make_shared<Stream>(queue, 1);
  before->Run(before, 10);
  const auto updated = UpdateNamespace(broker, "billing", {.max_messages = 4});
  ASSERT_TRUE(updated.ok());
  EXPECT_EQ(updated->messages, 10u);
  const auto after = std::make_shared<Stream>(queue, 2);
  after->Run(after, 3);
  EXPECT_EQ(after->stored(), 0u);
  EXPECT_EQ(broker.Stats(queue).ready, 10u);
  ASSERT_TRUE(UpdateNamespace(broker, "billing", {.max_messages = kUnlimited}).ok());
  const auto lifted = std::make_shared<Stream>(queue, 3);
  lifted->Run(lifted, 3);
  EXPECT_EQ(lifted->stored(), 3u);
}

}  // namespace
}  // namespace mqd::queue::testing
