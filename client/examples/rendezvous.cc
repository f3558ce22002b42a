// rendezvous.cc: ping-pong over two queues that hold nothing (max_messages = 0), as over unbuffered
// channels: a publish is confirmed when the other side has taken the message, and not before.

#include <future>
#include <thread>

#include "example.h"

namespace {

using namespace example;

constexpr int kRounds = 100;

/// No message waits in a rendezvous queue, so none has to be kept on disk.
mqd::QueueSettings Rendezvous(mqd::OverflowPolicy when_nobody_takes) {
  mqd::QueueSettings settings;
  settings.max_messages = mqd::Limit::Of(0);
  settings.durability = mqd::Durability::kMemory;
  settings.overflow_policy = when_nobody_takes;
  return settings;
}

/// One message at a time, as one receive of a channel.
mqd::ConsumerOptions OneAtATime(const std::string& queue) {
  return {.queues = {{.queue = queue}}, .credit_messages_initial = 1, .credit_messages_max = 1};
}

/// Sends back each ball that comes, until the last.
void Return(mqd::Consumer& incoming, mqd::Publisher& outgoing) {
  for (int round = 0; round < kRounds; ++round) {
    mqd::Delivery ball = OrFail(incoming.Next(kPatience));
    OrFail(outgoing.Publish(mqd::MessageView{.payload = ball.payload()}).get().status());
    ball.Settle(mqd::Outcome::Ack());
  }
}

}  // namespace

int main(int argc, char** argv) {
  Broker broker(argc, argv);

  // Fail: with nobody there to take it a publish is refused at once.
  const std::string nobody = broker.NewQueue("nobody", Rendezvous(mqd::OverflowPolicy::kReject));
  const auto refused = broker.NewPublisher({.queue = nobody})->Publish({.payload = "x"}).get();
  Check(mqd::ReasonOf(refused.status()) == mqd::Reason::kQueueFull, "it is taken by nobody");

  // Block: it waits for a taker.
  const std::string ping = broker.NewQueue("ping", Rendezvous(mqd::OverflowPolicy::kBlock));
  const std::string pong = broker.NewQueue("pong", Rendezvous(mqd::OverflowPolicy::kBlock));
  const auto to_ping = broker.NewPublisher({.queue = ping});
  auto first = to_ping->Publish({.payload = "0"});
  Check(first.wait_for(milliseconds(100)) == std::future_status::timeout,
        "without a taker there is no confirm");
  const auto from_ping = broker.NewConsumer(OneAtATime(ping));
  const auto from_pong = broker.NewConsumer(OneAtATime(pong));
  const auto to_pong = broker.NewPublisher({.queue = pong});
  std::thread other([&] { Return(*from_ping, *to_pong); });
  OrFail(first.get().status());

  for (int round = 0; round < kRounds; ++round) {
    mqd::Delivery ball = OrFail(from_pong->Next(kPatience));
    Check(ball.payload() == std::to_string(round), "the balls come in order");
    ball.Settle(mqd::Outcome::Ack());
    if (round + 1 == kRounds) break;
    OrFail(to_ping->Publish({.payload = std::to_string(round + 1)}).get().status());
  }
  other.join();
  Check(OrFail(broker.admin().GetQueueStats(ping)).ready == 0, "nothing waits in the queue");
  std::cout << "rendezvous: " << kRounds
            << " rounds over two queues that hold nothing; each publish was confirmed when the "
               "other side had taken it\n";
  return 0;
}
