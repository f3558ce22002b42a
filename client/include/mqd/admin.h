#pragma once

// admin.h: creates, changes, inspects and removes queues; asks the node how it is.
//
// Every call is one round trip that blocks its caller for at most ClientOptions::call_timeout
// (kDeadlineExceeded), and fails with kUnavailable while the broker cannot be reached. Nothing is
// retried. Errors of the broker carry an ErrorInfo; those to expect are named at each call.
//
// Threads:   any thread may call any method, at the same time.
// Ownership: yours; may outlive the Client object.
// Limits:    pages of 1,000 queues, peeks of 100 messages.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mqd/errors.h"
#include "mqd/queue.h"

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

  absl::StatusOr<NodeStatus> GetNodeStatus();

 private:
  std::shared_ptr<client::Connection> connection_;
};

}  // namespace mqd
