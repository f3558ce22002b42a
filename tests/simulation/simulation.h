#pragma once

// simulation.h: one seed, one run: a broker with its disk, clients over a bad network, crashes and
// clocks that jump; then everything heals, the queues are drained, and the history is checked.
//
// Threads:   one; one simulation at a time.
// Ownership: owns the whole world.
// Limits:    some 8 s of virtual time with faults, then as long as it takes to drain.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/crash/checker.h"
#include "tests/simulation/applications.h"
#include "tests/simulation/broker.h"
#include "tests/simulation/recorder.h"

namespace mqd::simulation {

/// How a run ended.
struct Ended {
  crash::Report report;
  std::uint64_t trace = 0;
  std::uint64_t steps = 0;
  std::uint64_t cuts = 0;
  std::uint64_t crashes = 0;
  std::uint64_t wall_jumps = 0;
  std::string history_path;  // where it was written, if anything was found and a place was given
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed);
  ~Simulation();

  /// Plays the whole run, once.
  Ended Run();
  const crash::History& history() const { return history_; }

 private:
  void CreateQueues();
  void BeginApplications();
  // ---- while faults are on, each of these comes again and again
  void Again(std::int64_t mean_ns, void (Simulation::*what)());
  void CutOne();
  void StallOne();
  void CrashBroker();
  void JumpWall();
  void ChangeMood();
  void ChangeQuality();
  void Sample();
  void StartBroker();
  // ---- afterwards
  void Heal();
  bool Drained();
  void Stuck(const std::string& what);
  void AddStats(std::uint32_t queue, bool at_rest);
  bool WaitFor(bool (Simulation::*condition)());
  bool ProducersDone();

  Timeline timeline_;
  Random random_;
  crash::History history_;
  Recorder recorder_;
  Network network_;
  Scene scene_;
  std::shared_ptr<storage::MemoryDisk> disk_;
  ChaosDisk::Mood mood_;
  std::unique_ptr<Broker> broker_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::vector<std::unique_ptr<Consumer>> consumers_;
  std::vector<std::uint64_t> backlog_ = std::vector<std::uint64_t>(kQueueCount);
  bool faults_ = true;
  Ended ended_;
};

}  // namespace mqd::simulation
