#pragma once

// queue_registry.h: which queues there are, by name.
//
// Threads: Any. Callbacks run on the thread that completes the request.
// Ownership: Holds the actors; outlives every session.
// Limits: kQueuesMax queues (server/limits.h), or fewer by configuration.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "asio/any_io_executor.hpp"
#include "server/queue/namespace_registry.h"
#include "server/queue/queue_actor.h"
#include "storage/store.h"

namespace mqd::queue {

/// Something that an operator should hear of: it begins, or it has ended.
struct QueueAlarm {
  std::string queue;
  bool raised = false;
  std::string text;  // one sentence: what, why, what to do
};

struct RegistryOptions {
  std::uint64_t queues_max = 10'000;
  std::uint64_t cache_bytes = std::uint64_t{256}
                              << 20;  // message bodies kept in memory, over all queues
  /// Called on the thread that runs the queue; must not block. None: nobody hears of it.
  std::function<void(const QueueAlarm&)> on_alarm;
};

struct CreatedQueue {
  QueueInfo info;
  bool created = false;
};

class QueueRegistry {
 public:
  /// Reads every queue back from `store`. Fails with kDataLoss, naming the row, when one is
  /// damaged.
  static absl::StatusOr<std::unique_ptr<QueueRegistry>> Open(storage::Store& store,
                                                             asio::any_io_executor pool,
                                                             RegistryOptions options);
  virtual ~QueueRegistry() = default;

  /// QUEUE_NOT_FOUND says how many queues there are and which name is close. `name` is full.
  virtual absl::StatusOr<std::shared_ptr<QueueActor>> Find(std::string_view name) const = 0;

  /// QUEUE_EXISTS_DIFFERENT when it exists with other settings; the message spells the difference
  /// out. QUOTA_EXCEEDED when the broker or the namespace has all its queues.
  virtual void Create(std::string name, QueueSettings settings,
                      QueueActor::Callback<CreatedQueue> done) = 0;

  /// QUEUE_NOT_EMPTY without `force` when it holds messages. Answers how many it held.
  virtual void Delete(std::string_view name, bool force,
                      QueueActor::Callback<std::uint64_t> done) = 0;

  /// Up to `limit` queues of `name_space` with names (after the slash) that begin with `prefix` and
  /// lie behind `after`.
  virtual std::vector<std::shared_ptr<QueueActor>> List(std::string_view name_space,
                                                        std::string_view prefix,
                                                        std::string_view after,
                                                        std::size_t limit) const = 0;

  virtual NamespaceRegistry& namespaces() = 0;

  virtual std::size_t size() const = 0;
  virtual std::uint64_t cached_body_bytes() const = 0;
  virtual std::chrono::milliseconds recovery_time() const = 0;

  /// Lets nothing new in, waits until every accepted commit has ended.
  virtual void Stop() = 0;
};

/// "orders" -> "default/orders". BAD_FIELD when a part breaks the pattern of names.
absl::StatusOr<std::string> FullName(std::string_view name);
std::string_view NamespaceOf(std::string_view full_name);

}  // namespace mqd::queue
