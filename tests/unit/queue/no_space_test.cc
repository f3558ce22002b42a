// A store without room: what is refused is told so, none of it is there afterwards, and the queue
// goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <future>

#include "absl/strings/str_cat.h"
#include "asio/thread_pool.hpp"
#include "proto/base/mutex.h"
#include "server/queue/live_queue_registry.h"
#include "server/queue/transaction.h"
#include "storage/memory_store.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;

constexpr ProducerId kProducer{4, 2};
constexpr std::size_t kRoom = 500;
const std::string kLarge(1'000, 'x');

/// Refuses batches with bodies above a size, and holds all of them up on demand.
class TightStore final : public storage::Store {
 public:
  void Append(storage::ShardId shard, storage::Epoch epoch, storage::Batch batch,
              storage::Sync sync, Done done) override {
    {
      base::MutexLock lock(mutex_);
      if (holds_) {
        held_.push_back(
            [this, shard, epoch, sync, batch = std::move(batch), done = std::move(done)]() mutable {
              Write(shard, epoch, std::move(batch), sync, std::move(done));
            });
        changed_.notify_all();
        return;
      }
    }
    Write(shard, epoch, std::move(batch), sync, std::move(done));
  }
  storage::Epoch CurrentEpoch() const override { return inner_.CurrentEpoch(); }
  bool DiskLow() const override { return false; }
  absl::Status Scan(storage::ShardId shard, storage::Table table, std::string_view prefix,
                    const Visit& visit) const override {
    return inner_.Scan(shard, table, prefix, visit);
  }
  void ReadBody(storage::ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const override {
    inner_.ReadBody(shard, queue, key, std::move(done));
  }
  storage::StoreStats Stats() const override { return inner_.Stats(); }

  void SetRoom(std::size_t bytes) { room_ = bytes; }
  void Hold() {
    base::MutexLock lock(mutex_);
    holds_ = true;
  }
  void WaitHeld(std::size_t batches) {
    base::MutexLock lock(mutex_);
    while (held_.size() < batches) lock.Wait(changed_);
  }
  /// Writes what was held up.
  void Release() {
    std::vector<absl::AnyInvocable<void()>> held;
    {
      base::MutexLock lock(mutex_);
      holds_ = false;
      held.swap(held_);
    }
    for (auto& write : held) write();
  }

 private:
  void Write(storage::ShardId shard, storage::Epoch epoch, storage::Batch batch, storage::Sync sync,
             Done done) {
    const auto too_large = [this](const storage::Op& op) {
      return op.body != nullptr && op.body->encoded().size() > room_;
    };
    if (std::any_of(batch.ops().begin(), batch.ops().end(), too_large)) {
      batch.BreakChain();
      return done({storage::Outcome::kNoSpace, epoch, 0});
    }
    inner_.Append(shard, epoch, std::move(batch), sync, std::move(done));
  }

  storage::MemoryStore inner_;
  std::atomic<std::size_t> room_{kRoom};
  base::Mutex mutex_;
  std::condition_variable changed_;
  bool holds_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void()>> held_ ABSL_GUARDED_BY(mutex_);
};

/// What sinks were told: "confirmed 2", "delivered 1", "gone DISK_LOW".
class Notes final : public PublishSink, public ConsumeSink {
 public:
  void OnAttached(absl::StatusOr<AttachedPublisher>) override {}
  void OnConfirms(Confirms confirms) override {
    EXPECT_TRUE(confirms.exceptions.empty());
    Add(absl::StrCat("confirmed ", confirms.messages));
  }
  void OnBlocked(std::uint64_t, std::optional<ErrorInfo>) override {}
  void OnGoAway(GoAwayCode, ErrorInfo error) override {
    Add(absl::StrCat("gone ", ToString(error.reason)));
  }
  void OnAttached(std::uint32_t, absl::StatusOr<std::int64_t>) override {}
  void OnDeliveries(std::uint32_t, DeliveryBatch batch) override {
    Add(absl::StrCat("delivered ", batch.runs.at(0).first_delivery_id));
  }
  void OnWantCredit(std::uint32_t) override {}
  void OnCreditReturned(std::uint32_t, std::uint64_t, std::int64_t, bool) override {}
  void OnLeaseLost(std::uint32_t, std::vector<DeliveryRange>, LeaseLostCode) override {}
  void OnRecall(std::uint32_t, std::vector<DeliveryRange>) override {}
  void OnEndOfQueue(std::uint32_t) override {}
  void OnDrained(std::uint32_t, std::uint64_t, std::uint64_t) override {}
  void OnGoAway(std::uint32_t, GoAwayCode, ErrorInfo error) override {
    Add(absl::StrCat("gone ", ToString(error.reason)));
  }

  /// Waits for the first `count` of them.
  std::vector<std::string> Until(std::size_t count) {
    base::MutexLock lock(mutex_);
    while (notes_.size() < count) lock.Wait(changed_);
    return notes_;
  }

 private:
  void Add(std::string note) {
    base::MutexLock lock(mutex_);
    notes_.push_back(std::move(note));
    changed_.notify_all();
  }

  base::Mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> notes_ ABSL_GUARDED_BY(mutex_);
};

class NoSpaceTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(registry_.Recover().ok()); }
  void TearDown() override {
    registry_.Stop();
    pool_.stop();
    pool_.join();
  }

  std::shared_ptr<QueueActor> Make(const std::string& name, QueueSettings settings = {}) {
    std::promise<absl::Status> made;
    registry_.Create(name, std::move(settings), [&](absl::StatusOr<CreatedQueue> created) {
      made.set_value(created.status());
    });
    EXPECT_TRUE(made.get_future().get().ok());
    return *registry_.Find(name);
  }

  PublisherId AttachPublisher(const std::shared_ptr<QueueActor>& queue,
                              const std::shared_ptr<Notes>& notes) {
    queue->Attach(queue::AttachPublisher{++streams_, kProducer},
                  std::static_pointer_cast<PublishSink>(notes));
    return streams_;
  }

  void Publish(const std::shared_ptr<QueueActor>& queue, PublisherId publisher, std::uint64_t id,
               const std::string& payload) {
    PublishBatch batch = maker_.BatchOf({payload});
    batch.publisher = publisher;
    batch.first_publish_id = id;
    queue->Post(std::move(batch));
  }

  std::uint64_t Ready(const std::shared_ptr<QueueActor>& queue) {
    std::promise<std::uint64_t> ready;
    queue->Info([&](absl::StatusOr<QueueInfo> info) { ready.set_value(info.value().stats.ready); });
    return ready.get_future().get();
  }

  TransactionResult Relay(const std::shared_ptr<QueueActor>& source, DeliveryId delivery,
                          const std::shared_ptr<QueueActor>& target, const std::string& payload) {
    std::vector<TransactionTarget> targets;
    targets.push_back({.queue = target, .batch = maker_.BatchOf({payload})});
    std::promise<TransactionResult> done;
    SettleAtomically(source, {{{delivery, delivery}, AckOutcome{}}}, std::move(targets),
                     [&](TransactionResult result) { done.set_value(std::move(result)); });
    return done.get_future().get();
  }

  asio::thread_pool pool_{2};
  TightStore store_;
  LiveQueueRegistry registry_{store_, pool_.get_executor(), RegistryOptions{}};
  QueueHarness maker_;
  std::uint64_t streams_ = 0;
};

