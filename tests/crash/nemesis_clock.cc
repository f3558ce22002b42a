// nemesis_clock.cc: the wall clock of the daemon jumps while it runs, by an hour and by a day, to
// and fro. The steady clock stays as it is. Needs libfaketime.

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "mqd/client.h"
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

/// The library that is put before the daemon's calls of the clock; empty when there is none.
std::string FindLibrary() {
  for (const char* directory : {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"}) {
    const std::string path = absl::StrCat(directory, "/faketime/libfaketimeMT.so.1");
    if (std::filesystem::exists(path)) return path;
  }
  return "";
}

class ClockJump final : public Nemesis {
 public:
  absl::Status Prepare(Scene& scene) override {
    const std::string library = FindLibrary();
    if (library.empty()) return absl::NotFoundError("libfaketime is missing: package faketime");
    path_ = scene.options.directory + "/clock";
    Set(seconds(0));
    auto& environment = scene.daemon.environment();
    environment.push_back("LD_PRELOAD=" + library);
    environment.push_back("FAKETIME_TIMESTAMP_FILE=" + path_);
    environment.emplace_back("FAKETIME_NO_CACHE=1");
    environment.emplace_back("FAKETIME_DONT_FAKE_MONOTONIC=1");
    environment.emplace_back("DONT_FAKE_MONOTONIC=1");
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
  /// Whoever reads the file sees the old offset or the new one.
  void Set(seconds offset) const {
    const std::string draft = path_ + ".new";
    std::ofstream(draft) << (offset.count() < 0 ? "" : "+") << offset.count() << "\n";
    std::filesystem::rename(draft, path_);
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
