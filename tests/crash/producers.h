#pragma once

// producers.h: threads that publish through the client library.
//
// Threads:   Run() on its own thread until World::stop_producers(); results come on the Client's.
// Ownership: the World and the Client outlive the producer.
// Limits:    the pace of the World.

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "mqd/client.h"
#include "tests/crash/world.h"

namespace mqd::crash {

class Producer {
 public:
  Producer(World& world, Client& client, std::uint32_t process, std::uint32_t queue);

  /// Publishes to one queue, over one publisher after the other. Ends when every message has its
  /// result, which may be that it is unknown.
  void Run();

 private:
  /// A message that has a key, and is published so many times more.
  struct Repeat {
    std::uint64_t message = 0;
    std::uint64_t key = 0;
    std::uint64_t times = 0;
  };
  struct Confirmed;

  void RunPublisher();
  void PublishOne(Publisher& publisher);
  void PublishKeyed(Publisher& publisher);
  void PublishConflict(Publisher& publisher);
  void Send(Publisher& publisher, std::uint64_t message, std::uint64_t key);

  World& world_;
  Client& client_;
  const std::uint32_t process_;
  const std::uint32_t queue_;
  Random random_;
  std::uint64_t session_ = 0;
  std::deque<Repeat> repeats_;
  std::shared_ptr<Confirmed> confirmed_;  // keys whose message is stored
};

}  // namespace mqd::crash
