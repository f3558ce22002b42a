// driver_main.cc: the command line of all drivers.

#include <poll.h>

#include <cstdlib>
#include <iostream>

#include "CLI/CLI.hpp"
#include "tests/bench/peers/harness.h"

namespace mqd::bench {

void Die(std::string_view what) {
  std::cerr << "failed: " << what << std::endl;
  std::_Exit(1);  // other threads may be anywhere
}

bool Readable(int socket, std::chrono::microseconds wait) {
  pollfd poll{socket, POLLIN, 0};
  const timespec time{.tv_sec = wait.count() / 1'000'000,
                      .tv_nsec = wait.count() % 1'000'000 * 1'000};
  return ppoll(&poll, 1, &time, nullptr) > 0;
}

HostPort ParseAddress(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) Die("an address is HOST:PORT");
  return {std::string(address.substr(0, colon)),
          std::atoi(std::string(address.substr(colon + 1)).c_str())};
}

namespace {

void AddOptions(CLI::App& cli, Options& options) {
  cli.add_option("--addr", options.address, "HOST:PORT")->required();
  cli.add_option("--kind", options.kind, "of queue, for systems with several");
  cli.add_option("--name", options.name, "what the names of queues begin with");
  cli.add_option("--producers", options.producers);
  cli.add_option("--consumers", options.consumers);
  cli.add_option("--queues", options.queues)->check(CLI::PositiveNumber);
  cli.add_option("--size", options.size, "bytes")
      ->check(CLI::Range(kPayloadBytesMin, std::size_t{16} << 20));
  cli.add_option("--rate", options.rate, "messages a second of all producers; 0: no limit");
  cli.add_option("--seconds", options.seconds);
  cli.add_option("--warm-up", options.warm_up, "seconds");
  cli.add_option("--window", options.window, "unconfirmed messages of a producer");
  cli.add_option("--fill", options.fill, "messages published before anything is measured");
  cli.add_flag("--consume-fill", options.consume_fill, "consumers begin before the fill");
  cli.add_option("--broker-pid", options.broker_pid, "whose CPU time is told");
  cli.add_option("--phase", options.phase)->check(CLI::IsMember({"all", "fill", "drain", "hold"}));
  cli.add_option("--durability", options.durability, "of mqd's queues")
      ->check(CLI::IsMember({"sync", "async", "memory"}));
  cli.add_flag("--idempotent", options.idempotent, "mqd: a key on every message");
  cli.add_option("--ordering-keys", options.ordering_keys, "mqd: KEYED, with so many keys");
}

}  // namespace

int DriverMain(int argc, char** argv, const char* system,
               const std::function<std::unique_ptr<Driver>(const Options&)>& make) {
  Options options;
  CLI::App cli(std::string("drives ") + system + " and measures it");
  AddOptions(cli, options);
  CLI11_PARSE(cli, argc, argv);
  if ((options.phase == "fill" || options.phase == "drain") && options.name.empty()) {
    Die("--phase fill and drain need --name");
  }
  const std::unique_ptr<Driver> driver = make(options);
  nlohmann::json result = RunDriver(options, *driver);
  result["system"] = system;
  result.update(driver->Extra());
  std::cout << result.dump() << std::endl;
  const bool whole = result["lost"] == 0 && result["failed"] == 0 && result["unconfirmed"] == 0;
  return whole ? 0 : 1;
}

}  // namespace mqd::bench
