#pragma once

// mqd_process.h: the real daemon as a child process, on a port of its own, told and heard as a
// service manager does it.
//
// Threads:   one at a time, always the same one: the child dies with the thread that started it, so
//            that it never outlives the test.
// Ownership: the destructor kills the child and waits for it.
// Limits:    kWait for anything that is waited for; then the test fails.

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace mqd::test {

class MqdProcess {
 public:
  static constexpr std::chrono::seconds kWait{60};

  struct Options {
    std::vector<std::string> flags = {};
    std::vector<std::string> wrapper = {};  // a program that runs the daemon, and its arguments
  };

  /// Starts it. Without data of another one it has a directory of its own.
  explicit MqdProcess(Options options) : MqdProcess(std::move(options), "") {}
  MqdProcess(Options options, std::string data);
  ~MqdProcess();
  MqdProcess(const MqdProcess&) = delete;
  MqdProcess& operator=(const MqdProcess&) = delete;

  /// Waits until it says that it is ready; false when it ended instead.
  bool WaitReady() { return WaitNote("READY=1"); }
  /// Waits for a note to the service manager that begins so; false when the process ended.
  bool WaitNote(const std::string& begin);
  void Signal(int number);
  /// Waits for its end: the exit code, or minus the signal.
  int WaitExit();

  /// "127.0.0.1:4711", once it is ready.
  std::string address() const { return "127.0.0.1:" + std::to_string(port()); }
  int port() const;
  const std::string& data() const { return data_; }
  std::string log() const;
  /// Lines of the log that hold `text`.
  int CountInLog(const std::string& text) const;

 private:
  void Spawn(const Options& options);

  TemporaryDirectory directory_;
  const std::string data_;
  int notes_ = -1;  // the socket that the daemon writes to
  pid_t pid_ = 0;   // 0: none
  int exit_ = -1;   // a file that becomes readable when the child has ended
};

}  // namespace mqd::test
