// nemesis_clock.cc: the wall clock of the daemon jumps while it runs, by an hour and by a day, to
// and fro; clock_shim.cc makes it. The steady clock stays as it is.
//
// Not libfaketime: told to leave the steady clock alone, it still rewrites the waits on it.

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "mqd/client.h"
#include "proto/base/assert.h"
#include "tests/crash/nemesis.h"

namespace mqd::crash {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kProbeQueue = "clock-probe";
constexpr auto kHold = milliseconds(2'500);
constexpr auto kProgressMax = milliseconds(5'000);
constexpr auto kTolerance = seconds(60);
constexpr auto kStrobeTime = milliseconds(40);
constexpr int kStrobes = 30;
constexpr std::array<seconds, 6> kOffsets = {hours(1),   hours(-1), hours(24),
                                             hours(-24), hours(1),  seconds(0)};

class ClockJump final : public Nemesis {
 public:
  absl::Status Prepare(Scene& scene) override {
    const std::string& shim = scene.options.clock_shim;
    if (shim.empty()) return absl::InvalidArgumentError("clock jumps need --clock-shim");
    path_ = scene.options.directory + "/clock";
    Set(seconds(0));
    scene.daemon.environment().push_back("LD_PRELOAD=" + shim);
    scene.daemon.environment().push_back("MQD_TEST_CLOCK=" + path_);
    return absl::OkStatus();
  }

  absl::Status Strike(Scene& scene) override {
    const seconds offset = kOffsets[next_];
    next_ = (next_ + 1) % kOffsets.size();
    const bool strobes = next_ == 0;
    for (int i = 0; strobes && i < kStrobes; ++i) {
      Set(i % 2 == 0 ? seconds(hours(24)) : seconds(hours(-24)));
      scene.Wait(kStrobeTime);
    }
    Set(offset);
    const absl::StatusOr<seconds> seen = OffsetOf(scene);
    if (!seen.ok()) {
      scene.Note(Kind::kStuck, "the clock cannot be read: " + seen.status().ToString());
    } else if (*seen < offset - kTolerance || *seen > offset + kTolerance) {
      scene.Note(Kind::kStuck, absl::StrCat("the daemon's clock is off by ", seen->count(),
                                            " s, not ", offset.count(), " s"));
    } else {
      ++jumps_;
    }
    scene.Wait(scene.HoldOr(kHold));
    scene.WaitProgress(kProgressMax, absl::StrCat("a clock off by ", offset.count(), " s"));
    return scene.daemon.Serving().status();
  }

  std::string promise() const override { return "R17"; }
  std::uint64_t trials() const override { return jumps_; }

 private:
  /// Written in place: the shim has the file in its memory.
  void Set(seconds offset) const {
    const int file = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const std::int64_t count = offset.count();
    const ssize_t written = pwrite(file, &count, sizeof(count), 0);
    close(file);
    MQD_ASSERT(written == sizeof(count));
  }

  /// What the daemon stamps on a message, against our clock.
  static absl::StatusOr<seconds> OffsetOf(Scene& scene) {
    auto client = Client::Connect({.address = scene.daemon.address()});
    if (!client.ok()) return client.status();
    const auto made = (*client)->NewAdmin()->CreateQueue(kProbeQueue, {});
    if (!made.ok()) return made.status();
    const Message message = {.payload = "now"};
    const auto sent = (*client)->Publish(kProbeQueue, {&message, 1});
    if (!sent.ok()) return sent.status();
    const auto got = (*client)->Receive(kProbeQueue, {.wait = kProgressMax});
    if (!got.ok()) return got.status();
    if (got->messages.empty()) return absl::NotFoundError("nothing came");
    const std::uint64_t id = got->messages[0].delivery_id;
    const SettleEntry ack = {
        .first_delivery_id = id, .last_delivery_id = id, .outcome = mqd::Outcome::Ack()};
    (*client)->Settle(kProbeQueue, {&ack, 1}).status().IgnoreError();
    return std::chrono::duration_cast<seconds>(got->messages[0].publish_time -
                                               std::chrono::system_clock::now());
  }

  std::string path_;
  std::size_t next_ = 0;
  std::uint64_t jumps_ = 0;
};

}  // namespace

std::unique_ptr<Nemesis> MakeClock() { return std::make_unique<ClockJump>(); }

}  // namespace mqd::crash
