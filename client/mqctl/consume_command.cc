// consume_command.cc: consume.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {
namespace {

using Clock = std::chrono::steady_clock;

struct ConsumeArguments {
  std::vector<std::string> queues;  // NAME or NAME:NUMBER
  std::string select = "weights";
  std::string ageing_floor;
  std::string name;
  bool take_over = false;
  bool marks_started = true;
  std::string exec;
  std::uint64_t count = 0;  // 0: no end
  std::string wait;         // empty: for ever
  bool no_ack = false;
};

/// Runs `command` in the shell with the payload on its standard input. The exit status, or -1.
int RunCommand(const std::string& command, const Delivery& delivery) {
  setenv("MQD_QUEUE", std::string(delivery.queue()).c_str(), 1);
  setenv("MQD_SEQUENCE", std::to_string(delivery.sequence()).c_str(), 1);
  setenv("MQD_ATTEMPT", std::to_string(delivery.attempt()).c_str(), 1);
  setenv("MQD_KEY", std::string(delivery.idempotency_key()).c_str(), 1);
  FILE* pipe = popen(command.c_str(), "w");
  if (pipe == nullptr) return -1;
  // Unbuffered, so that nothing is left for pclose() to write: it would fail with what a command
  // did not read, and hide its exit status.
  std::setvbuf(pipe, nullptr, _IONBF, 0);
  const std::string_view payload = delivery.payload();
  std::fwrite(payload.data(), 1, payload.size(), pipe);
  const int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void Print(const Globals& globals, const Delivery& delivery) {
  if (!globals.json()) {
    std::cout << delivery.payload() << '\n' << std::flush;
    return;
  }
  Json headers = Json::object();
  for (const auto& [key, value] : delivery.headers()) headers[std::string(key)] = value;
  const Json out = {{"queue", delivery.queue()},
                    {"sequence", delivery.sequence()},
                    {"attempt", delivery.attempt()},
                    {"publish_time", FormatTime(delivery.publish_time())},
                    {"idempotency_key", delivery.idempotency_key()},
                    {"headers", headers},
                    {"payload", delivery.payload()},
                    {"delivery_id", delivery.delivery_id()},
                    {"ordering_key", delivery.ordering_key()},
                    {"priority", delivery.priority()},
                    {"fence", delivery.fence()}};
  std::cout << Dump(out) << '\n' << std::flush;
}

Outcome Handle(const Globals& globals, const ConsumeArguments& arguments,
               const Delivery& delivery) {
  if (arguments.exec.empty()) {
    Print(globals, delivery);
    return arguments.no_ack ? Outcome::Release() : Outcome::Ack();
  }
  const int status = RunCommand(arguments.exec, delivery);
  if (status == 0) return Outcome::Ack();
  return Outcome::Retry("exit status " + std::to_string(status));
}

/// "orders:3": weight 3, or priority 3.
absl::StatusOr<SelectQueue> SelectQueueOf(const std::string& text, bool priority) {
  const std::size_t colon = text.rfind(':');
  SelectQueue queue{.queue = text.substr(0, colon)};
  if (colon == std::string::npos) return queue;
  if (!CLI::detail::lexical_cast(text.substr(colon + 1),
                                 priority ? queue.priority : queue.weight)) {
    return absl::InvalidArgumentError("\"" + text + "\": write QUEUE or QUEUE:NUMBER");
  }
  return queue;
}

absl::StatusOr<ConsumerOptions> OptionsOf(const ConsumeArguments& arguments) {
  const bool priority = arguments.select == "priority";
  ConsumerOptions options{.select_mode = priority ? SelectMode::kPriority : SelectMode::kWeighted,
                          .client_name = arguments.name,
                          .credit_messages_initial = 1,
                          .credit_messages_max = arguments.exec.empty() ? 256U : 1U,
                          .take_over = arguments.take_over,
                          .marks_started = arguments.marks_started};
  for (const std::string& text : arguments.queues) {
    auto queue = SelectQueueOf(text, priority);
    if (!queue.ok()) return queue.status();
    options.queues.push_back(*std::move(queue));
  }
  if (!arguments.ageing_floor.empty()) {
    const auto floor = ParseDuration(arguments.ageing_floor);
    if (!floor.ok()) return floor.status();
    options.ageing_floor = *floor;
  }
  return options;
}

absl::Status Consume(const Globals& globals, const ConsumeArguments& arguments) {
  std::chrono::milliseconds wait = std::chrono::hours(24 * 365);
  if (!arguments.wait.empty()) {
    const auto parsed = ParseDuration(arguments.wait);
    if (!parsed.ok()) return parsed.status();
    wait = *parsed;
  }
  auto options = OptionsOf(arguments);
  if (!options.ok()) return options.status();
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  std::signal(SIGPIPE, SIG_IGN);  // a command may end without reading
  auto consumer = (*client)->NewConsumer(*std::move(options));
  if (!consumer.ok()) return consumer.status();
  const Clock::time_point end = Clock::now() + wait;
  std::uint64_t taken = 0;
  absl::Status stopped;
  while (arguments.count == 0 || taken < arguments.count) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    auto delivery = (*consumer)->Next(std::max(left, std::chrono::milliseconds(0)));
    if (!delivery.ok()) {
      stopped = delivery.status();
      break;
    }
    delivery->Settle(Handle(globals, arguments, *delivery));
    ++taken;
  }
  const auto drained = (*consumer)->Drain(std::chrono::seconds(10));
  if (absl::IsOutOfRange(stopped)) return absl::OkStatus();  // the queue has ended
  if (absl::IsDeadlineExceeded(stopped)) {
    if (arguments.count == 0) return absl::OkStatus();
    return absl::DeadlineExceededError("only " + std::to_string(taken) + " of " +
                                       std::to_string(arguments.count) + " messages came in time");
  }
  return stopped.ok() ? drained.status() : stopped;
}

}  // namespace

