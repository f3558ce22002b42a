// Durable, atomic, ordered: what store.h promises for the moment at which the power goes, or the
// disk fails. A row that every batch writes says how many batches are there; all tables must then
// hold exactly what as many batches leave behind.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iterator>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/support/figures.h"
#include "tests/support/store_lives.h"

namespace mqd::storage {
namespace {

using test::Bytes;
using test::Entries;
using test::Remains;
using Random = std::mt19937_64;

constexpr Remains kRemains[] = {{Bytes::kSynced, Entries::kSynced},
                                {Bytes::kPrefix, Entries::kPrefix},
                                {Bytes::kPages, Entries::kPrefix},
                                {Bytes::kTorn, Entries::kPrefix},
                                test::kProcessEnd};

/// MQD_CRASH_SEED gives others than the usual ten.
std::uint64_t FirstSeed() {
  const char* seed = std::getenv("MQD_CRASH_SEED");
  return seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10);
}

class PowerCutTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void TearDown() override {
    mqd::testing::AddFigure(
        {.promise = "R2", .trials = lives_, .violations = HasFailure() ? 1u : 0u});
  }

  std::uint64_t lives_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Seed, PowerCutTest, ::testing::Range<std::uint64_t>(0, 10));

TEST_P(PowerCutTest, ConfirmedBatchesSurviveWholeAndInOrder) {
  const std::uint64_t seed = FirstSeed() + GetParam();
  Random random(seed);
  StoreLives world;
  for (int number = 0; number < 30; ++number) {
    // Every third start is cut itself; the others get as far as flushes and compactions.
    const Life life{.seed = random(),
                    .cut_at = 1 + random() % (number % 3 == 0 ? 60 : 1000),
                    .batches = 10 + random() % 120,
                    .remains = kRemains[random() % std::size(kRemains)]};
    SCOPED_TRACE(absl::StrCat("seed ", seed, " life ", number));
    world.Live(life);
    ++lives_;
    if (HasFailure()) return;
  }
  SCOPED_TRACE(absl::StrCat("seed ", seed, ", after the last life"));
  world.CheckTheEnd();
}

// A disk that fails in the middle of a run: RocksDB may end the process by an assertion of its own,
// which is as good as the end that the daemon would choose.
TEST(FailingDiskTest, NothingIsConfirmedThatADiskHasNotTaken) {
  StoreLives world;
  for (std::uint64_t life = 1; life <= 40; ++life) {
    SCOPED_TRACE(absl::StrCat("life ", life));
    world.Live({.seed = life,
                .batches = 60,
                .remains = kRemains[life % std::size(kRemains)],
                .fault = test::Fault{.nth = 1 + life * life % 97, .stays = true}});
    if (HasFailure()) return;
  }
  world.CheckTheEnd();
}

// Of a first start, which makes everything, and the batches right behind it.
TEST(PowerCutSweepTest, CutAtEachOperationOfAFirstStartLeavesADirectoryThatOpens) {
  std::uint64_t cut_at = 1;
  for (bool opened = false; !opened; ++cut_at) {
    SCOPED_TRACE(absl::StrCat("cut at ", cut_at));
    StoreLives world;
    world.Live({.seed = cut_at, .cut_at = cut_at, .batches = 3, .remains = kRemains[cut_at % 4]});
    opened = world.operations_to_open() < cut_at;
    world.CheckTheEnd();
    if (HasFailure()) return;
  }
  RecordProperty("operations", static_cast<int>(cut_at));
  mqd::testing::AddFigure({.promise = "R2", .trials = cut_at});
}

}  // namespace
}  // namespace mqd::storage
