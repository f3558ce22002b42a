// nemesis.cc: the list of them.

#include "tests/crash/nemesis.h"

#include <algorithm>

namespace mqd::crash {

const std::vector<NemesisKind>& AllNemeses() {
  static const std::vector<NemesisKind> kAll = {
      {"kill", "SIGKILL at any time", {110, 100'000, 12'000}, MakeKill},
      {"network", "a bad network before the daemon", {8, 10'000, 1'000}, MakeNetwork},
      {"pause", "SIGSTOP of the daemon and of a consumer", {8, 8'000, 1'000}, MakePause},
      {"recovery", "SIGKILL while it starts", {30, 5'000, 4'000}, MakeRecovery},
      {"shutdown", "SIGTERM, and SIGKILL soon after", {20, 5'000, 2'000}, MakeShutdown},
      {"consumers", "consumers that mean no good", {3, 8'000, 1'000}, MakeConsumers},
      {"descriptors", "as many connections as can be had", {2, 5'000, 1'000}, MakeDescriptors},
      {"clock", "jumps of the wall clock", {6, 10'000, 1'000}, MakeClock},
      {"power", "power cuts", {10, 20'000, 2'000}, MakePower},
  };
  return kAll;
}

const NemesisKind* FindNemesis(const std::string& name) {
  const auto found = std::find_if(AllNemeses().begin(), AllNemeses().end(),
                                  [&](const NemesisKind& kind) { return kind.name == name; });
  return found == AllNemeses().end() ? nullptr : &*found;
}

}  // namespace mqd::crash
