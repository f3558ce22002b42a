#pragma once

// recorder.h: writes down what passes between clients and the broker as the checker wants it:
// deliveries as they arrive, grants and settles as they are sent, and when the broker left a
// stream. Publishes are written down where the application makes them.
//
// Threads:   one.
// Ownership: the history outlives it.
// Limits:    memory only.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mqd/v1/broker.pb.h"
#include "proto/wire/frame_scan.h"
#include "tests/crash/history.h"
#include "tests/simulation/network.h"

namespace mqd::simulation {

/// The queues of a run, as indexes of its rules.
enum QueueIndex : std::uint32_t {
  kFifoQueue,     // one consumer, long leases: the order of one producer is seen
  kJobsQueue,     // few attempts, dead letters
  kKeyedQueue,    // idempotency keys, most of them published again
  kBoundedQueue,  // small; publishers wait
  kSourceQueue,   // settled atomically with a publish to kSinkQueue
  kSinkQueue,
  kDeadQueue,
  kQueueCount,
};

const char* QueueName(std::uint32_t queue);

class Recorder final : public StreamObserver {
 public:
  explicit Recorder(crash::History& history) : history_(history) {}

  void OnSent(const Stream& stream, Side from, const std::string& frame) override;
  void OnArrived(const Stream& stream, Side at, const std::string& frame) override;
  void OnHalfClosed(const Stream& stream, Side at) override;
  void OnLeft(const Stream& stream, bool killed) override;

 private:
  using Delivery = std::pair<std::uint32_t, std::uint64_t>;  // queue, delivery id
  struct Known {
    std::uint64_t message = 0;
    std::uint64_t sequence = 0;
  };
  struct Settling {
    crash::OperationId operation = 0;
    std::uint64_t delivery = 0;
  };
  struct Consuming {
    std::vector<std::uint32_t> queues;
    std::map<std::uint64_t, std::vector<Settling>> settles;  // by settle id
  };

  void Leave(const Stream& stream, bool killed);
  void Open(std::uint64_t stream, const v1::ConsumeOpen& open);
  void Settle(std::uint64_t stream, const v1::SettleBatch& batch);
  void Settled(std::uint64_t stream, const v1::SettleResults& results);
  void Deliver(std::uint64_t stream, const wire::ScannedDeliveries& deliveries);

  crash::History& history_;
  std::map<std::uint64_t, Consuming> consuming_;  // by stream
  std::map<Delivery, Known> known_;
};

}  // namespace mqd::simulation
