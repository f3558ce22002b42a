// probes_test.cc: what a probe sees.

#include "server/http/probes.h"

#include <gmock/gmock.h>
#include <httplib.h>

#include <atomic>
#include <string>

namespace mqd::http {
namespace {

constexpr char kLoopback[] = "127.0.0.1";

Probes::Ready AlwaysReady() {
  return [] { return absl::OkStatus(); };
}

TEST(ProbesTest, ReadinessFollowsTheBrokerAndLivenessDoesNot) {
  std::atomic<bool> ready = true;
  const auto probes = Probes::Start(kLoopback, 0, [&ready] {
    return ready ? absl::OkStatus() : absl::UnavailableError("draining");
  });
  ASSERT_TRUE(probes.ok()) << probes.status();
  httplib::Client client(kLoopback, (*probes)->port());
  EXPECT_EQ(client.Get("/readyz")->status, 200);

  ready = false;
  const httplib::Result result = client.Get("/readyz");
  EXPECT_EQ(result->status, 503);
  EXPECT_EQ(result->body, "draining\n");
  EXPECT_EQ(client.Get("/livez")->status, 200);
}

TEST(ProbesTest, UnknownPathsAndLargeBodiesAreRefused) {
  const auto probes = Probes::Start(kLoopback, 0, AlwaysReady());
  ASSERT_TRUE(probes.ok()) << probes.status();
  httplib::Client client(kLoopback, (*probes)->port());
  EXPECT_EQ(client.Get("/")->status, 404);
  const std::string large(Probes::kBodyBytesMax + 1, 'x');
  EXPECT_EQ(client.Post("/livez", large, "text/plain")->status, 413);
}

TEST(ProbesTest, PortInUseIsAnErrorAndNotShared) {
  const auto first = Probes::Start(kLoopback, 0, AlwaysReady());
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Probes::Start(kLoopback, (*first)->port(), AlwaysReady());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(ProbesTest, StopEndsIt) {
  const auto probes = Probes::Start(kLoopback, 0, AlwaysReady());
  ASSERT_TRUE(probes.ok()) << probes.status();
  (*probes)->Stop();
  (*probes)->Stop();
  EXPECT_FALSE(httplib::Client(kLoopback, (*probes)->port()).Get("/livez"));
}

}  // namespace
}  // namespace mqd::http
