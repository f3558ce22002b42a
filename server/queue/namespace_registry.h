#pragma once

// namespace_registry.h: which namespaces there are, their quotas, and what their queues hold.
//
// A namespace is there when it was created by name, and has a row, or when it has queues. One
// without a row has no quotas.
//
// Threads: Any. Changes run one after the other; their callbacks run on the pool. The map is
// guarded by one mutex; nothing is called while it is held.
// Ownership: The queue registry owns it, and both outlive every actor.
// Limits: limits::kNamespacesMax rows.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "asio/any_io_executor.hpp"
#include "proto/base/mutex.h"
#include "server/queue/namespace_ledger.h"
#include "server/queue/queue_actor.h"
#include "storage/store.h"

namespace mqd::queue {

class QueueRegistry;

/// What is not set is unlimited at creation and left alone by an update. kUnlimited is unlimited.
struct NamespaceQuotas {
  std::optional<std::uint64_t> max_queues;
  std::optional<std::uint64_t> max_messages;
  std::optional<std::uint64_t> max_bytes;
};

struct NamespaceInfo {
  storage::NamespaceRecord record;  // create_time_ms 0: it has no row
  std::uint64_t queues = 0;         // those being created included
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
};

struct CreatedNamespace {
  NamespaceInfo info;
  bool created = false;
};

class NamespaceRegistry {
 public:
  template <class T>
  using Callback = QueueActor::Callback<T>;

  struct Deps {
    storage::Store& store;
    storage::ShardId shard{};
    asio::any_io_executor pool;
    std::function<Now()> clock;
    QueueRegistry& queues;
  };

  explicit NamespaceRegistry(Deps deps) : deps_(std::move(deps)) {}

  /// Reads every row; before anyone else knows of the registry. kDataLoss names a damaged one.
  absl::Status Recover();

  // ---- for administration

  /// NAMESPACE_EXISTS_DIFFERENT when it has other quotas; the message spells the difference out.
  void Create(std::string name, NamespaceQuotas quotas, Callback<CreatedNamespace> done);
  /// A namespace without a row gets one. NAMESPACE_NOT_FOUND when there is none of that name. When
  /// it is answered no queue takes a message beyond the quotas; what is held beyond them stays.
  void Update(std::string name, NamespaceQuotas quotas, Callback<NamespaceInfo> done);
  /// Answers how many queues went with it. NAMESPACE_NOT_EMPTY without `force` when it has any.
  void Delete(std::string name, bool force, Callback<std::uint64_t> done);
  absl::StatusOr<NamespaceInfo> Get(std::string_view name) const;
  /// By name, from behind `after`.
  std::vector<NamespaceInfo> List(std::string_view after, std::size_t limit) const;

  // ---- for the queue registry

  /// Counts a queue that is about to be created. QUOTA_EXCEEDED: it must not be.
  std::optional<ErrorInfo> AdmitQueue(std::string_view name_space);
  /// Counts a queue that is there, whatever the quota.
  void AddQueue(std::string_view name_space);
  /// The queue is gone, or could not be created.
  void RemoveQueue(std::string_view name_space);
  /// Of a namespace of which a queue has been counted.
  std::shared_ptr<NamespaceLedger> LedgerOf(std::string_view name_space) const;

 private:
  using Task = absl::AnyInvocable<void()>;
  using Written = absl::AnyInvocable<void(absl::Status)>;

  struct Entry {
    std::shared_ptr<NamespaceLedger> ledger;
    std::optional<storage::NamespaceRecord> row;
    std::uint64_t queues = 0;
  };

  Entry& EntryOf(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropIfUnusedLocked(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  NamespaceInfo InfoLocked(const std::string& name, const Entry& entry) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  /// Changes run one after the other; each ends with EndChange().
  void Change(Task task);
  void NextChange();
  void EndChange();
  template <class T>
  void Answer(Callback<T>& done, absl::StatusOr<T> value);

  void StartCreate(std::string name, NamespaceQuotas quotas, Callback<CreatedNamespace> done);
  void StartUpdate(std::string name, NamespaceQuotas quotas, Callback<NamespaceInfo> done);
  void StartDelete(std::string name, bool force, Callback<std::uint64_t> done);
  void DeleteRow(std::string name, std::uint64_t queues, Callback<std::uint64_t> done);

  /// Stores `wanted` as the namespace's row, or removes the row, and takes it over.
  void Write(std::string name, std::optional<storage::NamespaceRecord> wanted, Written then);
  void OnWritten(const std::string& name, const std::optional<storage::NamespaceRecord>& wanted,
                 storage::Outcome outcome, Written then);
  absl::StatusOr<std::optional<storage::NamespaceRecord>> ReadRow(const std::string& name) const;
  void TakeOver(const std::string& name, std::optional<storage::NamespaceRecord> row);
  /// Runs `then` when every queue of the namespace has begun a turn since now.
  void WhenQueuesHaveTurned(const std::string& name, Task then);

  const Deps deps_;

  mutable base::Mutex mutex_;
  absl::btree_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::size_t rows_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Task> changes_ ABSL_GUARDED_BY(mutex_);
  bool changing_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mqd::queue
