#pragma once

// commands.h: what main() and the commands share. A command adds its options to the command line
// and, when it was named, runs.
//
// Threads: main.

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mqd/admin.h"
#include "mqd/client.h"

namespace mqd::mqctl {

struct Globals {
  std::string address = "127.0.0.1:6480";
  std::string output = "table";
  std::string timeout = "10s";
  bool quiet = false;
  bool yes = false;
  absl::Status result;  // of the command that ran

  bool json() const { return output == "json"; }
  /// Waits up to `timeout` for the broker.
  absl::StatusOr<std::unique_ptr<Client>> Connect() const;
};

/// For a flag that takes one of `values`, in upper or lower case.
inline CLI::Validator OneOf(std::vector<std::string> values) {
  return CLI::IsMember(std::move(values), CLI::ignore_case);
}

/// On a terminal asks whether to do `what`; elsewhere -y must have been given.
absl::Status Confirm(const Globals& globals, const std::string& what);

/// Connects and calls `run` with an Admin; answers what it answers.
template <class Run>
absl::Status WithAdmin(const Globals& globals, Run run) {
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  return run(*(*client)->NewAdmin());
}

/// Calls `run` when `command` was named, and keeps what it answers in globals.result.
template <class Run>
void OnCommand(CLI::App* command, Globals& globals, Run run) {
  command->final_callback([&globals, run] { globals.result = run(); });
}

void AddQueueCommands(CLI::App& cli, Globals& globals);    // queue, node
void AddMessageCommands(CLI::App& cli, Globals& globals);  // peek, find, cancel, history, dedup
void AddExplainCommands(CLI::App& cli, Globals& globals);  // why, consumer, publisher
void AddDeadLetterCommands(CLI::App& cli, Globals& globals);
void AddNamespaceCommands(CLI::App& cli, Globals& globals);
void AddPublishCommand(CLI::App& cli, Globals& globals);
void AddConsumeCommand(CLI::App& cli, Globals& globals);
void AddBenchCommand(CLI::App& cli, Globals& globals);

}  // namespace mqd::mqctl
