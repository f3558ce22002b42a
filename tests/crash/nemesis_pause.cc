// nemesis_pause.cc: SIGSTOP of the daemon, or of a consumer, for longer than leases last; then
// SIGCONT, and whoever holds a lease in his mind settles it.

#include "absl/strings/str_cat.h"
#include "tests/crash/consumer_process.h"
#include "tests/crash/nemesis.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;

/// The bounded queue and unary receives have leases of a second.
constexpr auto kHold = milliseconds(1'800);
constexpr auto kLoadLeast = milliseconds(100);
constexpr auto kLoadMost = milliseconds(700);
constexpr auto kProgressMax = milliseconds(5'000);

class Pause final : public Nemesis {
 public:
  absl::Status Strike(Scene& scene) override {
    if (!started_) {
      const std::string path = scene.options.directory + "/consumer.jsonl";
      absl::Status started = consumer_.Start(scene.daemon.address(), scene.options.seed + 1, path);
      if (!started.ok()) return started;
      started_ = true;
    }
    scene.WaitRandom(kLoadLeast, kLoadMost);
    const bool daemon = (strikes_++ % 2) == 0;
    const std::string name = absl::StrCat("pause of the ", daemon ? "daemon" : "consumer");
    const OperationId record = scene.BeginFault(name);
    if (daemon) {
      scene.daemon.Pause();
    } else {
      consumer_.Pause();
    }
    scene.Wait(scene.HoldOr(kHold));
    if (daemon) {
      scene.daemon.Continue();
    } else {
      consumer_.Continue();
    }
    scene.EndFault(record);
    scene.WaitProgress(kProgressMax, name);
    return scene.daemon.Serving().status();
  }

  void Finish(Scene& scene) override {
    if (!started_) return;
    absl::StatusOr<std::vector<Record>> records = consumer_.End();
    if (!records.ok()) return scene.Note(Kind::kStuck, records.status().ToString());
    scene.world.history().Append(*std::move(records));
  }

 private:
  ConsumerProcess consumer_;
  bool started_ = false;
  std::uint64_t strikes_ = 0;
};

}  // namespace

std::unique_ptr<Nemesis> MakePause() { return std::make_unique<Pause>(); }

}  // namespace mqd::crash
