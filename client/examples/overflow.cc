// overflow.cc: what happens to a publish when the queue is full, one section for each way. Every
// queue here holds three messages, and five are sent to it.

#include <condition_variable>
#include <mutex>

#include "example.h"

namespace {

using namespace example;
using mqd::OverflowPolicy;
using Payloads = std::vector<std::string>;

constexpr std::size_t kCapacity = 3;
constexpr std::size_t kSent = 5;

mqd::QueueSettings Settings(OverflowPolicy policy) {
  mqd::QueueSettings settings;
  settings.max_messages = mqd::Limit::Of(kCapacity);
  settings.overflow_policy = policy;
  return settings;
}

std::vector<mqd::PublishResult> SendFive(Broker& broker, const std::string& queue) {
  std::vector<mqd::Message> messages;
  for (std::size_t i = 1; i <= kSent; ++i) messages.push_back({.payload = std::to_string(i)});
  return OrFail(broker.client().Publish(queue, messages));
}

std::size_t CountDropped(const std::vector<mqd::PublishResult>& results, OverflowPolicy by) {
  std::size_t count = 0;
  for (const mqd::PublishResult& result : results) {
    if (!result.ok()) continue;
    count += result->kind == mqd::PublishOutcome::Kind::kDropped && result->dropped_by == by;
  }
  return count;
}

/// Fail: the sender is told at once, and decides.
void FailSection(Broker& broker) {
  const std::string queue = broker.NewQueue("fail", Settings(OverflowPolicy::kReject));
  std::size_t refused = 0;
  for (const mqd::PublishResult& result : SendFive(broker, queue)) {
    refused += mqd::ReasonOf(result.status()) == mqd::Reason::kQueueFull;
  }
  Check(refused == 2, "two of five were refused");
  Check(broker.Take(queue, kCapacity) == Payloads{"1", "2", "3"}, "the first three are there");
  std::cout << "fail:        4 and 5 were refused with QUEUE_FULL\n";
}

/// Block: the sender waits its turn, and is told that it waits, and for what.
void BlockSection(Broker& broker) {
  const std::string queue = broker.NewQueue("block", Settings(OverflowPolicy::kBlock));
  std::mutex mutex;
  std::condition_variable changed;
  mqd::Reason waits_for = mqd::Reason::kUnspecified;
  const auto publisher =
      broker.NewPublisher({.queue = queue, .on_blocked = [&](const absl::Status& reason) {
                             const std::lock_guard lock(mutex);
                             if (!reason.ok()) waits_for = mqd::ReasonOf(reason);
                             changed.notify_all();
                           }});
  std::vector<std::future<mqd::PublishResult>> results;
  for (std::size_t i = 1; i <= kSent; ++i) {
    results.push_back(publisher->Publish({.payload = std::to_string(i)}));
  }
  for (std::size_t i = 0; i < kCapacity; ++i) OrFail(results[i].get().status());
  {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, kPatience, [&] { return waits_for != mqd::Reason::kUnspecified; });
    Check(waits_for == mqd::Reason::kQueueFull, "the sender is told that the queue is full");
  }
  const Payloads taken = broker.Take(queue, kSent);  // makes room, one by one
  for (std::size_t i = kCapacity; i < kSent; ++i) OrFail(results[i].get().status());
  Check(taken == Payloads{"1", "2", "3", "4", "5"}, "nothing is lost, in order");
  std::cout << "block:       4 and 5 waited until there was room\n";
}

/// Drop newest: what is there stays; the newcomer is counted and gone.
void DropNewestSection(Broker& broker) {
  const std::string queue = broker.NewQueue("newest", Settings(OverflowPolicy::kDropNewest));
  const auto results = SendFive(broker, queue);
  Check(CountDropped(results, OverflowPolicy::kDropNewest) == 2, "two were dropped");
  Check(broker.Take(queue, kCapacity) == Payloads{"1", "2", "3"}, "the oldest three are there");
  std::cout << "drop newest: 4 and 5 were dropped, and their sender was told\n";
}

/// Drop oldest: the newcomer takes the place of the one that waited longest.
void DropOldestSection(Broker& broker) {
  const std::string queue = broker.NewQueue("oldest", Settings(OverflowPolicy::kDropOldest));
  for (const mqd::PublishResult& result : SendFive(broker, queue)) OrFail(result.status());
  Check(OrFail(broker.admin().GetQueueStats(queue)).dropped_total == 2, "two were dropped");
  Check(broker.Take(queue, kCapacity) == Payloads{"3", "4", "5"}, "the newest three are there");
  std::cout << "drop oldest: 1 and 2 made room for 4 and 5\n";
}

/// Divert: the newcomer goes to another queue, with a note from where and why.
void DivertSection(Broker& broker) {
  const std::string spill = broker.NewQueue("spill", {});
  mqd::QueueSettings settings = Settings(OverflowPolicy::kDeadLetter);
  settings.dead_letter_queue = spill;
  const std::string queue = broker.NewQueue("divert", settings);
  const auto results = SendFive(broker, queue);
  Check(CountDropped(results, OverflowPolicy::kDeadLetter) == 2, "two were diverted");
  for (const mqd::PeekedMessage& message : OrFail(broker.admin().PeekMessages(spill))) {
    Check(message.dead_letter && message.dead_letter->queue == "default/" + queue,
          "it is noted where it came from");
  }
  Check(broker.Take(spill, 2) == Payloads{"4", "5"}, "they are in the other queue");
  std::cout << "divert:      4 and 5 are in the dead-letter queue, with their origin\n";
}

/// Throttle: the sender is slowed down to a rate, full or not.
void ThrottleSection(Broker& broker) {
  constexpr int kPerSecond = 50;
  constexpr int kMessages = 25;
  mqd::QueueSettings settings = Settings(OverflowPolicy::kThrottle);
  settings.max_messages = mqd::Limit::Of(kMessages);
  settings.max_publish_rate = mqd::Limit::Of(kPerSecond);
  const std::string queue = broker.NewQueue("throttle", settings);
  const auto publisher = broker.NewPublisher({.queue = queue});
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::future<mqd::PublishResult>> results;
  for (int i = 0; i < kMessages; ++i) results.push_back(publisher->Publish({.payload = "x"}));
  for (auto& result : results) OrFail(result.get().status());
  const auto took = std::chrono::steady_clock::now() - begin;
  // A tenth of a second's worth goes at once; the others take their 20 ms each.
  const auto least = milliseconds((kMessages - kPerSecond / 10 - 1) * 1'000 / kPerSecond);
  Check(took >= least, "it took as long as the rate says");
  std::cout << "throttle:    " << kMessages << " messages took "
            << std::chrono::duration_cast<milliseconds>(took).count() << " ms at " << kPerSecond
            << " a second\n";
}

}  // namespace

int main(int argc, char** argv) {
  Broker broker(argc, argv);
  FailSection(broker);
  BlockSection(broker);
  DropNewestSection(broker);
  DropOldestSection(broker);
  DivertSection(broker);
  ThrottleSection(broker);
  std::cout << "overflow: a full queue did what each of six policies promises\n";
  return 0;
}
