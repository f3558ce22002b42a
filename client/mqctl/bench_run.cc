#include "client/mqctl/bench_run.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "mqd/admin.h"
#include "mqd/client.h"

namespace mqd::mqctl {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// The first delivery time lies that far ahead, so that publishing does not disturb it.
constexpr std::chrono::seconds kDelayLead{10};

std::int64_t NowNs() { return Clock::now().time_since_epoch().count(); }

/// When records count: between the end of the warm-up and the end of the run.
struct Window {
  std::atomic<std::int64_t> begin_ns{INT64_MAX};
  std::atomic<std::int64_t> end_ns{INT64_MAX};
  bool Has(std::int64_t at) const {
    return at >= begin_ns.load(std::memory_order_relaxed) &&
           at < end_ns.load(std::memory_order_relaxed);
  }
};

/// Counts of one producer or consumer; each is written by one thread and read after it has ended.
struct Counts {
  std::atomic<std::uint64_t> done{0};
  std::uint64_t in_window = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t errors = 0;
  Histogram latency;
};

class Producer {
 public:
  Producer(const BenchOptions& options, const Window& window, std::uint32_t number)
      : options_(options), window_(window), number_(number) {}

  absl::Status Open(const std::string& queue) {
    auto client = Client::Connect({.address = options_.address});
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    auto publisher = client_->NewPublisher({.queue = queue,
                                            .unconfirmed_messages_max = options_.window,
                                            .full_timeout = std::chrono::minutes(1)});
    if (!publisher.ok()) return publisher.status();
    publisher_ = *std::move(publisher);
    return absl::OkStatus();
  }

  void Run(const std::atomic<bool>& stop) {
    std::string payload(std::max<std::uint64_t>(options_.size, 16), 'x');
    if (options_.delayed > 0) return RunDelayed(payload);
    const double rate = options_.rate / options_.producers;
    Clock::time_point due = Clock::now();
    for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      if (rate > 0) {
        due += std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 / rate));
        std::this_thread::sleep_until(due);
      }
      // With a rate the clock runs from when the message was due: waiting in here counts.
      Send(payload, i, rate > 0 ? due.time_since_epoch().count() : NowNs());
    }
    Finish();
  }

  Counts counts;

 private:
  void RunDelayed(std::string& payload) {
    const WallTime base = std::chrono::system_clock::now() + kDelayLead;
    const std::int64_t base_ns = NowNs() + std::chrono::nanoseconds(kDelayLead).count();
    std::mt19937_64 random(number_);
    const auto spread_ms = static_cast<std::uint64_t>(options_.spread.count());
    for (std::uint64_t i = number_; i < options_.delayed; i += options_.producers) {
      const milliseconds offset(random() % std::max<std::uint64_t>(spread_ms, 1));
      deliver_at_ = base + offset;
      Send(payload, i, base_ns + std::chrono::nanoseconds(offset).count());
    }
    Finish();
  }

  void Finish() {
    if (!publisher_->Flush(std::chrono::minutes(1)).ok()) ++counts.errors;
    static_cast<void>(publisher_->Close(milliseconds(0)));
  }

  void Send(std::string& payload, std::uint64_t i, std::int64_t now) {
    std::memcpy(payload.data(), &now, sizeof now);
    MessageView message{.payload = payload, .deliver_at = deliver_at_};
    std::string ordering_key;
    if (options_.ordering_keys > 0) {
      ordering_key = std::to_string(i % options_.ordering_keys);
      message.ordering_key = ordering_key;
    }
    std::string key;
    if (options_.idempotent) {
      const std::uint64_t name = options_.keys == 0 ? i : i % options_.keys;
      key = std::to_string(number_) + "-" + std::to_string(name);
      message.idempotency_key = key;
    }
    const absl::Status accepted = publisher_->Publish(
        message, [this, now](const PublishResult& result) { OnConfirm(result, now); });
    if (!accepted.ok()) ++refused_;
  }

  void OnConfirm(const PublishResult& result, std::int64_t published_ns) {
    if (!result.ok()) {
      ++counts.errors;
      return;
    }
    if (result->kind == PublishOutcome::Kind::kDuplicate) {
      ++counts.duplicates;
    } else {
      counts.done.fetch_add(1, std::memory_order_relaxed);
    }
    const std::int64_t now = NowNs();
    if (!window_.Has(now)) return;
    ++counts.in_window;
    counts.latency.Record(now - published_ns);
  }

  const BenchOptions& options_;
  const Window& window_;
  const std::uint32_t number_;
  std::uint64_t refused_ = 0;
  std::optional<WallTime> deliver_at_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Publisher> publisher_;
};

class Taker {
 public:
  Taker(const BenchOptions& options, const Window& window) : options_(options), window_(window) {}

  absl::Status Open(const std::string& queue) {
    auto client = Client::Connect({.address = options_.address});
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    auto consumer = client_->NewConsumer(
        {.queues = {{.queue = queue}}, .handler = [this](Delivery& delivery) { Take(delivery); }});
    if (!consumer.ok()) return consumer.status();
    consumer_ = *std::move(consumer);
    return absl::OkStatus();
  }

