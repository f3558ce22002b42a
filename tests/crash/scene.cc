// scene.cc: starts, ends and waits that nemeses share.

#include "tests/crash/scene.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;

constexpr auto kPollTime = milliseconds(2);
constexpr auto kProgressPollTime = milliseconds(20);

}  // namespace

void Scene::WaitRandom(milliseconds least, milliseconds most) {
  const auto range = static_cast<std::uint64_t>((most - least).count());
  Wait(least + milliseconds(Below(random, range + 1)));
}

void Scene::Note(Kind kind, std::string note) {
  std::printf("%s: %s\n", NameOf(kind), note.c_str());
  std::fflush(stdout);
  world.history().Add({.kind = kind, .note = std::move(note)});
}

absl::Status Scene::Kill() {
  world.SetServing(false);
  const OperationId kill = world.history().Invoke({.kind = Kind::kKill});
  absl::Status killed = daemon.Kill();
  world.history().Return(kill, Outcome::kOk);
  return killed;
}

void Scene::NotePowerCut() {
  world.SetServing(false);
  world.history().Add({.kind = Kind::kKill, .outcome = Outcome::kOk, .broken = true});
}

absl::Status Scene::Restart() {
  if (absl::Status started = daemon.Start(); !started.ok()) return started;
  return WaitServing();
}

absl::Status Scene::WaitServing() {
  const Clock::time_point until = Clock::now() + kServeTimeMax;
  while (Clock::now() < until) {
    const absl::StatusOr<bool> serving = daemon.Serving();
    if (!serving.ok()) return serving.status();
    if (*serving) {
      world.history().Add({.kind = Kind::kServe});
      world.SetServing(true);
      return absl::OkStatus();
    }
    Wait(kPollTime);
  }
  return absl::DeadlineExceededError("it does not serve in time");
}

OperationId Scene::BeginFault(std::string note) {
  return world.history().Invoke({.kind = Kind::kFault, .note = std::move(note)});
}

void Scene::EndFault(OperationId fault, std::chrono::seconds rest) {
  world.history().EndFault(fault, NowNs() + std::chrono::nanoseconds(rest).count());
}

void Scene::WaitProgress(milliseconds most, const std::string& after) {
  const std::int64_t since = NowNs();
  const Clock::time_point until = Clock::now() + most;
  std::vector<std::uint32_t> waiting = processes;
  while (true) {
    std::erase_if(waiting,
                  [&](std::uint32_t process) { return world.history().LastOk(process) > since; });
    if (waiting.empty()) return;
    if (Clock::now() >= until) break;
    Wait(kProgressPollTime);
  }
  Note(Kind::kStuck, absl::StrCat("no progress within ", most.count(), " ms after ", after,
                                  " of processes ", absl::StrJoin(waiting, ", ")));
}

}  // namespace mqd::crash
