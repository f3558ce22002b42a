#pragma once

// signals.h: signals as values that the main thread waits for, instead of handlers.
//
// Threads: Construct it in main before any other thread starts: the handled signals stay blocked
// in all of them. Wait()
//            from that thread only. Wake(): any.
// Limits: One object a process.

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <thread>

namespace mqd::server {

enum class Wakeup { kStop, kReload, kWoken, kTimeout };

class Signals {
 public:
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Waits for SIGTERM or SIGINT (kStop), SIGHUP (kReload), a call of Wake() (kWoken), or the
  /// timeout.
  Wakeup Wait(std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  /// Ends the current or the next Wait() of the main thread. Several calls may end only one.
  void Wake();

 private:
  sigset_t handled_;
  pthread_t main_thread_;
};

/// Runs `work` on a thread of its own while the caller goes on waiting for signals: Wake() is
/// called when it has ended. The destructor joins.
class BackgroundWork {
 public:
  BackgroundWork(Signals& signals, std::function<void()> work);
  bool done() const { return done_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> done_ = false;
  std::jthread thread_;
};

}  // namespace mqd::server
