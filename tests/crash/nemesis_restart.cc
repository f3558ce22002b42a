// nemesis_restart.cc: the daemon dies while it starts, or while it stops.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/crash/nemesis.h"

namespace mqd::crash {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kLoadLeast = milliseconds(20);
constexpr auto kLoadMost = milliseconds(150);
constexpr std::uint64_t kInARowMax = 3;
constexpr auto kStopMost = milliseconds(400);

/// SIGKILL at any time between the start of the process and its first service, also again and
/// again, so that what recovery has left half done is recovered.
class Recovery final : public Nemesis {
 public:
  absl::Status Strike(Scene& scene) override {
    scene.WaitRandom(kLoadLeast, kLoadMost);
    if (absl::Status killed = scene.Kill(); !killed.ok()) return killed;
    for (std::uint64_t left = 1 + Below(scene.random, kInARowMax); left > 0; --left) {
      if (absl::Status died = DieInStart(scene); !died.ok()) return died;
    }
    const Clock::time_point begin = Clock::now();
    absl::Status served = scene.Restart();
    start_time_ = std::chrono::duration_cast<microseconds>(Clock::now() - begin);
    return served;
  }

  std::string promise() const override { return "R14"; }
  std::uint64_t trials() const override { return before_service_; }

 private:
  absl::Status DieInStart(Scene& scene) {
    if (absl::Status started = scene.daemon.Start(); !started.ok()) return started;
    const auto most = static_cast<std::uint64_t>(start_time_.count());
    const auto delay = microseconds(Below(scene.random, most + 1));
    scene.Wait(std::chrono::duration_cast<milliseconds>(delay));
    const absl::StatusOr<bool> serves = scene.daemon.Serving();
    if (!serves.ok()) return serves.status();
    if (absl::Status killed = scene.Kill(); !killed.ok()) return killed;
    before_service_ += *serves ? 0 : 1;
    return absl::OkStatus();
  }

  microseconds start_time_ = milliseconds(50);  // of the last whole start
  std::uint64_t before_service_ = 0;
};

/// SIGTERM, and SIGKILL before the daemon has come to its end, or just after.
class Shutdown final : public Nemesis {
 public:
  absl::Status Strike(Scene& scene) override {
    scene.WaitRandom(kLoadLeast, kLoadMost);
    scene.daemon.AskToStop();
    scene.WaitRandom(milliseconds(0), kStopMost);
    absl::Status killed = scene.Kill();
    if (!killed.ok() && !absl::IsCancelled(killed)) return killed;  // cancelled: exit code 0
    return scene.Restart();
  }
};

}  // namespace

std::unique_ptr<Nemesis> MakeRecovery() { return std::make_unique<Recovery>(); }
std::unique_ptr<Nemesis> MakeShutdown() { return std::make_unique<Shutdown>(); }

}  // namespace mqd::crash
