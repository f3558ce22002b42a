#pragma once

// queue_broker.h: a queue registry on a store, with threads, for tests of what runs on several.
//
// Threads: the test's; what is asked for runs on the pool and on the store's threads.

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "asio/thread_pool.hpp"
#include "server/queue/live_queue_registry.h"
#include "storage/chaos_commit_log.h"
#include "storage/memory_store.h"

namespace mqd::queue::testing {

/// A registry on a disk. The threads end before anything they use.
class Broker {
 public:
  explicit Broker(std::unique_ptr<storage::Store> store, RegistryOptions options = {})
      : store_(std::move(store)),
        registry_(std::make_unique<LiveQueueRegistry>(*store_, pool_.get_executor(),
                                                      std::move(options))) {
    const absl::Status recovered = registry_->Recover();
    EXPECT_TRUE(recovered.ok()) << recovered;
  }
  ~Broker() { StopThreads(); }

  /// Afterwards nothing runs and no commit is under way. For a test whose parts end before this.
  void StopThreads() {
    registry_->Stop();
    pool_.stop();
    pool_.join();
    registry_->Stop();  // what the last tasks have asked for
  }

  LiveQueueRegistry& registry() { return *registry_; }
  storage::Store& store() { return *store_; }
  asio::any_io_executor pool() { return pool_.get_executor(); }

  /// Starts something and waits for its callback.
  template <class T, class Start>
  absl::StatusOr<T> Wait(Start start) {
    std::promise<absl::StatusOr<T>> done;
    start([&done](absl::StatusOr<T> result) { done.set_value(std::move(result)); });
    return done.get_future().get();
  }
  absl::StatusOr<CreatedQueue> Create(const std::string& name, QueueSettings settings = {}) {
    return Wait<CreatedQueue>(
        [&](auto done) { registry_->Create(name, settings, std::move(done)); });
  }
  /// Until it is there; an unknown outcome says to try again.
  std::shared_ptr<QueueActor> Made(const std::string& name, QueueSettings settings = {}) {
    while (!Create(name, settings).ok()) {
    }
    return *registry_->Find(name);
  }
  QueueStats Stats(const std::shared_ptr<QueueActor>& queue) {
    for (;;) {
      auto info = Wait<QueueInfo>([&](auto done) { queue->Info(std::move(done)); });
      if (info.ok()) return info->stats;
    }
  }

 private:
  asio::thread_pool pool_{2};
  const std::unique_ptr<storage::Store> store_;
  std::unique_ptr<LiveQueueRegistry> registry_;
};

inline std::unique_ptr<storage::Store> Chaos(std::shared_ptr<storage::MemoryDisk> disk,
                                             unsigned seed, std::uint32_t unknown_percent) {
  return std::make_unique<storage::ChaosCommitLog>(
      std::make_unique<storage::MemoryStore>(std::move(disk)),
      storage::ChaosCommitLog::Options{.seed = seed, .unknown_percent = unknown_percent});
}

}  // namespace mqd::queue::testing
