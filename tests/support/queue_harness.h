#pragma once

// queue_harness.h: one QueueCore with clocks moved by hand, commits on demand, and names for what
// came out.
//
// Threads: one at a time.
// Limits: what the queue's settings allow; a message counts payload + 64 bytes.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/queue/queue_core.h"
#include "storage/store.h"

namespace mqd::queue::testing {

inline constexpr std::uint32_t kOverheadBytes = 64;

/// A delivery as a consumer saw it.
struct Seen {
  std::string consumer;
  DeliveryId id = 0;
  Sequence sequence = 0;
  std::uint32_t attempt = 0;
  std::string payload;
  std::optional<storage::DeadLetterOrigin> origin;
  DeliveryRange range() const { return {id, id}; }
};

/// "cat<-a#1": consumer, payload, attempt.
std::vector<std::string> Names(const std::vector<Seen>& seen);
std::vector<std::string> Payloads(const std::vector<Seen>& seen);

/// A message that a commit put on disk.
struct Stored {
  QueueId queue = 0;
  Sequence sequence = 0;
  std::uint32_t charge_bytes = 0;
  std::string payload;
};

class QueueHarness;

/// What is on disk, and the commits that are not there yet. Queues that share one share its order.
class TestDisk final : public storage::Reader {
 public:
  void Append(QueueHarness& queue, CommitRequest commit);
  /// Ends the oldest commit; false when there was none.
  bool CommitNext();
  void CommitAll();
  /// What a crash does to what is not yet on disk.
  void DropWaiting() { waiting_.clear(); }
  void Apply(const storage::Batch& batch);

  absl::Status Scan(storage::ShardId shard, storage::Table table, std::string_view prefix,
                    const Visit& visit) const override;
  void ReadBody(storage::ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const override;

  std::size_t waiting() const { return waiting_.size(); }
  std::size_t rows() const;
  std::size_t rows(storage::Table table) const { return tables_.at(Slot(table)).size(); }
  /// Since the last call, in order.
  std::vector<Stored> TakeStored() { return std::exchange(stored_, {}); }

 private:
  static std::size_t Slot(storage::Table table) { return static_cast<std::size_t>(table); }
  void Note(const storage::Op& chunk, const storage::Body& body);

  std::vector<std::map<std::string, std::string>> tables_{storage::kTableCount};
  std::deque<std::pair<QueueHarness*, CommitRequest>> waiting_;
  std::vector<Stored> stored_;
};

class QueueHarness {
 public:
  struct Place {
    std::shared_ptr<TestDisk> disk;  // none: one of its own
    QueueId id = 7;
    std::string name = "default/q";
  };
  struct ConsumerOptions {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 1 << 20;
    bool marks_started = false;
    bool on_demand = false;
    std::int64_t lease_ms = 0;
  };
  struct PublishOptions {
    std::vector<std::string> keys = {};
    std::uint64_t first_id = 0;  // 0: goes on from the publisher's last
    std::int64_t wait_ms = -1;   // below 0: no deadline
    std::uint64_t answered_through = 0;
  };

  explicit QueueHarness(QueueSettings settings = {}) : QueueHarness(std::move(settings), Place{}) {}
  QueueHarness(QueueSettings settings, Place place);

  // ---- what happens to the queue, one turn each
  void Step(Event event);
  /// Several events in one turn.
  void Turn(std::vector<Event> events);
  void AttachPublisher(const std::string& publisher,
                       std::optional<ProducerId> producer = std::nullopt);
  void DetachPublisher(const std::string& publisher);
  void AttachConsumer(const std::string& consumer, ConsumerOptions options);
  void DetachConsumer(const std::string& consumer, bool keep_deliveries = false);
  void Grant(const std::string& consumer, std::uint64_t messages, std::uint64_t bytes = 1 << 20);
  void Publish(const std::string& publisher, const std::vector<std::string>& payloads) {
    Publish(publisher, payloads, PublishOptions{});
  }
  void Publish(const std::string& publisher, const std::vector<std::string>& payloads,
               PublishOptions options);
  /// For PrepareTransaction: publisher 0, no deadline unless asked for.
  PublishBatch BatchOf(const std::vector<std::string>& payloads,
                       const std::vector<std::string>& keys = {}) const;
  /// Asks without waiting for the commit; the answer is a RequestDone.
  RequestId AskSettle(std::vector<SettleEntry> entries);
  /// Asks, commits everything, and gives the answer.
  SettleResult Settle(DeliveryRange range, SettleOutcome outcome);
  void Advance(std::int64_t ms);

  // ---- commits and crashes
  bool CommitNext() { return disk_->CommitNext(); }
  void CommitAll() { disk_->CommitAll(); }
  /// What a crash leaves: only what was committed. Deliveries begin with the next epoch.
  void Restart();
  /// What an unknown outcome leaves: the same, in the same epoch.
  void Rebuild();
  /// A restart that leaves what waits on the disk alone: for the second queue of one disk.
  void Recover();

  // ---- what came out
  std::vector<Seen> TakeDeliveries();
  /// "2 stored as 7", "3 duplicate of 7 READY", "4 QUEUE_FULL": by publish id.
  std::vector<std::string> TakeResults();
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
  /// The one answer to a request; T is what it holds.
  template <class T>
  T TakeAnswer() {
    return std::get<T>(Take<RequestDone>().at(0).result);
  }
  std::vector<PeekedMessage> PeekAll(MessageStatus status);

  QueueStats Stats() const { return core_->Stats(around_.now); }
  const QueueCore& core() const { return *core_; }
  TestDisk& disk() { return *disk_; }
  storage::Sync LastSync() const { return last_sync_; }
  std::size_t loads() const { return loads_; }
  bool deleted() const { return deleted_; }
  bool wants_rebuild() const { return rebuild_; }
  Surroundings& around() { return around_; }
  QueueId id() const { return id_; }
  /// Of the latest stream of that name.
  ConsumerId ConsumerIdOf(const std::string& consumer) const { return ids_.at(consumer); }
  PublisherId PublisherIdOf(const std::string& publisher) const { return ids_.at(publisher); }
  /// A hash over every effect so far, in order.
  std::uint64_t trace() const { return trace_; }

 private:
  /// Every stream has a number of its own.
  std::uint64_t NewId(const std::string& name);
  RecoveredQueue ReadBack();
  void Perform(Effects effects);
  void Trace(std::uint64_t number);
  void Trace(const Effect& effect);

  std::shared_ptr<TestDisk> disk_;
  const QueueId id_;
  Surroundings around_{.now = {.steady_ns = 1'000'000'000'000, .wall_ms = 1'700'000'000'000}};
  std::unique_ptr<QueueCore> core_;
  storage::Epoch epoch_ = 1;
  std::vector<Effect> sends_;
  storage::Sync last_sync_ = storage::Sync::kWritten;
  std::size_t loads_ = 0;
  bool deleted_ = false;
  bool rebuild_ = false;
  std::map<std::string, std::uint64_t> ids_;    // the latest of each name
  std::map<std::uint64_t, std::string> names_;  // of all
  std::map<std::string, std::uint64_t> next_publish_id_;
  RequestId next_request_ = 1;
  std::uint64_t trace_ = 0;
};

}  // namespace mqd::queue::testing
