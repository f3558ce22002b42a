// The whole broker and its clients on virtual time, one seed one run, in lots of seeds. Every run
// is played twice and judged twice; it is said when it took two ways. MQD_SIMULATION_SEEDS and
// MQD_SIMULATION_FIRST_SEED choose others than the usual ones; MQD_SIMULATION_HISTORY names a
// directory for the histories in which something was found.
#include "tests/simulation/simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "spdlog/spdlog.h"
#include "tests/support/figures.h"

namespace mqd::simulation {
namespace {

constexpr std::uint64_t kLots = 8;
constexpr std::uint64_t kSeedsUsual = 48;

std::uint64_t FromEnvironment(const char* name, std::uint64_t usual) {
  const char* text = std::getenv(name);
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

Ended Play(std::uint64_t seed) {
  Simulation simulation(seed);
  Ended ended = simulation.Run();
  const char* directory = std::getenv("MQD_SIMULATION_HISTORY");
  if (ended.report.total() > 0 && directory != nullptr) {
    const std::string path = std::string(directory) + "/" + std::to_string(seed) + ".jsonl";
    EXPECT_TRUE(crash::WriteJsonLines(simulation.history().Copy(), path).ok());
  }
  return ended;
}

void ExpectNothingFound(std::uint64_t seed, const crash::Report& report) {
  EXPECT_EQ(report.total(), 0U) << "seed " << seed;
  for (const crash::Finding& finding : report.findings) {
    ADD_FAILURE() << "seed " << seed << ": " << NameOf(finding.violation) << ": " << finding.text;
  }
}

class SimulationTest : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(SimulationTest, KeepsEveryPromise) {
  spdlog::set_level(spdlog::level::off);  // a log line for every stream that breaks
  const std::uint64_t first = FromEnvironment("MQD_SIMULATION_FIRST_SEED", 1);
  const std::uint64_t seeds = FromEnvironment("MQD_SIMULATION_SEEDS", kSeedsUsual);
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  Ended sum;
  for (std::uint64_t seed = first + GetParam(); seed < first + seeds; seed += kLots) {
    const Ended once = Play(seed);
    ExpectNothingFound(seed, once.report);
    const Ended again = Play(seed);
    ExpectNothingFound(seed, again.report);
    EXPECT_EQ(once.trace, again.trace) << "seed " << seed << " took two ways";
    ++runs;
    steps += once.steps;
    sum.cuts += once.cuts;
    sum.crashes += once.crashes;
    sum.wall_jumps += once.wall_jumps;
    sum.report.confirmed += once.report.confirmed;
    sum.report.delivered += once.report.delivered;
    sum.report.redelivered += once.report.redelivered;
    sum.report.unknown_publishes += once.report.unknown_publishes;
    sum.report.stale_settles += once.report.stale_settles;
  }
  std::printf(
      "%llu runs, %llu steps, %llu cuts, %llu crashes, %llu wall jumps; %llu confirmed, %llu "
      "unknown, %llu delivered, %llu again, %llu stale settles\n",
      static_cast<unsigned long long>(runs), static_cast<unsigned long long>(steps),
      static_cast<unsigned long long>(sum.cuts), static_cast<unsigned long long>(sum.crashes),
      static_cast<unsigned long long>(sum.wall_jumps),
      static_cast<unsigned long long>(sum.report.confirmed),
      static_cast<unsigned long long>(sum.report.unknown_publishes),
      static_cast<unsigned long long>(sum.report.delivered),
      static_cast<unsigned long long>(sum.report.redelivered),
      static_cast<unsigned long long>(sum.report.stale_settles));
  const std::uint64_t violations = HasFailure() ? 1 : 0;
  for (const char* promise : {"R5", "R6"}) {
    mqd::testing::AddFigure({.promise = promise,
                             .trials = runs,
                             .confirmed = sum.report.confirmed,
                             .violations = violations});
  }
  mqd::testing::AddFigure(
      {.promise = "R17", .trials = sum.wall_jumps, .violations = violations, .note = "simulated"});
}

INSTANTIATE_TEST_SUITE_P(Lots, SimulationTest, ::testing::Range<std::uint64_t>(0, kLots));

}  // namespace
}  // namespace mqd::simulation
