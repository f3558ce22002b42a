// Redrive tasks over real queues: nothing lost, nothing twice, also over restarts and unknown
// outcomes. Time is moved by hand.
#include "server/queue/redrive_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>

#include "proto/base/mutex.h"
#include "server/limits.h"
#include "storage/record_codec.h"
#include "tests/support/queue_broker.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr storage::ShardId kShard{0};

/// What was asked to run later, run by the test's thread; its clock jumps to the next of them.
class Timers {
 public:
  using Task = RedriveManager::Task;

  void RunAt(std::int64_t at_ns, Task task) {
    base::MutexLock lock(mutex_);
    tasks_.emplace(at_ns, std::move(task));
    some_.notify_one();
  }
  /// Waits for a task, moves the clock to its time and runs it.
  void RunOne() {
    Task task;
    {
      base::MutexLock lock(mutex_);
      while (tasks_.empty()) lock.Wait(some_);
      if (tasks_.begin()->first > steady_ns_.load()) steady_ns_ = tasks_.begin()->first;
      task = std::move(tasks_.begin()->second);
      tasks_.erase(tasks_.begin());
    }
    task();
  }
  void Clear() {
    std::multimap<std::int64_t, Task> tasks;
    base::MutexLock lock(mutex_);
    tasks_.swap(tasks);
  }
  Now now() const {
    return {.steady_ns = steady_ns_.load(), .wall_ms = 1'700'000'000'000 + steady_ns_ / kNsPerMs};
  }

 private:
  base::Mutex mutex_;
  std::condition_variable some_;
  std::multimap<std::int64_t, Task> tasks_ ABSL_GUARDED_BY(mutex_);
  std::atomic<std::int64_t> steady_ns_{1'000'000'000};
};

/// A broker with redrives, from a start to an abrupt end.
class Site {
 public:
  explicit Site(std::unique_ptr<storage::Store> store) : broker_(std::move(store)) {
    manager_ = std::make_unique<RedriveManager>(RedriveManager::Deps{
        .store = broker_.store(),
        .shard = kShard,
        .queues = broker_.registry(),
        .clock = [this] { return timers_.now(); },
        .run_at = [this](std::int64_t at_ns,
                         Timers::Task task) { timers_.RunAt(at_ns, std::move(task)); },
        .special_of = [](std::string_view) -> std::optional<SpecialFields> {
          return SpecialFields{.ordering_key = "k1", .priority = 7};
        }});
    const absl::Status recovered = manager_->Recover();
    EXPECT_TRUE(recovered.ok()) << recovered;
  }
  ~Site() {
    manager_->Stop();
    broker_.StopThreads();
    timers_.Clear();  // they own queues, whose timers end with the threads
  }

  Broker& broker() { return broker_; }
  RedriveManager& manager() { return *manager_; }
  Timers& timers() { return timers_; }
  std::shared_ptr<QueueActor> Queue(const std::string& name) {
    return *broker_.registry().Find(name);
  }

  absl::StatusOr<storage::RedriveRecord> Start(storage::RedriveRecord asked) {
    if (asked.queue.empty()) asked.queue = "default/dead";
    return Wait([&](auto done) { manager_->Start(asked, std::move(done)); });
  }
  absl::StatusOr<storage::RedriveRecord> Cancel(std::uint64_t id) {
    return Wait([&](auto done) { manager_->Cancel(id, std::move(done)); });
  }
  storage::RedriveRecord RunUntil(std::uint64_t id, RedriveState state) {
    for (;;) {
      const auto record = manager_->Get(id);
      EXPECT_TRUE(record.ok()) << record.status();
      if (!record.ok()) return {};
      if (record->state == static_cast<std::uint8_t>(state)) return *record;
      timers_.RunOne();
    }
  }

