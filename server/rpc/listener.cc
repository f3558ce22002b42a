// listener.cc: step 1 of 5 (rpc edge). Accepts connections and hands them to gRPC.
#include "server/rpc/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace mqd::rpc {
namespace {

/// Before the next try, when there is no descriptor for a connection that waits.
constexpr int kRetryMs = 100;

std::string ErrorText(int error) { return std::generic_category().message(error); }

/// What an accepted connection inherits.
void SetOptions(int socket, int family) {
  const int on = 1;
  const int off = 0;
  const auto dead_after_ms = static_cast<unsigned>(Listener::kDeadAfter.count());
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_after_ms, sizeof(dead_after_ms));
  if (family == AF_INET6) setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
}

void SetPort(sockaddr& address, std::uint16_t port) {
  if (address.sa_family == AF_INET) {
    reinterpret_cast<sockaddr_in&>(address).sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6&>(address).sin6_port = htons(port);
  }
}

std::uint16_t PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  // The port is at the same place in both families.
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

/// A listening socket, or the negative error.
int Listen(const addrinfo& info, std::uint16_t port) {
  const int fd = socket(info.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  SetOptions(fd, info.ai_family);
  sockaddr_storage address{};
  std::copy_n(reinterpret_cast<const char*>(info.ai_addr), info.ai_addrlen,
              reinterpret_cast<char*>(&address));
  SetPort(reinterpret_cast<sockaddr&>(address), port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), info.ai_addrlen) == 0 &&
      listen(fd, SOMAXCONN) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  return -error;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const std::string& host,
                                                         std::uint16_t port) {
  std::unique_ptr<Listener> listener(new Listener);
  listener->port_ = port;
  listener->descriptors_max_ = DescriptorsMax();
  listener->stop_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (listener->stop_ < 0) return absl::UnavailableError(ErrorText(errno));
  absl::Status bound = absl::OkStatus();
  if (host.empty()) {
    bound = listener->Bind("::");  // takes IPv4 as well
    if (!bound.ok()) bound = listener->Bind("0.0.0.0");
  } else {
    bound = listener->Bind(host);
  }
  if (!bound.ok()) return bound;
  return listener;
}

absl::Status Listener::Bind(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int failed = getaddrinfo(host.c_str(), nullptr, &hints, &found); failed != 0) {
    return absl::UnavailableError(gai_strerror(failed));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const int fd = Listen(*each, port_);
    if (fd < 0) {
      error = -fd;
      // A name may have an address of a family that this machine has not got.
      if (error == EADDRINUSE || error == EACCES) return absl::UnavailableError(ErrorText(error));
      continue;
    }
    sockets_.push_back(fd);
    port_ = PortOf(fd);
  }
  return sockets_.empty() ? absl::UnavailableError(ErrorText(error)) : absl::OkStatus();
}

Listener::~Listener() {
  Stop();
  if (stop_ >= 0) close(stop_);
}

void Listener::Start(Acceptor acceptor) {
  acceptor_ = std::move(acceptor);
  thread_ = std::thread([this] { Run(); });
}

void Listener::Stop() {
  if (thread_.joinable()) {
    eventfd_write(stop_, 1);
    thread_.join();
  }
  for (const int each : std::exchange(sockets_, {})) close(each);
}

void Listener::Run() {
  std::vector<pollfd> waiting = {{.fd = stop_, .events = POLLIN, .revents = 0}};
  for (const int each : sockets_) waiting.push_back({.fd = each, .events = POLLIN, .revents = 0});
  while (true) {
    if (poll(waiting.data(), waiting.size(), -1) < 0) continue;  // a signal
    if (waiting[0].revents != 0) return;
    for (std::size_t i = 1; i < waiting.size(); ++i) {
      if (waiting[i].revents != 0) AcceptAll(waiting[i].fd);
    }
  }
}

void Listener::AcceptAll(int socket) {
  while (true) {
    const int fd = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
      // Whoever waits is accepted or refused when there is something to do it with.
      pollfd stop = {.fd = stop_, .events = POLLIN, .revents = 0};
      poll(&stop, 1, kRetryMs);
      return;
    }
    if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (fd < 0) continue;                        // that one has gone again, or a signal
    const bool refuse = fd >= descriptors_max_;  // the lowest free number is given
    if (refuse && !refusing_) {
      spdlog::warn("{} descriptors are in use: connections are refused", fd);
    }
    refusing_ = refuse;
    if (refuse) {
      close(fd);
      continue;
    }
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = socket;
    connection.fd = fd;
    acceptor_->HandleNewConnection(&connection);
  }
}

int Listener::DescriptorsMax() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kDescriptorsReserved;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  const auto most = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, INT32_MAX));
  return most - std::min(kDescriptorsReserved, most / 4);
}

}  // namespace mqd::rpc
