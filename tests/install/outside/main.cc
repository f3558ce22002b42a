// main.cc ADDRESS: what a user's first program does with the installed library: one message goes
// through a queue of the broker at ADDRESS.
#include <chrono>
#include <cstdio>
#include <string>

#include "mqd/admin.h"
#include "mqd/client.h"
#include "mqd/consumer.h"
#include "mqd/publisher.h"

namespace {

absl::Status Run(const std::string& address) {
  auto client = mqd::Client::Connect({.address = address});
  if (!client.ok()) return client.status();
  if (auto made = (*client)->NewAdmin()->CreateQueue("outside", {}); !made.ok()) {
    return made.status();
  }
  auto publisher = (*client)->NewPublisher({.queue = "outside"});
  if (!publisher.ok()) return publisher.status();
  if (auto result = (*publisher)->Publish({.payload = "hello"}).get(); !result.ok()) {
    return result.status();
  }
  auto consumer = (*client)->NewConsumer({.queues = {{.queue = "outside"}}});
  if (!consumer.ok()) return consumer.status();
  auto delivery = (*consumer)->Next(std::chrono::seconds(20));
  if (!delivery.ok()) return delivery.status();
  if (delivery->payload() != "hello") return absl::InternalError("another payload came");
  delivery->Settle(mqd::Outcome::Ack());
  return (*consumer)->Drain(std::chrono::seconds(20)).status();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  const absl::Status status = Run(argv[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}
