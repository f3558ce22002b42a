// The actor and the registry over a store that is well and over one that answers "unknown".
#include "server/queue/live_queue_actor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <set>

#include "proto/base/mutex.h"
#include "server/queue/transaction.h"
#include "storage/memory_store.h"
#include "tests/support/queue_broker.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::HasSubstr;

constexpr PublisherId kFirstStream = 1'000;
constexpr ProducerId kProducer{4, 2};

/// What sinks and callbacks were told, taken one by one by the test's thread.
class Inbox {
 public:
  using Note = std::function<void()>;
  void Put(Note note) {
    {
      base::MutexLock lock(mutex_);
      notes_.push_back(std::move(note));
    }
    some_.notify_one();
  }
  /// Waits for a note and runs it.
  void RunOne() {
    Note note;
    {
      base::MutexLock lock(mutex_);
      while (notes_.empty()) lock.Wait(some_);
      note = std::move(notes_.front());
      notes_.pop_front();
    }
    note();
  }

 private:
  base::Mutex mutex_;
  std::condition_variable some_;
  std::deque<Note> notes_ ABSL_GUARDED_BY(mutex_);
};

class PublishNotes final : public PublishSink {
 public:
  PublishNotes(Inbox& inbox, std::function<void(Confirms)> confirms, std::function<void()> gone)
      : inbox_(inbox), confirms_(std::move(confirms)), gone_(std::move(gone)) {}
  void OnAttached(absl::StatusOr<AttachedPublisher>) override {}
  void OnConfirms(Confirms confirms) override {
    inbox_.Put([this, confirms = std::move(confirms)] { confirms_(confirms); });
  }
  void OnBlocked(std::uint64_t, std::optional<ErrorInfo>) override {}
  void OnGoAway(GoAwayCode, ErrorInfo) override { inbox_.Put(gone_); }

 private:
  Inbox& inbox_;
  const std::function<void(Confirms)> confirms_;
  const std::function<void()> gone_;
};

class ConsumeNotes final : public ConsumeSink {
 public:
  ConsumeNotes(Inbox& inbox, std::function<void(DeliveryRun)> run, std::function<void()> gone)
      : inbox_(inbox), run_(std::move(run)), gone_(std::move(gone)) {}
  void OnAttached(std::uint32_t, absl::StatusOr<std::int64_t>) override {}
  void OnDeliveries(std::uint32_t, DeliveryBatch batch) override {
    for (DeliveryRun& run : batch.runs) {
      inbox_.Put([this, run = std::move(run)] { run_(run); });
    }
  }
  void OnWantCredit(std::uint32_t) override {}
  void OnCreditReturned(std::uint32_t, std::uint64_t, std::int64_t, bool) override {}
  void OnLeaseLost(std::uint32_t, std::vector<DeliveryRange>, LeaseLostCode) override {}
  void OnRecall(std::uint32_t, std::vector<DeliveryRange>) override {}
  void OnEndOfQueue(std::uint32_t) override {}
  void OnDrained(std::uint32_t, std::uint64_t, std::uint64_t) override {}
  void OnGoAway(std::uint32_t, GoAwayCode, ErrorInfo) override { inbox_.Put(gone_); }

 private:
  Inbox& inbox_;
  const std::function<void(DeliveryRun)> run_;
  const std::function<void()> gone_;
};

PublishBatch BatchOf(const std::vector<std::string>& payloads) {
  static QueueHarness maker;
  return maker.BatchOf(payloads);
}

// ---- registry

