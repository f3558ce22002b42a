#include "mqd/client.h"

#include <set>
#include <utility>

#include "client/connection.h"
#include "client/consumer_core.h"
#include "client/convert.h"
#include "client/publisher_core.h"
#include "client/unary.h"

namespace mqd {
namespace {

using client::StatusOf;
using client::UnaryCall;

constexpr std::size_t kQueuesMax = 64;

/// How long an answer may take beyond the wait that the call asks the broker for.
constexpr std::chrono::milliseconds kAnswerGrace{5'000};

absl::Status Check(const PublisherOptions& options) {
  if (options.queue.empty()) return absl::InvalidArgumentError("queue: must not be empty");
  if (options.unconfirmed_messages_max == 0 || options.unconfirmed_bytes_max == 0) {
    return absl::InvalidArgumentError("unconfirmed_messages_max and _bytes_max: must be positive");
  }
  if (options.timeout.count() <= 0) {
    return absl::InvalidArgumentError("timeout: must be positive");
  }
  return absl::OkStatus();
}

absl::Status Check(const ConsumerOptions& options) {
  std::set<std::string> names;
  for (const SelectQueue& select : options.queues) names.insert(select.queue);
  if (options.queues.empty() || options.queues.size() > kQueuesMax) {
    return absl::InvalidArgumentError("queues: must be 1 to 64");
  }
  if (names.size() != options.queues.size() || names.contains("")) {
    return absl::InvalidArgumentError("queues: must be named and all different");
  }
  if (options.concurrency == 0) return absl::InvalidArgumentError("concurrency: must be positive");
  const bool credit = options.credit_messages_initial > 0 && options.credit_messages_max > 0 &&
                      options.credit_bytes_initial > 0 && options.credit_bytes_max > 0;
  if (!credit) return absl::InvalidArgumentError("credit: must be positive");
  if (options.buffered_lease_share <= 0.0 || options.buffered_lease_share > 1.0) {
    return absl::InvalidArgumentError("buffered_lease_share: must be above 0 and at most 1");
  }
  return absl::OkStatus();
}

void AppendRun(const wire::ScannedRun& run, ReceiveResult& out) {
  for (std::size_t i = 0; i < run.messages.size(); ++i) {
    out.messages.push_back({.delivery_id = run.first_delivery_id + i,
                            .sequence = run.first_sequence + i,
                            .attempt = run.delivery_attempt,
                            .publish_time = client::WallTimeOf(run.publish_time_ms),
                            .lease = std::chrono::milliseconds(run.lease_ms),
                            .fence = run.fence,
                            .dead_letter = client::DeadLetterFrom(run.dead_letter),
                            .message = client::FromView(run.messages[i])});
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(ClientOptions options) {
  const std::chrono::milliseconds timeout = options.connect_timeout;
  auto connection = client::Connection::Make(std::move(options));
  if (!connection.ok()) return connection.status();
  if (timeout.count() > 0) {
    absl::Status ready = (*connection)->WaitReady(timeout);
    if (!ready.ok()) return ready;
  }
  return std::make_unique<Client>(*std::move(connection));
}

Client::Client(std::shared_ptr<client::Connection> connection)
    : connection_(std::move(connection)) {}

Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Publisher>> Client::NewPublisher(PublisherOptions options) {
  absl::Status checked = Check(options);
  if (!checked.ok()) return checked;
  return std::make_unique<Publisher>(client::PublisherCore::Make(connection_, std::move(options)));
}

absl::StatusOr<std::unique_ptr<Consumer>> Client::NewConsumer(ConsumerOptions options) {
  absl::Status checked = Check(options);
  if (!checked.ok()) return checked;
  return std::make_unique<Consumer>(client::ConsumerCore::Make(connection_, std::move(options)));
}

std::unique_ptr<Admin> Client::NewAdmin() { return std::make_unique<Admin>(connection_); }

absl::StatusOr<std::vector<PublishResult>> Client::Publish(std::string_view queue,
                                                           std::span<const Message> messages,
                                                           const PublishCallOptions& options) {
  const std::chrono::milliseconds timeout =
      options.timeout.value_or(connection_->options().call_timeout);
  v1::PublishRequest request;
  request.set_queue(std::string(queue));
  request.set_confirm_level(static_cast<v1::ConfirmLevel>(options.confirm_level));
  client::ToProto(timeout, request.mutable_timeout());
  for (const Message& message : messages) client::ToProto(message, request.add_messages());
  UnaryCall call(timeout + kAnswerGrace);
  v1::PublishResponse response;
  absl::Status status = StatusOf(connection_->broker().Publish(call.context(), request, &response));
  if (!status.ok()) return status;
  std::vector<PublishResult> results;
  for (const v1::PublishResult& result : response.results()) {
    results.push_back(client::FromProto(result));
  }
  if (results.size() != messages.size()) {
    return absl::InternalError("the broker answered another number of messages than were sent");
  }
  return results;
}

absl::StatusOr<ReceiveResult> Client::Receive(std::string_view queue,
                                              const ReceiveOptions& options) {
  v1::ReceiveRequest request;
  request.set_queue(std::string(queue));
  request.set_max_messages(options.max_messages);
  request.set_max_bytes(options.max_bytes);
  request.set_client_name(options.client_name.empty() ? connection_->options().client_name
                                                      : options.client_name);
  if (options.wait.count() > 0) client::ToProto(options.wait, request.mutable_wait());
  if (options.lease) client::ToProto(*options.lease, request.mutable_lease());
  UnaryCall call(options.wait + connection_->options().call_timeout);
  v1::ReceiveResponse response;
  absl::Status status = StatusOf(connection_->broker().Receive(call.context(), request, &response));
  if (!status.ok()) return status;
  ReceiveResult result;
  result.end_of_queue = response.end_of_queue();
  // A response has its runs where a Deliveries frame has them, and nothing else a scan would read.
  response.clear_end_of_queue();
  const std::string bytes = response.SerializeAsString();
  const absl::StatusOr<wire::ScannedDeliveries> scanned = wire::ScanDeliveries(bytes);
  if (!scanned.ok()) return scanned.status();
  for (const wire::ScannedRun& run : scanned->runs) AppendRun(run, result);
  return result;
}

absl::StatusOr<SettleCallResult> Client::Settle(std::string_view queue,
                                                std::span<const SettleEntry> entries,
                                                std::span<const QueuePublish> publishes) {
  v1::SettleRequest request;
  request.set_queue(std::string(queue));
  for (const SettleEntry& entry : entries) {
    v1::SettleEntry* out = request.add_entries();
    out->mutable_range()->set_first_delivery_id(entry.first_delivery_id);
    out->mutable_range()->set_last_delivery_id(entry.last_delivery_id);
    if (entry.extend) {
      client::SetExtend(entry.extend, out);
    } else {
      client::SetOutcome(entry.outcome, out);
    }
  }
  for (const QueuePublish& publish : publishes) {
    client::ToProto(publish, request.add_publishes());
  }
  UnaryCall call(connection_->options().call_timeout);
  v1::SettleResponse response;
  absl::Status status = StatusOf(connection_->broker().Settle(call.context(), request, &response));
  if (!status.ok()) return status;
  SettleCallResult result;
  result.settled = response.settled();
  for (const v1::SettleException& exception : response.exceptions()) {
    result.errors.push_back({.queue = std::string(queue),
                             .first_delivery_id = exception.range().first_delivery_id(),
                             .last_delivery_id = exception.range().last_delivery_id(),
                             .status = StatusOf(exception.error())});
  }
  for (const v1::PublishResult& publish : response.publish_results()) {
    result.publishes.push_back(client::FromProto(publish));
  }
  return result;
}

}  // namespace mqd
