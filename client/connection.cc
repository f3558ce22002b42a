#include "client/connection.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <random>

#include "client/grpc_threads.h"

namespace mqd::client {
namespace {

constexpr std::uint32_t kChannelsMax = 16;
constexpr std::size_t kNameBytesMax = 128;

/// Matched with the broker, which accepts a ping every 10 s, with or without calls.
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 10'000;

/// How long an attempt to connect may take. What gRPC calls the least backoff is this: an attempt
/// that takes longer is given up, so a short one never gets through a slow network.
constexpr int kConnectAttemptMs = 4'000;

grpc::ChannelArguments Arguments(const ClientOptions& options, int index) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kFrameBytesMax);
  arguments.SetMaxSendMessageSize(kFrameBytesMax);
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_NONE);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   static_cast<int>(options.backoff.initial.count()));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectAttemptMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                   static_cast<int>(options.backoff.max.count()));
  // Who calls tries again by itself, and knows what became of what: nothing is sent twice unseen.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Channels with equal arguments share a connection; these must not.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt("mqd.channel", index);
  return arguments;
}

absl::Status Check(const ClientOptions& options) {
  if (options.address.empty()) return absl::InvalidArgumentError("address: must not be empty");
  if (options.client_name.size() > kNameBytesMax) {
    return absl::InvalidArgumentError("client_name: at most 128 bytes");
  }
  if (options.channels == 0 || options.channels > kChannelsMax) {
    return absl::InvalidArgumentError("channels: must be 1 to 16");
  }
  const ReconnectBackoff& backoff = options.backoff;
  if (backoff.initial.count() <= 0 || backoff.max < backoff.initial || backoff.multiplier < 1.0 ||
      backoff.jitter < 0.0 || backoff.jitter > 1.0) {
    return absl::InvalidArgumentError(
        "backoff: 0 < initial <= max, multiplier >= 1 and 0 <= jitter <= 1");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Connection>> Connection::Make(ClientOptions options) {
  absl::Status checked = Check(options);
  if (!checked.ok()) return checked;
  if (options.client_name.empty()) options.client_name = "mqd-client/" MQD_VERSION;
  KeepGrpcThreads();
  return std::make_shared<Connection>(std::move(options));
}

Connection::Connection(ClientOptions options) : options_(std::move(options)) {
  for (std::uint32_t i = 0; i < options_.channels; ++i) {
    channels_.push_back(grpc::CreateCustomChannel(options_.address,
                                                  grpc::InsecureChannelCredentials(),
                                                  Arguments(options_, static_cast<int>(i))));
  }
  broker_ = v1::BrokerService::NewStub(channels_.front());
  admin_ = v1::AdminService::NewStub(channels_.front());
}

absl::Status Connection::WaitReady(std::chrono::milliseconds timeout) {
  if (channels_.front()->WaitForConnected(std::chrono::system_clock::now() + timeout)) {
    return absl::OkStatus();
  }
  return absl::UnavailableError("no broker answers at " + options_.address + " within " +
                                std::to_string(timeout.count()) + " ms");
}

std::shared_ptr<grpc::Channel> Connection::NextChannel() {
  return channels_[next_channel_.fetch_add(1) % channels_.size()];
}

double Connection::Random() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

std::string Connection::RandomId() {
  constexpr std::size_t kBytes = 16;
  std::random_device device;
  std::string id;
  while (id.size() < kBytes) id += static_cast<char>(device() & 0xFF);
  return id;
}

}  // namespace mqd::client