void AddConsumeCommand(CLI::App& cli, Globals& globals) {
  const auto arguments = std::make_shared<ConsumeArguments>();
  CLI::App* consume = cli.add_subcommand("consume", "take messages and print them, or run them");
  consume
      ->add_option("queues", arguments->queues,
                   "up to 64, each with its weight or priority if need be: orders:3")
      ->required();
  consume->add_option("--count", arguments->count, "end after that many (0: never)");
  consume->add_option("--wait", arguments->wait, "end after that time")->type_name("TIME");
  consume
      ->add_option("--exec", arguments->exec,
                   "run this for each message, which is its standard input; exit status 0 is an "
                   "ack, another a retry")
      ->type_name("COMMAND");
  consume->add_flag("--no-ack", arguments->no_ack, "give each message back after it was printed");
  consume->add_option("--select", arguments->select, "how to choose between queues (weights)")
      ->transform(OneOf({"weights", "priority"}));
  consume
      ->add_option("--ageing-floor", arguments->ageing_floor,
                   "with --select priority: every queue is served at least that often (30s)")
      ->type_name("TIME");
  consume->add_option("--name", arguments->name, "shown by why and consumer list");
  consume->add_flag("--take-over", arguments->take_over, "fence off the consumer that holds it");
  consume->add_flag("--marks-started,!--no-marks-started", arguments->marks_started,
                    "tell the broker when work on a message begins (on)");
  consume->footer(
      "MQD_QUEUE, MQD_SEQUENCE, MQD_ATTEMPT and MQD_KEY are set for the command.\n"
      "Examples:\n"
      "  mqctl consume orders --count 1\n"
      "  mqctl consume orders --exec './ship.sh'\n"
      "  mqctl consume urgent:9 bulk:1 --select priority");
  OnCommand(consume, globals, [&globals, arguments] { return Consume(globals, *arguments); });
}

}  // namespace mqd::mqctl
