// app.cc: puts the daemon together, outermost part last, and takes it apart in reverse.

#include "server/app.h"

#include <atomic>
#include <thread>
#include <utility>

#include "asio/post.hpp"
#include "asio/steady_timer.hpp"
#include "asio/thread_pool.hpp"
#include "fmt/format.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "server/exit_code.h"
#include "server/heap_trim.h"
#include "server/http/probes.h"
#include "server/limits.h"
#include "server/queue/queue_registry.h"
#include "server/queue/redrive_manager.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/broker_service.h"
#include "server/rpc/grpc_log.h"
#include "server/rpc/listener.h"
#include "server/rpc/redrive_rpc.h"
#include "server/rpc/session_list.h"
#include "server/rpc/time_convert.h"
#include "spdlog/spdlog.h"
#include "storage/rocks_store.h"

namespace mqd::server {
namespace {

/// Sessions look at their clocks this often: pings and drains are in seconds.
constexpr std::chrono::milliseconds kSessionTick{250};
constexpr std::chrono::seconds kHeapTick{1};
constexpr std::chrono::seconds kHeapTickInVain{60};
/// For calls under way when the daemon stops.
constexpr std::chrono::milliseconds kShutdownWait{500};
/// Memory that gRPC may plan with, on top of the queues' bodies.
constexpr std::size_t kGrpcQuotaBytes = std::size_t{512} << 20;

absl::StatusOr<std::unique_ptr<storage::RocksStore>> OpenStore(const Config& config,
                                                               App::OnFatal on_fatal) {
  storage::RocksStore::Options options;
  options.data_dir = config.data_dir;
  options.sync_interval = config.storage.sync_interval;
  options.disk_low_watermark_bytes = config.storage.disk_low_watermark;
  options.on_fatal = [on_fatal = std::move(on_fatal)](absl::Status status) {
    on_fatal(WithExitCode(std::move(status), ExitCode::kStoreError));
  };
  auto store = storage::RocksStore::Open(std::move(options));
  if (store.ok()) return store;
  const bool damaged =
      absl::IsDataLoss(store.status()) || absl::IsFailedPrecondition(store.status());
  return WithExitCode(store.status(), damaged ? ExitCode::kStoreError : ExitCode::kCannotCreate);
}

absl::Status CannotListen(const std::string& address, const std::string& why) {
  return WithExitCode(
      absl::UnavailableError(fmt::format("cannot listen on {} ({}): the address is in use, not of "
                                         "this machine, or not permitted; choose another --listen",
                                         address, why)),
      ExitCode::kCannotBind);
}

void LogAlarm(const queue::QueueAlarm& alarm) {
  if (alarm.raised) {
    spdlog::warn("alarm: {}", alarm.text);
  } else {
    spdlog::info("alarm over: {}", alarm.text);
  }
}

void RunAt(const asio::any_io_executor& pool, std::int64_t at_ns,
           queue::RedriveManager::Task task) {
  const std::chrono::steady_clock::time_point at{std::chrono::nanoseconds(at_ns)};
  auto timer = std::make_shared<asio::steady_timer>(pool, at);
  timer->async_wait([timer, task = std::move(task)](const std::error_code& error) mutable {
    if (!error) task();
  });
}

void SetLimits(grpc::ServerBuilder& builder) {
  // The receive limit holds for compressed bytes only, and a small frame can inflate to gigabytes.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits::kFrameBytesMax));
  builder.SetMaxSendMessageSize(static_cast<int>(limits::kFrameBytesMax));
  builder.SetResourceQuota(grpc::ResourceQuota("mqd").Resize(kGrpcQuotaBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             static_cast<int>(limits::kStreamsPerConnectionMax));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                             static_cast<int>(limits::kMetadataBytesMax));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
}

}  // namespace

struct App::Parts {
  explicit Parts(const Config& given) : config(given) {}

  absl::Status StartRedrives();
  absl::Status StartGrpc();
  absl::Status StartHttp();
  absl::Status Ready() const;
  void TickSessions();
  void TickHeap();

