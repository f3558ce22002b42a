// The data directory: ours alone, of a format we know, and clear about what is wrong when not.
#include "storage/data_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/support/temporary_directory.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

/// Runs `body` in a process of its own, which ends without destructors; its answer is 0 .. 255.
template <class Function>
int InAnotherProcess(Function body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

class DataDirTest : public ::testing::Test {
 protected:
  /// An initialised directory whose FORMAT holds `change` of what was written.
  absl::Status OpenWithFormat(const std::function<std::string(std::string)>& change) {
    {
      absl::StatusOr<DataDir> first = DataDir::Open(path_);
      EXPECT_TRUE(first.ok() && first->MarkReady().ok());
    }
    test::WriteFile(path_ + "/FORMAT", change(test::ReadFile(path_ + "/FORMAT")));
    return DataDir::Open(path_).status();
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.path("data");
};

TEST_F(DataDirTest, NewDirectoryIsForItsOwnerOnlyAndNotReady) {
  const absl::StatusOr<DataDir> made = DataDir::Open(path_);
  ASSERT_TRUE(made.ok()) << MessageOf(made.status());
  EXPECT_TRUE(made->initialising());
  struct stat about;
  ASSERT_EQ(::stat(path_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0700u);
  EXPECT_THAT(test::ReadFile(path_ + "/FORMAT"),
              MatchesRegex("format 1\nstate initialising\ncluster [0-9a-f]{32}\n"
                           "node [0-9a-f]{32}\ndisk [0-9a-f]{32}\n"));
}

TEST_F(DataDirTest, IdentityStaysAndReadyIsRemembered) {
  Identity identity;
  {
    absl::StatusOr<DataDir> first = DataDir::Open(path_);
    ASSERT_TRUE(first.ok());
    identity = first->identity();
    EXPECT_NE(identity.cluster, identity.node);
    EXPECT_NE(identity.node, identity.disk);
  }
  {
    absl::StatusOr<DataDir> second = DataDir::Open(path_);
    ASSERT_TRUE(second.ok());
    EXPECT_TRUE(second->initialising()) << "the first open never came to its end";
    EXPECT_EQ(second->identity(), identity);
    ASSERT_TRUE(second->MarkReady().ok());
  }
  const absl::StatusOr<DataDir> third = DataDir::Open(path_);
  ASSERT_TRUE(third.ok());
  EXPECT_FALSE(third->initialising());
  EXPECT_EQ(third->identity(), identity);
}

TEST_F(DataDirTest, SecondProcessIsRefusedAndToldWhoHoldsIt) {
  const absl::StatusOr<DataDir> holder = DataDir::Open(path_);
  ASSERT_TRUE(holder.ok());
  const std::string expected =
      absl::StrCat("the data directory ", path_, " is in use by process ", ::getpid(),
                   "; stop that process, or give this one "
                   "another --data");
  EXPECT_EQ(InAnotherProcess([&] {
              const absl::Status status = DataDir::Open(path_).status();
              return absl::IsUnavailable(status) && status.message() == expected ? 0 : 1;
            }),
            0);
}

TEST_F(DataDirTest, LockOfAProcessThatWasKilledHoldsNobodyUp) {
  std::optional<absl::StatusOr<DataDir>> kept;
  EXPECT_EQ(InAnotherProcess([&] {
              kept.emplace(DataDir::Open(path_));
              return kept->ok() ? 0 : 1;
            }),
            0);
  EXPECT_TRUE(DataDir::Open(path_).ok());
}

TEST_F(DataDirTest, NewerFormatIsRefusedAndSaysWhatToStart) {
  const absl::Status status =
      OpenWithFormat([](std::string) { return "format 2\nwhatever a later program may write\n"; });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), AllOf(HasSubstr(path_), HasSubstr("format 2"),
                                       HasSubstr("up to 1"), HasSubstr("start the newer mqd")));
}

TEST_F(DataDirTest, DamagedFormatFileIsRefusedAndNamed) {
  const std::string id(32, '0');
  for (const std::string& text : std::vector<std::string>{
           "", "\n", "format\n", "format 0\n", "format one\n", "FORMAT 1\n", "format -1\n",
           "format 1\n", absl::StrCat("format 1\nstate ready\ncluster ", id, "\nnode ", id, "\n"),
           absl::StrCat("format 1\nstate\ncluster ", id, "\nnode ", id, "\ndisk ", id, "\n"),
           absl::StrCat("format 1\nstate ready\ncluster x\nnode ", id, "\ndisk ", id, "\n")}) {
    const absl::Status status = OpenWithFormat([&](std::string) { return text; });
    EXPECT_TRUE(absl::IsDataLoss(status)) << text;
    EXPECT_THAT(MessageOf(status), HasSubstr(path_ + "/FORMAT is damaged")) << text;
    fs::remove_all(path_);
  }
}

TEST_F(DataDirTest, EveryCutOfTheFormatFileIsRefused) {
  std::string whole;
  ASSERT_TRUE(OpenWithFormat([&](std::string text) { return whole = text; }).ok());
  for (std::size_t size = 0; size + 1 < whole.size(); ++size) {  // but for the last line's end
    EXPECT_FALSE(OpenWithFormat([&](std::string) { return whole.substr(0, size); }).ok()) << size;
    test::WriteFile(path_ + "/FORMAT", whole);
  }
}

TEST_F(DataDirTest, CrashWhileTheFormatFileIsReplacedLeavesTheOldOne) {
  Identity identity;
  {
    absl::StatusOr<DataDir> first = DataDir::Open(path_);
    ASSERT_TRUE(first.ok() && first->MarkReady().ok());
    identity = first->identity();
  }
  test::WriteFile(path_ + "/FORMAT.new", "form");
  const absl::StatusOr<DataDir> again = DataDir::Open(path_);
  ASSERT_TRUE(again.ok()) << MessageOf(again.status());
  EXPECT_EQ(again->identity(), identity);
}

TEST_F(DataDirTest, CrashBeforeTheFirstFormatFileIsABeginning) {
  fs::create_directory(path_);
  test::WriteFile(path_ + "/LOCK", "");
  test::WriteFile(path_ + "/FORMAT.new", "form");
  fs::create_directory(path_ + "/lost+found");
  const absl::StatusOr<DataDir> made = DataDir::Open(path_);
  ASSERT_TRUE(made.ok()) << MessageOf(made.status());
  EXPECT_TRUE(made->initialising());
}

TEST_F(DataDirTest, DirectoryOfSomethingElseIsNotTaken) {
  fs::create_directory(path_);
  test::WriteFile(path_ + "/photo.jpg", "x");
  const absl::Status status = DataDir::Open(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), AllOf(HasSubstr(path_), HasSubstr("holds photo.jpg"),
                                       HasSubstr("choose an empty directory")));
  EXPECT_FALSE(fs::exists(path_ + "/FORMAT"));
}

TEST_F(DataDirTest, PathThatIsAFileOrEmptyIsRefusedClearly) {
  test::WriteFile(path_, "x");
  const absl::Status status = DataDir::Open(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), HasSubstr(absl::StrCat(path_, " is a file")));
  EXPECT_EQ(DataDir::Open("").status().code(), absl::StatusCode::kInvalidArgument);
}

// Permissions do not stop a superuser, and tests may run as one: these two stop everybody.
TEST_F(DataDirTest, DirectoryThatCannotBeMadeIsRefusedWithAdvice) {
  test::WriteFile(path_, "x");
  const absl::Status status = DataDir::Open(path_ + "/data").status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(MessageOf(status), AllOf(HasSubstr("cannot make the data directory"),
                                       HasSubstr(path_ + "/data"), HasSubstr("another --data")));
}

TEST_F(DataDirTest, DirectoryThatCannotBeWrittenIsRefusedWithAdvice) {
  const absl::Status status = DataDir::Open("/proc/self").status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(MessageOf(status), AllOf(HasSubstr("the data directory /proc/self cannot be written"),
                                       HasSubstr("give this user the right to write there")));
}

}  // namespace
}  // namespace mqd::storage
