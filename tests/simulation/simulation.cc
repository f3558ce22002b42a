// simulation.cc: the world of a run, its faults, and its end.

#include "tests/simulation/simulation.h"

#include <algorithm>
#include <utility>

#include "tests/simulation/client_stream.h"

namespace mqd::simulation {

using crash::Kind;
using crash::Outcome;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t kFaultsNs = 8 * kNsPerSecond;
constexpr std::int64_t kHealMaxNs = 90 * kNsPerSecond;
constexpr std::int64_t kWatchNs = 100 * kNsPerMs;
constexpr std::uint32_t kManyAttempts = 1'000'000;
constexpr std::uint32_t kFewAttempts = 3;
constexpr std::uint64_t kBoundedMessages = 24;
constexpr std::uint64_t kBoundedBytes = 6'000;
constexpr std::int64_t kLatencyMaxNs = 200 * kNsPerMs;
constexpr std::int64_t kHour = 3'600 * kNsPerSecond;

queue::QueueSettings SettingsOf(std::uint32_t queue) {
  queue::QueueSettings settings;
  settings.lease_duration = milliseconds(queue == kFifoQueue ? 15'000 : 2'500);
  settings.max_attempts = queue == kJobsQueue ? kFewAttempts : kManyAttempts;
  settings.dedup_window = std::chrono::hours(24 * 7);  // longer than the wall clock is ever wrong
  settings.retry_backoff = {.initial = milliseconds(20), .max = milliseconds(500)};
  if (queue == kJobsQueue) {
    settings.dead_letter_queue = queue::FullName(QueueName(kDeadQueue)).value();
  }
  if (queue == kBoundedQueue) {
    settings.overflow_policy = queue::OverflowPolicy::kBlock;
    settings.max_messages = kBoundedMessages;
    settings.max_bytes = kBoundedBytes;
  }
  return settings;
}

std::vector<crash::QueueRules> Rules() {
  std::vector<crash::QueueRules> all;
  for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) {
    const queue::QueueSettings settings = SettingsOf(queue);
    crash::QueueRules& rules = all.emplace_back();
    rules.name = QueueName(queue);
    rules.lease_ns = std::chrono::nanoseconds(settings.lease_duration).count();
    rules.max_attempts = settings.max_attempts;
    if (queue == kJobsQueue) rules.dead_letter = kDeadQueue;
    if (queue != kBoundedQueue) continue;
    rules.max_messages = settings.max_messages;
    rules.max_bytes = settings.max_bytes;
  }
  return all;
}

/// Everything is written down when it happens; only the network lies between.
crash::CheckOptions Margins() {
  return {.lease_margin_ns = 2 * kLatencyMaxNs, .clock_margin_ns = 2 * kLatencyMaxNs};
}

}  // namespace

Simulation::Simulation(std::uint64_t seed)
    : timeline_(seed),
      random_(timeline_.Seed()),
      recorder_(history_),
      network_(timeline_, recorder_),
      scene_{timeline_, history_},
      disk_(std::make_shared<storage::MemoryDisk>()) {
  SetClientNetwork(&network_);
}

Simulation::~Simulation() {
  consumers_.clear();
  producers_.clear();
  broker_ = nullptr;
  timeline_.Clear();
  SetClientNetwork(nullptr);
}

Ended Simulation::Run() {
  scene_.refusals = OneIn(random_, 2);
  StartBroker();
  CreateQueues();
  BeginApplications();
  Again(200 * kNsPerMs, &Simulation::CutOne);
  Again(700 * kNsPerMs, &Simulation::StallOne);
  Again(2 * kNsPerSecond, &Simulation::CrashBroker);
  Again(1 * kNsPerSecond, &Simulation::JumpWall);
  Again(1 * kNsPerSecond, &Simulation::ChangeMood);
  Again(1 * kNsPerSecond, &Simulation::ChangeQuality);
  Again(100 * kNsPerMs, &Simulation::Sample);
  timeline_.RunUntil(timeline_.steady_ns() + kFaultsNs);
  Heal();
  ended_.report = crash::Check(history_.Copy(), Rules(), Margins());
  ended_.trace = timeline_.trace();
  ended_.steps = timeline_.steps();
  return ended_;
}

void Simulation::CreateQueues() {
  for (std::uint32_t queue = kQueueCount; queue-- > 0;) {  // dead letters first
    broker_->Create(QueueName(queue), SettingsOf(queue));
  }
}

void Simulation::BeginApplications() {
  for (const std::uint32_t queue :
       {kFifoQueue, kJobsQueue, kKeyedQueue, kKeyedQueue, kBoundedQueue, kSourceQueue}) {
    producers_.push_back(std::make_unique<Producer>(scene_, queue));
  }
  const std::vector<std::vector<std::uint32_t>> consumed = {
      {kFifoQueue},    {kJobsQueue},   {kJobsQueue, kKeyedQueue, kBoundedQueue},
      {kKeyedQueue},   {kSourceQueue}, {kSourceQueue, kSinkQueue},
      {kBoundedQueue}, {kDeadQueue}};
  for (const auto& queues : consumed) {
    consumers_.push_back(std::make_unique<Consumer>(scene_, queues));
  }
  for (const auto& producer : producers_) producer->Begin();
  for (const auto& consumer : consumers_) consumer->Begin();
}

