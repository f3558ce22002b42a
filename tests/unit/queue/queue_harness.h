#pragma once

// queue_harness.h: one QueueCore with clocks moved by hand, commits on demand, and names for what
// came out.
//
// Threads: one at a time.
// Limits: payloads up to 100 bytes; a message counts payload + 64 bytes.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/queue/queue_core.h"

namespace mqd::queue::testing {

/// A delivery as a consumer saw it.
struct Seen {
  ConsumerId consumer = 0;
  DeliveryId id = 0;
  Sequence sequence = 0;
  std::uint32_t attempt = 0;
  std::string payload;
};

class QueueHarness {
 public:
  explicit QueueHarness(QueueSettings settings = {});

  void Publisher(PublisherId publisher, std::optional<ProducerId> producer = std::nullopt);
  void Consumer(ConsumerId consumer, std::uint64_t messages, bool marks_started = false,
                std::uint64_t bytes = 1 << 20);
  /// Publish ids go on from the publisher's last unless `first_id` is given.
  void Publish(PublisherId publisher, std::vector<std::string> payloads,
               std::vector<std::string> keys = {}, std::uint64_t first_id = 0,
               std::int64_t wait_ms = -1);
  SettleResult Settle(DeliveryRange range, SettleOutcome outcome);
  void Step(Event event);
  /// Ends the oldest commit; true when there was one.
  bool CommitNext();
  void CommitAll();
  void Advance(std::int64_t ms);
  /// What a crash leaves: only what was committed.
  void Restart();

  std::vector<Seen> TakeDeliveries();
  /// The sends of one kind since the last take of that kind.
  template <class Kind>
  std::vector<Kind> Take() {
    std::vector<Kind> taken;
    std::erase_if(sends_, [&](Effect& effect) {
      auto* kind = std::get_if<Kind>(&effect);
      if (kind != nullptr) taken.push_back(std::move(*kind));
      return kind != nullptr;
    });
    return taken;
  }
  QueueStats Stats() const { return core_->Stats(around_.now); }
  std::size_t CommitsWaiting() const { return commits_.size(); }
  storage::Sync LastSync() const { return last_sync_; }
  std::size_t rows() const;
  Surroundings& around() { return around_; }

 private:
  void Perform(Effects effects);
  void Apply(const storage::Batch& batch);

  QueueSettings settings_;
  Surroundings around_{.now = {.steady_ns = 1'000'000'000'000, .wall_ms = 1'700'000'000'000}};
  std::unique_ptr<QueueCore> core_;
  std::uint64_t epoch_ = 1;
  std::vector<Effect> sends_;
  std::deque<CommitRequest> commits_;
  storage::Sync last_sync_ = storage::Sync::kWritten;
  std::map<storage::Table, std::map<std::string, std::string>> disk_;
  std::map<PublisherId, std::uint64_t> next_publish_id_;
  RequestId next_request_ = 1;
};

}  // namespace mqd::queue::testing
