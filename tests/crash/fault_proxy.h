#pragma once

// fault_proxy.h: a TCP proxy on loopback that spoils what passes through it, in userland, so that
// it works without rights and on every kernel.
//
// Threads:   any thread may call any method, one at a time; one thread of its own moves the bytes.
// Ownership: owns its sockets. The destructor closes all of them.
// Limits:    kQueuedMax bytes wait in each direction of a connection.

#include <chrono>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"

namespace mqd::crash {

enum class Network : std::uint8_t {
  kGood,      // bytes pass
  kLatency,   // every byte comes `delay` late
  kJitter,    // every piece comes up to `delay` late, in order
  kStall,     // nothing moves in one direction; afterwards it goes on
  kHalfOpen,  // whatever is sent is swallowed, for good: these connections never heal
  kReset,     // connections are reset, and new ones within `delay`
  kThrottle,  // `bytes` a second in each direction
  kCut,       // connections are reset when at most `bytes` more have passed, wherever that is
  kFraming,   // the length in the head of an HTTP/2 frame becomes what no frame can have
  kFlip,      // one bit is flipped in about each `bytes` bytes
};
inline constexpr std::size_t kNetworks = 10;

/// "half-open"
const char* NameOf(Network network);

struct NetworkFault {
  Network network = Network::kGood;
  std::chrono::milliseconds delay{100};
  std::uint64_t bytes = 64 * 1'024;
  bool to_target = true;  // stall: what clients send, or what they receive
};

struct ProxyCounts {
  std::uint64_t connections = 0;
  std::uint64_t bytes = 0;      // passed on
  std::uint64_t swallowed = 0;  // bytes
  std::uint64_t aborted = 0;    // connections that were reset by a fault
  std::uint64_t spoiled = 0;    // bits or frames
};

class FaultProxy {
 public:
  explicit FaultProxy(std::uint64_t seed);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  /// Opens a port of its own. Connections go on to `target_port` of this machine.
  absl::Status Listen(int target_port);
  int port() const;

  /// In the place of the fault before, for the connections that there are and all that come. It
  /// works from when this returns.
  void Inflict(const NetworkFault& fault);
  void Heal() { Inflict({}); }

  ProxyCounts counts() const;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace mqd::crash
