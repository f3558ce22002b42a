// mqd_driver.cc: mqd through its public C++ library, one message a call.

#include <condition_variable>
#include <mutex>
#include <thread>

#include "mqd/admin.h"
#include "mqd/client.h"
#include "tests/bench/peers/harness.h"

namespace mqd::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

constexpr std::size_t kQueuesPerConsumer = 64;
constexpr std::size_t kCallsAtOnce = 16;
constexpr std::size_t kIdleStreamsPerConnection = 100;
constexpr std::uint32_t kReaskEvery = 4'096;
constexpr std::size_t kReaskedMax = 2'000;

void OrDie(const absl::Status& status) {
  if (!status.ok()) Die(status.ToString());
}
template <class T>
T OrDie(absl::StatusOr<T> result) {
  OrDie(result.status());
  return *std::move(result);
}

/// Waits until the stream of every publisher or consumer stands.
template <class Parts>
void AwaitStreams(const Parts& parts) {
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  const auto deadline = std::chrono::steady_clock::now() + minutes(1);
  for (const auto& part : parts) {
    while (part->Stats().connects == 0) {
      never.wait_for(lock, milliseconds(1));
      if (std::chrono::steady_clock::now() > deadline) Die("a stream did not open in a minute");
    }
  }
}

/// A message whose key is published once more in the end.
struct Reasked {
  std::string key;
  std::string payload;
  std::uint64_t sequence = 0;
};

class MqdDriver final : public Driver {
 public:
  explicit MqdDriver(const Options& options) : options_(options) {}

  std::uint32_t Window(const Options& options) const override {
    return options.size <= 16'384 ? 8'192 : 1'024;
  }

  void MakeQueues(const std::vector<std::string>& queues) override {
    QueueSettings settings;
    settings.overflow_policy = OverflowPolicy::kBlock;
    settings.durability = options_.durability == "sync"    ? Durability::kSync
                          : options_.durability == "async" ? Durability::kAsync
                                                           : Durability::kMemory;
    if (options_.ordering_keys > 0) settings.ordering = Ordering::kKeyed;
    if (options_.fill > 0) {
      settings.max_messages = Limit::Of(options_.fill + 1'000'000);
      settings.max_bytes = Limit::Of((options_.fill + 1'000'000) * (options_.size + 256));
    }
    if (options_.idempotent) {
      settings.dedup_max_entries = Limit::Unlimited();
      settings.dedup_window = std::chrono::hours(24);
    }
    ForEach(queues, [&](Admin& admin, const std::string& queue) {
      OrDie(admin.CreateQueue(queue, settings).status());
    });
  }

  void DeleteQueues(const std::vector<std::string>& queues) override {
    ForEach(queues,
            [](Admin& admin, const std::string& queue) { OrDie(admin.DeleteQueue(queue, true)); });
  }

  void Produce(Source& source, const std::vector<std::string>& queues) override {
    const auto client = Connect(queues.size());
    const std::size_t window = options_.window > 0 ? options_.window : Window(options_);
    std::vector<std::unique_ptr<Publisher>> publishers;
    for (const std::string& queue : queues) {
      publishers.push_back(OrDie(client->NewPublisher(
          {.queue = queue,
           .unconfirmed_messages_max = std::max<std::size_t>(16, window / queues.size()),
           .full_timeout = minutes(1)})));
    }
    AwaitStreams(publishers);
    source.AwaitStart();
    std::size_t next = 0;
    while (source.AwaitDue()) {
      const Source::Message message = source.Next();
      Publish(source, *publishers[next], message);
      if (++next == publishers.size()) next = 0;
    }
    for (const auto& publisher : publishers) OrDie(publisher->Flush(minutes(1)));
    if (options_.idempotent) Reask(source.producer(), *publishers[0]);
  }

  void Consume(Sink& sink, const std::vector<std::string>& queues) override {
    const std::shared_ptr<Client> client = ConsumerClient();
    const bool alone = queues.size() <= kQueuesPerConsumer;
    std::mutex several;  // each Consumer has a handler thread
    std::vector<std::unique_ptr<Consumer>> consumers;
    for (std::size_t first = 0; first < queues.size(); first += kQueuesPerConsumer) {
      ConsumerOptions options;
      if (options_.phase != "hold") {
        options.handler = [&sink, &several, alone](Delivery& delivery) {
          const auto lock = alone ? std::unique_lock<std::mutex>() : std::unique_lock(several);
          sink.Got(delivery.payload());
        };
      }
      const std::size_t end = std::min(queues.size(), first + kQueuesPerConsumer);
      for (std::size_t i = first; i < end; ++i) options.queues.push_back({.queue = queues[i]});
      consumers.push_back(OrDie(client->NewConsumer(std::move(options))));
    }
    AwaitStreams(consumers);
    sink.Ready();
    sink.AwaitEnd();
    for (const auto& consumer : consumers) consumer->Stop();
  }

