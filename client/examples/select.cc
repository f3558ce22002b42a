// select.cc: one loop over two queues, a timeout and a cancel, as a select over channels: urgent
// work first, bulk work when there is none, a heartbeat when there is neither, and an end from
// outside.

#include "mqd/select.h"

#include <atomic>
#include <thread>

#include "example.h"

namespace {

using namespace example;

constexpr int kEach = 20;

void Send(Broker& broker, const std::string& queue) {
  std::vector<mqd::Message> messages;
  for (int i = 0; i < kEach; ++i) messages.push_back({.payload = std::to_string(i)});
  for (const auto& result : OrFail(broker.client().Publish(queue, messages))) {
    OrFail(result.status());
  }
}

}  // namespace

int main(int argc, char** argv) {
  Broker broker(argc, argv);
  const std::string urgent = broker.NewQueue("urgent", {});
  const std::string bulk = broker.NewQueue("bulk", {});
  Send(broker, bulk);
  Send(broker, urgent);

  std::string order;  // what was handled, one letter a message
  std::atomic<int> heartbeats = 0;
  bool cancelled = false;
  const auto select = OrFail(mqd::Select::Make(
      broker.client(), {.arms = {{.queue = {.queue = urgent, .priority = 9},
                                  .handler = [&](mqd::Delivery&) { order += 'u'; }},
                                 {.queue = {.queue = bulk, .priority = 1},
                                  .handler = [&](mqd::Delivery&) { order += 'b'; }}},
                        .mode = mqd::SelectMode::kPriority,
                        .timeout = milliseconds(200),
                        .on_timeout = [&] { ++heartbeats; },
                        .on_cancel = [&] { cancelled = true; }}));

  std::thread operator_thread([&] {  // waits until there is nothing to do, then ends the loop
    const auto idle = [&] { return select->consumer().Stats().settled == 2 * kEach; };
    while (!idle() || heartbeats == 0) std::this_thread::sleep_for(milliseconds(10));
    select->Cancel();
  });
  OrFail(select->Run());
  operator_thread.join();

  // One message may have been on its way before the queues were compared.
  const std::size_t last_urgent = order.rfind('u');
  Check(order.size() == 2 * kEach, "everything was handled");
  Check(last_urgent <= kEach, "urgent work went first");
  Check(cancelled, "the cancel arm ran");
  std::cout << "select: " << kEach << " urgent messages went before " << kEach
            << " that were there earlier; the timeout arm ran " << heartbeats
            << " times, the cancel arm ended the loop\n";
  return 0;
}
