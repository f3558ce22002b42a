// A name survives a power cut when its directory is synced behind it: which calls of the data
// directory reach the kernel, and in which order. This program has fsync() and rename() of its own,
// which note the call and pass it on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/data_dir.h"
#include "storage/posix_file.h"
#include "tests/support/temporary_directory.h"

namespace {

namespace fs = std::filesystem;

std::vector<std::string>& Calls() {
  static std::vector<std::string> calls;
  return calls;
}

}  // namespace

extern "C" int fsync(int descriptor) {
  Calls().push_back("sync " +
                    fs::read_symlink(absl::StrCat("/proc/self/fd/", descriptor)).string());
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  Calls().push_back(absl::StrCat("rename ", to));
  return static_cast<int>(::syscall(SYS_rename, from, to));
}

namespace mqd::storage {
namespace {

using ::testing::ElementsAre;

class DataDirSyncTest : public ::testing::Test {
 protected:
  DataDirSyncTest() { Calls().clear(); }

  test::TemporaryDirectory directory_;
  const std::string top_ = fs::canonical(directory_.path());
};

TEST_F(DataDirSyncTest, ReplacedFileHasItsNameOnDiskBehindItsBytes) {
  const std::string path = top_ + "/file";
  ASSERT_TRUE(ReplaceFile(path, "contents").ok());
  EXPECT_THAT(Calls(), ElementsAre("sync " + path + ".new", "rename " + path, "sync " + top_));
}

TEST_F(DataDirSyncTest, NewDirectoryIsOnDiskBeforeAnythingInIt) {
  const std::string data = top_ + "/data";
  absl::StatusOr<DataDir> opened = DataDir::Open(data);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(Calls(), ElementsAre("sync " + top_, "sync " + data + "/FORMAT.new",
                                   "rename " + data + "/FORMAT", "sync " + data));
}

TEST_F(DataDirSyncTest, ReadyIsOnDiskWhenItIsSaid) {
  const std::string data = top_ + "/data";
  absl::StatusOr<DataDir> opened = DataDir::Open(data);
  ASSERT_TRUE(opened.ok()) << opened.status();
  Calls().clear();
  ASSERT_TRUE(opened->MarkReady().ok());
  EXPECT_THAT(Calls(), ElementsAre("sync " + data + "/FORMAT.new", "rename " + data + "/FORMAT",
                                   "sync " + data));
}

}  // namespace
}  // namespace mqd::storage
