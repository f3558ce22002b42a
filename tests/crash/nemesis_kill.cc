// nemesis_kill.cc: SIGKILL under load, at any time.

#include "tests/crash/nemesis.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;

constexpr auto kLeast = milliseconds(5);
constexpr auto kMost = milliseconds(300);

class Kill final : public Nemesis {
 public:
  absl::Status Strike(Scene& scene) override {
    scene.WaitRandom(kLeast, kMost);
    if (absl::Status killed = scene.Kill(); !killed.ok()) return killed;
    return scene.Restart();
  }
};

}  // namespace

std::unique_ptr<Nemesis> MakeKill() { return std::make_unique<Kill>(); }

}  // namespace mqd::crash
