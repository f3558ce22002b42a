// signals_test.cc: signals arrive as values, in the thread that waits for them.

#include "server/signals.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

namespace mqd::server {
namespace {

TEST(SignalsTest, EachSignalBecomesItsWakeup) {
  Signals signals;
  kill(getpid(), SIGTERM);
  EXPECT_EQ(signals.Wait(), Wakeup::kStop);
  kill(getpid(), SIGINT);
  EXPECT_EQ(signals.Wait(), Wakeup::kStop);
  kill(getpid(), SIGHUP);
  EXPECT_EQ(signals.Wait(), Wakeup::kReload);
}

TEST(SignalsTest, WaitWithNothingToReportTimesOut) {
  Signals signals;
  EXPECT_EQ(signals.Wait(std::chrono::milliseconds(1)), Wakeup::kTimeout);
}

TEST(SignalsTest, EndOfBackgroundWorkWakesTheMainThread) {
  Signals signals;
  std::atomic<bool> ran = false;
  BackgroundWork work(signals, [&ran] { ran = true; });
  EXPECT_EQ(signals.Wait(), Wakeup::kWoken);
  EXPECT_TRUE(work.done());
  EXPECT_TRUE(ran);
}

TEST(SignalsTest, SignalDuringBackgroundWorkReachesTheMainThread) {
  Signals signals;
  std::atomic<bool> release = false;
  BackgroundWork work(signals, [&release] { release.wait(false); });
  kill(getpid(), SIGTERM);
  EXPECT_EQ(signals.Wait(), Wakeup::kStop);
  release = true;
  release.notify_all();
  EXPECT_EQ(signals.Wait(), Wakeup::kWoken);
}

}  // namespace
}  // namespace mqd::server
