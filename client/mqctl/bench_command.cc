// bench_command.cc: bench.

#include <cstdio>
#include <iostream>

#include "client/mqctl/bench_run.h"
#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {
namespace {

struct BenchArguments {
  BenchOptions options;
  std::string size = "100B";
  std::string durability = "sync";
  std::string duration = "5s";
  std::string spread = "1m";
};

double Microseconds(const Histogram& histogram, double share) {
  return static_cast<double>(histogram.Percentile(share)) / 1'000;
}

Json Percentiles(const Histogram& histogram) {
  return {{"p50", Microseconds(histogram, 0.5)},
          {"p99", Microseconds(histogram, 0.99)},
          {"p999", Microseconds(histogram, 0.999)}};
}

Json ToJson(const BenchArguments& arguments, const BenchResult& result) {
  const auto per_second = [&](std::uint64_t count) {
    return static_cast<double>(count) / result.seconds;
  };
  const BenchOptions& options = arguments.options;
  return {{"producers", options.producers},
          {"consumers", options.consumers},
          {"queues", options.queues},
          {"size_bytes", options.size},
          {"durability", arguments.durability},
          {"rate", options.rate},
          {"seconds", result.seconds},
          {"published_per_second", per_second(result.published_in_window)},
          {"consumed_per_second", per_second(result.consumed_in_window)},
          {"confirm_us", Percentiles(result.confirm)},
          {"end_to_end_us", Percentiles(result.end_to_end)},
          {"published", result.published},
          {"consumed", result.consumed},
          {"duplicates", result.duplicates},
          {"errors", result.errors},
          {"missing", result.missing}};
}

void PrintLine(const char* what, std::uint64_t clients, double per_second, std::uint64_t size,
               const Histogram& histogram) {
  std::printf(
      "%-8s %3lu clients  %12.0f msg/s  %9.1f MiB/s   p50 %9.0f us  p99 %9.0f us  p99.9 %9.0f us\n",
      what, clients, per_second, per_second * static_cast<double>(size) / (1 << 20),
      Microseconds(histogram, 0.5), Microseconds(histogram, 0.99), Microseconds(histogram, 0.999));
}

absl::Status Bench(const Globals& globals, BenchArguments& arguments) {
  BenchOptions& options = arguments.options;
  const auto size = ParseSize(arguments.size);
  if (!size.ok()) return size.status();
  const auto duration = ParseDuration(arguments.duration);
  if (!duration.ok()) return duration.status();
  const auto spread = ParseDuration(arguments.spread);
  if (!spread.ok()) return spread.status();
  if (options.queues == 0 || options.producers == 0) {
    return absl::InvalidArgumentError("--queues and --producers must be at least 1");
  }
  options.size = std::max<std::uint64_t>(*size, 16);
  options.duration = *duration;
  options.spread = *spread;
  options.address = globals.address;
  options.durability = arguments.durability == "sync"    ? Durability::kSync
                       : arguments.durability == "async" ? Durability::kAsync
                                                         : Durability::kMemory;
  const auto result = RunBench(options);
  if (!result.ok()) return result.status();
  if (globals.json()) {
    PrintJson(ToJson(arguments, *result));
  } else {
    std::printf("%s, durability %s, %lu queues, %s messages, %.1f s\n", globals.address.c_str(),
                arguments.durability.c_str(), static_cast<unsigned long>(options.queues),
                FormatSize(options.size).c_str(), result->seconds);
    PrintLine("publish", options.producers,
              static_cast<double>(result->published_in_window) / result->seconds, options.size,
              result->confirm);
    PrintLine("consume", options.consumers,
              static_cast<double>(result->consumed_in_window) / result->seconds, options.size,
              result->end_to_end);
    std::printf("published %lu, consumed %lu, duplicates %lu, errors %lu, missing %lu\n",
                result->published, result->consumed, result->duplicates, result->errors,
                result->missing);
  }
  if (result->missing > 0 || result->errors > 0) {
    return absl::InternalError("messages are missing, or publishes failed");
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchCommand(CLI::App& cli, Globals& globals) {
  const auto arguments = std::make_shared<BenchArguments>();
  BenchOptions& options = arguments->options;
  CLI::App* bench = cli.add_subcommand("bench", "measure a broker with queues of its own");
  bench->add_option("--producers", options.producers, "(1)");
  bench->add_option("--consumers", options.consumers, "(1)");
  bench->add_option("--queues", options.queues, "clients take turns over them (1)");
  bench->add_option("--size", arguments->size, "of a payload, at least 16B (100B)");
  bench->add_option("--rate", options.rate, "messages a second of all producers (0: no limit)");
  bench->add_option("--durability", arguments->durability)
      ->transform(OneOf({"sync", "async", "memory"}));
  bench->add_option("--duration", arguments->duration, "after a second of warm-up (5s)");
  bench->add_flag("--idempotent", options.idempotent, "an idempotency key on every message");
  bench->add_option("--keys", options.keys, "so many different keys a producer (0: all differ)");
  bench->add_option("--ordering-keys", options.ordering_keys,
                    "a KEYED queue, with so many different keys (0: a plain queue)");
  bench->add_option("--delayed", options.delayed,
                    "so many messages with delivery times at random over --spread, and how late "
                    "they came, in the place of --duration (0)");
  bench->add_option("--spread", arguments->spread, "(1m)");
  bench->add_option("--window", options.window, "unconfirmed messages of a producer (8192)");
  bench->footer(
      "publish: from the call to its confirm; consume: from the call to the handler, or, with\n"
      "--delayed, from the delivery time to the handler.\n"
      "Example: mqctl bench --producers 4 --consumers 4 --size 1KiB");
  OnCommand(bench, globals, [&globals, arguments] { return Bench(globals, *arguments); });
}

}  // namespace mqd::mqctl