// ---- faults

void Simulation::Again(std::int64_t mean_ns, void (Simulation::*what)()) {
  timeline_.After(Between(random_, 0, 2 * mean_ns), [this, mean_ns, what] {
    if (!faults_) return;
    (this->*what)();
    Again(mean_ns, what);
  });
}

void Simulation::CutOne() {
  const auto open = network_.Open();
  if (open.empty()) return;
  ++ended_.cuts;
  // Now and then one end hears of it much later than the other.
  const auto notice = [this] {
    return Between(random_, 0, OneIn(random_, 4) ? 1'500 * kNsPerMs : 20 * kNsPerMs);
  };
  const std::int64_t client = notice();
  open[Below(random_, open.size())]->Cut(client, notice());
}

void Simulation::StallOne() {
  const auto open = network_.Open();
  if (open.empty()) return;
  ++ended_.cuts;
  open[Below(random_, open.size())]->Stall();
}

void Simulation::StartBroker() {
  broker_ = std::make_unique<Broker>(timeline_, network_, disk_, mood_);
  history_.Add({.kind = Kind::kServe});
}

void Simulation::CrashBroker() {
  if (broker_ == nullptr) return;
  ++ended_.crashes;
  broker_->Crash(OneIn(random_, 2));
  history_.Add({.kind = Kind::kKill});
  // Not from inside its own events.
  timeline_.After(0, [dead = std::shared_ptr<Broker>(std::move(broker_))] {});
  timeline_.After(Between(random_, kNsPerMs, kNsPerSecond), [this] { StartBroker(); });
}

void Simulation::JumpWall() {
  ++ended_.wall_jumps;
  const std::int64_t most = OneIn(random_, 2) ? 24 * kHour : 2 * kNsPerSecond;
  const std::int64_t wrong_by = Between(random_, -most, most);
  timeline_.Note("wall", static_cast<std::uint64_t>(wrong_by));
  timeline_.SetWall(wrong_by);
}

void Simulation::ChangeMood() {
  mood_ = {};
  mood_.unknown_per_mille = OneIn(random_, 3) ? 10 : 0;
  mood_.no_space_per_mille = scene_.refusals && OneIn(random_, 6) ? 10 : 0;
  mood_.stall_per_mille = 20;
  mood_.stall_max_ns = OneIn(random_, 4) ? kNsPerSecond : 50 * kNsPerMs;
  mood_.low = scene_.refusals && OneIn(random_, 8);
}

void Simulation::ChangeQuality() {
  LinkQuality quality;
  if (OneIn(random_, 3)) quality.latency_max_ns = kLatencyMaxNs;
  network_.SetQuality(quality);
}

void Simulation::Sample() {
  if (broker_ != nullptr) AddStats(kBoundedQueue, false);
}

void Simulation::AddStats(std::uint32_t queue, bool at_rest) {
  broker_->AskStats(QueueName(queue), [this, queue, at_rest](const queue::QueueStats& stats) {
    backlog_[queue] =
        stats.ready + stats.in_flight + stats.delayed + stats.parked + stats.committing;
    history_.Add({.kind = Kind::kStats,
                  .outcome = Outcome::kOk,
                  .at_rest = at_rest,
                  .queue = queue,
                  .messages = backlog_[queue],
                  .bytes = stats.backlog_bytes,
                  .stored = stats.published,
                  .gone = stats.acked + stats.dead_lettered});
  });
}

// ---- the end

void Simulation::Stuck(const std::string& what) {
  history_.Add({.kind = Kind::kStuck, .note = what});
}

bool Simulation::ProducersDone() {
  return std::all_of(producers_.begin(), producers_.end(),
                     [](const auto& producer) { return producer->done(); });
}

bool Simulation::Drained() {
  for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) AddStats(queue, false);
  return std::all_of(backlog_.begin(), backlog_.end(), [](auto count) { return count == 0; });
}

bool Simulation::WaitFor(bool (Simulation::*condition)()) {
  const std::int64_t until = timeline_.steady_ns() + kHealMaxNs;
  while (!(this->*condition)()) {
    if (timeline_.steady_ns() >= until) return false;
    timeline_.RunUntil(timeline_.steady_ns() + kWatchNs);
  }
  return true;
}

void Simulation::Heal() {
  faults_ = false;
  mood_ = {};
  network_.SetQuality({});
  scene_.stopping = true;
  timeline_.RunUntil(timeline_.steady_ns() + 2 * kNsPerSecond);  // the broker is back by then
  if (!WaitFor(&Simulation::ProducersDone)) Stuck("publishers did not get all their results");
  scene_.finishing = true;
  backlog_.assign(kQueueCount, 1);
  if (!WaitFor(&Simulation::Drained)) {
    for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) {
      if (backlog_[queue] == 0) continue;
      Stuck(std::string("queue ") + QueueName(queue) +
            " was not drained: " + std::to_string(backlog_[queue]) + " messages are left");
    }
  }
  for (const auto& consumer : consumers_) consumer->Stop();
  timeline_.RunUntil(timeline_.steady_ns() + 5 * kNsPerSecond);
  for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) AddStats(queue, true);
  timeline_.RunUntil(timeline_.steady_ns() + kNsPerSecond);
}

}  // namespace mqd::simulation
