#pragma once

// witness.h: a publisher and a consumer of the library that go round and round on a queue of their
// own, and must not notice what others do to the broker.
//
// Threads: one at a time; the traffic has a thread of its own.
// Ownership: the daemon must outlive it.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "mqd/client.h"
#include "proto/base/mutex.h"

namespace mqd::test {

class Witness {
 public:
  explicit Witness(const std::string& address);
  ~Witness();

  /// Two more rounds without an error, over the streams of the first one; else the test fails.
  void CheckGoesOn();

 private:
  void Run();
  absl::Status Round();

  std::unique_ptr<Client> client_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<Consumer> consumer_;
  std::atomic<bool> stopping_{false};
  base::Mutex mutex_;
  std::condition_variable changed_;
  int rounds_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mqd::test
