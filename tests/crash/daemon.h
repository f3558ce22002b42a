#pragma once

// daemon.h: the real mqd as a child process that is killed and started again.
//
// Threads:   one at a time, always the same one: the child dies with the thread that started it, so
//            that it never outlives the run.
// Ownership: the destructor kills the child and waits for it.
// Limits:    none.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mqd::crash {

class Daemon {
 public:
  /// `directory` is made, holds data, port file and log, and is left behind.
  Daemon(std::string program, std::string directory);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// What the next start is to have: "NAME=VALUE" besides the variables of this process, and a
  /// limit on open files; 0 leaves it as it is.
  std::vector<std::string>& environment() { return environment_; }
  void SetFilesMax(std::uint64_t files) { files_max_ = files; }

  /// Starts it on the port that it had before, or on any the first time.
  absl::Status Start();
  /// Whether its port is open yet; an error when it has ended, or started on another port.
  absl::StatusOr<bool> Serving();
  /// Whether it has opened its port; it may be gone since.
  bool PortOpen() const;
  /// SIGKILL, and waits until it is gone. An error when it had ended before by itself.
  absl::Status Kill();
  /// SIGSTOP and SIGCONT.
  void Pause();
  void Continue();
  /// Only SIGTERM.
  void AskToStop();
  /// Waits until it is gone by SIGKILL, from whomever. kDeadlineExceeded: it still runs.
  absl::Status AwaitKill(std::chrono::milliseconds timeout);
  /// SIGTERM, and waits for exit code 0.
  absl::Status Terminate(std::chrono::milliseconds timeout);

  bool running() const { return pid_ != 0; }
  int port() const { return port_; }
  std::string address() const;
  const std::string& log_path() const { return log_path_; }

 private:
  [[noreturn]] void RunChild(char* const* arguments, char* const* variables) const;
  /// OK while it runs; else how it ended.
  absl::Status Reap(bool block);

  const std::string program_;
  std::vector<std::string> environment_;
  std::uint64_t files_max_ = 0;
  const std::string data_path_;
  const std::string port_path_;
  const std::string log_path_;
  pid_t pid_ = 0;  // 0: none
  int port_ = 0;
};

}  // namespace mqd::crash
