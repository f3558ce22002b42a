#pragma once

// raw_consumer.h: a thread that consumes through generated stubs: streams that are cancelled with
// deliveries on their way, unary receives with short leases, and settles of deliveries that are
// long gone.
//
// Threads:   Run() on its own thread until World::stop_consumers(); a timer thread for each stream.
// Ownership: the World outlives it.
// Limits:    every call has a deadline of some seconds; kLateMax deliveries wait to be settled
// late.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mqd/v1/broker.grpc.pb.h"
#include "tests/crash/world.h"

namespace mqd::crash {

class RawConsumer {
 public:
  RawConsumer(World& world, const std::string& address, std::uint32_t process);

  void Run();

 private:
  using Stream = grpc::ClientReaderWriter<v1::ConsumeStreamRequest, v1::ConsumeStreamResponse>;
  /// A delivery in hand.
  struct Held {
    std::uint32_t queue = 0;
    std::uint64_t session = 0;
    std::uint64_t message = 0;
    std::uint64_t sequence = 0;
    std::uint64_t delivery = 0;
  };
  struct Late {
    Held held;
    Clock::time_point due;
  };
  struct Settling {
    OperationId id = 0;
    SettleKind kind = SettleKind::kNone;
    std::uint64_t delivery = 0;
  };

  void RunStream(std::uint32_t queue);
  bool Open(Stream& stream, std::uint32_t queue);
  bool Grant(Stream& stream, std::uint64_t messages, std::uint64_t bytes);
  bool OnDeliveries(Stream& stream, std::uint32_t queue, const v1::Deliveries& deliveries);
  void OnSettled(const v1::SettleResults& results);
  void RunReceive(std::uint32_t queue);
  std::vector<Held> TakeRun(std::uint32_t queue, const v1::DeliveryRun& run);
  void Keep(const Held& held, std::uint64_t delay_ms);
  /// Decides what to do with a delivery; kNone is to keep it for later.
  SettleKind Decide();
  Settling Invoke(const Held& held, SettleKind kind);
  void End(const Settling& settling, const v1::ErrorInfo* error);
  void SettleLate();
  void SettleUnary(const Held& held);
  void Detach(std::uint32_t queue, bool broken);

  World& world_;
  const std::uint32_t process_;
  Random random_;
  std::unique_ptr<v1::BrokerService::Stub> stub_;
  std::uint64_t session_ = 0;
  std::uint64_t next_settle_id_ = 1;
  std::map<std::uint64_t, std::vector<Settling>> settling_;  // by settle id
  std::deque<Late> late_;
  std::int64_t lease_ns_ = 0;  // of what the present call receives; 0: the queue's
};

}  // namespace mqd::crash
