#include "tests/support/mqd_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "gtest/gtest.h"
#include "proto/base/assert.h"

namespace mqd::test {
namespace {

constexpr int kWaitMs = static_cast<int>(std::chrono::milliseconds(MqdProcess::kWait).count());

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

int OpenNotes(const std::string& path) {
  const int notes = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  MQD_ASSERT(path.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  MQD_ASSERT(bind(notes, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  return notes;
}

}  // namespace

MqdProcess::MqdProcess(Options options, std::string data)
    : data_(data.empty() ? directory_.path("data") : std::move(data)),
      notes_(OpenNotes(directory_.path("notes"))) {
  Spawn(options);
}

MqdProcess::~MqdProcess() {
  if (pid_ != 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(exit_);
  close(notes_);
}

void MqdProcess::Spawn(const Options& options) {
  std::vector<std::string> arguments = {"setpriv", "--pdeathsig", "KILL"};
  arguments.insert(arguments.end(), options.wrapper.begin(), options.wrapper.end());
  const std::string port_file = directory_.path("port");
  for (const char* each : {MQD_BINARY, "--data", data_.c_str(), "--listen", "127.0.0.1:0",
                           "--http-listen", "off", "--port-file", port_file.c_str()}) {
    arguments.emplace_back(each);
  }
  arguments.insert(arguments.end(), options.flags.begin(), options.flags.end());
  std::vector<std::string> variables = {"NOTIFY_SOCKET=" + directory_.path("notes"),
                                        "MQD_STORAGE_DISK_LOW_WATERMARK=64MiB"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.emplace_back(*variable);
  }
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, directory_.path("log").c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  const int failed = posix_spawnp(&pid_, "setpriv", &files, nullptr, Pointers(arguments).data(),
                                  Pointers(variables).data());
  posix_spawn_file_actions_destroy(&files);
  MQD_ASSERT(failed == 0);
  exit_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  MQD_ASSERT(exit_ >= 0);
}

bool MqdProcess::WaitNote(const std::string& begin) {
  for (;;) {
    pollfd events[] = {{notes_, POLLIN, 0}, {exit_, POLLIN, 0}};
    if (poll(events, 2, kWaitMs) <= 0) {
      ADD_FAILURE() << "no \"" << begin << "\" in time:\n" << log();
      return false;
    }
    if ((events[0].revents & POLLIN) == 0) return false;
    char text[4096];
    const ssize_t length = recv(notes_, text, sizeof(text), 0);
    if (std::string(text, static_cast<std::size_t>(std::max<ssize_t>(0, length))).rfind(begin, 0) ==
        0) {
      return true;
    }
  }
}

void MqdProcess::Signal(int number) { MQD_ASSERT(pid_ != 0 && kill(pid_, number) == 0); }

int MqdProcess::WaitExit() {
  MQD_ASSERT(pid_ != 0);
  pollfd end = {exit_, POLLIN, 0};
  if (poll(&end, 1, kWaitMs) <= 0) {
    ADD_FAILURE() << "it did not end in time:\n" << log();
    kill(pid_, SIGKILL);
  }
  int status = 0;
  MQD_ASSERT(waitpid(std::exchange(pid_, 0), &status, 0) > 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int MqdProcess::port() const { return std::stoi(ReadFile(directory_.path("port"))); }

std::string MqdProcess::log() const { return ReadFile(directory_.path("log")); }

int MqdProcess::CountInLog(const std::string& text) const {
  const std::string all = log();
  int count = 0;
  for (std::size_t at = all.find(text); at != std::string::npos; at = all.find(text, at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace mqd::test
