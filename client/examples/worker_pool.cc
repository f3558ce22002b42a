// worker_pool.cc: the bounded worker pool, on real input.
//
// One producer publishes every stanza of a package list to a bounded queue. Workers parse one each
// at a time and publish "package<TAB>size" to a second bounded queue. An aggregator sums. Input and
// output of a worker are settled in one atomic request and the output has an idempotency key, so a
// worker or the broker may be killed at any moment and each stanza still counts exactly once
// between the two queues.
//
// Each subcommand is a process of its own; deploy/run.sh starts them, and kills some.

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "mqd/admin.h"
#include "mqd/client.h"
#include "mqd/consumer.h"
#include "mqd/publisher.h"

namespace {

using std::chrono::milliseconds;

/// Longer than any outage that the job should live through.
constexpr milliseconds kPatience = std::chrono::minutes(10);

struct Arguments {
  std::string address = "127.0.0.1:6480";
  std::string queue;
  std::string out;
  std::string file;
  int id = 0;
  std::uint64_t capacity = 64;
  std::int64_t work_time_ms = 0;
  bool expect_close = false;
};

[[noreturn]] void Fail(const absl::Status& status) {
  std::cerr << "worker_pool: " << status << '\n';
  std::exit(1);
}

std::unique_ptr<mqd::Client> Connect(const Arguments& arguments) {
  auto client = mqd::Client::Connect({.address = arguments.address, .connect_timeout = kPatience});
  if (!client.ok()) Fail(client.status());
  return *std::move(client);
}

/// One event that threads wait for.
class Signal {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

// ---- create and close

void Create(const Arguments& arguments) {
  mqd::QueueSettings settings;
  settings.max_messages = mqd::Limit::Of(arguments.capacity);
  settings.overflow_policy = mqd::OverflowPolicy::kBlock;  // a full queue slows its producers down
  const auto created = Connect(arguments)->NewAdmin()->CreateQueue(arguments.queue, settings);
  if (!created.ok()) Fail(created.status());
}

void Close(const Arguments& arguments) {
  const auto closed = Connect(arguments)->NewAdmin()->CloseQueue(arguments.queue);
  if (closed.ok() || mqd::ReasonOf(closed.status()) == mqd::Reason::kAlreadyClosed) return;
  Fail(closed.status());
}

// ---- produce

void Produce(const Arguments& arguments) {
  const auto client = Connect(arguments);
  auto publisher = client->NewPublisher(
      {.queue = arguments.queue, .timeout = kPatience, .full_timeout = kPatience});
  if (!publisher.ok()) Fail(publisher.status());
  std::ifstream file(arguments.file);
  if (!file) Fail(absl::NotFoundError("cannot read " + arguments.file));
  std::string stanza;
  const auto publish = [&] {
    if (stanza.empty()) return;
    const absl::Status accepted =
        (*publisher)->Publish(mqd::MessageView{.payload = stanza}, [](const auto& result) {
          if (!result.ok()) Fail(result.status());
        });
    if (!accepted.ok()) Fail(accepted);
    stanza.clear();
  };
  for (std::string line; std::getline(file, line);) {
    if (line.empty()) {
      publish();
    } else {
      stanza += line + '\n';
    }
  }
  publish();
  if (const absl::Status flushed = (*publisher)->Flush(kPatience); !flushed.ok()) Fail(flushed);
  const mqd::PublisherStats stats = (*publisher)->Stats();
  std::printf("{\"published\":%lu,\"resent\":%lu}\n", stats.confirmed, stats.resent);
  Close(arguments);
}

// ---- work

/// The value of a field of a stanza, or nothing.
std::string FieldOf(std::string_view stanza, std::string_view name) {
  for (std::size_t at = 0; at < stanza.size();) {
    const std::size_t end = std::min(stanza.find('\n', at), stanza.size());
    const std::string_view line = stanza.substr(at, end - at);
    if (line.starts_with(name) && line.substr(name.size()).starts_with(": ")) {
      return std::string(line.substr(name.size() + 2));
    }
    at = end + 1;
  }
  return {};
}

class Worker {
 public:
  explicit Worker(const Arguments& arguments) : arguments_(arguments) {}

  void Run() {
    const auto client = Connect(arguments_);
    auto consumer =
        client->NewConsumer({.queues = {{.queue = arguments_.queue}},
                             .handler = [this](mqd::Delivery& stanza) { Work(stanza); },
                             .credit_messages_initial = 2,
                             .credit_messages_max = 2,  // leave the rest to the other workers
                             .on_end_of_queue = [this](std::string_view) { end_.Set(); }});
    if (!consumer.ok()) Fail(consumer.status());
    end_.Wait();
    (*consumer)->Stop();
    Report();
  }

