// main.cc: mqctl, the command line tool of mqd.

#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "client/mqctl/commands.h"
#include "client/mqctl/exit_code.h"
#include "client/mqctl/output.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {

absl::StatusOr<std::unique_ptr<Client>> Globals::Connect() const {
  const auto wait = ParseDuration(timeout);
  if (!wait.ok()) return wait.status();
  return Client::Connect({.address = address,
                          .client_name = "mqctl/" MQD_VERSION,
                          .connect_timeout = *wait,
                          .call_timeout = *wait});
}

absl::Status Confirm(const Globals& globals, const std::string& what) {
  if (globals.yes) return absl::OkStatus();
  if (isatty(STDIN_FILENO) == 0) {
    return absl::FailedPreconditionError(what + ": confirm with -y before the command");
  }
  std::cerr << what << "? [y/N] ";
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y") return absl::OkStatus();
  return absl::CancelledError("nothing was done");
}

namespace {

int Main(int argc, char** argv) {
  // For bench: glibc as it comes maps and unmaps pages for frames of some 100 KiB.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  Globals globals;
  CLI::App cli("mqctl: looks at a broker of mqd and works with its queues", "mqctl");
  cli.set_version_flag("--version", "mqctl " MQD_VERSION);
  cli.require_subcommand(1);
  cli.add_option("--addr", globals.address, "the broker (127.0.0.1:6480)")
      ->type_name("HOST:PORT")
      ->envname("MQCTL_ADDR");
  cli.add_option("-o,--output", globals.output, "how results are printed (table)")
      ->transform(OneOf({"table", "json"}));
  cli.add_option("--timeout", globals.timeout, "for the broker and each call (10s)")
      ->type_name("TIME");
  cli.add_flag("-q,--quiet", globals.quiet, "print results and errors only");
  cli.add_flag("-y,--yes", globals.yes, "do not ask before something is deleted");
  cli.footer(
      "Examples:\n"
      "  mqctl queue create orders --max-messages 10000 --overflow-policy block\n"
      "  echo hello | mqctl publish orders\n"
      "  mqctl consume orders --count 1\n"
      "Exit codes: 0 ok, 1 failed, 64 usage, 65 refused as given, 66 not found, 69 no broker, 70\n"
      "internal, 75 try again, 77 not permitted.");
  AddQueueCommands(cli, globals);
  AddPublishCommand(cli, globals);
  AddConsumeCommand(cli, globals);
  AddMessageCommands(cli, globals);
  AddExplainCommands(cli, globals);
  AddDeadLetterCommands(cli, globals);
  AddNamespaceCommands(cli, globals);
  AddBenchCommand(cli, globals);
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  if (globals.result.ok()) return 0;
  return static_cast<int>(PrintError(globals.result));
}

}  // namespace
}  // namespace mqd::mqctl

int main(int argc, char** argv) { return mqd::mqctl::Main(argc, argv); }
