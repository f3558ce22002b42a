#pragma once

// client.h: the way in. A Client is a connection to one broker; it makes publishers, consumers and
// an admin, and has the unary calls for those who want no stream.
//
//   auto client = mqd::Client::Connect({.address = "127.0.0.1:6480"});
//   auto publisher = (*client)->NewPublisher({.queue = "orders"});
//   auto sent = (*publisher)->Publish({.payload = "hello"});   // std::future<PublishResult>
//   auto consumer = (*client)->NewConsumer(
//       {.queues = {{.queue = "orders"}}, .handler = [](mqd::Delivery& d) { Work(d.payload()); }});
//
// Threads:   any thread may call any method, at the same time. A Client has two threads: one for
//            timers, one for callbacks; a callback that blocks holds up the others.
// Ownership: yours. Publishers, consumers and admins made by it keep what they need.
// Limits:    frames up to 17 MiB; one HTTP/2 connection per `channels`.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mqd/admin.h"
#include "mqd/consumer.h"
#include "mqd/errors.h"
#include "mqd/message.h"
#include "mqd/publisher.h"

namespace mqd {

/// How long to wait before trying again: initial * multiplier^n, at most max, moved by up to jitter
/// of itself either way. An attempt to connect may take 4 s, whatever these say.
struct ReconnectBackoff {
  std::chrono::milliseconds initial{100};
  double multiplier = 2.0;
  std::chrono::milliseconds max{2'000};
  double jitter = 0.2;
};

struct ClientOptions {
  std::string address = "127.0.0.1:6480";  // HOST:PORT, [IPV6]:PORT or unix:PATH
  /// Shown by the broker's stats, logs and errors; at most 128 bytes. Empty: "mqd-client/VERSION".
  std::string client_name = {};
  /// Connect() waits that long for the broker; 0: it does not wait, and calls do.
  std::chrono::milliseconds connect_timeout{5'000};
  /// Of each unary call, unless the call says otherwise.
  std::chrono::milliseconds call_timeout{10'000};
  ReconnectBackoff backoff = {};
  /// HTTP/2 connections; streams take turns. 1 to 16. More than one pays off above 1 GB/s.
  std::uint32_t channels = 1;
};

struct PublishCallOptions {
  ConfirmLevel confirm_level = ConfirmLevel::kDefault;
  /// How long the broker may hold the messages while the queue is full, and the call may take; not
  /// set: ClientOptions::call_timeout.
  std::optional<std::chrono::milliseconds> timeout = {};
};

struct ReceiveOptions {
  std::uint32_t max_messages = 1;      // 1 to the broker's max_batch_messages
  std::chrono::milliseconds wait{0};   // for the first message; at most 60 s
  std::uint64_t max_bytes = 4U << 20;  // the first message is sent even if it is larger
  std::optional<std::chrono::milliseconds> lease = {};  // not set: the queue's lease_duration
  std::string client_name = {};                         // empty: ClientOptions::client_name
};

/// A message leased by Client::Receive. Settle it with Client::Settle before its lease ends.
struct ReceivedMessage {
  std::uint64_t delivery_id = 0;
  std::uint64_t sequence = 0;
  std::uint32_t attempt = 0;  // from 1
  WallTime publish_time = {};
  std::chrono::milliseconds lease{0};  // 0: nothing to settle (DeliveryMode::kAtMostOnce)
  std::uint64_t fence = 0;             // see Delivery::fence()
  std::optional<DeadLetterInfo> dead_letter = {};
  Message message = {};
};

struct ReceiveResult {
  std::vector<ReceivedMessage> messages = {};
  bool end_of_queue = false;  // closed and empty: no message will come
};

/// Deliveries first_delivery_id to last_delivery_id, both included, and what to do with them.
struct SettleEntry {
  std::uint64_t first_delivery_id = 0;
  std::uint64_t last_delivery_id = 0;
  Outcome outcome = {};  // not kDeferred
  /// When set, the lease is prolonged to this from now instead and `outcome` does not matter.
  std::optional<std::chrono::milliseconds> extend = {};
};

struct SettleCallResult {
  std::uint64_t settled = 0;  // settled or prolonged
  std::vector<SettleError> errors = {};
  std::vector<PublishResult> publishes = {};  // one a message, queue after queue
};

namespace client {
class Connection;
}  // namespace client

class Client {
 public:
  /// Fails with kInvalidArgument for options that cannot be, kUnavailable when the broker does not
  /// answer within connect_timeout.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options);

  explicit Client(std::shared_ptr<client::Connection> connection);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Both return at once; the stream is opened behind them. Errors of the options only
  /// (kInvalidArgument); see ConnectionStatus() of what they return for the broker's refusal.
  absl::StatusOr<std::unique_ptr<Publisher>> NewPublisher(PublisherOptions options);
  absl::StatusOr<std::unique_ptr<Consumer>> NewConsumer(ConsumerOptions options);

  std::unique_ptr<Admin> NewAdmin();

  /// Publishes and waits for every result: one for each message, in order. The status is an error
  /// only when the whole call failed; kDeadlineExceeded and kUnavailable then leave the outcome of
  /// messages without an idempotency_key unknown.
  absl::StatusOr<std::vector<PublishResult>> Publish(std::string_view queue,
                                                     std::span<const Message> messages,
                                                     const PublishCallOptions& options = {});

  /// Leases up to max_messages messages, waiting up to `wait` for the first.
  absl::StatusOr<ReceiveResult> Receive(std::string_view queue, const ReceiveOptions& options = {});

  /// Settles deliveries of `queue`, from whatever connection they came. With `publishes` all or
  /// nothing: any entry in `errors` then means that nothing took effect.
  absl::StatusOr<SettleCallResult> Settle(std::string_view queue,
                                          std::span<const SettleEntry> entries,
                                          std::span<const QueuePublish> publishes = {});

 private:
  std::shared_ptr<client::Connection> connection_;
};

}  // namespace mqd
