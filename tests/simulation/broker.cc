// broker.cc: the daemon's parts, put together as server/app.cc does.

#include "tests/simulation/broker.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "asio/steady_timer.hpp"
#include "proto/base/assert.h"
#include "server/rpc/redrive_rpc.h"
#include "server/rpc/time_convert.h"
#include "tests/simulation/server_call.h"

namespace mqd::simulation {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kTickNs = 50 * kNsPerMs;  // of sessions; the daemon's is longer
constexpr std::int64_t kPulseNs = 5 * kNsPerMs;  // how late a timer of the pool may be
constexpr std::int64_t kCrashNoticeMaxNs = 500 * kNsPerMs;
constexpr std::uint64_t kCacheBytes = 16 << 10;  // little, so that bodies are read back

void RunAt(const asio::any_io_executor& pool, std::int64_t at_ns,
           queue::RedriveManager::Task task) {
  const std::chrono::steady_clock::time_point at{std::chrono::nanoseconds(at_ns)};
  auto timer = std::make_shared<asio::steady_timer>(pool, at);
  timer->async_wait([timer, task = std::move(task)](const std::error_code& error) mutable {
    if (!error) task();
  });
}

}  // namespace

Broker::Broker(Timeline& timeline, Network& network, std::shared_ptr<storage::MemoryDisk> disk,
               const ChaosDisk::Mood& mood)
    : timeline_(timeline), network_(network), disk_(timeline, std::move(disk), mood) {
  auto registry =
      queue::QueueRegistry::Open(disk_, pool_.get_executor(), {.cache_bytes = kCacheBytes});
  if (!registry.ok()) throw std::runtime_error(registry.status().ToString());
  registry_ = *std::move(registry);
  redrives_ = std::make_unique<queue::RedriveManager>(queue::RedriveManager::Deps{
      .store = disk_,
      .queues = *registry_,
      .clock =
          [] {
            return queue::Now{rpc::SteadyNs(), rpc::WallMs()};
          },
      .run_at = [this](std::int64_t at_ns,
                       auto task) { RunAt(pool_.get_executor(), at_ns, std::move(task)); },
      .special_of = rpc::SpecialOfStored});
  MQD_ASSERT(redrives_->Recover().ok());
  deps_ =
      std::make_unique<rpc::RpcDeps>(rpc::RpcDeps{.registry = *registry_,
                                                  .redrives = *redrives_,
                                                  .store = disk_,
                                                  .authorizer = everyone_,
                                                  .sessions = sessions_,
                                                  .pool = pool_.get_executor(),
                                                  .options = {.ping_interval = milliseconds(500),
                                                              .ping_timeout = milliseconds(1'000),
                                                              .open_timeout = milliseconds(2'000)},
                                                  .start_time_ms = rpc::WallMs()});
  service_ = std::make_unique<rpc::BrokerService>(*deps_);
  timeline_.SetEpilogue([this] { Poll(); });
  timeline_.Note("serve", disk_.CurrentEpoch());
  network_.Listen([this](const std::shared_ptr<Stream>& stream) { Accept(stream); });
  Tick();
}

Broker::~Broker() {
  if (*alive_) Crash(false);
}

void Broker::Crash(bool power_cut) {
  timeline_.Note("crash", disk_.CurrentEpoch());
  *alive_ = false;
  network_.Listen({});
  timeline_.SetEpilogue({});
  disk_.Crash(power_cut);
  Random random(timeline_.Seed());
  for (const auto& [id, call] : std::map(calls_)) {
    call->Kill(Between(random, kNsPerUs, kCrashNoticeMaxNs));
  }
  Poll();
}

void Broker::Poll() {
  pool_.restart();
  pool_.poll();
}

void Broker::Accept(const std::shared_ptr<Stream>& stream) {
  const auto call = std::make_shared<ServerCall>(
      stream, [this, id = stream->id(), alive = alive_] { calls_.erase(id); });
  calls_[stream->id()] = call;
  call->Begin(*service_);
}

/// The pool's timers are looked at after every event, so there has to be one now and then.
void Broker::Tick() {
  const std::int64_t now = timeline_.steady_ns();
  if (now % kTickNs < kPulseNs) {
    for (const auto& [id, call] : std::map(calls_)) call->Tick(now);
  }
  timeline_.After(kPulseNs, [this, alive = alive_] {
    if (*alive) Tick();
  });
}

void Broker::Create(const std::string& name, const queue::QueueSettings& settings) {
  bool created = false;
  registry_->Create(queue::FullName(name).value(), settings,
                    [&created](auto result) { created = result.ok(); });
  while (!created) timeline_.Step(timeline_.steady_ns() + kNsPerSecond);
}

void Broker::AskStats(const std::string& name, std::function<void(const queue::QueueStats&)> done) {
  registry_->Find(queue::FullName(name).value()).value()->Info([done = std::move(done)](auto info) {
    if (info.ok()) done(info->stats);
  });
}

}  // namespace mqd::simulation
