// Random histories of two queues against a naive model of each, in lots of seeds. Every history is
// played twice and must take the same way.
// MQD_MODEL_SEEDS and MQD_MODEL_FIRST_SEED choose others than the usual ones.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/model/queue_world.h"
#include "tests/support/figures.h"

namespace mqd::queue::testing {
namespace {

constexpr int kEvents = 2'000;
constexpr std::uint64_t kLots = 16;

std::uint64_t FromEnvironment(const char* name, std::uint64_t usual) {
  const char* text = std::getenv(name);
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

struct Ended {
  std::string complaint;
  std::uint64_t trace = 0;
};

Ended Play(std::uint64_t seed) {
  QueueWorld world(seed);
  world.Run(kEvents);
  if (world.complaint().empty()) world.Drain();
  return {world.complaint(), world.trace()};
}

class QueueModelTest : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(QueueModelTest, KeepsEveryPromiseAndDoesTheSameTwice) {
  const std::uint64_t first = FromEnvironment("MQD_MODEL_FIRST_SEED", 1);
  const std::uint64_t seeds = FromEnvironment("MQD_MODEL_SEEDS", MQD_MODEL_SEEDS_USUAL);
  std::uint64_t histories = 0;
  for (std::uint64_t seed = first + GetParam(); seed < first + seeds; seed += kLots) {
    const Ended once = Play(seed);
    EXPECT_EQ(once.complaint, "") << "seed " << seed;
    const Ended again = Play(seed);
    EXPECT_EQ(once.trace, again.trace) << "seed " << seed << " took two ways";
    ++histories;
  }
  for (const char* promise : {"R6", "R7"}) {
    mqd::testing::AddFigure(
        {.promise = promise, .trials = histories, .violations = HasFailure() ? 1u : 0u});
  }
}

INSTANTIATE_TEST_SUITE_P(Lots, QueueModelTest, ::testing::Range<std::uint64_t>(0, kLots));

}  // namespace
}  // namespace mqd::queue::testing