  /// Puts messages into a dead-letter queue as if they came from `origin`.
  void DeadLetter(const std::string& origin, const std::vector<std::string>& payloads) {
    for (const std::string& payload : payloads) {
      while (!DeadLetterOnce(origin, payload)) {
      }
    }
  }
  std::vector<std::string> PayloadsIn(const std::string& queue) {
    std::vector<std::string> payloads;
    for (const PeekedMessage& message : PeekAll(queue)) {
      payloads.push_back(std::string(message.body->Element(message.index).substr(4)));
    }
    std::sort(payloads.begin(), payloads.end());
    return payloads;
  }
  std::vector<PeekedMessage> PeekAll(const std::string& queue) {
    for (;;) {
      auto found = broker_.Wait<std::vector<PeekedMessage>>(
          [&](auto done) { Queue(queue)->PeekMessages({.limit = 10'000}, std::move(done)); });
      if (found.ok()) return *std::move(found);
    }
  }

 private:
  /// The answer may need the test's thread.
  template <class Start>
  absl::StatusOr<storage::RedriveRecord> Wait(Start start) {
    std::optional<absl::StatusOr<storage::RedriveRecord>> answer;
    start([this, &answer](absl::StatusOr<storage::RedriveRecord> result) {
      timers_.RunAt(
          0, [&answer, result = std::move(result)]() mutable { answer = std::move(result); });
    });
    while (!answer.has_value()) timers_.RunOne();
    return *std::move(answer);
  }
  bool DeadLetterOnce(const std::string& origin, const std::string& payload) {
    static const QueueHarness maker;
    TransactionTarget target{.queue = Queue("default/dead"), .bypass_dedup = true};
    target.batch = maker.BatchOf({payload});
    target.origins = {{.queue = origin, .sequence = 1, .reason = "max_attempts", .time_ms = 5}};
    std::vector<TransactionTarget> targets;
    targets.push_back(std::move(target));
    std::promise<bool> committed;
    RunTransaction({Queue("default/jobs"), {}, {}, {}}, std::move(targets),
                   [&](const TransactionResult& result) { committed.set_value(result.committed); });
    return committed.get_future().get();
  }

  Timers timers_;
  Broker broker_;
  std::unique_ptr<RedriveManager> manager_;
};

std::unique_ptr<Site> MadeSite(std::unique_ptr<storage::Store> store,
                               QueueSettings jobs = QueueSettings{}) {
  auto site = std::make_unique<Site>(std::move(store));
  site->broker().Made("default/jobs", std::move(jobs));
  site->broker().Made("default/dead");
  return site;
}

std::vector<std::string> Numbered(int count) {
  std::vector<std::string> payloads;
  for (int i = 0; i < count; ++i) payloads.push_back("m" + std::to_string(100 + i));
  return payloads;
}

Reason ReasonOf(const absl::Status& status) { return ErrorInfoOf(status).reason; }

TEST(RedriveManagerTest, MovesEverythingBackAndSaysWhatItDid) {
  const auto site = MadeSite(std::make_unique<storage::MemoryStore>());
  site->DeadLetter("default/jobs", Numbered(150));
  const auto started = site->Start({});
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->end_sequence, 151u);
  const storage::RedriveRecord done = site->RunUntil(started->id, RedriveState::kDone);
  EXPECT_EQ(done.matched, 150u);
  EXPECT_EQ(done.moved, 150u);
  EXPECT_EQ(done.skipped, 0u);
  EXPECT_EQ(site->PayloadsIn("default/jobs"), Numbered(150));
  EXPECT_THAT(site->PayloadsIn("default/dead"), ElementsAre());
  const PeekedMessage moved = site->PeekAll("default/jobs")[0];
  EXPECT_FALSE(moved.dead_letter.has_value());
  EXPECT_EQ(moved.attempts, 0u);
  EXPECT_EQ(moved.charge_bytes, kOverheadBytes + 4);
}

TEST(RedriveManagerTest, RefusesWhatItCannotDo) {
  const auto site = MadeSite(std::make_unique<storage::MemoryStore>());
  EXPECT_EQ(ReasonOf(site->Start({.queue = "default/nobody"}).status()), Reason::kQueueNotFound);
  EXPECT_EQ(ReasonOf(site->Start({.target = "default/nobody"}).status()), Reason::kQueueNotFound);
  EXPECT_EQ(ReasonOf(site->Start({.target = "default/dead"}).status()), Reason::kBadField);
  EXPECT_EQ(ReasonOf(site->Start({.target = "other/jobs"}).status()), Reason::kBadField);
  EXPECT_EQ(ReasonOf(site->manager().Get(17).status()), Reason::kTaskNotFound);
  EXPECT_EQ(ReasonOf(site->Cancel(17).status()), Reason::kTaskNotFound);
}

TEST(RedriveManagerTest, WaitsForRoomAndGoesOn) {
  const auto site = MadeSite(std::make_unique<storage::MemoryStore>(), {.max_messages = 3});
  site->DeadLetter("default/jobs", Numbered(5));
  const auto started = site->Start({});
  const storage::RedriveRecord waiting = site->RunUntil(started->id, RedriveState::kWaiting);
  EXPECT_EQ(waiting.moved, 3u) << "all that there is room for";
  EXPECT_EQ(waiting.error_reason, static_cast<int>(Reason::kQueueFull));
  EXPECT_THAT(waiting.error, HasSubstr("default/jobs"));
  const std::int64_t since_ns = site->timers().now().steady_ns;
  ASSERT_TRUE(site->broker()
                  .Wait<std::uint64_t>([&](auto done) {
                    site->Queue("default/jobs")->Purge(false, std::move(done));
                  })
                  .ok());
  const storage::RedriveRecord done = site->RunUntil(started->id, RedriveState::kDone);
  EXPECT_EQ(done.moved, 5u);
  EXPECT_GE(site->timers().now().steady_ns - since_ns, kNsPerMs * 1'000);
}

TEST(RedriveManagerTest, TargetThatIsMissingIsWaitedFor) {
  const auto site = MadeSite(std::make_unique<storage::MemoryStore>());
  site->DeadLetter("default/gone", Numbered(2));
  const auto started = site->Start({});
  const storage::RedriveRecord waiting = site->RunUntil(started->id, RedriveState::kWaiting);
  EXPECT_EQ(waiting.error_reason, static_cast<int>(Reason::kQueueNotFound));
  site->broker().Made("default/gone");
  EXPECT_EQ(site->RunUntil(started->id, RedriveState::kDone).moved, 2u);
}

TEST(RedriveManagerTest, QueueThatIsDeletedUnderItEndsIt) {
  const auto site = MadeSite(std::make_unique<storage::MemoryStore>());
  site->DeadLetter("default/gone", Numbered(2));
  const auto started = site->Start({.target = "default/jobs", .max_rate = 1});
  ASSERT_TRUE(site->broker()
                  .Wait<std::uint64_t>([&](auto done) {
                    site->broker().registry().Delete("default/dead", true, std::move(done));
                  })
                  .ok());
  EXPECT_EQ(site->RunUntil(started->id, RedriveState::kFailed).error_reason,
            static_cast<int>(Reason::kQueueNotFound));
}

TEST(RedriveManagerTest, CancelledItStaysCancelledOverARestart) {
  auto disk = std::make_shared<storage::MemoryDisk>();
  std::uint64_t id = 0;
  std::uint64_t moved = 0;
  {
    const auto site = MadeSite(std::make_unique<storage::MemoryStore>(disk));
    site->DeadLetter("default/jobs", Numbered(20));
    id = site->Start({.max_rate = 10})->id;
    while (site->manager().Get(id)->moved < 5) site->timers().RunOne();
    const auto cancelled = site->Cancel(id);
    ASSERT_TRUE(cancelled.ok()) << cancelled.status();
    moved = site->RunUntil(id, RedriveState::kCancelled).moved;
    EXPECT_LT(moved, 20u);
  }
  Site site(std::make_unique<storage::MemoryStore>(disk));
  EXPECT_EQ(site.manager().Get(id)->state, static_cast<int>(RedriveState::kCancelled));
  EXPECT_EQ(site.PeekAll("default/jobs").size(), moved);
}

TEST(RedriveManagerTest, EndedAbruptlyAnywhereItGoesOnAndMovesEachMessageOnce) {
  for (int steps = 0; steps <= 30; ++steps) {
    SCOPED_TRACE("ended after " + std::to_string(steps) + " steps");
    auto disk = std::make_shared<storage::MemoryDisk>();
    std::uint64_t id = 0;
    {
      const auto site = MadeSite(std::make_unique<storage::MemoryStore>(disk));
      site->DeadLetter("default/jobs", Numbered(12));
      id = site->Start({.max_rate = 10, .dry_run = false})->id;
      for (int step = 0; step < steps; ++step) site->timers().RunOne();
    }
    Site site(std::make_unique<storage::MemoryStore>(disk));
    site.RunUntil(id, RedriveState::kDone);
    EXPECT_EQ(site.PayloadsIn("default/jobs"), Numbered(12));
    EXPECT_THAT(site.PayloadsIn("default/dead"), ElementsAre());
  }
}

TEST(RedriveManagerTest, NothingIsLostOrDoubledUnderUnknownOutcomes) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto site = MadeSite(Chaos(std::make_shared<storage::MemoryDisk>(), seed, 10));
    site->DeadLetter("default/jobs", {"a1", "b1", "c1", "d1", "e1", "f1", "g1", "h1"});
    const std::vector<std::string> before = site->PayloadsIn("default/dead");
    absl::StatusOr<storage::RedriveRecord> started = site->Start({.max_rate = 20});
    while (!started.ok()) started = site->Start({.max_rate = 20});
    site->RunUntil(started->id, RedriveState::kDone);
    EXPECT_EQ(site->PayloadsIn("default/jobs"), before);
    EXPECT_THAT(site->PayloadsIn("default/dead"), ElementsAre());
  }
}

TEST(RedriveManagerTest, TwoOfTheSameQueueShareTheWork) {
  const auto site = MadeSite(std::make_unique<storage::MemoryStore>());
  site->DeadLetter("default/jobs", Numbered(100));
  const std::uint64_t first = site->Start({})->id;
  const std::uint64_t second = site->Start({})->id;
  const storage::RedriveRecord one = site->RunUntil(first, RedriveState::kDone);
  const storage::RedriveRecord two = site->RunUntil(second, RedriveState::kDone);
  EXPECT_EQ(one.moved + two.moved, 100u);
  EXPECT_EQ(site->PayloadsIn("default/jobs"), Numbered(100));
}

TEST(RedriveManagerTest, OnlySoManyRunAndTheLatestThatEndedAreKept) {
  auto disk = std::make_shared<storage::MemoryDisk>();
  std::vector<std::uint64_t> ids;
  {
    const auto site = MadeSite(std::make_unique<storage::MemoryStore>(disk), {.max_messages = 1});
    site->DeadLetter("default/gone", Numbered(1));
    for (unsigned i = 0; i < limits::kRedrivesRunningMax; ++i) {
      ids.push_back(site->Start({})->id);
    }
    const auto refused = site->Start({});
    EXPECT_EQ(ReasonOf(refused.status()), Reason::kQuotaExceeded);
    EXPECT_EQ(ErrorInfoOf(refused.status()).limit, limits::kRedrivesRunningMax);
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("cancel it"));
    for (const std::uint64_t id : ids) ASSERT_TRUE(site->Cancel(id).ok());
    while (ids.size() < limits::kRedrivesEndedMax + 5) {
      ids.push_back(site->Start({})->id);
      ASSERT_TRUE(site->Cancel(ids.back()).ok());
    }
    const auto list = site->manager().List("");
    ASSERT_EQ(list.size(), limits::kRedrivesEndedMax);
    EXPECT_EQ(list.front().id, ids.back()) << "the latest first";
    EXPECT_EQ(site->manager().List("default/jobs").size(), 0u);
  }
  Site site(std::make_unique<storage::MemoryStore>(disk));
  EXPECT_EQ(site.manager().List("default/dead").size(), limits::kRedrivesEndedMax);
  EXPECT_FALSE(site.manager().Get(ids[0]).ok());
}

TEST(RedriveManagerTest, MessageComesBackWithItsKeyAndPriority) {
  const auto site =
      MadeSite(std::make_unique<storage::MemoryStore>(), {.ordering = Ordering::kKeyed});
  site->DeadLetter("default/jobs", {"a1", "b1"});
  site->RunUntil(site->Start({})->id, RedriveState::kDone);
  std::vector<storage::MessageControl> controls;
  const std::string rows = storage::QueuePrefix(site->Queue("default/jobs")->id());
  const absl::Status read = site->broker().store().Scan(
      kShard, storage::Table::kChunks, rows, [&](std::string_view, std::string_view value) {
        const auto chunk = storage::DecodeChunkRecord(value);
        if (chunk.ok()) controls = chunk->controls;
        return chunk.status();
      });
  ASSERT_TRUE(read.ok()) << read;
  ASSERT_EQ(controls.size(), 2u);
  EXPECT_EQ(controls[1].ordering_key, "k1");
  EXPECT_EQ(controls[1].priority, 7u);
  EXPECT_TRUE(controls[1].dead_letter.empty());
}

}  // namespace
}  // namespace mqd::queue::testing