  nlohmann::json Extra() const override {
    nlohmann::json extra{{"durability", options_.durability}};
    if (options_.idempotent) {
      extra["reasked"] = reasked_.load();
      extra["false_answers"] = false_answers_.load();
    }
    return extra;
  }

 private:
  /// Several at a time: each call waits for the disk.
  void ForEach(const std::vector<std::string>& queues,
               const std::function<void(Admin&, const std::string&)>& call) const {
    const auto client = Connect();
    const auto admin = client->NewAdmin();
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads(std::min(kCallsAtOnce, queues.size()));
    for (std::thread& thread : threads) {
      thread = std::thread([&] {
        for (std::size_t i = next++; i < queues.size(); i = next++) call(*admin, queues[i]);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  /// The broker takes 1,024 streams a connection.
  std::unique_ptr<Client> Connect(std::size_t streams = 1) const {
    const auto channels = static_cast<std::uint32_t>(1 + streams / 1'000);
    return OrDie(Client::Connect({.address = options_.address,
                                  .call_timeout = minutes(1),
                                  .channels = std::min(channels, 16U)}));
  }

  /// Of its own; those that only hold their streams share some.
  std::shared_ptr<Client> ConsumerClient() {
    if (options_.phase != "hold") return Connect();
    const std::lock_guard lock(mutex_);
    if (idle_streams_++ % kIdleStreamsPerConnection == 0) idle_client_ = Connect();
    return idle_client_;
  }

  void Publish(Source& source, Publisher& publisher, const Source::Message& message) {
    MessageView view{.payload = message.payload};
    std::string key;
    if (options_.idempotent) {
      key =
          options_.name + std::to_string(source.producer()) + "-" + std::to_string(message.number);
      view.idempotency_key = key;
    } else if (options_.ordering_keys > 0) {
      key = std::to_string(message.number % options_.ordering_keys);
      view.ordering_key = key;
    }
    if (options_.idempotent && message.number % kReaskEvery == 0) {
      PublishToReask(source, publisher, message, view);
      return;
    }
    OrDie(publisher.Publish(view, [&source, number = message.number](const PublishResult& result) {
      if (result.ok() && result->kind == PublishOutcome::Kind::kPublished) {
        source.Confirmed(number);
      } else {
        source.Failed();
      }
    }));
  }

  void PublishToReask(Source& source, Publisher& publisher, const Source::Message& message,
                      const MessageView& view) {
    OrDie(publisher.Publish(
        view, [this, &source, number = message.number, key = std::string(view.idempotency_key),
               payload = std::string(message.payload)](const PublishResult& result) {
          if (!result.ok() || result->kind != PublishOutcome::Kind::kPublished) {
            return source.Failed();
          }
          source.Confirmed(number);
          const std::lock_guard lock(mutex_);
          if (asked_.size() <= source.producer()) asked_.resize(source.producer() + 1);
          auto& asked = asked_[source.producer()];
          if (asked.size() < kReaskedMax) asked.push_back({key, payload, result->sequence});
        }));
  }

  /// Every key that was used must be answered as a duplicate, and with the original's sequence.
  void Reask(std::uint32_t producer, Publisher& publisher) {
    std::vector<Reasked> asked;
    {
      const std::lock_guard lock(mutex_);
      if (asked_.size() > producer) asked = std::move(asked_[producer]);
    }
    for (const Reasked& one : asked) {
      const PublishResult result =
          publisher.Publish({.payload = one.payload, .idempotency_key = one.key}).get();
      const bool right = result.ok() && result->kind == PublishOutcome::Kind::kDuplicate &&
                         result->sequence == one.sequence;
      if (!right) ++false_answers_;
      ++reasked_;
    }
  }

  const Options options_;
  std::mutex mutex_;
  std::vector<std::vector<Reasked>> asked_;  // by producer; under mutex_
  std::size_t idle_streams_ = 0;             // under mutex_
  std::shared_ptr<Client> idle_client_;      // under mutex_
  std::atomic<std::uint64_t> reasked_{0};
  std::atomic<std::uint64_t> false_answers_{0};
};

}  // namespace
}  // namespace mqd::bench

int main(int argc, char** argv) {
  return mqd::bench::DriverMain(argc, argv, "mqd", [](const mqd::bench::Options& options) {
    return std::make_unique<mqd::bench::MqdDriver>(options);
  });
}