  void Stop() { consumer_->Stop(); }

  Counts counts;

 private:
  void Take(const Delivery& delivery) {
    std::int64_t published_ns = 0;
    std::memcpy(&published_ns, delivery.payload().data(), sizeof published_ns);
    const std::int64_t now = NowNs();
    counts.done.fetch_add(1, std::memory_order_relaxed);
    if (!window_.Has(now)) return;
    ++counts.in_window;
    // The wall clock, on which delivery times lie, has milliseconds there.
    if (now < published_ns - 2'000'000) ++counts.errors;
    counts.latency.Record(std::max<std::int64_t>(0, now - published_ns));
  }

  const BenchOptions& options_;
  const Window& window_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Consumer> consumer_;
};

class Bench {
 public:
  explicit Bench(const BenchOptions& options) : options_(options) {}

  absl::StatusOr<BenchResult> Run() {
    auto client = Client::Connect({.address = options_.address});
    if (!client.ok()) return client.status();
    const auto admin = (*client)->NewAdmin();
    absl::Status status = MakeQueues(*admin);
    if (status.ok()) status = OpenAll();
    BenchResult result;
    if (status.ok()) result = Measure();
    for (const std::string& queue : queues_) static_cast<void>(admin->DeleteQueue(queue, true));
    if (!status.ok()) return status;
    return result;
  }

 private:
  absl::Status MakeQueues(Admin& admin) {
    QueueSettings settings;
    settings.durability = options_.durability;
    settings.overflow_policy = OverflowPolicy::kBlock;
    if (options_.ordering_keys > 0) settings.ordering = Ordering::kKeyed;
    if (options_.delayed > 0) settings.max_messages = Limit::Of(options_.delayed);
    const std::string run = std::to_string(NowNs());
    for (std::uint32_t i = 0; i < options_.queues; ++i) {
      const std::string name = "bench-" + run + "-" + std::to_string(i);
      const auto created = admin.CreateQueue(name, settings);
      if (!created.ok()) return created.status();
      queues_.push_back(name);
    }
    return absl::OkStatus();
  }

  absl::Status OpenAll() {
    for (std::uint32_t i = 0; i < options_.consumers; ++i) {
      takers_.push_back(std::make_unique<Taker>(options_, window_));
      const absl::Status opened = takers_.back()->Open(queues_[i % queues_.size()]);
      if (!opened.ok()) return opened;
    }
    for (std::uint32_t i = 0; i < options_.producers; ++i) {
      producers_.push_back(std::make_unique<Producer>(options_, window_, i));
      const absl::Status opened = producers_.back()->Open(queues_[i % queues_.size()]);
      if (!opened.ok()) return opened;
    }
    return absl::OkStatus();
  }

  BenchResult Measure() {
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (const auto& producer : producers_) {
      threads.emplace_back([&producer, &stop] { producer->Run(stop); });
    }
    const bool delayed = options_.delayed > 0;
    if (!delayed) std::this_thread::sleep_for(options_.warm_up);
    const std::int64_t begin = NowNs();
    window_.begin_ns.store(begin);
    if (!delayed) std::this_thread::sleep_for(options_.duration);
    if (!delayed) window_.end_ns.store(NowNs());
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    WaitForRest();
    if (delayed) window_.end_ns.store(NowNs());
    BenchResult result;
    result.seconds = static_cast<double>(window_.end_ns.load() - begin) / 1e9;
    for (const auto& taker : takers_) taker->Stop();
    Sum(result);
    return result;
  }

  /// Consumers have a minute for what was confirmed and has not come yet.
  void WaitForRest() const {
    if (takers_.empty()) return;
    const milliseconds spread = options_.delayed > 0 ? options_.spread : milliseconds(0);
    const auto deadline = Clock::now() + std::chrono::minutes(1) + spread;
    while (Total(takers_) < Total(producers_) && Clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(10));
    }
  }

  template <class Parts>
  static std::uint64_t Total(const Parts& parts) {
    std::uint64_t total = 0;
    for (const auto& part : parts) total += part->counts.done.load();
    return total;
  }

  void Sum(BenchResult& result) const {
    for (const auto& producer : producers_) {
      const Counts& counts = producer->counts;
      result.published_in_window += counts.in_window;
      result.duplicates += counts.duplicates;
      result.errors += counts.errors;
      result.confirm.Add(counts.latency);
    }
    for (const auto& taker : takers_) {
      result.consumed_in_window += taker->counts.in_window;
      result.end_to_end.Add(taker->counts.latency);
      result.errors += taker->counts.errors;
    }
    result.published = Total(producers_);
    result.consumed = Total(takers_);
    if (!takers_.empty() && result.consumed < result.published) {
      result.missing = result.published - result.consumed;
    }
  }

  const BenchOptions& options_;
  Window window_;
  std::vector<std::string> queues_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::vector<std::unique_ptr<Taker>> takers_;
};

}  // namespace

absl::StatusOr<BenchResult> RunBench(const BenchOptions& options) { return Bench(options).Run(); }

}  // namespace mqd::mqctl
