#pragma once

// crash_run.h: one run: a daemon under load is killed again and again, then drained and closed.
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
#include "tests/crash/world.h"

namespace mqd::crash {

struct RunOptions {
  std::string program;    // mqd
  std::string directory;  // for its data
  std::uint64_t seed = 0;
  std::uint64_t kills = 110;         // at least
  std::uint64_t messages = 100'000;  // confirmed, at least
  std::chrono::seconds seconds{0};   // of killing, at least
};

class CrashRun {
 public:
  explicit CrashRun(RunOptions options);
  ~CrashRun();

  /// Fails when the daemon could not be set up at all. Whatever goes wrong later is in the history.
  absl::Status Run();

  const History& history() { return world_.history(); }
  std::chrono::seconds time() const;

 private:
  absl::Status SetUp();
  absl::Status WaitServing();
  void StartClients();
  void KillLoop();
  bool KillOnce();
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
  void Note(Kind kind, std::string note);
  void PrintProgress() const;

  const RunOptions options_;
  const Clock::time_point start_ = Clock::now();
  World world_;
  Random random_;
  Daemon daemon_;
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
  std::uint64_t kills_ = 0;
  bool broken_ = false;  // the daemon is of no more use
};

}  // namespace mqd::crash
