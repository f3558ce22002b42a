// One call that fails: what is confirmed stays, the rest is unknown, and the
// next start needs nobody.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/figures.h"
#include "tests/support/store_lives.h"

namespace mqd::storage {
namespace {

using test::Call;
using test::Fault;
using test::FaultKind;

struct Failure {
  std::string name;
  std::optional<Call> call;
  FaultKind kind;
};

class DiskFaultTest : public ::testing::TestWithParam<Failure> {
 protected:
  void TearDown() override {
    mqd::testing::AddFigure(
        {.promise = "R11", .trials = faults_, .violations = HasFailure() ? 1u : 0u});
  }

  Fault FaultAt(std::uint64_t nth) const {
    return {.call = GetParam().call, .nth = nth, .kind = GetParam().kind};
  }

  std::uint64_t faults_ = 0;
};

INSTANTIATE_TEST_SUITE_P(
    Of, DiskFaultTest,
    ::testing::Values(Failure{"AppendEio", Call::kAppend, FaultKind::kIoError},
                      Failure{"AppendShort", Call::kAppend, FaultKind::kShortWrite},
                      Failure{"AppendFull", Call::kAppend, FaultKind::kNoSpace},
                      Failure{"SyncEio", Call::kSync, FaultKind::kIoError},
                      Failure{"SyncFull", Call::kSync, FaultKind::kNoSpace},
                      Failure{"SyncDirectoryEio", Call::kSyncDirectory, FaultKind::kIoError},
                      Failure{"MakeFull", Call::kMake, FaultKind::kNoSpace},
                      Failure{"RenameEio", Call::kRename, FaultKind::kIoError},
                      Failure{"DeleteEio", Call::kDelete, FaultKind::kIoError},
                      Failure{"ReadEio", Call::kRead, FaultKind::kIoError}),
    [](const auto& failure) { return failure.param.name; });

// The disk works again behind the one call: the most tempting moment to go on as if nothing were.
TEST_P(DiskFaultTest, NothingIsLostBehindOneCallThatFailed) {
  StoreLives lives;
  for (std::uint64_t nth = 1; nth <= 144; nth += 1 + nth / 4) {
    SCOPED_TRACE(absl::StrCat("at call ", nth));
    lives.Live({.seed = nth, .batches = 60, .fault = FaultAt(nth)});
    faults_ += lives.faulted();
    if (HasFailure()) return;
  }
  lives.CheckTheEnd();
  RecordProperty("faults", static_cast<int>(faults_));
}

TEST_P(DiskFaultTest, StartThatACallFailsIsDoneAgainWithoutAnOperator) {
  StoreLives lives;
  lives.Live({.seed = 1, .batches = 40});
  int refused = 0;
  bool faulted = true;
  for (std::uint64_t nth = 1; faulted && nth <= 200; nth += 1 + nth / 8) {
    SCOPED_TRACE(absl::StrCat("at call ", nth));
    lives.Live({.seed = 2 * nth,  // even: nothing is synced behind our back
                .batches = 12,
                .remains = test::kProcessEnd,
                .fault = FaultAt(nth),
                .fault_at_start = true});
    faulted = lives.faulted();
    faults_ += faulted;
    refused += lives.refused();
    lives.Live({.seed = nth, .batches = 20});
    if (HasFailure()) return;
  }
  lives.CheckTheEnd();
  RecordProperty("refused", refused);
}

}  // namespace
}  // namespace mqd::storage
