// keyed_test.cc: order per key under kills, and what it costs.
//
// A producer publishes numbered messages of 1,000 keys. 16 worker processes take them, retry one
// in ten, and settle each with its result for a second queue in one atomic request, so that the
// order of the results is the order of the settles, and each message leaves one. Meanwhile 3
// workers and 3 times the daemon are killed. Then the same without keys.
//
// Exits 0 when every key's results came complete and in order, and the keyed run reached half of
// the other's throughput in one of three rounds; 1 when not; 2 when the run could not begin.

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "mqd/client.h"
#include "tests/crash/daemon.h"
#include "tests/support/child_process.h"

namespace mqd::crash {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWorkers = 16;
constexpr int kKills = 3;
constexpr int kRounds = 3;
constexpr std::chrono::minutes kTimeMax{5};

struct Options {
  std::string self;
  std::string program;
  std::string directory;
  std::string worker_address;  // of a worker process
  std::uint64_t keys = 1'000;
  std::uint64_t messages = 40'000;
};

/// One in ten, the same for the same attempt at the same message.
bool Fails(std::string_view payload, std::uint32_t attempt) {
  std::uint64_t hash = attempt;
  for (const char c : payload) hash = hash * 31 + static_cast<std::uint8_t>(c);
  return (hash * 0x9E3779B97F4A7C15ull >> 32) % 10 == 0;
}

// ---- a worker, in a process of its own

int Work(const std::string& address) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto client = Client::Connect({.address = address, .connect_timeout = std::chrono::seconds(0)});
  if (!client.ok()) return 2;
  const auto handle = [](Delivery& delivery) {
    const std::string payload(delivery.payload());
    if (Fails(payload, delivery.attempt())) {
      return Outcome::RetryAfter(std::chrono::milliseconds(1), "one in ten");
    }
    delivery.Settle(Outcome::Ack(), {{.queue = "out", .messages = {{.payload = payload}}}},
                    [](const absl::StatusOr<SettleResult>&) {});
    return Outcome::Deferred();
  };
  auto consumer = (*client)->NewConsumer({.queues = {{.queue = "in"}}, .handler = handle});
  if (!consumer.ok()) return 2;
  while (true) pause();
}

class Workers {
 public:
  Workers(std::string self, std::string address)
      : self_(std::move(self)), address_(std::move(address)) {
    for (int i = 0; i < kWorkers; ++i) pids_.push_back(Start());
  }
  ~Workers() {
    for (const pid_t pid : pids_) End(pid);
  }
  void KillOne(std::size_t which) {
    End(pids_[which]);
    pids_[which] = Start();
  }

 private:
  static void End(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  pid_t Start() const {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    mqd::testing::CloseInheritedFiles();
    execl(self_.c_str(), self_.c_str(), "--worker", address_.c_str(), nullptr);
    _exit(127);
  }

  const std::string self_;
  const std::string address_;
  std::vector<pid_t> pids_;
};

// ---- one run

std::string Payload(std::uint64_t key, std::uint64_t number) {
  return "k" + std::to_string(key) + ":" + std::to_string(number);
}

class Run {
 public:
  Run(const Options& options, bool keyed)
      : options_(options),
        keyed_(keyed),
        daemon_(options.program, options.directory + (keyed ? "/keyed" : "/plain")) {}

  /// Seconds from the first publish to the last result; below 0 when it could not begin or end.
  double Go() {
    if (!Serve() || !Prepare()) return -1;
    Workers workers(options_.self, daemon_.address());
    const auto begin = Clock::now();
    std::thread producer([this] { Publish(); });
    const bool complete = Collect(workers, begin);
    producer.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    return complete ? seconds : -1;
  }

  /// The first break of a promise, or empty.
  std::string Verdict() const {
    std::map<std::string, std::uint64_t> next;  // by key, in the order of the settles
    for (const auto& [sequence, payload] : results_) {
      const std::size_t colon = payload.find(':');
      const std::string key = payload.substr(0, colon);
      const std::uint64_t number = std::stoull(payload.substr(colon + 1));
      if (!keyed_) continue;
      if (number != next[key]) {
        return key + ": result " + std::to_string(number) + " came where " +
               std::to_string(next[key]) + " was due";
      }
      ++next[key];
    }
    std::vector<std::string> all;
    for (const auto& [sequence, payload] : results_) all.push_back(payload);
    std::sort(all.begin(), all.end());
    if (std::adjacent_find(all.begin(), all.end()) != all.end()) return "a result came twice";
    if (all.size() != options_.messages) return "results are missing";
    return "";
  }
  std::uint64_t kills() const { return kills_; }

 private:
  bool Serve() {
    if (!daemon_.Start().ok()) return false;
    const auto until = Clock::now() + std::chrono::seconds(30);
    while (Clock::now() < until) {
      const absl::StatusOr<bool> serving = daemon_.Serving();
      if (!serving.ok()) return false;
      if (*serving) return true;
      std::this_thread::yield();
    }
    return false;
  }

