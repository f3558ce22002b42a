#include "client/backoff.h"

#include <gtest/gtest.h>

namespace mqd::client {
namespace {

using std::chrono::milliseconds;

constexpr ReconnectBackoff kPlain = {
    .initial = milliseconds(100), .multiplier = 2.0, .max = milliseconds(1'000), .jitter = 0.0};

TEST(BackoffTest, GrowsToTheMaximumAndStaysThere) {
  Backoff backoff(kPlain);
  for (const int expected : {100, 200, 400, 800, 1'000, 1'000}) {
    EXPECT_EQ(backoff.Next(0.5), milliseconds(expected));
  }
  for (int i = 0; i < 10'000; ++i) EXPECT_EQ(backoff.Next(0.5), milliseconds(1'000));
}

TEST(BackoffTest, BeginsAnewAfterSuccess) {
  Backoff backoff(kPlain);
  backoff.Next(0.5);
  backoff.Next(0.5);
  backoff.Reset();
  EXPECT_EQ(backoff.Next(0.5), milliseconds(100));
}

TEST(BackoffTest, JitterMovesEitherWayWithinItsShare) {
  ReconnectBackoff settings = kPlain;
  settings.jitter = 0.2;
  EXPECT_EQ(Backoff(settings).Next(0.0), milliseconds(80));
  EXPECT_EQ(Backoff(settings).Next(0.5), milliseconds(100));
  EXPECT_GE(Backoff(settings).Next(0.999), milliseconds(119));
}

}  // namespace
}  // namespace mqd::client
