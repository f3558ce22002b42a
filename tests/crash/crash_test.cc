// crash_test.cc: lets faults loose on the daemon under load, and prints what a checker says to what
// clients saw.
//
// Exits 0 when there was no violation, 1 when there was one, 2 when the run could not begin. A run
// with violations leaves its history, the daemon's data and its log behind, and says where.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/crash/checker.h"
#include "tests/crash/consumer_process.h"
#include "tests/crash/crash_run.h"
#include "tests/support/figures.h"

namespace mqd::crash {
namespace {

void PrintCount(const char* name, std::uint64_t count) {
  std::printf("  %-18s %10llu\n", name, static_cast<unsigned long long>(count));
}

void PrintReport(const Report& report, std::chrono::seconds time) {
  std::printf("run of %lld s\n", static_cast<long long>(time.count()));
  PrintCount("kills", report.kills);
  PrintCount("power cuts", report.power_cuts);
  PrintCount("other faults", report.faults);
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

std::uint64_t CountOf(const Report& report, std::initializer_list<Violation> violations) {
  std::uint64_t count = 0;
  for (const Violation violation : violations) count += report.count(violation);
  return count;
}

void AddFigures(const CrashRun& run, const Report& report, const std::string& note) {
  using testing::AddFigure;
  const std::uint64_t lost =
      CountOf(report, {Violation::kLost, Violation::kPhantom, Violation::kCorrupt});
  const auto add = [&](const char* promise, std::uint64_t trials, std::uint64_t violations) {
    AddFigure({promise, trials, report.confirmed, violations, note});
  };
  if (report.kills > 1) add("R1", report.kills, lost);
  add("R3", report.settled, CountOf(report, {Violation::kResurrect, Violation::kAtomic}));
  add("R4", report.keys, report.count(Violation::kDupStore));
  add("R5", 1, CountOf(report, {Violation::kLeaseOverlap, Violation::kStaleAck}));
  add("R8", report.confirmed + report.refused + report.unknown_publishes,
      report.count(Violation::kGhostFail));
  for (const auto& nemesis : run.nemeses()) {
    if (!nemesis->promise().empty()) {
      add(nemesis->promise().c_str(), nemesis->trials(), report.total());
    }
  }
}

int RunAndCheck(const RunOptions& options) {
  const std::string faults = absl::StrJoin(options.faults, ", ");
  std::printf("seed %llu, faults: %s\n", static_cast<unsigned long long>(options.seed),
              faults.c_str());
  std::fflush(stdout);
  CrashRun run(options);
  if (const absl::Status begun = run.Run(); !begun.ok()) {
    std::printf("the run could not begin: %s\n", begun.ToString().c_str());
    return 2;
  }
  const std::vector<Record> records = run.history().Copy();
  const Report report = Check(records, AllRules());
  PrintReport(report, run.time());
  AddFigures(run, report, faults);
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

std::string FaultNames() {
  std::string names = "kill when not given; \"all\", or any of:";
  for (const NemesisKind& kind : AllNemeses()) absl::StrAppend(&names, " ", kind.name);
  return names;
}

/// What was not asked for is as its faults have it.
void SetSizes(RunOptions& options) {
  if (options.faults.empty()) options.faults = {"kill"};
  if (options.faults == std::vector<std::string>{"all"}) {
    options.faults.clear();
    for (const NemesisKind& kind : AllNemeses()) {
      const std::string name = kind.name;
      if (name == "power" && options.test_program.empty()) continue;
      if (name == "clock" && options.clock_shim.empty()) continue;
      options.faults.push_back(name);
    }
  }
  NemesisSize size = {0, 0, UINT64_MAX};
  for (const std::string& name : options.faults) {
    const NemesisKind* kind = FindNemesis(name);
    if (kind == nullptr) continue;  // refused later
    size.strikes += kind->size.strikes;
    size.messages = std::max(size.messages, kind->size.messages);
    size.per_second = std::min(size.per_second, kind->size.per_second);
  }
  if (options.strikes == 0) options.strikes = size.strikes;
  if (options.messages == 0) options.messages = size.messages;
  if (options.per_second == 0) options.per_second = size.per_second;
}

int Main(int argc, char** argv) {
  RunOptions options;
  options.seed = std::random_device()();
  std::int64_t seconds = 0;
  std::int64_t hold_ms = 0;
  std::string consume_from;
  std::string history_path;
  CLI::App cli("Harms mqd under load and checks what its clients saw.", "crash_test");
  cli.add_option("--mqd", options.program, "the daemon")->check(CLI::ExistingFile);
  cli.add_option("--test-daemon", options.test_program, "the daemon whose power can be cut")
      ->check(CLI::ExistingFile);
  cli.add_option("--clock-shim", options.clock_shim, "the library that moves its wall clock")
      ->check(CLI::ExistingFile);
  cli.add_option("--directory", options.directory, "for its data; a new one when not given");
  cli.add_option("--fault", options.faults, FaultNames());
  cli.add_option("--strikes,--kills", options.strikes, "strike at least so often");
  cli.add_option("--messages", options.messages, "have at least so many messages confirmed");
  cli.add_option("--rate", options.per_second, "publish so many messages a second");
  cli.add_option("--seconds", seconds, "go on with strikes for at least so long");
  cli.add_option("--hold-ms", hold_ms, "how long one fault of those that last does");
  cli.add_option("--seed", options.seed, "for the choices of clients and of faults");
  cli.add_option("--consume-from", consume_from, "only consume, until SIGTERM: what a pause runs");
  cli.add_option("--history", history_path, "for that");
  CLI11_PARSE(cli, argc, argv);
  if (!consume_from.empty()) return RunConsumer(consume_from, options.seed, history_path);
  if (options.program.empty()) {
    std::fputs("crash_test: --mqd is missing\n", stderr);
    return 2;
  }
  options.seconds = std::chrono::seconds(seconds);
  options.hold = std::chrono::milliseconds(hold_ms);
  SetSizes(options);
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
