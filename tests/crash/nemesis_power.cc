// nemesis_power.cc: power cuts of the daemon: what was never synced is gone, or partly, or torn.

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/crash/nemesis.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kCutsInARow = 5;
constexpr std::uint64_t kOperations = 400;
constexpr auto kLeast = milliseconds(20);
constexpr auto kMost = milliseconds(1'500);
constexpr auto kDeathMax = seconds(30);
constexpr auto kPollTime = milliseconds(2);
constexpr auto kProgressMax = milliseconds(5'000);
constexpr std::uint64_t kBytesRemains = 5;
constexpr std::uint64_t kEntriesRemains = 3;
constexpr const char* kCut = "MQD_TEST_CUT=";
constexpr const char* kRemains = "MQD_TEST_REMAINS=";

class PowerCut final : public Nemesis {
 public:
  absl::Status Prepare(Scene& scene) override {
    if (!scene.options.test_program.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("power cuts need --test-daemon");
  }

  absl::Status Strike(Scene& scene) override {
    if (absl::Status killed = scene.Kill(); !killed.ok()) return killed;
    for (std::uint64_t i = 0; i < kCutsInARow; ++i) {
      if (absl::Status died = LiveUntilCut(scene); !died.ok()) return died;
      ++cuts_;
    }
    SetVariables(scene, "", "");
    absl::Status served = scene.Restart();
    if (served.ok()) scene.WaitProgress(kProgressMax, "power cuts");
    return served;
  }

  std::string promise() const override { return "R2"; }
  std::uint64_t trials() const override { return cuts_; }

 private:
  static void SetVariables(Scene& scene, const std::string& cut, const std::string& remains) {
    auto& environment = scene.daemon.environment();
    std::erase_if(environment, [](const std::string& variable) {
      return absl::StartsWith(variable, kCut) || absl::StartsWith(variable, kRemains);
    });
    environment.push_back(kCut + cut);
    environment.push_back(kRemains + remains);
  }

  static absl::Status LiveUntilCut(Scene& scene) {
    const auto range = static_cast<std::uint64_t>((kMost - kLeast).count());
    const std::string cut = OneIn(scene.random, 2)
                                ? absl::StrCat("operation ", 1 + Below(scene.random, kOperations))
                                : absl::StrCat("ms ", kLeast.count() + Below(scene.random, range));
    SetVariables(scene, cut,
                 absl::StrCat(Below(scene.random, kBytesRemains), " ",
                              Below(scene.random, kEntriesRemains)));
    if (absl::Status started = scene.daemon.Start(); !started.ok()) return started;
    bool serves = false;
    const Clock::time_point until = Clock::now() + kDeathMax;
    while (Clock::now() < until) {
      const absl::Status died = scene.daemon.AwaitKill(kPollTime);
      if (died.ok()) {
        scene.NotePowerCut();
        return absl::OkStatus();
      }
      if (!absl::IsDeadlineExceeded(died)) return died;
      if (serves || !scene.daemon.PortOpen()) continue;
      serves = true;
      scene.world.SetServing(true);
    }
    return absl::DeadlineExceededError("the power was not cut: " + cut);
  }

  std::uint64_t cuts_ = 0;
};

}  // namespace

std::unique_ptr<Nemesis> MakePower() { return std::make_unique<PowerCut>(); }

}  // namespace mqd::crash
