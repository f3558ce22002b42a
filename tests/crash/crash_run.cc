// crash_run.cc: the phases of a run: load and kills, heal, drain, close.

#include "tests/crash/crash_run.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/crash/consumers.h"
#include "tests/crash/producers.h"
#include "tests/crash/raw_consumer.h"
#include "tests/crash/raw_producer.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kTimeMax = seconds(600);
constexpr auto kServeTimeMax = seconds(20);
constexpr auto kPollTime = milliseconds(2);
constexpr auto kSampleTime = milliseconds(15);
constexpr auto kDrainPollTime = milliseconds(50);
/// Longer than the longest lease, which a settle that got lost can leave behind.
constexpr auto kNoProgressMax = seconds(45);
constexpr auto kStopTimeMax = seconds(40);
constexpr auto kEndOfQueueTime = seconds(2);
constexpr std::uint64_t kKillMsMin = 5;
constexpr std::uint64_t kKillMsMax = 300;
constexpr std::uint64_t kProgressKills = 20;
constexpr int kRestPollsMax = 100;

ClientOptions OptionsOf(const std::string& address, const char* name) {
  return {.address = address,
          .client_name = name,
          .connect_timeout = seconds(10),
          .call_timeout = seconds(2),
          .backoff = {.initial = milliseconds(10), .max = milliseconds(50)}};
}

}  // namespace

CrashRun::CrashRun(RunOptions options)
    : options_(std::move(options)),
      world_(options_.seed, {}),
      random_(world_.RandomOf(0)),
      daemon_(options_.program, options_.directory) {}

CrashRun::~CrashRun() {
  stop_sampler_.Stop();
  if (sampler_.joinable()) sampler_.join();
  JoinProducers();
  JoinConsumers();
}

seconds CrashRun::time() const {
  return std::chrono::duration_cast<seconds>(Clock::now() - start_);
}

absl::Status CrashRun::Run() {
  if (absl::Status ready = SetUp(); !ready.ok()) return ready;
  StartClients();
  KillLoop();
  JoinProducers();
  JoinConsumers();
  if (!broken_) Drain();
  stop_sampler_.Stop();
  sampler_.join();
  if (!broken_) Close();
  return absl::OkStatus();
}

void CrashRun::Note(Kind kind, std::string note) {
  std::printf("%s: %s\n", NameOf(kind), note.c_str());
  std::fflush(stdout);
  world_.history().Add({.kind = kind, .note = std::move(note)});
}

// ---- begin

absl::Status CrashRun::SetUp() {
  if (absl::Status started = daemon_.Start(); !started.ok()) return started;
  if (absl::Status serving = WaitServing(); !serving.ok()) return serving;
  const std::string address = daemon_.address();
  for (auto* client : {&producing_, &consuming_, &watching_}) {
    auto connected = Client::Connect(OptionsOf(address, "crash-test"));
    if (!connected.ok()) return connected.status();
    *client = *std::move(connected);
  }
  admin_ = watching_->NewAdmin();
  // Dead letters need their queue first.
  for (std::uint32_t queue = kQueueCount; queue-- > 0;) {
    const auto created = admin_->CreateQueue(QueueName(queue), SettingsOf(queue));
    if (!created.ok()) return created.status();
  }
  return absl::OkStatus();
}

absl::Status CrashRun::WaitServing() {
  const Clock::time_point until = Clock::now() + kServeTimeMax;
  while (Clock::now() < until) {
    const absl::StatusOr<bool> serving = daemon_.Serving();
    if (!serving.ok()) return serving.status();
    if (*serving) {
      world_.history().Add({.kind = Kind::kServe});
      world_.SetServing(true);
      return absl::OkStatus();
    }
    never_.WaitFor(kPollTime);
  }
  return absl::DeadlineExceededError("it does not serve in time");
}

void CrashRun::StartClients() {
  for (const std::uint32_t queue : {kPlainQueue, kKeyedQueue, kBoundedQueue, kSourceQueue}) {
    producers_.emplace_back([this, queue, process = next_process_++] {
      Producer(world_, *producing_, process, queue).Run();
    });
  }
  producers_.emplace_back(
      [this, process = next_process_++] { RawProducer(world_, daemon_.address(), process).Run(); });
  StartConsumer({kPlainQueue, kKeyedQueue});
  StartConsumer({kBoundedQueue, kDeadQueue});
  StartConsumer({kSourceQueue});
  StartConsumer({kSinkQueue, kPlainQueue, kBoundedQueue});
  consumers_.emplace_back(
      [this, process = next_process_++] { RawConsumer(world_, daemon_.address(), process).Run(); });
  sampler_ = std::thread([this] { Sample(); });
}

void CrashRun::StartConsumer(std::vector<std::uint32_t> queues) {
  consumers_.emplace_back([this, queues = std::move(queues), process = next_process_++] {
    BusyConsumer(world_, *consuming_, process, queues).Run();
  });
}

// ---- kills

void CrashRun::KillLoop() {
  const auto most = std::max<seconds>(kTimeMax, 2 * options_.seconds);
  while (kills_ < options_.kills || world_.confirmed() < options_.messages ||
         time() < options_.seconds) {
    if (time() > most) return Note(Kind::kStuck, "the run did not reach its size in time");
    const auto wait = milliseconds(kKillMsMin + Below(random_, kKillMsMax - kKillMsMin));
    never_.WaitFor(wait);
    if (!KillOnce()) return;
    if (kills_ % kProgressKills == 0) PrintProgress();
  }
}