TEST(LiveQueueRegistryTest, CreatesListsFindsAndDeletesByName) {
  Broker broker(std::make_unique<storage::MemoryStore>());
  EXPECT_TRUE(broker.Create("default/orders", {.max_messages = 5})->created);
  EXPECT_FALSE(broker.Create("default/orders", {.max_messages = 5})->created);
  const auto different = broker.Create("default/orders", {.max_messages = 6});
  EXPECT_EQ(ErrorInfoOf(different.status()).reason, Reason::kQueueExistsDifferent);
  EXPECT_THAT(std::string(different.status().message()), HasSubstr("max_messages: 5, not 6"));
  for (const char* name : {"default/b1", "default/b2", "default/b3", "other/b4"}) {
    ASSERT_TRUE(broker.Create(name).ok());
  }
  EXPECT_EQ(broker.registry().List("default", "b", "", 10).size(), 3u);
  const auto page = broker.registry().List("default", "b", "b1", 1);
  ASSERT_EQ(page.size(), 1u);
  EXPECT_EQ(page[0]->name(), "default/b2");
  const auto misspelt = broker.registry().Find("default/oders");
  EXPECT_THAT(std::string(misspelt.status().message()), HasSubstr("did you mean default/orders"));
  const auto deleted = broker.Wait<std::uint64_t>(
      [&](auto done) { broker.registry().Delete("default/orders", false, std::move(done)); });
  EXPECT_EQ(*deleted, 0u);
  EXPECT_FALSE(broker.registry().Find("default/orders").ok());
  EXPECT_TRUE(broker.Create("default/orders", {.max_messages = 6})->created);
}

TEST(LiveQueueRegistryTest, CreatedQueuesAreThereAfterARestartAndDeletedOnesAreNot) {
  auto disk = std::make_shared<storage::MemoryDisk>();
  {
    Broker broker(std::make_unique<storage::MemoryStore>(disk));
    broker.Made("default/kept", {.max_messages = 5});
    broker.Made("default/gone");
    ASSERT_TRUE(broker
                    .Wait<std::uint64_t>([&](auto done) {
                      broker.registry().Delete("default/gone", true, std::move(done));
                    })
                    .ok());
  }
  Broker broker(std::make_unique<storage::MemoryStore>(disk));
  EXPECT_EQ(broker.registry().size(), 1u);
  EXPECT_FALSE(broker.Create("default/kept", {.max_messages = 5})->created);
}

TEST(LiveQueueRegistryTest, OneNameIsCreatedOnceHoweverManyAsk) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    Broker broker(Chaos(std::make_shared<storage::MemoryDisk>(), seed, 0));
    std::vector<std::promise<bool>> answers(8);
    for (auto& answer : answers) {
      broker.registry().Create("default/q", {}, [&answer](absl::StatusOr<CreatedQueue> made) {
        answer.set_value(made.ok() && made->created);
      });
    }
    int created = 0;
    for (auto& answer : answers) created += answer.get_future().get();
    EXPECT_EQ(created, 1) << "seed " << seed;
  }
}

/// The one thing to fear of a deletion whose outcome is unknown: somebody who is never answered.
TEST(LiveQueueRegistryTest, RequestsBehindAnUnknownDeletionAreAnswered) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    Broker broker(Chaos(std::make_shared<storage::MemoryDisk>(), seed, 30));
    const auto queue = broker.Made("default/q");
    std::vector<std::promise<bool>> answers(12);
    queue->Delete(true,
                  [&](absl::StatusOr<std::uint64_t> gone) { answers[0].set_value(gone.ok()); });
    for (std::size_t i = 1; i < answers.size(); ++i) {
      queue->Info(
          [&answers, i](absl::StatusOr<QueueInfo> info) { answers[i].set_value(info.ok()); });
    }
    for (auto& answer : answers) answer.get_future().get();
    const auto late = broker.Wait<QueueInfo>([&](auto done) { queue->Info(std::move(done)); });
    if (!broker.registry().Find("default/q").ok()) {
      EXPECT_FALSE(late.ok()) << "seed " << seed;
    }
  }
}

// ---- one queue

/// A resuming producer and a consumer that acks, each of which comes back when it is let go.
class Flow {
 public:
  Flow(Broker& broker, std::shared_ptr<QueueActor> queue, int messages)
      : broker_(broker), queue_(std::move(queue)) {
    for (int i = 1; i <= messages; ++i) unanswered_[i] = "m" + std::to_string(i);
  }

