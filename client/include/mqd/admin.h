#pragma once

// admin.h: creates, changes, inspects and removes queues and namespaces; explains what stands
// still; moves dead letters back; asks the node how it is.
//
// Every call is one round trip that blocks its caller for at most ClientOptions::call_timeout
// (kDeadlineExceeded), and fails with kUnavailable while the broker cannot be reached. Nothing is
// retried. Errors of the broker carry an ErrorInfo; those to expect are named at each call.
//
// Threads:   any thread may call any method, at the same time.
// Ownership: yours; may outlive the Client object.
// Limits:    pages of 1,000 queues, peeks of 100 messages, 1,024 cancels a call.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mqd/delivery.h"
#include "mqd/errors.h"
#include "mqd/explain.h"
#include "mqd/namespaces.h"
#include "mqd/queue.h"
#include "mqd/redrive.h"

namespace mqd {

namespace client {
class Connection;
}  // namespace client

struct CreatedQueue {
  Queue queue = {};
  bool created = false;  // false: it was there with equal settings
};

struct QueuePage {
  std::vector<Queue> queues = {};    // by name
  std::string next_page_token = {};  // empty on the last page
};

struct ListOptions {
  std::string name_space = {};    // empty: "default"
  std::string prefix = {};        // of the name after the namespace
  std::uint32_t page_size = 100;  // 1 to 1,000
  std::string page_token = {};
};

struct UpdateOptions {
  /// Names of settings to change, one that has no value among them back to its default; empty:
  /// settings.SetFields().
  std::vector<std::string> mask = {};
  /// When set, the update fails unless the queue has this generation.
  std::optional<std::uint64_t> expected_generation = {};
};

struct PeekOptions {
  MessageStatus status = MessageStatus::kUnspecified;  // kUnspecified: every state
  std::uint64_t from_sequence = 0;
  std::uint32_t limit = 10;  // 1 to 100
};

struct PeekedMessage {
  std::uint64_t sequence = 0;
  MessageStatus status = MessageStatus::kUnspecified;
  std::uint32_t attempts = 0;
  WallTime publish_time = {};
  std::optional<WallTime> deliver_at = {};  // for delayed messages
  Message message = {};
  std::uint64_t delivery_id = 0;  // for deliveries in flight
  std::string last_error = {};
  std::vector<AttemptNote> notes = {};  // the latest charged attempts, oldest first; at most 4
  std::optional<DeadLetterInfo> dead_letter = {};  // when it came from another queue as one
};

/// What the broker holds clients to.
struct BrokerLimits {
  std::uint64_t max_payload_bytes = 0;
  std::uint32_t max_headers = 0;
  std::uint32_t max_header_bytes = 0;
  std::uint32_t max_key_bytes = 0;
  std::uint32_t max_batch_messages = 0;
  std::uint64_t max_batch_bytes = 0;
  std::uint32_t max_priority = 0;
  std::chrono::milliseconds max_delay{0};
  std::chrono::milliseconds ping_interval{0};
  std::chrono::milliseconds ping_timeout{0};
  std::uint64_t max_credit_messages = 0;
  std::uint64_t max_credit_bytes = 0;
  std::uint32_t message_overhead_bytes = 0;
};

struct NodeStatus {
  std::string version = {};
  std::string node_name = {};
  WallTime start_time = {};
  std::uint64_t epoch = 0;
  std::string data_dir = {};
  std::uint64_t queues = 0;
  std::uint64_t publish_streams = 0;
  std::uint64_t consume_streams = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t disk_free_bytes = 0;
  std::uint64_t disk_low_watermark_bytes = 0;
  bool disk_low = false;
  bool draining = false;
  std::chrono::milliseconds recovery_time{0};
  std::uint64_t committed_batches_total = 0;
  std::uint64_t fsyncs_total = 0;
  std::uint64_t cached_body_bytes = 0;
  BrokerLimits limits = {};
};

class Admin {
 public:
  explicit Admin(std::shared_ptr<client::Connection> connection);  // made by Client::NewAdmin
  ~Admin();
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  /// Reason::kQueueExistsDifferent (the difference spelled out), kBadField, kQuotaExceeded.
  absl::StatusOr<CreatedQueue> CreateQueue(std::string_view name, const QueueSettings& settings);

  /// Reason::kQueueNotFound; so has every call below that names a queue.
  absl::StatusOr<Queue> GetQueue(std::string_view name);

  absl::StatusOr<QueuePage> ListQueues(const ListOptions& options = {});

