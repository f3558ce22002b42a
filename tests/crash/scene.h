#pragma once

// scene.h: what a nemesis acts on, and what it waits for: the daemon, the network before it, the
// clients and their history.
//
// Threads:   those of Daemon: one at a time, always the same one.
// Ownership: the World and the Daemon outlive it.
// Limits:    kServeTimeMax for a start.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/crash/daemon.h"
#include "tests/crash/fault_proxy.h"
#include "tests/crash/world.h"

namespace mqd::crash {

struct RunOptions {
  std::string program;              // mqd
  std::string test_program;         // the mqd whose power can be cut; may be empty
  std::string directory;            // for its data
  std::vector<std::string> faults;  // names of nemeses
  std::uint64_t seed = 0;
  std::uint64_t strikes = 0;          // at least
  std::uint64_t messages = 0;         // confirmed, at least
  std::uint64_t per_second = 0;       // publishes
  std::chrono::seconds seconds{0};    // of strikes, at least
  std::chrono::milliseconds hold{0};  // of one strike; 0: as the nemesis has it
  std::string clock_shim;             // clock_shim.cc as a library; may be empty
};

class Scene {
 public:
  static constexpr std::chrono::seconds kServeTimeMax{20};

  Scene(const RunOptions& run, World& all, Daemon& victim)
      : options(run), world(all), daemon(victim), random(all.RandomOf(0)), proxy(run.seed) {}

  const RunOptions& options;
  World& world;
  Daemon& daemon;
  Random random;
  FaultProxy proxy;                      // where clients connect to
  std::vector<std::uint32_t> processes;  // the clients that must go on

  std::chrono::milliseconds HoldOr(std::chrono::milliseconds usual) const {
    return options.hold.count() == 0 ? usual : options.hold;
  }
  void Wait(std::chrono::milliseconds time) { never_.WaitFor(time); }
  /// Waits from `least` to `most`.
  void WaitRandom(std::chrono::milliseconds least, std::chrono::milliseconds most);

  /// SIGKILL; an error when the daemon had ended before by itself.
  absl::Status Kill();
  absl::Status Restart();
  absl::Status WaitServing();
  /// The daemon's power was cut, and it is gone.
  void NotePowerCut();

  OperationId BeginFault(std::string note);
  /// `rest` is for how long the broker may believe in clients that are gone.
  void EndFault(OperationId fault, std::chrono::seconds rest = std::chrono::seconds(0));
  /// Waits until every client was answered with OK; what is not by then is STUCK.
  void WaitProgress(std::chrono::milliseconds most, const std::string& after);

  void Note(Kind kind, std::string note);

 private:
  StopFlag never_;
};

}  // namespace mqd::crash
