#pragma once

// app.h: the composition root: the only place that names the concrete store, and that joins store,
// queues, gRPC and HTTP. It holds no rules of its own.
//
// Threads: Start(), Reload(), Drain() and the destructor: main, one at a time. The rest: any.
// Ownership: Owns every part of the daemon; the destructor stops them from the edge inwards, so
// that nothing is called
//            after it is gone. Without Drain() before it the end is abrupt for clients, and safe
//            for their messages.

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config.h"

namespace mqd::server {

class App {
 public:
  /// Called at most once, on any thread, when the store cannot go on: no confirm will come any more
  /// and the process should end with ExitCodeOf(status).
  using OnFatal = std::function<void(absl::Status status)>;

  /// Opens the store, recovers every queue and serves; when it returns the ports are open. Blocks
  /// for as long as recovery takes. The error carries an exit code (exit_code.h): kCannotCreate for
  /// a data directory that cannot be used or is in use, kStoreError for one that is damaged or too
  /// new, kCannotBind for an address.
  static absl::StatusOr<std::unique_ptr<App>> Start(const Config& config, OnFatal on_fatal);

  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  /// The bound ports; differ from the configured ones when those are 0. http_port() is 0 when HTTP
  /// is off.
  int port() const;
  int http_port() const;

  /// One line for the log: queues and messages found, and how long that took.
  std::string RecoverySummary() const;

  /// False when a task given to the pool some seconds ago has still not run: the process is stuck
  /// and may be ended.
  bool Responsive() const;

  /// Takes over the reloadable keys of `config`.
  void Reload(const Config& config);

  /// Refuses new work, tells every stream to go away, and returns when the last one has ended or
  /// `grace` is over. Readiness is false from the first moment. Once only.
  void Drain(std::chrono::milliseconds grace);

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace mqd::server
