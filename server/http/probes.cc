#include "server/http/probes.h"

#include <httplib.h>

#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "fmt/format.h"

namespace mqd::http {
namespace {

constexpr char kPlainText[] = "text/plain; charset=utf-8";

/// httplib's own default would let a second process bind the same port and take half of the
/// connections.
void ReuseAddressOnly(socket_t socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

}  // namespace

struct Probes::Parts {
  httplib::Server server;
  Ready ready;
  int port = 0;
  std::promise<void> listening;
  std::once_flag stopped;
  std::jthread thread;  // the last member: it must end before the server does
};

Probes::Probes(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Probes::~Probes() { Stop(); }

absl::StatusOr<std::unique_ptr<Probes>> Probes::Start(const std::string& host, int port,
                                                      Ready ready) {
  auto parts = std::make_unique<Parts>();
  Parts* self = parts.get();
  self->ready = std::move(ready);
  // Called once by the listening thread, when stop() has begun to have an effect.
  self->server.new_task_queue = [self] {
    self->listening.set_value();
    return new httplib::ThreadPool(kThreads);
  };
  self->server.set_socket_options(ReuseAddressOnly);
  self->server.set_payload_max_length(kBodyBytesMax);
  self->server.set_read_timeout(kTimeout);
  self->server.set_write_timeout(kTimeout);
  self->server.set_keep_alive_timeout(kTimeout.count());
  self->server.Get("/livez", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", kPlainText);
  });
  self->server.Get("/readyz", [self](const httplib::Request&, httplib::Response& response) {
    const absl::Status status = self->ready();
    response.status = status.ok() ? 200 : 503;
    response.set_content(status.ok() ? "ok\n" : std::string(status.message()) + "\n", kPlainText);
  });

  const std::string address = host.empty() ? "0.0.0.0" : host;
  const bool bound = port == 0 ? (self->port = self->server.bind_to_any_port(address)) > 0
                               : self->server.bind_to_port(address, self->port = port);
  if (!bound) {
    return absl::UnavailableError(
        fmt::format("cannot listen for HTTP on {}:{}: is it in use?", host, port));
  }
  self->thread = std::jthread([self] { self->server.listen_after_bind(); });
  self->listening.get_future().wait();
  return std::unique_ptr<Probes>(new Probes(std::move(parts)));
}

int Probes::port() const { return parts_->port; }

void Probes::Stop() {
  std::call_once(parts_->stopped, [this] {
    parts_->server.stop();
    parts_->thread.join();
  });
}

}  // namespace mqd::http
