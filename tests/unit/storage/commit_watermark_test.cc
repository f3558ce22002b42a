// Up to where the log was synced: never more than was said, and never lost to one torn write.
#include "storage/commit_watermark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/escaping.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

using ::testing::HasSubstr;

constexpr long kSlotDistance = 4096;

class CommitWatermarkTest : public ::testing::Test {
 protected:
  std::uint64_t Reopened() {
    const absl::StatusOr<CommitWatermark> again = CommitWatermark::Open(path_);
    EXPECT_TRUE(again.ok()) << std::string(again.status().message());
    return again.ok() ? again->group() : 0;
  }

  void CreateAndAdvance(std::uint64_t to) {
    absl::StatusOr<CommitWatermark> made = CommitWatermark::Create(path_);
    ASSERT_TRUE(made.ok());
    for (std::uint64_t group = 1; group <= to; ++group) ASSERT_TRUE(made->Advance(group).ok());
  }

  test::TemporaryDirectory directory_;
  const std::string path_ = directory_.path("WATERMARK");
};

TEST_F(CommitWatermarkTest, WritesTheBytesOfFormatMd) {
  CreateAndAdvance(2);
  const std::string bytes = test::ReadFile(path_);
  ASSERT_EQ(bytes.size(), 4096u + 16u);
  EXPECT_EQ(absl::BytesToHexString(bytes.substr(0, 16)),
            "0100000000000000"
            "2e79db643559bc2f");
  EXPECT_EQ(absl::BytesToHexString(bytes.substr(4096)),
            "0200000000000000"
            "43e2ee915cc68620");
  EXPECT_EQ(bytes.find_first_not_of('\0', 16), 4096u);
}

TEST_F(CommitWatermarkTest, LastAdvanceComesBack) {
  for (std::uint64_t groups = 0; groups < 5; ++groups) {
    CreateAndAdvance(groups);
    EXPECT_EQ(Reopened(), groups);
  }
}

TEST_F(CommitWatermarkTest, TornWriteLeavesTheAdvanceBefore) {
  for (const std::uint64_t groups : {4u, 5u}) {
    CreateAndAdvance(groups);
    test::DamageFile(path_, (groups % 2 == 1 ? 0 : kSlotDistance) + 3);
    EXPECT_EQ(Reopened(), groups - 1);
  }
}

TEST_F(CommitWatermarkTest, AfterATornWriteTheGoodSlotIsTheLastToBeOverwritten) {
  CreateAndAdvance(5);
  test::DamageFile(path_, 3);
  {
    absl::StatusOr<CommitWatermark> again = CommitWatermark::Open(path_);
    ASSERT_TRUE(again.ok());
    ASSERT_TRUE(again->Advance(9).ok());
  }
  EXPECT_EQ(Reopened(), 9u);
  test::DamageFile(path_, 3);
  EXPECT_EQ(Reopened(), 4u);
}

TEST_F(CommitWatermarkTest, DamageOfBothSlotsIsNotTakenForZero) {
  CreateAndAdvance(5);
  test::DamageFile(path_, 3);
  test::DamageFile(path_, kSlotDistance + 3);
  const absl::Status status = CommitWatermark::Open(path_).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_ + " is damaged"));
}

TEST_F(CommitWatermarkTest, CutFileKeepsWhatIsWholeAndAnEmptyOneIsDamage) {
  CreateAndAdvance(5);  // slot 0: 5, slot 1: 4
  std::filesystem::resize_file(path_, 4096 + 15);
  EXPECT_EQ(Reopened(), 5u);
  std::filesystem::resize_file(path_, 0);
  EXPECT_TRUE(absl::IsDataLoss(CommitWatermark::Open(path_).status()));
}

TEST_F(CommitWatermarkTest, MissingFileIsNotTakenForZero) {
  EXPECT_TRUE(absl::IsNotFound(CommitWatermark::Open(path_).status()));
}

}  // namespace
}  // namespace mqd::storage
