#pragma once

// probes.h: the HTTP port: GET /livez and GET /readyz for probes.
//
// /livez is 200 while the process answers at all; it does not depend on disk, peers or load, so
// that a busy broker is never restarted for being busy. /readyz is 200 when the broker takes work,
// else 503 with the reason. Both answer text/plain, one line.
//
// Threads: Stop() and the destructor: one at a time. Requests are answered on kThreads threads of
// its own, where `ready`
//            is called too.
// Limits: kThreads requests at once, kBodyBytesMax of a request, kTimeout for each read and
// write.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mqd::http {

class Probes {
 public:
  static constexpr std::size_t kThreads = 4;
  static constexpr std::size_t kBodyBytesMax = 4096;
  static constexpr std::chrono::seconds kTimeout{5};

  /// OK when the broker takes work, else why not.
  using Ready = std::function<absl::Status()>;

  /// Binds (port 0: any free one) and answers. kUnavailable when the address cannot be used.
  static absl::StatusOr<std::unique_ptr<Probes>> Start(const std::string& host, int port,
                                                       Ready ready);
  ~Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  int port() const;

  /// Returns when no request is being answered any more; `ready` is not called after that.
  void Stop();

 private:
  struct Parts;
  explicit Probes(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace mqd::http