  void Run() {
    Publish();
    Consume();
    while (!unanswered_.empty() || settling_ > 0 || broker_.Stats(queue_).backlog_bytes > 0) {
      inbox_.RunOne();
    }
    for (const auto& [sequence, payload] : confirmed_) {
      EXPECT_TRUE(seen_.contains(sequence)) << payload << " was confirmed and is lost";
    }
    for (const auto& [payload, sequences] : stored_) {
      EXPECT_EQ(sequences.size(), 1u) << payload << " was stored twice";
    }
    queue_->Post(DetachConsumer{consumer_});
    queue_->Post(DetachPublisher{publisher_});
    broker_.Stats(queue_);  // nothing calls a sink behind this answer
  }

 private:
  void Publish() {
    publisher_ = next_stream_++;
    answered_.clear();
    sinks_.push_back(std::make_shared<PublishNotes>(
        inbox_, [this, id = publisher_](const Confirms& confirms) { Answer(id, confirms); },
        [this] { Publish(); }));
    queue_->Attach(AttachPublisher{publisher_, kProducer},
                   std::static_pointer_cast<PublishSink>(sinks_.back()));
    const auto again = unanswered_;
    for (const auto& [id, payload] : again) {
      PublishBatch batch = BatchOf({payload});
      batch.publisher = publisher_;
      batch.first_publish_id = static_cast<std::uint64_t>(id);
      queue_->Post(std::move(batch));
    }
  }

  void Answer(PublisherId stream, const Confirms& confirms) {
    for (const ConfirmedRange& range : confirms.ranges) {
      for (std::uint64_t i = 0; i < range.count; ++i) {
        const int id = static_cast<int>(range.first_publish_id + i);
        EXPECT_TRUE(answered_.insert({stream, id}).second) << "answered twice";
        confirmed_[range.first_sequence + i] = "m" + std::to_string(id);
        unanswered_.erase(id);
      }
    }
    EXPECT_TRUE(confirms.exceptions.empty());
  }

  void Consume() {
    consumer_ = next_stream_++;
    auto sink = std::make_shared<ConsumeNotes>(
        inbox_, [this](const DeliveryRun& run) { Take(run); }, [this] { Consume(); });
    sinks_.push_back(sink);
    queue_->Attach(AttachConsumer{.consumer = consumer_}, 0, sink);
    queue_->Post(GrantCredit{consumer_, 10, 1 << 20});
  }

  void Take(const DeliveryRun& run) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      const Sequence sequence = run.first_sequence + i;
      const std::string payload(run.body->Element(run.first_index + i).substr(4));
      EXPECT_FALSE(settled_.contains(sequence)) << payload << " was settled and is back";
      EXPECT_TRUE(deliveries_.insert(run.first_delivery_id + i).second) << "delivery id again";
      seen_.insert(sequence);
      stored_[payload].insert(sequence);
    }
    ++settling_;
    queue_->Settle({{{run.first_delivery_id, run.first_delivery_id + run.count - 1}, AckOutcome{}}},
                   [this, run](absl::StatusOr<SettleResult> result) {
                     inbox_.Put([this, run, result = std::move(result)] { Settled(run, result); });
                   });
    queue_->Post(GrantCredit{consumer_, run.count, 1'000});
  }

  void Settled(const DeliveryRun& run, const absl::StatusOr<SettleResult>& result) {
    --settling_;
    if (!result.ok() || result->settled != run.count) return;  // unknown, or the lease is lost
    for (std::uint32_t i = 0; i < run.count; ++i) settled_.insert(run.first_sequence + i);
  }

  Broker& broker_;
  const std::shared_ptr<QueueActor> queue_;
  Inbox inbox_;
  std::vector<std::shared_ptr<void>> sinks_;
  PublisherId publisher_ = 0;
  ConsumerId consumer_ = 0;
  std::uint64_t next_stream_ = kFirstStream;
  int settling_ = 0;
  std::map<int, std::string> unanswered_;
  std::set<std::pair<PublisherId, int>> answered_;
  std::map<Sequence, std::string> confirmed_;
  std::map<std::string, std::set<Sequence>> stored_;
  std::set<Sequence> seen_;
  std::set<Sequence> settled_;
  std::set<DeliveryId> deliveries_;
};

