// The process as its operator sees it: reload, and directories that it must not use.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mqd/client.h"
#include "tests/support/mqd_process.h"

namespace mqd {
namespace {

using test::MqdProcess;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kCannotCreate = 73;

/// Stores one message, through a connection of its own.
absl::Status PublishOne(const MqdProcess& process) {
  auto client = Client::Connect({.address = process.address()});
  if (!client.ok()) return client.status();
  const auto created = (*client)->NewAdmin()->CreateQueue("orders", {});
  if (!created.ok()) return created.status();
  const Message message{.payload = "x"};
  const auto results = (*client)->Publish("orders", {&message, 1});
  return results.ok() ? results->at(0).status() : results.status();
}

class ReloadTest : public ::testing::Test {
 protected:
  void Configure(const std::string& text) { test::WriteFile(config_, text); }
  void Reload() {
    process_->Signal(SIGHUP);
    ASSERT_TRUE(process_->WaitNote("RELOADING=1")) << process_->log();
    ASSERT_TRUE(process_->WaitReady()) << process_->log();
  }
  void SetUp() override {
    Configure("[log]\nlevel = \"info\"\n");
    process_ = std::make_unique<MqdProcess>(MqdProcess::Options{.flags = {"--config", config_}});
    ASSERT_TRUE(process_->WaitReady()) << process_->log();
  }

  test::TemporaryDirectory directory_;
  const std::string config_ = directory_.path("mqd.toml");
  std::unique_ptr<MqdProcess> process_;
};

TEST_F(ReloadTest, LevelOfTheLogIsTakenOver) {
  Configure("[log]\nlevel = \"error\"\n");
  Reload();
  EXPECT_EQ(process_->CountInLog("log.level changed"), 1) << process_->log();
  EXPECT_EQ(process_->CountInLog("reload done"), 0) << "it is no error\n" << process_->log();
  Configure("[log]\nlevel = \"info\"\n");
  Reload();
  EXPECT_EQ(process_->CountInLog("reload done"), 1) << process_->log();
}

TEST_F(ReloadTest, KeyThatNeedsARestartIsNamedAndServiceGoesOn) {
  Configure("[storage]\ncache_bytes = \"1MiB\"\n");
  Reload();
  EXPECT_THAT(process_->log(), HasSubstr("storage.cache_bytes changed in the file and needs a"));
  EXPECT_TRUE(PublishOne(*process_).ok());
}

TEST_F(ReloadTest, WrongConfigurationChangesNothingAndServiceGoesOn) {
  Configure("[log]\nlevel = \"error\"\nlevle = \"info\"\n");
  Reload();
  EXPECT_THAT(process_->log(), AllOf(HasSubstr("reload refused, nothing changed"),
                                     HasSubstr("levle"), HasSubstr("did you mean \"level\"?")));
  EXPECT_TRUE(PublishOne(*process_).ok());
  Configure("[log]\nlevel = \"info\"\n");
  Reload();
  EXPECT_EQ(process_->CountInLog("reload done"), 1) << "the level is still info";
}

TEST(DataDirectoryTest, SecondProcessIsRefusedAndTheFirstServesOn) {
  MqdProcess first({});
  ASSERT_TRUE(first.WaitReady()) << first.log();
  MqdProcess second({}, first.data());
  EXPECT_FALSE(second.WaitReady());
  EXPECT_EQ(second.WaitExit(), kCannotCreate);
  EXPECT_THAT(second.log(), AllOf(HasSubstr("cannot start"), HasSubstr(first.data()),
                                  HasSubstr("in use by process")));
  EXPECT_TRUE(PublishOne(first).ok());
}

TEST(DataDirectoryTest, OneThatCannotBeWrittenIsRefusedWithWhatToDo) {
  test::TemporaryDirectory directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0500), 0);
  MqdProcess::Options options;
  // Who may do everything may write there, too, until the right is given up.
  if (geteuid() == 0) options.wrapper = {"setpriv", "--bounding-set", "-all"};
  MqdProcess process(std::move(options), directory.path());
  EXPECT_FALSE(process.WaitReady());
  EXPECT_EQ(process.WaitExit(), kCannotCreate);
  EXPECT_THAT(process.log(), AllOf(HasSubstr("cannot be written"), HasSubstr(directory.path()),
                                   HasSubstr("choose another --data")));
}

}  // namespace
}  // namespace mqd