  Config config;
  rpc::GrpcLog grpc_log;
  std::unique_ptr<storage::RocksStore> store;
  asio::thread_pool pool{std::max(2U, std::thread::hardware_concurrency())};
  std::unique_ptr<queue::QueueRegistry> registry;
  std::unique_ptr<queue::RedriveManager> redrives;
  rpc::Authorizer authorizer;
  rpc::SessionList sessions;
  std::unique_ptr<rpc::RpcDeps> deps;
  std::unique_ptr<rpc::BrokerService> broker;
  std::unique_ptr<rpc::AdminService> admin;
  std::unique_ptr<rpc::Listener> listener;
  std::unique_ptr<grpc::Server> grpc;
  std::unique_ptr<http::Probes> probes;
  asio::steady_timer session_timer{pool};
  asio::steady_timer heap_timer{pool};
  std::atomic<bool> stopping{false};
  std::shared_ptr<std::atomic<std::int64_t>> last_pulse_ns =
      std::make_shared<std::atomic<std::int64_t>>(0);
};

absl::StatusOr<std::unique_ptr<App>> App::Start(const Config& config, OnFatal on_fatal) {
  auto parts = std::make_unique<Parts>(config);
  auto store = OpenStore(config, std::move(on_fatal));
  if (!store.ok()) return store.status();
  parts->store = *std::move(store);
  auto registry = queue::QueueRegistry::Open(*parts->store, parts->pool.get_executor(),
                                             {.queues_max = config.limits.max_queues,
                                              .cache_bytes = config.storage.cache_bytes,
                                              .on_alarm = LogAlarm});
  if (!registry.ok()) return WithExitCode(registry.status(), ExitCode::kStoreError);
  parts->registry = *std::move(registry);
  if (absl::Status status = parts->StartRedrives(); !status.ok()) {
    return WithExitCode(std::move(status), ExitCode::kStoreError);
  }
  std::unique_ptr<App> app(new App(std::move(parts)));
  if (absl::Status status = app->parts_->StartGrpc(); !status.ok()) return status;
  if (absl::Status status = app->parts_->StartHttp(); !status.ok()) return status;
  app->parts_->TickSessions();
  app->parts_->TickHeap();
  return app;
}

absl::Status App::Parts::StartRedrives() {
  redrives = std::make_unique<queue::RedriveManager>(
      queue::RedriveManager::Deps{.store = *store,
                                  .queues = *registry,
                                  .clock =
                                      [] {
                                        return queue::Now{rpc::SteadyNs(), rpc::WallMs()};
                                      },
                                  .run_at =
                                      [this](std::int64_t at_ns, queue::RedriveManager::Task task) {
                                        RunAt(pool.get_executor(), at_ns, std::move(task));
                                      },
                                  .special_of = rpc::SpecialOfStored});
  return redrives->Recover();
}

absl::Status App::Parts::StartGrpc() {
  const auto address = ParseListenAddress(config.grpc.listen);
  if (!address.ok()) return WithExitCode(address.status(), ExitCode::kConfig);
  auto listening = rpc::Listener::Open(address->host, address->port);
  if (!listening.ok())
    return CannotListen(config.grpc.listen, std::string(listening.status().message()));
  listener = *std::move(listening);
  deps = std::make_unique<rpc::RpcDeps>(
      rpc::RpcDeps{.registry = *registry,
                   .redrives = *redrives,
                   .store = *store,
                   .authorizer = authorizer,
                   .sessions = sessions,
                   .pool = pool.get_executor(),
                   .options = {.payload_bytes_max = config.grpc.max_payload_bytes,
                               .node_name = config.node_name,
                               .data_dir = config.data_dir},
                   .start_time_ms = rpc::WallMs()});
  broker = std::make_unique<rpc::BrokerService>(*deps);
  admin = std::make_unique<rpc::AdminService>(*deps);
  grpc::EnableDefaultHealthCheckService(true);
  if (config.grpc.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(builder);
  auto acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  builder.RegisterService(broker.get());
  builder.RegisterService(admin.get());
  grpc = builder.BuildAndStart();
  if (grpc == nullptr) return CannotListen(config.grpc.listen, "gRPC does not start");
  for (const char* service : {"mqd.v1.BrokerService", "mqd.v1.AdminService"}) {
    grpc->GetHealthCheckService()->SetServingStatus(service, true);
  }
  listener->Start(std::move(acceptor));
  return absl::OkStatus();
}

absl::Status App::Parts::StartHttp() {
  if (config.http.listen == "off") return absl::OkStatus();
  auto address = ParseListenAddress(config.http.listen);
  if (!address.ok()) return WithExitCode(address.status(), ExitCode::kConfig);
  auto started = http::Probes::Start(address->host, address->port, [this] { return Ready(); });
  if (!started.ok()) return WithExitCode(started.status(), ExitCode::kCannotBind);
  probes = *std::move(started);
  return absl::OkStatus();
}

absl::Status App::Parts::Ready() const {
  if (stopping.load()) return absl::UnavailableError("draining");
  if (store->DiskLow()) return absl::UnavailableError("disk low: publishes are refused");
  return absl::OkStatus();
}

void App::Parts::TickSessions() {
  if (stopping.load()) return;
  const std::int64_t now_ns = rpc::SteadyNs();
  last_pulse_ns->store(now_ns);
  sessions.Tick(now_ns);
  session_timer.expires_after(kSessionTick);
  session_timer.async_wait([this](const std::error_code& error) {
    if (!error) TickSessions();
  });
}

void App::Parts::TickHeap() {
  const std::optional<std::uint64_t> given_back = TrimHeapIfDue();
  if (given_back) spdlog::debug("gave {} MiB of free memory back", *given_back >> 20);
  const bool in_vain = given_back && *given_back < kSpareBytes / 4;
  heap_timer.expires_after(in_vain ? kHeapTickInVain : kHeapTick);
  heap_timer.async_wait([this](const std::error_code& error) {
    if (!error) TickHeap();
  });
}

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

App::~App() {
  if (parts_->probes != nullptr) parts_->probes->Stop();
  parts_->stopping.store(true);
  if (parts_->listener != nullptr) parts_->listener->Stop();
  parts_->sessions.EndAll();
  if (parts_->grpc != nullptr) {
    // Every stream has ended; a client that keeps an idle connection is not waited for.
    parts_->grpc->Shutdown(std::chrono::system_clock::now() + kShutdownWait);
    parts_->grpc->Wait();
  }
  if (parts_->redrives != nullptr) parts_->redrives->Stop();
  if (parts_->registry != nullptr) parts_->registry->Stop();
  parts_->pool.stop();  // a queue's timers would keep join() waiting for their leases
  parts_->pool.join();
  // What the last tasks have asked of the store comes back while its askers are still there.
  if (parts_->registry != nullptr) parts_->registry->Stop();
}

int App::port() const { return parts_->listener->port(); }
int App::http_port() const { return parts_->probes == nullptr ? 0 : parts_->probes->port(); }

std::string App::RecoverySummary() const {
  return fmt::format("{} queues read back in {} ms", parts_->registry->size(),
                     parts_->registry->recovery_time().count());
}

bool App::Responsive() const {
  constexpr std::int64_t kStuckNs = 10'000'000'000;
  return rpc::SteadyNs() - parts_->last_pulse_ns->load() < kStuckNs;
}

void App::Reload(const Config& config) { parts_->config = config; }

void App::Drain(std::chrono::milliseconds grace) {
  const auto deadline = std::chrono::steady_clock::now() + grace;
  if (auto* health = parts_->grpc->GetHealthCheckService()) health->SetServingStatus(false);
  parts_->sessions.BeginDrain(grace);
  if (!parts_->sessions.WaitEmpty(deadline)) {
    spdlog::warn("the grace of {} ms is over with streams left; they are ended", grace.count());
  }
}

}  // namespace mqd::server