bool CrashRun::KillOnce() {
  world_.SetServing(false);
  const OperationId kill = world_.history().Invoke({.kind = Kind::kKill});
  absl::Status status = daemon_.Kill();
  world_.history().Return(kill, Outcome::kOk);
  if (status.ok()) status = daemon_.Start();
  if (status.ok()) status = WaitServing();
  if (status.ok()) {
    ++kills_;
    return true;
  }
  Note(Kind::kDaemonExit,
       absl::StrCat("after ", kills_, " kills: ", status.ToString(), "; see ", daemon_.log_path()));
  broken_ = true;
  return false;
}

void CrashRun::PrintProgress() const {
  std::printf("%4lld s: %llu kills, %llu confirmed, %llu settled\n",
              static_cast<long long>(time().count()), static_cast<unsigned long long>(kills_),
              static_cast<unsigned long long>(world_.confirmed()),
              static_cast<unsigned long long>(world_.settled()));
  std::fflush(stdout);
}

void CrashRun::JoinProducers() {
  world_.stop_producers().Stop();
  for (std::thread& thread : producers_) thread.join();
  producers_.clear();
}

void CrashRun::JoinConsumers() {
  world_.stop_consumers().Stop();
  for (std::thread& thread : consumers_) thread.join();
  consumers_.clear();
}

// ---- counts

std::optional<std::uint64_t> CrashRun::AddStats(Admin& admin, std::uint32_t queue, bool at_rest) {
  const auto stats = admin.GetQueueStats(QueueName(queue));
  if (!stats.ok()) return std::nullopt;
  const std::uint64_t backlog =
      stats->ready + stats->in_flight + stats->delayed + stats->parked + stats->committing;
  world_.history().Add({.kind = Kind::kStats,
                        .outcome = Outcome::kOk,
                        .at_rest = at_rest,
                        .queue = queue,
                        .messages = backlog,
                        .bytes = stats->backlog_bytes,
                        .stored = stats->published_total,
                        .gone = stats->acked_total + stats->dead_lettered_total +
                                stats->purged_total + stats->dropped_total + stats->expired_total});
  return backlog;
}

std::optional<std::uint64_t> CrashRun::AddAllStats(bool at_rest) {
  std::uint64_t sum = 0;
  for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) {
    const std::optional<std::uint64_t> backlog = AddStats(*admin_, queue, at_rest);
    if (!backlog) return std::nullopt;
    sum += *backlog;
  }
  return sum;
}

void CrashRun::Sample() {
  const std::unique_ptr<Admin> admin = watching_->NewAdmin();
  std::uint32_t next = 0;
  while (stop_sampler_.WaitFor(kSampleTime)) {
    AddStats(*admin, kBoundedQueue, false);
    AddStats(*admin, next, false);
    next = (next + 1) % kQueueCount;
  }
}

// ---- heal, drain, close

/// What is left of dead-letter moves comes to its end; nothing else happens without clients. The
/// counts at the end, and their sum.
std::uint64_t CrashRun::WaitAtRest() {
  std::optional<std::uint64_t> before;
  for (int polls = 0; polls < kRestPollsMax; ++polls) {
    const std::optional<std::uint64_t> dead = AddStats(*admin_, kDeadQueue, false);
    if (dead && dead == before) {
      if (const std::optional<std::uint64_t> sum = AddAllStats(true)) return *sum;
    }
    before = dead;
    never_.WaitFor(kDrainPollTime);
  }
  Note(Kind::kStuck, "the queues do not come to rest");
  return 0;
}

void CrashRun::Drain() {
  if (!KillOnce()) return;
  const std::uint64_t left = WaitAtRest();
  std::printf("%4lld s: healed, %llu messages to drain\n", static_cast<long long>(time().count()),
              static_cast<unsigned long long>(left));
  std::fflush(stdout);
  world_.Finish();
  world_.stop_consumers().Reset();
  StartConsumer({kPlainQueue, kKeyedQueue});
  StartConsumer({kBoundedQueue, kDeadQueue});
  StartConsumer({kSourceQueue});
  StartConsumer({kSinkQueue});
  const bool drained = WaitDrained();
  JoinConsumers();
  if (drained) WaitAtRest();
}

bool CrashRun::WaitDrained() {
  std::optional<std::uint64_t> last;
  Clock::time_point moved = Clock::now();
  while (Clock::now() < moved + kNoProgressMax) {
    const std::optional<std::uint64_t> backlog = AddAllStats(false);
    if (backlog == 0U) return true;
    if (backlog != last) moved = Clock::now();
    last = backlog;
    never_.WaitFor(kDrainPollTime);
  }
  Note(Kind::kStuck, absl::StrCat(last.value_or(0), " messages are left and nothing moves"));
  return false;
}

void CrashRun::CloseQueue(std::uint32_t queue) {
  const std::string name = QueueName(queue);
  const auto closed = admin_->CloseQueue(name);
  if (!closed.ok()) {
    return Note(Kind::kStuck, absl::StrCat("close of ", name, ": ", closed.status().ToString()));
  }
  const auto received = watching_->Receive(name, {.wait = kEndOfQueueTime});
  if (!received.ok() || !received->end_of_queue) {
    Note(Kind::kStuck, absl::StrCat("no end_of_queue from ", name, " after it was closed"));
  }
}

void CrashRun::Close() {
  for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) CloseQueue(queue);
  const absl::Status ended = daemon_.Terminate(kStopTimeMax);
  if (!ended.ok()) Note(Kind::kDaemonExit, absl::StrCat("at SIGTERM: ", ended.ToString()));
}

}  // namespace mqd::crash