TEST(LiveQueueActorTest, NothingConfirmedIsLostAndNothingSettledReturns) {
  auto disk = std::make_shared<storage::MemoryDisk>();
  {
    Broker broker(std::make_unique<storage::MemoryStore>(disk));
    Flow(broker, broker.Made("default/q"), 300).Run();
  }
  Broker broker(std::make_unique<storage::MemoryStore>(disk));
  EXPECT_EQ(broker.Stats(*broker.registry().Find("default/q")).backlog_bytes, 0u);
}

TEST(LiveQueueActorTest, NothingConfirmedIsLostAndNothingSettledReturnsUnderUnknownOutcomes) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto disk = std::make_shared<storage::MemoryDisk>();
    {
      Broker broker(Chaos(disk, seed, 10));
      Flow(broker, broker.Made("default/q"), 100).Run();
    }
    Broker broker(std::make_unique<storage::MemoryStore>(disk));
    EXPECT_EQ(broker.Stats(*broker.registry().Find("default/q")).backlog_bytes, 0u);
  }
}

// ---- two queues

/// Takes from one queue and publishes a result to another in the same request, until all is done.
class Relay {
 public:
  Relay(Broker& broker, std::shared_ptr<QueueActor> source, std::shared_ptr<QueueActor> target)
      : broker_(broker), source_(std::move(source)), target_(std::move(target)) {}

  void Run() {
    Consume();
    while (running_ > 0 || broker_.Stats(source_).backlog_bytes > 0) inbox_.RunOne();
    source_->Post(DetachConsumer{consumer_});
    broker_.Stats(source_);
  }

 private:
  void Consume() {
    consumer_ = next_stream_++;
    auto sink = std::make_shared<ConsumeNotes>(
        inbox_, [this](const DeliveryRun& run) { Take(run); }, [this] { Consume(); });
    sinks_.push_back(sink);
    source_->Attach(AttachConsumer{.consumer = consumer_}, 0, sink);
    source_->Post(GrantCredit{consumer_, 5, 1 << 20});
  }

  void Take(const DeliveryRun& run) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      const DeliveryId id = run.first_delivery_id + i;
      std::vector<TransactionTarget> targets;
      targets.push_back(
          {.queue = target_,
           .batch = BatchOf({std::string(run.body->Element(run.first_index + i).substr(4))})});
      ++running_;
      SettleAtomically(source_, {{{id, id}, AckOutcome{}}}, std::move(targets),
                       [this, id](const TransactionResult& result) {
                         inbox_.Put([this, id, committed = result.committed] {
                           // Refused at the target: it must not wait for its lease to end.
                           if (!committed) GiveBack(id);
                           --running_;
                           source_->Post(GrantCredit{consumer_, 1, 1'000});
                         });
                       });
    }
  }

  void GiveBack(DeliveryId id) {
    source_->Settle({{{id, id}, ReleaseOutcome{}}}, [](const absl::StatusOr<SettleResult>&) {});
  }

  Broker& broker_;
  const std::shared_ptr<QueueActor> source_;
  const std::shared_ptr<QueueActor> target_;
  Inbox inbox_;
  std::vector<std::shared_ptr<void>> sinks_;
  ConsumerId consumer_ = 0;
  std::uint64_t next_stream_ = kFirstStream;
  int running_ = 0;
};

