#pragma once

// loop.h: one thread that runs what it is given, now or at a time.
//
// Threads:   any thread may call Post() and PostAt(); tasks run on the loop's own thread, one at a
//            time, those of Post() in order.
// Ownership: the loop owns its tasks. Its destructor waits for the running task and drops the rest;
//            destroyed by its own task it lets the thread end by itself.
// Limits:    none of its own: whoever posts is bounded.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

namespace mqd::client {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

class Loop {
 public:
  using Task = std::function<void()>;

  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void Post(Task task);
  void PostAt(Time time, Task task);

  /// Waits until all that was posted before has run; a task of this loop does not wait.
  void WaitForPosted();

  /// For an owner of callbacks that ends: those that were posted run; one posted meanwhile runs or
  /// finds `silent` set, as all later ones do. None runs behind this call.
  void EndCallbacks(std::atomic<bool>& silent) {
    WaitForPosted();
    silent = true;
    WaitForPosted();
  }

  /// Whether the caller is one of this loop's tasks.
  bool OnLoop() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  struct State;
  static void Run(State& state);

  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace mqd::client
