#pragma once

// consumers.h: threads that consume through the client library, and misbehave on purpose: they put
// back, retry, dead-letter, hold on to messages beyond their lease, and leave abruptly.
//
// Threads:   Run() on its own thread until World::stop_consumers(); handlers run on the Consumer's,
//            results come on the Client's.
// Ownership: the World and the Client outlive the consumer.
// Limits:    kHeldMax messages held back at a time.

#include <cstdint>
#include <memory>
#include <vector>

#include "mqd/client.h"
#include "tests/crash/world.h"

namespace mqd::crash {

class BusyConsumer {
 public:
  BusyConsumer(World& world, Client& client, std::uint32_t process,
               std::vector<std::uint32_t> queues);

  /// Consumes from its queues, as one consumer after the other. What comes from kSourceQueue is
  /// settled atomically with a publish to kSinkQueue. Once World::finishing(), everything is
  /// acknowledged at once.
  void Run();

 private:
  struct Session;

  void RunSession();
  mqd::Outcome OnDelivery(const std::shared_ptr<Session>& session, Delivery& delivery);
  void Settle(const std::shared_ptr<Session>& session, Delivery& delivery, SettleKind kind);
  void SettleAndPublish(const std::shared_ptr<Session>& session, Delivery& delivery);
  OperationId InvokeSettle(const Session& session, const Delivery& delivery, SettleKind kind);
  void SettleHeld(const std::shared_ptr<Session>& session, bool all);
  void Detach(const Session& session, bool broken);
  std::uint32_t QueueOf(const Delivery& delivery) const;

  World& world_;
  Client& client_;
  const std::uint32_t process_;
  const std::vector<std::uint32_t> queues_;
  Random random_;
};

}  // namespace mqd::crash