/// Puts messages m1 .. into a queue, each once.
void Fill(const std::shared_ptr<storage::MemoryDisk>& disk, int messages) {
  Broker broker(std::make_unique<storage::MemoryStore>(disk));
  const auto source = broker.Made("default/source");
  broker.Made("default/target");
  Inbox inbox;
  int answered = 0;
  auto sink = std::make_shared<PublishNotes>(
      inbox, [&](const Confirms& confirms) { answered += static_cast<int>(confirms.messages); },
      [] {});
  source->Attach(AttachPublisher{.publisher = 1}, sink);
  for (int i = 1; i <= messages; ++i) {
    PublishBatch batch = BatchOf({"m" + std::to_string(i)});
    batch.publisher = 1;
    batch.first_publish_id = static_cast<std::uint64_t>(i);
    source->Post(std::move(batch));
  }
  while (answered < messages) inbox.RunOne();
  source->Post(DetachPublisher{1});
  broker.Stats(source);
}

std::multiset<std::string> PayloadsOf(Broker& broker, const std::string& name) {
  const auto queue = *broker.registry().Find(name);
  const auto peeked = broker.Wait<std::vector<PeekedMessage>>(
      [&](auto done) { queue->PeekMessages(Peek{.limit = 1'000}, std::move(done)); });
  std::multiset<std::string> payloads;
  for (const PeekedMessage& message : *peeked) {
    payloads.emplace(message.body->Element(message.index).substr(4));
  }
  return payloads;
}

TEST(LiveQueueActorTest, EveryRelayedMessageArrivesExactlyOnceUnderUnknownOutcomes) {
  constexpr int kMessages = 60;
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto disk = std::make_shared<storage::MemoryDisk>();
    Fill(disk, kMessages);
    {
      Broker broker(Chaos(disk, seed, seed % 4 == 0 ? 0 : 10));
      Relay(broker, *broker.registry().Find("default/source"),
            *broker.registry().Find("default/target"))
          .Run();
    }
    Broker broker(std::make_unique<storage::MemoryStore>(disk));
    EXPECT_TRUE(PayloadsOf(broker, "default/source").empty());
    const auto arrived = PayloadsOf(broker, "default/target");
    EXPECT_EQ(arrived.size(), static_cast<std::size_t>(kMessages));
    for (int i = 1; i <= kMessages; ++i) EXPECT_EQ(arrived.count("m" + std::to_string(i)), 1u) << i;
  }
}

TEST(LiveQueueActorTest, DeadLetterArrivesWhenThereIsRoomForIt) {
  Broker broker(std::make_unique<storage::MemoryStore>());
  const auto dead = broker.Made("default/dead", {.max_messages = 1});
  const auto queue = broker.Made("default/q", {.dead_letter_queue = "default/dead"});
  Inbox inbox;
  int confirmed = 0;
  auto publisher = std::make_shared<PublishNotes>(
      inbox, [&](const Confirms& c) { confirmed += static_cast<int>(c.messages); }, [] {});
  std::vector<DeliveryRun> runs;
  auto consumer = std::make_shared<ConsumeNotes>(
      inbox, [&](const DeliveryRun& run) { runs.push_back(run); }, [] {});
  queue->Attach(AttachPublisher{.publisher = 1}, publisher);
  queue->Attach(AttachConsumer{.consumer = 2}, 0, consumer);
  PublishBatch batch = BatchOf({"a", "b"});
  batch.publisher = 1;
  batch.first_publish_id = 1;
  queue->Post(std::move(batch));
  queue->Post(GrantCredit{2, 10, 1'000});
  while (confirmed < 2 || runs.empty() || runs[0].count < 2) inbox.RunOne();
  const DeliveryId first = runs[0].first_delivery_id;
  const auto settled = broker.Wait<SettleResult>([&](auto done) {
    queue->Settle({{{first, first + 1}, DeadLetterOutcome{"bad"}}}, std::move(done));
  });
  EXPECT_EQ(settled->settled, 2u);
  while (broker.Stats(dead).ready == 0) {
  }
  EXPECT_EQ(PayloadsOf(broker, "default/dead"), (std::multiset<std::string>{"a"}));
  EXPECT_EQ(broker.Stats(queue).parked, 1u) << "the other stays until there is room";
  queue->Post(DetachConsumer{2});
  queue->Post(DetachPublisher{1});
  broker.Stats(queue);
}

}  // namespace
}  // namespace mqd::queue::testing
