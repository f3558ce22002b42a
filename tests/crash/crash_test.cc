// crash_test.cc: kills the daemon under load and prints what a checker says to what clients saw.
//
// Exits 0 when there was no violation, 1 when there was one, 2 when the run could not begin. A run
// with violations leaves its history, the daemon's data and its log behind, and says where.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "tests/crash/checker.h"
#include "tests/crash/crash_run.h"

namespace mqd::crash {
namespace {

void PrintCount(const char* name, std::uint64_t count) {
  std::printf("  %-18s %10llu\n", name, static_cast<unsigned long long>(count));
}

void PrintReport(const Report& report, std::chrono::seconds time) {
  std::printf("run of %lld s\n", static_cast<long long>(time.count()));
  PrintCount("kills", report.kills);
  PrintCount("confirmed", report.confirmed);
  PrintCount("duplicates", report.duplicates);
  PrintCount("refused", report.refused);
  PrintCount("unknown publishes", report.unknown_publishes);
  PrintCount("delivered", report.delivered);
  PrintCount("redelivered", report.redelivered);
  PrintCount("unknown settles", report.unknown_settles);
  PrintCount("stale settles", report.stale_settles);
  std::printf("violations\n");
  for (std::size_t i = 0; i < kViolations; ++i) {
    PrintCount(NameOf(static_cast<Violation>(i)), report.counts[i]);
  }
  for (const Finding& finding : report.findings) {
    std::printf("%s: %s\n", NameOf(finding.violation), finding.text.c_str());
  }
}

int RunAndCheck(const RunOptions& options) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  std::fflush(stdout);
  CrashRun run(options);
  if (const absl::Status begun = run.Run(); !begun.ok()) {
    std::printf("the run could not begin: %s\n", begun.ToString().c_str());
    return 2;
  }
  const std::vector<Record> records = run.history().Copy();
  const Report report = Check(records, AllRules());
  PrintReport(report, run.time());
  if (report.total() == 0) {
    std::filesystem::remove_all(options.directory);
    return 0;
  }
  const std::string path = options.directory + "/history.jsonl";
  const absl::Status written = WriteJsonLines(records, path);
  std::printf("seed %llu, history %s%s\n", static_cast<unsigned long long>(options.seed),
              path.c_str(), written.ok() ? "" : " (could not be written)");
  return 1;
}

int Main(int argc, char** argv) {
  RunOptions options;
  options.seed = std::random_device()();
  std::int64_t seconds = 0;
  CLI::App cli("Kills mqd under load and checks what its clients saw.", "crash_test");
  cli.add_option("--mqd", options.program, "the daemon")->required()->check(CLI::ExistingFile);
  cli.add_option("--directory", options.directory, "for its data; a new one when not given");
  cli.add_option("--kills", options.kills, "kill it at least so often");
  cli.add_option("--messages", options.messages, "have at least so many messages confirmed");
  cli.add_option("--seconds", seconds, "go on with kills for at least so long");
  cli.add_option("--seed", options.seed, "for the choices of clients and the times of kills");
  CLI11_PARSE(cli, argc, argv);
  options.seconds = std::chrono::seconds(seconds);
  if (options.directory.empty()) {
    std::string name = std::filesystem::temp_directory_path() / "mqd-crash-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) return 2;
    options.directory = name;
  }
  return RunAndCheck(options);
}

}  // namespace
}  // namespace mqd::crash

int main(int argc, char** argv) { return mqd::crash::Main(argc, argv); }
