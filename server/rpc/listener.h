#pragma once

// listener.h: step 1 of 5 (rpc edge). Accepts connections and hands them to gRPC.
//
// gRPC's own listener closes for good at the first accept that fails for want of a descriptor
// (CVE-2023-4785). This one refuses connections before it comes to that, and keeps descriptors for
// the store.
//
// Threads: One of its own accepts; the rest is for the thread that starts and stops the broker.
// Ownership: Owns the listening sockets, and a connection until gRPC has it.
// Limits: Connections whose descriptor is below DescriptorsMax().

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"

namespace mqd::rpc {

class Listener {
 public:
  using Acceptor = std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor>;

  /// Descriptors that connections leave to the store and whatever else; a quarter where few are
  /// allowed.
  static constexpr int kDescriptorsReserved = 1'024;
  /// A connection whose peer does not acknowledge a byte for so long is closed by the kernel.
  static constexpr std::chrono::milliseconds kDeadAfter{10'000};

  /// Listens on every address of `host` (empty: of the machine); port 0 takes a free one.
  /// kUnavailable when that cannot be.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const std::string& host,
                                                        std::uint16_t port);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  std::uint16_t port() const { return port_; }

  /// Accepts from now on; gRPC's server must have been started.
  void Start(Acceptor acceptor);
  /// Accepts no more, and is not listening either.
  void Stop();

  /// Raises this process's limit of descriptors as far as it may; what connections may use of it.
  static int DescriptorsMax();

 private:
  Listener() = default;
  absl::Status Bind(const std::string& host);
  void Run();
  void AcceptAll(int socket);

  std::uint16_t port_ = 0;
  int descriptors_max_ = 0;
  int stop_ = -1;  // an eventfd
  bool refusing_ = false;
  std::vector<int> sockets_;
  Acceptor acceptor_;
  std::thread thread_;
};

}  // namespace mqd::rpc
