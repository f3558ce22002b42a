#pragma once

// broker.h: one life of the broker: registry, queues, sessions and services as the daemon has them,
// over a disk and a network on virtual time. What gRPC, the pool's threads and the clock do in the
// daemon, events of the Timeline do here.
//
// Threads:   one.
// Ownership: owns everything of this life; the rows on the disk outlive it.
// Limits:    none of its own.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "asio/io_context.hpp"
#include "server/queue/queue_registry.h"
#include "server/queue/redrive_manager.h"
#include "server/rpc/broker_service.h"
#include "server/rpc/session_list.h"
#include "tests/simulation/chaos_disk.h"
#include "tests/simulation/network.h"

namespace mqd::simulation {

class ServerCall;

class Broker {
 public:
  /// Recovers what is on the disk, and serves.
  Broker(Timeline& timeline, Network& network, std::shared_ptr<storage::MemoryDisk> disk,
         const ChaosDisk::Mood& mood);
  /// What is left goes as in a crash.
  ~Broker();

  /// The process is gone; with a power cut, also what was not flushed.
  void Crash(bool power_cut);

  /// Runs what the pool's threads would.
  void Poll();

  void Create(const std::string& name, const queue::QueueSettings& settings);
  void AskStats(const std::string& name, std::function<void(const queue::QueueStats&)> done);
  storage::Epoch epoch() const { return disk_.CurrentEpoch(); }

 private:
  void Accept(const std::shared_ptr<Stream>& stream);
  void Tick();

  Timeline& timeline_;
  Network& network_;
  ChaosDisk disk_;
  asio::io_context pool_;
  rpc::SessionList sessions_;
  rpc::Authorizer everyone_;
  std::unique_ptr<queue::QueueRegistry> registry_;
  std::unique_ptr<queue::RedriveManager> redrives_;
  std::unique_ptr<rpc::RpcDeps> deps_;
  std::unique_ptr<rpc::BrokerService> service_;
  std::map<std::uint64_t, std::shared_ptr<ServerCall>> calls_;  // by the stream's id
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mqd::simulation
