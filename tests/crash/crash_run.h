#pragma once

// crash_run.h: one run: a daemon under load meets its nemeses again and again, and is then drained
// and closed.
//
// Threads:   Run() on the thread that made it; it starts and joins all others.
// Ownership: owns the World, the daemon, the clients and every thread.
// Limits:    kTimeMax, twice RunOptions::seconds when that is more.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "mqd/client.h"
#include "tests/crash/daemon.h"
#include "tests/crash/nemesis.h"
#include "tests/crash/scene.h"
#include "tests/crash/world.h"

namespace mqd::crash {

class CrashRun {
 public:
  explicit CrashRun(RunOptions options);
  ~CrashRun();

  /// Fails when the daemon could not be set up at all. Whatever goes wrong later is in the history.
  absl::Status Run();

  const History& history() { return world_.history(); }
  std::chrono::seconds time() const;
  const std::vector<std::unique_ptr<Nemesis>>& nemeses() const { return nemeses_; }

 private:
  absl::Status SetUp();
  absl::Status Prepare();
  void StartClients();
  void StrikeLoop();
  /// False, and written down, when the daemon is of no more use.
  bool Usable(const absl::Status& status);
  void JoinProducers();
  void JoinConsumers();
  void Drain();
  bool WaitDrained();
  void Close();
  void CloseQueue(std::uint32_t queue);
  /// The counts of a queue, into the history; its backlog, or nothing while the daemon is away.
  std::optional<std::uint64_t> AddStats(Admin& admin, std::uint32_t queue, bool at_rest);
  /// The same of every queue, with their sum.
  std::optional<std::uint64_t> AddAllStats(bool at_rest);
  std::uint64_t WaitAtRest();
  void Sample();
  void StartConsumer(std::vector<std::uint32_t> queues);
  std::uint32_t NextProcess();
  void PrintProgress() const;

  const RunOptions options_;
  const Clock::time_point start_ = Clock::now();
  World world_;
  Daemon daemon_;
  Scene scene_;
  std::vector<std::unique_ptr<Nemesis>> nemeses_;
  std::string address_;  // that clients connect to
  std::unique_ptr<Client> producing_;
  std::unique_ptr<Client> consuming_;
  std::unique_ptr<Client> watching_;
  std::unique_ptr<Admin> admin_;
  std::vector<std::thread> producers_;
  std::vector<std::thread> consumers_;
  std::thread sampler_;
  StopFlag stop_sampler_;
  StopFlag never_;
  std::uint32_t next_process_ = 1;
  std::uint64_t strikes_ = 0;
  bool broken_ = false;  // the daemon is of no more use
};

}  // namespace mqd::crash
