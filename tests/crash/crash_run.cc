// crash_run.cc: the phases of a run: load and strikes, heal, drain, close.

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
constexpr auto kSampleTime = milliseconds(15);
constexpr auto kDrainPollTime = milliseconds(50);
/// Longer than the longest lease, which a settle that got lost can leave behind.
constexpr auto kNoProgressMax = seconds(45);
constexpr auto kStopTimeMax = seconds(40);
constexpr auto kEndOfQueueTime = seconds(2);
constexpr std::uint64_t kProgressStrikes = 20;
constexpr int kRestPollsMax = 100;

ClientOptions OptionsOf(const std::string& address, const char* name) {
  return {.address = address,
          .client_name = name,
          .connect_timeout = seconds(10),
          .call_timeout = seconds(2),
          .backoff = {.initial = milliseconds(10), .max = milliseconds(50)}};
}

/// What a consumer of another process settles is not counted while the run lasts.
Pace PaceOf(const RunOptions& options) {
  Pace pace = {.per_second = options.per_second};
  const auto& faults = options.faults;
  if (std::find(faults.begin(), faults.end(), "pause") != faults.end()) {
    pace.backlog_max = UINT64_MAX / 2;
  }
  return pace;
}

const std::string& ProgramOf(const RunOptions& options) {
  const auto& faults = options.faults;
  const bool cuts = std::find(faults.begin(), faults.end(), "power") != faults.end();
  return cuts ? options.test_program : options.program;
}

}  // namespace

CrashRun::CrashRun(RunOptions options)
    : options_(std::move(options)),
      world_(options_.seed, PaceOf(options_)),
      daemon_(ProgramOf(options_), options_.directory),
      scene_(options_, world_, daemon_) {}

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
  StrikeLoop();
  for (const auto& nemesis : nemeses_) nemesis->Finish(scene_);
  JoinProducers();
  JoinConsumers();
  if (!broken_) Drain();
  stop_sampler_.Stop();
  sampler_.join();
  if (!broken_) Close();
  return absl::OkStatus();
}

// ---- begin

absl::Status CrashRun::Prepare() {
  bool proxied = false;
  for (const std::string& name : options_.faults) {
    const NemesisKind* kind = FindNemesis(name);
    if (kind == nullptr) return absl::InvalidArgumentError("no fault is called " + name);
    nemeses_.push_back(kind->make());
    proxied = proxied || nemeses_.back()->uses_proxy();
    if (absl::Status status = nemeses_.back()->Prepare(scene_); !status.ok()) return status;
  }
  if (absl::Status started = scene_.Restart(); !started.ok()) return started;
  address_ = daemon_.address();
  if (!proxied) return absl::OkStatus();
  if (absl::Status listening = scene_.proxy.Listen(daemon_.port()); !listening.ok()) {
    return listening;
  }
  address_ = absl::StrCat("127.0.0.1:", scene_.proxy.port());
  return absl::OkStatus();
}

absl::Status CrashRun::SetUp() {
  if (absl::Status prepared = Prepare(); !prepared.ok()) return prepared;
  for (auto* client : {&producing_, &consuming_, &watching_}) {
    const std::string& address = client == &watching_ ? daemon_.address() : address_;
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

void CrashRun::StartClients() {
  for (const std::uint32_t queue : {kPlainQueue, kKeyedQueue, kBoundedQueue, kSourceQueue}) {
    producers_.emplace_back([this, queue, process = NextProcess()] {
      Producer(world_, *producing_, process, queue).Run();
    });
  }
  producers_.emplace_back(
      [this, process = NextProcess()] { RawProducer(world_, address_, process).Run(); });
  StartConsumer({kPlainQueue, kKeyedQueue});
  StartConsumer({kBoundedQueue, kDeadQueue});
  StartConsumer({kSourceQueue});
  StartConsumer({kSinkQueue, kPlainQueue, kBoundedQueue});
  consumers_.emplace_back(
      [this, process = NextProcess()] { RawConsumer(world_, address_, process).Run(); });
  sampler_ = std::thread([this] { Sample(); });
}

std::uint32_t CrashRun::NextProcess() {
  scene_.processes.push_back(next_process_);
  return next_process_++;
}

void CrashRun::StartConsumer(std::vector<std::uint32_t> queues) {
  consumers_.emplace_back([this, queues = std::move(queues), process = NextProcess()] {
    BusyConsumer(world_, *consuming_, process, queues).Run();
  });
}

// ---- strikes

void CrashRun::StrikeLoop() {
  const auto most = std::max<seconds>(kTimeMax, 2 * options_.seconds);
  while (strikes_ < options_.strikes || world_.confirmed() < options_.messages ||
         time() < options_.seconds) {
    if (time() > most) return scene_.Note(Kind::kStuck, "the run did not reach its size in time");
    Nemesis& nemesis = *nemeses_[Below(scene_.random, nemeses_.size())];
    if (!Usable(nemesis.Strike(scene_))) return;
    ++strikes_;
    if (strikes_ % kProgressStrikes == 0) PrintProgress();
  }
}

bool CrashRun::Usable(const absl::Status& status) {
  if (status.ok()) return true;
  scene_.Note(Kind::kDaemonExit, absl::StrCat("after ", strikes_, " strikes: ", status.ToString(),
                                              "; see ", daemon_.log_path()));
  broken_ = true;
  return false;
}

void CrashRun::PrintProgress() const {
  std::printf("%4lld s: %llu strikes, %llu confirmed, %llu settled\n",
              static_cast<long long>(time().count()), static_cast<unsigned long long>(strikes_),
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
  scene_.Note(Kind::kStuck, "the queues do not come to rest");
  return 0;
}

void CrashRun::Drain() {
  absl::Status killed = scene_.Kill();
  if (killed.ok()) killed = scene_.Restart();
  if (!Usable(killed)) return;
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
  scene_.Note(Kind::kStuck, absl::StrCat(last.value_or(0), " messages are left and nothing moves"));
  return false;
}

void CrashRun::CloseQueue(std::uint32_t queue) {
  const std::string name = QueueName(queue);
  const auto closed = admin_->CloseQueue(name);
  if (!closed.ok()) {
    return scene_.Note(Kind::kStuck,
                       absl::StrCat("close of ", name, ": ", closed.status().ToString()));
  }
  const auto received = watching_->Receive(name, {.wait = kEndOfQueueTime});
  if (!received.ok() || !received->end_of_queue) {
    scene_.Note(Kind::kStuck, absl::StrCat("no end_of_queue from ", name, " after it was closed"));
  }
}

void CrashRun::Close() {
  for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) CloseQueue(queue);
  const absl::Status ended = daemon_.Terminate(kStopTimeMax);
  if (!ended.ok()) scene_.Note(Kind::kDaemonExit, absl::StrCat("at SIGTERM: ", ended.ToString()));
}

}  // namespace mqd::crash