  /// Changes settings live. Reason::kBadField for an unknown name in the mask or a bad value;
  /// kAborted or kFailedPrecondition for another generation.
  absl::StatusOr<Queue> UpdateQueue(std::string_view name, const QueueSettings& settings,
                                    const UpdateOptions& options = {});

  /// How many messages went with it. Without `force`: Reason::kQueueNotEmpty while it holds any.
  absl::StatusOr<std::uint64_t> DeleteQueue(std::string_view name, bool force = false);

  /// Removes ready, delayed and parked messages, not those in flight; how many. `purge_dedup`
  /// forgets the idempotency keys too.
  absl::StatusOr<std::uint64_t> PurgeQueue(std::string_view name, bool purge_dedup = false);

  /// Refuses publishes from now on. Reason::kAlreadyClosed the second time.
  absl::StatusOr<Queue> CloseQueue(std::string_view name);
  absl::StatusOr<Queue> ReopenQueue(std::string_view name);

  absl::StatusOr<QueueStats> GetQueueStats(std::string_view name);

  /// Shows messages without touching them, by sequence.
  absl::StatusOr<std::vector<PeekedMessage>> PeekMessages(std::string_view queue,
                                                          const PeekOptions& options = {});

  // ---- explaining

  /// Why the subject does not move: the most important cause first; never empty. Causes come from
  /// what dispatches. A subject that is not there is no error: the text says so.
  absl::StatusOr<std::vector<Explanation>> Explain(std::string_view queue,
                                                   const Subject& subject = {});

  /// One message in whatever state; kSettled and no body when it is known and gone.
  /// Reason::kMessageNotFound when nothing is known.
  absl::StatusOr<PeekedMessage> FindMessage(std::string_view queue, std::uint64_t sequence);
  absl::StatusOr<PeekedMessage> FindMessageByKey(std::string_view queue,
                                                 std::string_view idempotency_key);

  /// Removes ready, delayed and parked messages; what is in flight or gone is an error of its own.
  absl::StatusOr<CancelResult> CancelMessages(std::string_view queue,
                                              std::span<const std::uint64_t> sequences);

  /// Reason::kMessageNotFound when the key is not remembered.
  absl::StatusOr<DedupEntry> GetDedupEntry(std::string_view queue,
                                           std::string_view idempotency_key);
  /// The next message with this key is stored, whatever came before.
  absl::Status ForgetDedupEntry(std::string_view queue, std::string_view idempotency_key);

  /// The latest `limit` (1 to 1,000) transitions, oldest first, of one message or, with sequence 0,
  /// of all. Empty unless the queue's history_entries is set.
  absl::StatusOr<std::vector<HistoryEntry>> GetHistory(std::string_view queue,
                                                       std::uint64_t sequence = 0,
                                                       std::uint32_t limit = 100);

  absl::StatusOr<QueueClients> ListClients(std::string_view queue);

  // ---- dead letters

  /// Moves messages of a dead-letter queue back, in the background and over restarts of the broker.
  absl::StatusOr<Redrive> StartRedrive(std::string_view queue, const RedriveOptions& options = {});
  /// Reason::kTaskNotFound; so have the two that name a task.
  absl::StatusOr<Redrive> GetRedrive(std::string_view task_id);
  /// The latest first; of one queue, or of all when it is empty.
  absl::StatusOr<std::vector<Redrive>> ListRedrives(std::string_view queue = {});
  /// What was moved stays moved.
  absl::StatusOr<Redrive> CancelRedrive(std::string_view task_id);

  // ---- namespaces

  /// Reason::kNamespaceExistsDifferent (the difference spelled out), kBadField.
  absl::StatusOr<CreatedNamespace> CreateNamespace(std::string_view name,
                                                   const NamespaceQuotas& quotas = {});
  /// Reason::kNamespaceNotFound; so has every call below that names one.
  absl::StatusOr<Namespace> GetNamespace(std::string_view name);
  absl::StatusOr<NamespacePage> ListNamespaces(std::uint32_t page_size = 100,
                                               std::string_view page_token = {});
  absl::StatusOr<Namespace> UpdateNamespace(std::string_view name, const NamespaceQuotas& quotas);
  /// How many queues went with it. Without `force`: Reason::kNamespaceNotEmpty while it has any.
  absl::StatusOr<std::uint64_t> DeleteNamespace(std::string_view name, bool force = false);

  // ---- the node

  absl::StatusOr<NodeStatus> GetNodeStatus();

 private:
  std::shared_ptr<client::Connection> connection_;
};

}  // namespace mqd
