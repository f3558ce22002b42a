#pragma once

// rpc_broker.h: the services and sessions over queues in memory, or over a registry of the test's,
// in this process, with a clock for sessions that the test moves.
//
// Threads: one at a time; gRPC and the pool have their own.
// Ownership: streams must end before it.

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "asio/steady_timer.hpp"
#include "asio/thread_pool.hpp"
#include "grpcpp/grpcpp.h"
#include "server/queue/queue_registry.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/broker_service.h"
#include "server/rpc/redrive_rpc.h"
#include "server/rpc/session_list.h"
#include "server/rpc/time_convert.h"
#include "storage/memory_store.h"

namespace mqd::rpc {

class RpcBroker {
 public:
  explicit RpcBroker(const Authorizer& authorizer) : RpcBroker(authorizer, nullptr) {}

  RpcBroker(const Authorizer& authorizer, std::unique_ptr<queue::QueueRegistry> registry)
      : registry_(registry != nullptr
                      ? std::move(registry)
                      : queue::QueueRegistry::Open(store_, pool_.get_executor(), {}).value()),
        redrives_(
            {.store = store_,
             .queues = *registry_,
             .clock =
                 [] {
                   return queue::Now{SteadyNs(), WallMs()};
                 },
             .run_at = [this](std::int64_t at_ns, auto task) { RunAt(at_ns, std::move(task)); },
             .special_of = SpecialOfStored}),
        deps_{.registry = *registry_,
              .redrives = redrives_,
              .store = store_,
              .authorizer = authorizer,
              .sessions = sessions_,
              .pool = pool_.get_executor()},
        broker_(deps_),
        admin_(deps_) {
    grpc::ServerBuilder builder;
    builder.RegisterService(&broker_);
    builder.RegisterService(&admin_);
    // A real port: over an in-process channel a write waits for the reader, even one that has left.
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    server_ = builder.BuildAndStart();
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::BrokerService::NewStub(channel_);
    admin_stub_ = v1::AdminService::NewStub(channel_);
  }

  ~RpcBroker() {
    sessions_.EndAll();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
    server_->Wait();
    redrives_.Stop();
    registry_->Stop();
    pool_.stop();
    pool_.join();
    registry_->Stop();
  }

  void Create(const std::string& name, queue::QueueSettings settings = {}) {
    std::promise<absl::Status> done;
    registry_->Create(queue::FullName(name).value(), std::move(settings),
                      [&done](auto created) { done.set_value(created.status()); });
    const absl::Status status = done.get_future().get();
    ASSERT_TRUE(status.ok()) << status;
  }

  queue::QueueStats Stats(const std::string& name) {
    std::promise<queue::QueueStats> done;
    registry_->Find(queue::FullName(name).value()).value()->Info([&done](auto info) {
      done.set_value(info.value().stats);
    });
    return done.get_future().get();
  }

  /// Lets the sessions believe that it is so much later than now.
  void Tick(std::chrono::milliseconds later) {
    sessions_.Tick(SteadyNs() + later.count() * queue::kNsPerMs);
  }

  v1::BrokerService::Stub& stub() { return *stub_; }
  v1::AdminService::Stub& admin() { return *admin_stub_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  SessionList& sessions() { return sessions_; }
  const RpcDeps& deps() const { return deps_; }

 private:
  void RunAt(std::int64_t at_ns, queue::RedriveManager::Task task) {
    const std::chrono::steady_clock::time_point at{std::chrono::nanoseconds(at_ns)};
    auto timer = std::make_shared<asio::steady_timer>(pool_.get_executor(), at);
    timer->async_wait([timer, task = std::move(task)](const std::error_code& error) mutable {
      if (!error) task();
    });
  }

  storage::MemoryStore store_;
  asio::thread_pool pool_{2};
  SessionList sessions_;
  std::unique_ptr<queue::QueueRegistry> registry_;
  queue::RedriveManager redrives_;
  RpcDeps deps_;
  BrokerService broker_;
  AdminService admin_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::BrokerService::Stub> stub_;
  std::unique_ptr<v1::AdminService::Stub> admin_stub_;
};

}  // namespace mqd::rpc
