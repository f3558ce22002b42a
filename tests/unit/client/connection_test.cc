// How a connection comes about on a network that is not good.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "mqd/client.h"
#include "tests/crash/fault_proxy.h"
#include "tests/support/fake_broker.h"

namespace mqd {
namespace {

using crash::FaultProxy;
using crash::Network;
using std::chrono::milliseconds;

/// To connect takes several ways to and fro; what is asked for is only how soon to try again.
TEST(ConnectionTest, IsMadeThoughOneWayTakesLongerThanTheWaitForTheNextAttempt) {
  test::FakeBroker broker;
  FaultProxy proxy(1);
  ASSERT_TRUE(proxy.Listen(broker.port()).ok());
  proxy.Inflict({.network = Network::kLatency, .delay = milliseconds(300)});
  const auto client =
      Client::Connect({.address = "127.0.0.1:" + std::to_string(proxy.port()),
                       .backoff = {.initial = milliseconds(10), .max = milliseconds(50)}});
  EXPECT_TRUE(client.ok()) << client.status();
}

}  // namespace
}  // namespace mqd