TEST_F(NoSpaceTest, PublishWithoutRoomIsDiskLowAndTheQueueGoesOn) {
  const auto queue = Make("default/q");
  const auto before = std::make_shared<Notes>();
  Publish(queue, AttachPublisher(queue, before), 1, kLarge);
  EXPECT_THAT(before->Until(1), ElementsAre("gone DISK_LOW"));
  EXPECT_EQ(Ready(queue), 0u);
  const auto after = std::make_shared<Notes>();
  Publish(queue, AttachPublisher(queue, after), 1, "small");
  EXPECT_THAT(after->Until(1), ElementsAre("confirmed 1"));
  EXPECT_EQ(Ready(queue), 1u);
}

TEST_F(NoSpaceTest, CommitsBeforeTheRefusedOneAreConfirmed) {
  const auto queue = Make("default/q");
  const auto notes = std::make_shared<Notes>();
  const PublisherId publisher = AttachPublisher(queue, notes);
  store_.Hold();
  Publish(queue, publisher, 1, "small");
  store_.WaitHeld(1);
  Publish(queue, publisher, 2, kLarge);
  store_.WaitHeld(2);
  store_.Release();
  EXPECT_THAT(notes->Until(2), ElementsAre("confirmed 1", "gone DISK_LOW"));
  EXPECT_EQ(Ready(queue), 1u);
}

/// The later commit would have room, and its record of the producer says that both are stored.
TEST_F(NoSpaceTest, ResentMessageOfARefusedCommitIsStored) {
  const auto queue = Make("default/q");
  const auto before = std::make_shared<Notes>();
  const PublisherId refused = AttachPublisher(queue, before);
  store_.Hold();
  Publish(queue, refused, 1, kLarge);
  store_.WaitHeld(1);
  Publish(queue, refused, 2, "small");
  store_.WaitHeld(2);
  store_.Release();
  EXPECT_THAT(before->Until(1), ElementsAre("gone DISK_LOW"));
  EXPECT_EQ(Ready(queue), 0u);

  store_.SetRoom(2 * kLarge.size());
  const auto after = std::make_shared<Notes>();
  const PublisherId resumed = AttachPublisher(queue, after);
  Publish(queue, resumed, 1, kLarge);
  EXPECT_THAT(after->Until(1), ElementsAre("confirmed 1"));
  Publish(queue, resumed, 2, "small");
  EXPECT_THAT(after->Until(2), ElementsAre("confirmed 1", "confirmed 1"));
  EXPECT_EQ(Ready(queue), 2u);
}

TEST_F(NoSpaceTest, AtomicRequestWithoutRoomIsDiskLowForEveryMessageAndTakesNoSlot) {
  const auto source = Make("default/source");
  const auto target = Make("default/target", {.max_messages = 1});
  const auto notes = std::make_shared<Notes>();
  Publish(source, AttachPublisher(source, notes), 1, "small");
  EXPECT_THAT(notes->Until(1), ElementsAre("confirmed 1"));
  const auto consumer = std::make_shared<Notes>();
  source->Attach(AttachConsumer{.consumer = ++streams_}, 0, consumer);
  source->Post(GrantCredit{streams_, 1, 1'000});
  const std::string delivered = consumer->Until(1).at(0);
  const DeliveryId delivery = std::stoull(delivered.substr(delivered.find(' ')));

  const TransactionResult result = Relay(source, delivery, target, kLarge);
  EXPECT_FALSE(result.committed);
  ASSERT_TRUE(result.error.has_value());
  EXPECT_EQ(result.error->reason, Reason::kDiskLow);
  EXPECT_EQ(std::get<ErrorInfo>(result.publishes.at(0).at(0)).reason, Reason::kDiskLow);
  EXPECT_EQ(Ready(source), 1u) << "its delivery was not settled";

  const auto direct = std::make_shared<Notes>();
  Publish(target, AttachPublisher(target, direct), 1, "small");
  EXPECT_THAT(direct->Until(1), ElementsAre("confirmed 1")) << "the only slot is free";
}

}  // namespace
}  // namespace mqd::queue::testing
