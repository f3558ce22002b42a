// graceful_shutdown.cc: stopping without losing or doubling anything. A consumer that leaves
// drains: what it has begun it finishes, what it has not goes to the others. A queue that ends is
// closed: nothing more is taken, what is there is worked off, and then each consumer hears of the
// end, once.

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <set>

#include "example.h"

namespace {

using namespace example;

constexpr int kMessages = 40;
constexpr std::uint32_t kHandlers = 2;

/// Where every handler notes what it has done.
class Ledger {
 public:
  void Add(std::string_view payload) {
    const std::lock_guard lock(mutex_);
    ++count_;
    payloads_.insert(std::string(payload));
  }
  void CheckComplete() const {
    const std::lock_guard lock(mutex_);
    Check(payloads_.size() == kMessages, "nothing was lost");
    Check(count_ == kMessages, "nothing was done twice");
  }

 private:
  mutable std::mutex mutex_;
  int count_ = 0;
  std::set<std::string> payloads_;
};

/// Handlers that have begun wait here until they may end.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++begun_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void WaitForBegun(std::uint32_t count) {
    std::unique_lock lock(mutex_);
    Check(changed_.wait_for(lock, kPatience, [&] { return begun_ >= count; }), "work begins");
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint32_t begun_ = 0;
  bool open_ = false;
};

/// A consumer leaves in the middle of its work. How many messages it finished.
std::uint64_t DrainOne(Broker& broker, const std::string& queue, Ledger& ledger) {
  Gate gate;
  const auto leaving = broker.NewConsumer({.queues = {{.queue = queue}},
                                           .handler =
                                               [&](mqd::Delivery& message) {
                                                 gate.Pass();
                                                 ledger.Add(message.payload());
                                               },
                                           .concurrency = kHandlers});
  gate.WaitForBegun(kHandlers);
  auto drained = std::async(std::launch::async, [&] { return leaving->Drain(seconds(20)); });
  gate.Open();  // the work that has begun ends while the consumer drains
  const mqd::DrainCounts counts = OrFail(drained.get());
  Check(counts.abandoned == 0, "what was begun was finished");
  const mqd::QueueStats stats = OrFail(broker.admin().GetQueueStats(queue));
  Check(stats.in_flight == 0, "nothing is left with one that has gone");
  Check(stats.acked_total + stats.ready == kMessages, "the rest waits for the others");
  return stats.acked_total;
}

}  // namespace

int main(int argc, char** argv) {
  Broker broker(argc, argv);
  const std::string queue = broker.NewQueue("shutdown", {});
  std::vector<mqd::Message> messages;
  for (int i = 0; i < kMessages; ++i) messages.push_back({.payload = std::to_string(i)});
  for (const auto& result : OrFail(broker.client().Publish(queue, messages))) {
    OrFail(result.status());
  }
  Ledger ledger;
  const std::uint64_t finished = DrainOne(broker, queue, ledger);

  OrFail(broker.admin().CloseQueue(queue).status());
  const auto late = broker.NewPublisher({.queue = queue})->Publish({.payload = "late"}).get();
  Check(mqd::ReasonOf(late.status()) == mqd::Reason::kQueueClosed, "a closed queue takes nothing");
  Check(mqd::ReasonOf(broker.admin().CloseQueue(queue).status()) == mqd::Reason::kAlreadyClosed,
        "closing twice is told");

  std::atomic<int> ends = 0;
  std::promise<void> ended;
  const auto rest =
      broker.NewConsumer({.queues = {{.queue = queue}},
                          .handler = [&](mqd::Delivery& message) { ledger.Add(message.payload()); },
                          .on_end_of_queue =
                              [&](std::string_view) {
                                if (++ends == 1) ended.set_value();
                              }});
  Check(ended.get_future().wait_for(kPatience) == std::future_status::ready, "the end comes");
  rest->Stop();
  Check(ends == 1, "once");
  ledger.CheckComplete();
  std::cout << "graceful_shutdown: one consumer left after " << finished << " of " << kMessages
            << " messages, the other did the rest and heard of the end once; nothing was lost or "
               "done twice\n";
  return 0;
}
