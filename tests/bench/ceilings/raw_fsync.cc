// raw_fsync.cc: appends and fdatasyncs in a loop: what the disk gives by itself. Prints one JSON
// object.
//
//   raw_fsync --dir DIR --size BYTES --batch MESSAGES --seconds S
//
// With --batch 1 its p50 is the least that a confirm can take; with the batches that a broker makes
// its throughput is the most that a log on this disk can take.

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <random>
#include <string>

#include "CLI/CLI.hpp"
#include "client/mqctl/histogram.h"
#include "nlohmann/json.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string directory = ".";
  std::size_t size = 1'024;
  std::size_t batch = 1;
  double seconds = 2;
};

nlohmann::json Measure(const Options& options, int file) {
  std::string data(options.size * options.batch, '\0');
  std::mt19937_64 random(1);
  for (char& byte : data) byte = static_cast<char>(random());
  mqd::mqctl::Histogram latency;
  const auto begin = Clock::now();
  const auto end = begin + std::chrono::duration<double>(options.seconds);
  auto now = begin;
  while (now < end) {
    const auto before = now;
    if (write(file, data.data(), data.size()) != static_cast<ssize_t>(data.size()) ||
        fdatasync(file) != 0) {
      std::perror("raw_fsync");
      std::exit(74);
    }
    now = Clock::now();
    latency.Record(std::chrono::nanoseconds(now - before).count());
  }
  const double seconds = std::chrono::duration<double>(now - begin).count();
  const double messages = static_cast<double>(latency.count() * options.batch);
  const auto us = [&](double share) {
    return static_cast<double>(latency.Percentile(share)) / 1'000;
  };
  return {{"system", "raw_fsync"},
          {"size_bytes", options.size},
          {"batch", options.batch},
          {"syncs", latency.count()},
          {"published_per_second", messages / seconds},
          {"bytes_per_second", messages * static_cast<double>(options.size) / seconds},
          {"confirm_us", {{"p50", us(0.5)}, {"p99", us(0.99)}, {"p999", us(0.999)}}}};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App cli("appends and fdatasyncs in a loop");
  cli.add_option("--dir", options.directory, "where the file is made");
  cli.add_option("--size", options.size, "bytes of a message")->check(CLI::PositiveNumber);
  cli.add_option("--batch", options.batch, "messages a sync")->check(CLI::PositiveNumber);
  cli.add_option("--seconds", options.seconds);
  CLI11_PARSE(cli, argc, argv);
  const std::string path = options.directory + "/raw_fsync." + std::to_string(getpid());
  const int file = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) {
    std::perror(path.c_str());
    return 73;
  }
  unlink(path.c_str());
  std::cout << Measure(options, file).dump() << '\n';
  close(file);
  return 0;
}
