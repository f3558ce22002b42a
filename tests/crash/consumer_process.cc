// consumer_process.cc: both sides of it: the parent, and what the child runs.

#include "tests/crash/consumer_process.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/crash/raw_consumer.h"
#include "tests/crash/world.h"
#include "tests/support/child_process.h"

namespace mqd::crash {
namespace {

/// Processes, messages and sessions of the child are numbered from here.
constexpr std::uint32_t kProcess = 1'000;
constexpr std::uint64_t kFirst = std::uint64_t{1} << 40;
constexpr int kExecFailed = 127;
constexpr auto kEndTimeMax = std::chrono::seconds(20);
constexpr auto kPollTime = std::chrono::milliseconds(10);

}  // namespace

ConsumerProcess::~ConsumerProcess() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

absl::Status ConsumerProcess::Start(const std::string& address, std::uint64_t seed,
                                    const std::string& path) {
  path_ = path;
  const std::string seed_text = absl::StrCat(seed);
  const std::array<const char*, 8> arguments = {
      "crash_test", "--consume-from", address.c_str(),   "--history",
      path.c_str(), "--seed",         seed_text.c_str(), nullptr};
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    mqd::testing::CloseInheritedFiles();
    execv("/proc/self/exe", const_cast<char* const*>(arguments.data()));
    _exit(kExecFailed);
  }
  if (pid_ > 0) return absl::OkStatus();
  pid_ = 0;
  return absl::UnavailableError("fork failed");
}

void ConsumerProcess::Pause() { kill(pid_, SIGSTOP); }
void ConsumerProcess::Continue() { kill(pid_, SIGCONT); }

absl::StatusOr<std::vector<Record>> ConsumerProcess::End() {
  if (pid_ == 0) return absl::FailedPreconditionError("the consumer does not run");
  kill(pid_, SIGTERM);
  StopFlag never;
  const Clock::time_point until = Clock::now() + kEndTimeMax;
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (Clock::now() > until) return absl::DeadlineExceededError("the consumer does not end");
    never.WaitFor(kPollTime);
  }
  pid_ = 0;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::AbortedError(absl::StrCat("the consumer ended with status ", status));
  }
  return ReadJsonLines(path_);
}

int RunConsumer(const std::string& address, std::uint64_t seed, const std::string& path) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // also in every thread that is made from now on
  World world(seed, {}, kFirst);
  std::thread consumer([&] { RawConsumer(world, address, kProcess).Run(); });
  int number = 0;
  sigwait(&ends, &number);
  world.stop_consumers().Stop();
  consumer.join();
  return WriteJsonLines(world.history().Copy(), path).ok() ? 0 : 1;
}

}  // namespace mqd::crash
