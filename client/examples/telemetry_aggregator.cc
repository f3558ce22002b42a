// telemetry_aggregator.cc: readings of sensors come faster than they can be worked off. Old ones
// are worth nothing, so the queue holds the newest 100 and drops the oldest (DROP_OLDEST); sensors
// never wait, and what was dropped is known.

#include <future>
#include <map>
#include <thread>

#include "example.h"

namespace {

using namespace example;

constexpr int kSensors = 4;
constexpr int kReadings = 5'000;  // of each
constexpr std::uint64_t kNewest = 100;

/// Publishes "SENSOR VALUE" as fast as it can, without looking at any result but the last.
void Sensor(Broker& broker, const std::string& queue, int id) {
  const auto publisher = broker.NewPublisher({.queue = queue});
  for (int value = 1; value <= kReadings; ++value) {
    const std::string reading = std::to_string(id) + ' ' + std::to_string(value);
    OrFail(publisher->Publish(mqd::MessageView{.payload = reading},
                              [](const mqd::PublishResult& result) { OrFail(result.status()); }));
  }
  OrFail(publisher->Flush(kPatience));
}

/// The newest reading of each sensor, and how many came.
class Aggregator {
 public:
  void Take(std::string_view reading) {
    const std::size_t space = reading.find(' ');
    const int sensor = std::stoi(std::string(reading.substr(0, space)));
    latest_[sensor] = std::stoi(std::string(reading.substr(space + 1)));
    ++taken_;
    if (taken_ % 10 == 0) std::this_thread::sleep_for(milliseconds(1));  // it is slower
  }
  std::uint64_t taken() const { return taken_; }
  const std::map<int, int>& latest() const { return latest_; }

 private:
  std::map<int, int> latest_;
  std::uint64_t taken_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Broker broker(argc, argv);
  mqd::QueueSettings settings;
  settings.max_messages = mqd::Limit::Of(kNewest);
  settings.overflow_policy = mqd::OverflowPolicy::kDropOldest;
  settings.durability = mqd::Durability::kMemory;  // a reading is not worth an fsync
  const std::string queue = broker.NewQueue("telemetry", settings);

  Aggregator aggregator;  // of the one handler thread, and of main after the end
  std::promise<void> ended;
  const auto consumer = broker.NewConsumer(
      {.queues = {{.queue = queue}},
       .handler = [&](mqd::Delivery& reading) { aggregator.Take(reading.payload()); },
       .credit_messages_max = 16,
       .on_end_of_queue = [&](std::string_view) { ended.set_value(); }});
  std::vector<std::thread> sensors;
  for (int id = 0; id < kSensors; ++id) {
    sensors.emplace_back([&broker, &queue, id] { Sensor(broker, queue, id); });
  }
  for (std::thread& sensor : sensors) sensor.join();
  OrFail(broker.admin().CloseQueue(queue).status());
  Check(ended.get_future().wait_for(kPatience) == std::future_status::ready, "the end comes");
  consumer->Stop();

  const std::uint64_t sent = std::uint64_t{kSensors} * kReadings;
  const std::uint64_t dropped = OrFail(broker.admin().GetQueueStats(queue)).dropped_total;
  Check(dropped > 0, "there were more readings than could be worked off");
  Check(aggregator.taken() + dropped == sent, "every reading was taken, or counted as dropped");
  for (const auto& [sensor, value] : aggregator.latest()) {
    Check(value <= kReadings, "a reading is one that was sent");
  }
  std::cout << "telemetry_aggregator: of " << sent << " readings " << aggregator.taken()
            << " were taken and " << dropped << " dropped, oldest first; no sensor waited\n";
  return 0;
}
