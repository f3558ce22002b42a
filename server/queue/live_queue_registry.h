#pragma once

// live_queue_registry.h: the QueueRegistry of the daemon.
//
// Threads: Any. The map is guarded by one mutex; nothing is called while it is held.
// Ownership: Owns the actors with everyone who uses one. Commits and bodies in flight keep an actor
// alive.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "proto/base/mutex.h"
#include "server/queue/live_queue_actor.h"
#include "server/queue/queue_registry.h"

namespace mqd::queue {

class LiveQueueRegistry final : public QueueRegistry, public QueueDirectory {
 public:
  LiveQueueRegistry(storage::Store& store, asio::any_io_executor pool, RegistryOptions options);
  ~LiveQueueRegistry() override;

  /// Reads every queue; before anyone else knows of the registry.
  absl::Status Recover();

  absl::StatusOr<std::shared_ptr<QueueActor>> Find(std::string_view name) const override;
  std::shared_ptr<QueueActor> FindById(QueueId id) const override;
  void Forget(const std::string& name, QueueId id) override;
  void Create(std::string name, QueueSettings settings,
              QueueActor::Callback<CreatedQueue> done) override;
  void Delete(std::string_view name, bool force, QueueActor::Callback<std::uint64_t> done) override;
  std::vector<std::shared_ptr<QueueActor>> List(std::string_view name_space,
                                                std::string_view prefix, std::string_view after,
                                                std::size_t limit) const override;
  NamespaceRegistry& namespaces() override { return namespaces_; }
  std::size_t size() const override;
  std::uint64_t cached_body_bytes() const override;
  std::chrono::milliseconds recovery_time() const override { return recovery_time_; }
  void Stop() override;

 private:
  struct Pending {  // creations of one name that wait for the same commit
    QueueSettings settings;
    std::vector<std::pair<QueueSettings, QueueActor::Callback<CreatedQueue>>> waiting;
  };

  std::shared_ptr<LiveQueueActor> MakeActor(RecoveredQueue recovered);
  void AddLocked(std::shared_ptr<LiveQueueActor> actor) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CompareWithExisting(const std::shared_ptr<QueueActor>& queue, const QueueSettings& settings,
                           QueueActor::Callback<CreatedQueue> done);
  void RefuseCreation(const std::string& name, const ErrorInfo& refusal);
  void OnCreated(const std::string& name, storage::QueueRecord record, QueueSettings settings,
                 storage::Outcome outcome);

  storage::Store& store_;
  const asio::any_io_executor pool_;
  const RegistryOptions options_;
  const storage::ShardId shard_{0};
  const std::shared_ptr<std::atomic<std::uint64_t>> cached_bytes_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
  std::chrono::milliseconds recovery_time_{0};
  NamespaceRegistry namespaces_;

  mutable base::Mutex mutex_;
  absl::btree_map<std::string, std::shared_ptr<LiveQueueActor>> queues_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<QueueId, std::shared_ptr<LiveQueueActor>> by_id_ ABSL_GUARDED_BY(mutex_);
  absl::btree_map<std::string, Pending> creating_ ABSL_GUARDED_BY(mutex_);
  std::uint32_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mqd::queue
