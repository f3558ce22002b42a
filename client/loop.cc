#include "client/loop.h"

#include <future>
#include <map>
#include <utility>
#include <vector>

#include "proto/base/mutex.h"

namespace mqd::client {

struct Loop::State {
  base::Mutex mutex;
  std::condition_variable wake;
  std::vector<Task> tasks ABSL_GUARDED_BY(mutex);
  std::multimap<Time, Task> timers ABSL_GUARDED_BY(mutex);
  bool stopped ABSL_GUARDED_BY(mutex) = false;

  /// Waits for work and moves what is due to `due`; false when the loop stops.
  bool Wait(std::vector<Task>& due) {
    base::MutexLock lock(mutex);
    while (!stopped) {
      due.swap(tasks);
      const Time now = Clock::now();
      while (!timers.empty() && timers.begin()->first <= now) {
        due.push_back(std::move(timers.begin()->second));
        timers.erase(timers.begin());
      }
      if (!due.empty()) return true;
      if (timers.empty()) {
        lock.Wait(wake);
      } else {
        lock.WaitUntil(wake, timers.begin()->first);
      }
    }
    return false;
  }
};

Loop::Loop() : state_(std::make_shared<State>()) {
  thread_ = std::thread([state = state_] { Run(*state); });
}

Loop::~Loop() {
  {
    base::MutexLock lock(state_->mutex);
    state_->stopped = true;
  }
  state_->wake.notify_one();
  if (OnLoop()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Loop::Run(State& state) {
  std::vector<Task> due;
  while (state.Wait(due)) {
    for (Task& task : due) std::exchange(task, nullptr)();
    due.clear();
  }
}

void Loop::Post(Task task) {
  bool first = false;
  {
    base::MutexLock lock(state_->mutex);
    first = state_->tasks.empty();
    state_->tasks.push_back(std::move(task));
  }
  if (first) state_->wake.notify_one();
}

void Loop::WaitForPosted() {
  if (OnLoop()) return;
  std::promise<void> reached;
  Post([&reached] { reached.set_value(); });
  reached.get_future().wait();
}

void Loop::PostAt(Time time, Task task) {
  {
    base::MutexLock lock(state_->mutex);
    state_->timers.emplace(time, std::move(task));
  }
  state_->wake.notify_one();
}

}  // namespace mqd::client