 private:
  void Work(mqd::Delivery& stanza) {
    std::this_thread::sleep_for(milliseconds(arguments_.work_time_ms));
    const std::string package = FieldOf(stanza.payload(), "Package");
    const std::string size = FieldOf(stanza.payload(), "Installed-Size");
    mqd::Message result{
        .payload = package + '\t' + (size.empty() ? "0" : size),
        .idempotency_key = package + ':' + FieldOf(stanza.payload(), "Architecture")};
    const bool again = stanza.attempt() > 1;
    std::promise<absl::StatusOr<mqd::SettleResult>> settled;
    stanza.Settle(mqd::Outcome::Ack(), {{.queue = arguments_.out, .messages = {result}}},
                  [&settled](const auto& outcome) { settled.set_value(outcome); });
    const absl::StatusOr<mqd::SettleResult> outcome = settled.get_future().get();
    if (again) ++redelivered_;
    // After an error the stanza comes again, here or at another worker, unless the request took
    // effect and only the answer was lost.
    if (!outcome.ok()) return;
    for (const mqd::PublishResult& published : outcome->publishes) {
      if (published.ok() && published->kind == mqd::PublishOutcome::Kind::kDuplicate) {
        ++duplicates_;
      }
    }
    if (++processed_ % 10 == 0) Report();
  }

  void Report() const {
    std::printf("{\"id\":%d,\"processed\":%lu,\"redelivered\":%lu,\"duplicates\":%lu}\n",
                arguments_.id, processed_, redelivered_, duplicates_);
    std::fflush(stdout);
  }

  const Arguments& arguments_;
  Signal end_;
  // Of the one handler thread, and of Run() after it has ended.
  unsigned long processed_ = 0;
  unsigned long redelivered_ = 0;
  unsigned long duplicates_ = 0;
};

// ---- aggregate

void Aggregate(const Arguments& arguments) {
  const auto client = Connect(arguments);
  Signal end;
  std::set<std::uint64_t> seen;  // a result is delivered again when its ack was lost
  unsigned long sum = 0;
  unsigned long redelivered = 0;
  auto consumer =
      client->NewConsumer({.queues = {{.queue = arguments.queue}},
                           .handler =
                               [&](mqd::Delivery& result) {
                                 if (!seen.insert(result.sequence()).second) {
                                   ++redelivered;
                                   return;
                                 }
                                 const std::string_view text = result.payload();
                                 sum += std::stoul(std::string(text.substr(text.find('\t') + 1)));
                               },
                           .on_end_of_queue = [&](std::string_view) { end.Set(); }});
  if (!consumer.ok()) Fail(consumer.status());
  end.Wait();
  (*consumer)->Stop();
  std::printf("{\"count\":%zu,\"sum\":%lu,\"redelivered\":%lu}\n", seen.size(), sum, redelivered);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App cli("the bounded worker pool of mqd; see deploy/run.sh");
  cli.require_subcommand(1);
  Arguments arguments;
  const auto command = [&](const char* name, const char* text, void (*run)(const Arguments&)) {
    CLI::App* subcommand = cli.add_subcommand(name, text);
    subcommand->add_option("--addr", arguments.address, "HOST:PORT of the broker");
    subcommand->final_callback([&arguments, run] { run(arguments); });
    return subcommand;
  };
  CLI::App* create = command("create", "make a bounded queue", Create);
  create->add_option("--queue", arguments.queue)->required();
  create->add_option("--capacity", arguments.capacity, "messages");
  command("close", "close a queue", Close)->add_option("--queue", arguments.queue)->required();
  CLI::App* produce = command("produce", "publish each stanza of a file, then close", Produce);
  produce->add_option("--queue", arguments.queue)->required();
  produce->add_option("--file", arguments.file)->required();
  CLI::App* work = command("work", "parse stanzas until the queue ends",
                           [](const Arguments& given) { Worker(given).Run(); });
  work->add_option("--in", arguments.queue)->required();
  work->add_option("--out", arguments.out)->required();
  work->add_option("--id", arguments.id);
  work->add_option("--work-time", arguments.work_time_ms, "of each stanza, as in 10ms")
      ->transform(
          CLI::AsNumberWithUnit(std::map<std::string, std::int64_t>{{"ms", 1}, {"s", 1'000}}));
  CLI::App* aggregate = command("aggregate", "sum sizes until the queue ends", Aggregate);
  aggregate->add_option("--queue", arguments.queue)->required();
  aggregate->add_flag("--expect-close", arguments.expect_close, "end at the end of the queue");
  CLI11_PARSE(cli, argc, argv);
  return 0;
}
