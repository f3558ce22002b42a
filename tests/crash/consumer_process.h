#pragma once

// consumer_process.h: a consumer that is a process of its own, so that it can be stopped, with all
// its threads, while its leases run out.
//
// Threads:   one at a time, always the same one: it dies with the thread that started it.
// Ownership: the destructor kills the process and waits for it.
// Limits:    kEndTimeMax for its end.

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/crash/history.h"

namespace mqd::crash {

class ConsumerProcess {
 public:
  ConsumerProcess() = default;
  ~ConsumerProcess();
  ConsumerProcess(const ConsumerProcess&) = delete;
  ConsumerProcess& operator=(const ConsumerProcess&) = delete;

  /// Runs this program again, as RunConsumer(); its records go to `path`.
  absl::Status Start(const std::string& address, std::uint64_t seed, const std::string& path);
  void Pause();
  void Continue();
  /// Asks it to end, and reads its records.
  absl::StatusOr<std::vector<Record>> End();

 private:
  pid_t pid_ = 0;  // 0: none
  std::string path_;
};

/// Consumes until SIGTERM, and writes down what it saw; the exit code.
int RunConsumer(const std::string& address, std::uint64_t seed, const std::string& path);

}  // namespace mqd::crash
