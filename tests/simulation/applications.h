#pragma once

// applications.h: programs that publish and consume through the client library, and misbehave on
// purpose: they put back, retry, hold on beyond their lease, hang, leave and die.
//
// Threads:   one; each acts in events of the Timeline.
// Ownership: the Scene outlives them; the library's callbacks may come until the Timeline ends.
// Limits:    kHeldMax messages held back at a time.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/connection.h"
#include "client/consumer_core.h"
#include "client/publisher_core.h"
#include "tests/crash/world.h"
#include "tests/simulation/timeline.h"

namespace mqd::simulation {

/// What the applications of a run share.
struct Scene {
  Timeline& timeline;
  crash::History& history;
  bool stopping = false;   // publish no more
  bool finishing = false;  // misbehave no more: acknowledge all
  /// The broker refuses messages now and then. One whose refusal got lost is sent again and may
  /// then be taken, behind those that followed it: the order of a producer is not judged.
  bool refusals = false;
  std::uint64_t next_message = 1;
  std::uint64_t next_session = 1;
  std::uint64_t confirmed = 0;

  std::shared_ptr<client::Connection> NewConnection();
};

class Producer {
 public:
  Producer(Scene& scene, std::uint32_t queue);

  /// Acts from now on.
  void Begin() { Later(); }
  bool done() const { return done_; }

 private:
  struct Repeat {
    std::uint64_t message = 0;
    std::uint64_t times = 0;
  };

  void Later();
  void Act();
  void Open();
  void Leave();
  void PublishOne();
  void PublishKeyed();
  void Send(std::uint64_t message, std::uint64_t key);

  Scene& scene_;
  const std::uint32_t queue_;
  Random random_;
  std::shared_ptr<client::PublisherCore> publisher_;
  std::uint64_t session_ = 0;
  std::int64_t leave_at_ns_ = 0;
  std::vector<Repeat> repeats_;
  std::vector<std::uint64_t> taken_;  // keys
  bool done_ = false;
};

class Consumer {
 public:
  Consumer(Scene& scene, std::vector<std::uint32_t> queues);

  void Begin() { Later(); }
  /// Ends its stream in order, and acts no more.
  void Stop();

 private:
  struct Held {
    Delivery delivery;
    std::int64_t due_ns = 0;
  };

  void Later();
  void Act();
  void Open();
  void Leave();
  void Die();
  void Handle(Delivery delivery);
  void Settle(Delivery delivery, crash::SettleKind kind);
  void SettleAndPublish(Delivery delivery);
  void SettleHeld(bool all);
  std::uint32_t QueueOf(const Delivery& delivery) const;
  crash::OperationId InvokeSettle(const Delivery& delivery, crash::SettleKind kind);

  Scene& scene_;
  const std::vector<std::uint32_t> queues_;
  Random random_;
  std::shared_ptr<client::ConsumerCore> consumer_;
  std::vector<Held> held_;
  std::int64_t leave_at_ns_ = 0;
  bool stopped_ = false;
};

}  // namespace mqd::simulation
