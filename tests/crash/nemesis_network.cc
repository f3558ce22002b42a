// nemesis_network.cc: the network between clients and daemon, one profile a strike, in turn.
//
// Of bytes that change on their way only those of the framing are changed here, where HTTP/2 lets
// nobody go on: gRPC has no checksum of its own, so nothing can be promised for the rest.

#include <array>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/crash/nemesis.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kHold = milliseconds(3'000);
/// After a network has healed, beyond what it takes to find out that a connection is dead.
constexpr auto kProgressMax = milliseconds(5'000);
constexpr auto kClientKeepalive = seconds(20);  // a ping and its timeout, as clients have it
constexpr auto kBrokerKeepalive = seconds(45);
constexpr std::size_t kProfiles = 8;

std::array<NetworkFault, kProfiles> Profiles(Random& random) {
  return {
      {{.network = Network::kLatency, .delay = milliseconds(150)},
       {.network = Network::kJitter, .delay = milliseconds(80)},
       {.network = Network::kStall, .to_target = OneIn(random, 2)},
       {.network = Network::kReset, .delay = milliseconds(40)},
       {.network = Network::kThrottle, .bytes = 100'000},
       {.network = Network::kCut, .bytes = 200'000},
       {.network = Network::kFraming},
       // Last: the broker believes in clients that are gone for so long that leases prove little.
       {.network = Network::kHalfOpen}}};
}

class BadNetwork final : public Nemesis {
 public:
  absl::Status Strike(Scene& scene) override {
    const NetworkFault fault = Profiles(scene.random)[next_];
    next_ = (next_ + 1) % kProfiles;
    const std::string name = absl::StrCat("network ", NameOf(fault.network));
    const ProxyCounts before = scene.proxy.counts();
    const OperationId record = scene.BeginFault(name);
    scene.proxy.Inflict(fault);
    scene.Wait(scene.HoldOr(kHold));
    scene.proxy.Heal();
    const bool silent = fault.network == Network::kHalfOpen;
    scene.WaitProgress(kProgressMax + (silent ? kClientKeepalive : seconds(0)), name);
    scene.EndFault(record, silent ? kBrokerKeepalive : seconds(0));
    Print(name, before, scene.proxy.counts());
    if (!HasHit(fault, before, scene.proxy.counts())) {
      scene.Note(Kind::kStuck, absl::StrCat(name, " has hit nothing"));
    }
    done_.insert(fault.network);
    const absl::StatusOr<bool> serving = scene.daemon.Serving();
    return serving.status();
  }

  bool uses_proxy() const override { return true; }
  std::string promise() const override { return "R16"; }
  std::uint64_t trials() const override { return done_.size(); }

 private:
  static bool HasHit(const NetworkFault& fault, const ProxyCounts& before,
                     const ProxyCounts& after) {
    switch (fault.network) {
      case Network::kHalfOpen:
        return after.swallowed > before.swallowed;
      case Network::kReset:
      case Network::kCut:
        return after.aborted > before.aborted;
      case Network::kFraming:
        return after.spoiled > before.spoiled && after.connections > before.connections;
      default:
        return after.bytes > before.bytes;
    }
  }

  static void Print(const std::string& name, const ProxyCounts& before, const ProxyCounts& after) {
    const auto since = [](std::uint64_t a, std::uint64_t b) {
      return static_cast<unsigned long long>(b - a);
    };
    std::printf(
        "%s: %llu connections, %llu bytes passed, %llu swallowed, %llu aborted, %llu spoiled\n",
        name.c_str(), since(before.connections, after.connections),
        since(before.bytes, after.bytes), since(before.swallowed, after.swallowed),
        since(before.aborted, after.aborted), since(before.spoiled, after.spoiled));
    std::fflush(stdout);
  }

  std::size_t next_ = 0;
  std::set<Network> done_;
};

}  // namespace

std::unique_ptr<Nemesis> MakeNetwork() { return std::make_unique<BadNetwork>(); }

}  // namespace mqd::crash
