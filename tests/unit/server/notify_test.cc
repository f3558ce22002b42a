// notify_test.cc: what the service manager is told, read from the other end of its socket.

#include "server/notify.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "server/exit_code.h"

namespace mqd::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class NotifyTest : public testing::Test {
 protected:
  void SetUp() override {
    socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  void TearDown() override {
    unsetenv("NOTIFY_SOCKET");
    close(socket_);
    unlink(path_.c_str());
  }
  std::string Receive() {
    char text[1024];
    const ssize_t length = recv(socket_, text, sizeof(text), MSG_DONTWAIT);
    return length < 0 ? "" : std::string(text, static_cast<std::size_t>(length));
  }

  const std::string path_ = testing::TempDir() + "/mqd_notify_" + std::to_string(getpid());
  int socket_ = -1;
};

TEST_F(NotifyTest, ReadyCarriesOneStatusLine) {
  NotifyReady("serving\nWATCHDOG=1");
  EXPECT_EQ(Receive(), "READY=1\nSTATUS=serving\\nWATCHDOG=1");
}

TEST_F(NotifyTest, ReloadingCarriesTheMonotonicClock) {
  NotifyReloading();
  EXPECT_THAT(Receive(), testing::ContainsRegex("^RELOADING=1\nMONOTONIC_USEC=[0-9]+$"));
}

TEST_F(NotifyTest, StoppingAsksForTheGraceAndMore) {
  NotifyStopping(std::chrono::seconds(25));
  EXPECT_THAT(Receive(),
              AllOf(HasSubstr("STOPPING=1\n"), HasSubstr("EXTEND_TIMEOUT_USEC=35000000")));
}

TEST_F(NotifyTest, StartingExtendsTheStartTimeout) {
  NotifyStarting("recovering", std::chrono::seconds(30));
  EXPECT_EQ(Receive(), "STATUS=recovering\nEXTEND_TIMEOUT_USEC=30000000");
}

TEST_F(NotifyTest, WatchdogIsOffUntilTheManagerAsksForIt) {
  EXPECT_FALSE(WatchdogTimeout().has_value());
  setenv("WATCHDOG_USEC", "30000000", 1);
  EXPECT_EQ(WatchdogTimeout(), std::chrono::seconds(30));
  unsetenv("WATCHDOG_USEC");
  NotifyWatchdog();
  EXPECT_EQ(Receive(), "WATCHDOG=1");
}

TEST(NotifyWithoutManagerTest, DoesNothing) {
  unsetenv("NOTIFY_SOCKET");
  NotifyReady("serving");
  NotifyWatchdog();
}

TEST(ExitCodeTest, TravelsWithTheStatus) {
  const absl::Status status = WithExitCode(absl::UnavailableError("in use"), ExitCode::kCannotBind);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCannotBind);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("in use")), ExitCode::kInternal);
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
}

}  // namespace
}  // namespace mqd::server