  bool Prepare() {
    auto client = Client::Connect({.address = daemon_.address()});
    if (!client.ok()) return false;
    client_ = *std::move(client);
    QueueSettings in;
    in.ordering = keyed_ ? Ordering::kKeyed : Ordering::kFifo;
    if (!keyed_) in.dispatch_policy = DispatchPolicy::kLeastLoaded;
    in.max_attempts = 1'000;
    const auto admin = client_->NewAdmin();
    return admin->CreateQueue("in", in).ok() && admin->CreateQueue("out", {}).ok();
  }

  void Publish() {
    auto publisher = *client_->NewPublisher({.queue = "in"});
    for (std::uint64_t i = 0; i < options_.messages; ++i) {
      const std::uint64_t key = i % options_.keys;
      Message message{.payload = Payload(key, i / options_.keys)};
      if (keyed_) message.ordering_key = "k" + std::to_string(key);
      // A refusal shows as a missing result.
      (void)publisher->Publish(std::move(message), [](const PublishResult&) {});
    }
    (void)publisher->Close(kTimeMax);
  }

  bool Collect(Workers& workers, Clock::time_point begin) {
    auto consumer = *client_->NewConsumer({.queues = {{.queue = "out"}}});
    std::uint64_t step = 1;
    while (results_.size() < options_.messages) {
      if (Clock::now() - begin > kTimeMax) return false;
      absl::StatusOr<Delivery> delivery = consumer->Next(std::chrono::seconds(1));
      if (absl::IsDeadlineExceeded(delivery.status())) continue;
      if (!delivery.ok()) return false;
      results_.emplace(delivery->sequence(), std::string(delivery->payload()));
      delivery->Settle(Outcome::Ack());
      if (results_.size() < step * options_.messages / (2 * kKills + 1)) continue;
      if (step > 2 * kKills) continue;
      if (step % 2 == 1) {
        workers.KillOne(step % kWorkers);
      } else if (!daemon_.Kill().ok() || !Serve()) {
        return false;
      }
      ++step;
      ++kills_;
    }
    return true;
  }

  const Options& options_;
  const bool keyed_;
  Daemon daemon_;
  std::unique_ptr<Client> client_;
  std::map<std::uint64_t, std::string> results_;  // by sequence in the queue "out"
  std::uint64_t kills_ = 0;
};

enum class Round { kGood, kSlow, kBroken, kNotRun };

Round Compare(const Options& options) {
  Run plain(options, false);
  const double plain_seconds = plain.Go();
  Run keyed(options, true);
  const double keyed_seconds = plain_seconds < 0 ? -1 : keyed.Go();
  if (plain_seconds < 0 || keyed_seconds < 0) {
    std::printf("a run did not begin or end; its data is in %s\n", options.directory.c_str());
    return Round::kNotRun;
  }
  const auto rate = [&](double seconds) { return static_cast<double>(options.messages) / seconds; };
  std::printf("%llu messages, %llu keys, %d consumers, one in ten retried\n",
              static_cast<unsigned long long>(options.messages),
              static_cast<unsigned long long>(options.keys), kWorkers);
  std::printf("plain  %8.0f msg/s  kills %llu  %s\n", rate(plain_seconds),
              static_cast<unsigned long long>(plain.kills()), plain.Verdict().c_str());
  std::printf("keyed  %8.0f msg/s  kills %llu  %s\n", rate(keyed_seconds),
              static_cast<unsigned long long>(keyed.kills()), keyed.Verdict().c_str());
  if (!plain.Verdict().empty() || !keyed.Verdict().empty()) return Round::kBroken;
  if (keyed.kills() != 2 * kKills) return Round::kBroken;
  std::filesystem::remove_all(options.directory);
  return keyed_seconds <= 2 * plain_seconds ? Round::kGood : Round::kSlow;
}

int Main(int argc, char** argv) {
  Options options;
  options.self = std::filesystem::canonical("/proc/self/exe");
  CLI::App cli("Kills mqd and its consumers and checks the order per key.", "keyed_test");
  cli.add_option("--mqd", options.program, "the daemon");
  cli.add_option("--worker", options.worker_address, "be a worker of the broker at this address");
  cli.add_option("--messages", options.messages, "how many messages");
  cli.add_option("--keys", options.keys, "of how many keys");
  CLI11_PARSE(cli, argc, argv);
  if (!options.worker_address.empty()) return Work(options.worker_address);
  // The two runs of a round come one after the other: whatever else the machine does meanwhile may
  // slow down one of them. Order and completeness are to hold in every round.
  for (int round = 0; round < kRounds; ++round) {
    std::string name = std::filesystem::temp_directory_path() / "mqd-keyed-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) return 2;
    options.directory = name;
    const Round result = Compare(options);
    if (result == Round::kNotRun) return 2;
    if (result == Round::kBroken) break;
    if (result == Round::kSlow) continue;
    std::printf("in order, complete, and at least half as fast\n");
    return 0;
  }
  std::printf("broken\n");
  return 1;
}

}  // namespace
}  // namespace mqd::crash

int main(int argc, char** argv) { return mqd::crash::Main(argc, argv); }
