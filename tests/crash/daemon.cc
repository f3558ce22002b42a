// daemon.cc: fork, exec, kill and wait.

#include "tests/crash/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/crash/world.h"
#include "tests/support/child_process.h"

namespace mqd::crash {
namespace {

constexpr int kExecFailed = 127;
constexpr auto kPollTime = std::chrono::milliseconds(5);

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string Describe(int status) {
  if (WIFSIGNALED(status)) return absl::StrCat("signal ", WTERMSIG(status));
  return absl::StrCat("exit code ", WEXITSTATUS(status));
}

}  // namespace

Daemon::Daemon(std::string program, std::string directory)
    : program_(std::move(program)),
      data_path_(directory + "/data"),
      port_path_(directory + "/port"),
      log_path_(directory + "/mqd.log") {
  std::filesystem::create_directories(directory);
}

Daemon::~Daemon() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::string Daemon::address() const { return absl::StrCat("127.0.0.1:", port_); }

/// Only what may be done between fork and exec in a process that has threads.
void Daemon::RunChild(char* const* arguments, char* const* variables) const {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (files_max_ != 0) {
    const rlimit files = {files_max_, files_max_};
    setrlimit(RLIMIT_NOFILE, &files);
  }
  const int log = open(log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  mqd::testing::CloseInheritedFiles();
  execve(program_.c_str(), arguments, variables);
  _exit(kExecFailed);
}

absl::Status Daemon::Start() {
  std::filesystem::remove(port_path_);
  std::vector<std::string> arguments = {program_,   "--data",        data_path_, "--listen",
                                        address(),  "--http-listen", "off",      "--port-file",
                                        port_path_, "--log-level",   "warning"};
  std::vector<std::string> variables = environment_;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.emplace_back(*variable);
  }
  const std::vector<char*> argument_pointers = Pointers(arguments);
  const std::vector<char*> variable_pointers = Pointers(variables);
  pid_ = fork();
  if (pid_ == 0) RunChild(argument_pointers.data(), variable_pointers.data());
  if (pid_ > 0) return absl::OkStatus();
  pid_ = 0;
  return absl::UnavailableError("fork failed");
}

absl::StatusOr<bool> Daemon::Serving() {
  if (absl::Status ended = Reap(false); !ended.ok()) return ended;
  int port = 0;
  if (std::ifstream file(port_path_); !(file >> port)) return false;
  if (port_ != 0 && port != port_) return absl::InternalError("it took another port");
  port_ = port;
  return true;
}

bool Daemon::PortOpen() const { return std::filesystem::exists(port_path_); }

absl::Status Daemon::Reap(bool block) {
  if (pid_ == 0) return absl::FailedPreconditionError("it does not run");
  int status = 0;
  if (waitpid(pid_, &status, block ? 0 : WNOHANG) != pid_) return absl::OkStatus();
  pid_ = 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::CancelledError("exit code 0");
  return absl::AbortedError(Describe(status));
}

absl::Status Daemon::Kill() {
  if (absl::Status ended = Reap(false); !ended.ok()) return ended;
  kill(pid_, SIGKILL);
  const absl::Status killed = Reap(true);
  if (killed.message() == absl::StrCat("signal ", SIGKILL)) return absl::OkStatus();
  return killed;
}

void Daemon::Pause() { kill(pid_, SIGSTOP); }
void Daemon::Continue() { kill(pid_, SIGCONT); }
void Daemon::AskToStop() { kill(pid_, SIGTERM); }

absl::Status Daemon::AwaitKill(std::chrono::milliseconds timeout) {
  StopFlag never;
  const Clock::time_point until = Clock::now() + timeout;
  do {
    const absl::Status ended = Reap(false);
    if (ended.message() == absl::StrCat("signal ", SIGKILL)) return absl::OkStatus();
    if (!ended.ok()) return ended;
    never.WaitFor(kPollTime);
  } while (Clock::now() < until);
  return absl::DeadlineExceededError("it still runs");
}

absl::Status Daemon::Terminate(std::chrono::milliseconds timeout) {
  if (absl::Status ended = Reap(false); !ended.ok()) return ended;
  kill(pid_, SIGTERM);
  StopFlag never;
  const Clock::time_point until = Clock::now() + timeout;
  while (Clock::now() < until) {
    const absl::Status ended = Reap(false);
    if (absl::IsCancelled(ended)) return absl::OkStatus();
    if (!ended.ok()) return ended;
    never.WaitFor(kPollTime);
  }
  return absl::DeadlineExceededError("it did not end after SIGTERM");
}

}  // namespace mqd::crash
