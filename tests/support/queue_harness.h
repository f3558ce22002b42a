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
#include "tests/support/test_disk.h"

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
  std::uint64_t fence = 0;
  std::int64_t lease_ms = 0;
  ConsumerId stream = 0;
  bool first_of_run = true;
  DeliveryRange range() const { return {id, id}; }
};

/// "cat<-a#1": consumer, payload, attempt.
std::vector<std::string> Names(const std::vector<Seen>& seen);
std::vector<std::string> Payloads(const std::vector<Seen>& seen);
/// "duplicate of 7 READY", "dropped DROP_NEWEST", "QUEUE_FULL".
std::string NameOf(const std::variant<Duplicate, Dropped, ErrorInfo>& result);

/// What makes a message more than plain; SpecialFields that own what they name.
struct Extras {
  std::string ordering_key = {};
  std::uint32_t priority = 0;
  std::int64_t delay_ms = 0;
  WallMs deliver_at_ms = 0;
  std::int64_t ttl_ms = 0;
  std::vector<storage::MessageRef> deliver_after = {};
  std::shared_ptr<const ErrorInfo> fault = {};
  bool plain() const;
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
    bool take_over = false;
    std::string client_name = {};  // empty: the consumer's name here
    std::uint32_t in_flight_per_key = 1;
  };
  struct PublisherOptions {
    std::optional<ProducerId> producer = {};
    bool take_over = false;
    std::string client_name = {};  // empty: the publisher's name here
  };
  struct PublishOptions {
    std::vector<std::string> keys = {};
    std::vector<Extras> extras = {};  // one for each message; one alone is for all
    ConfirmLevel level = ConfirmLevel::kDurable;
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
  void AttachPublisher(const std::string& publisher, PublisherOptions options);
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
                       const std::vector<std::string>& keys = {},
                       const std::vector<Extras>& extras = {}) const;
  /// One message that is more than plain.
  void PublishOne(const std::string& publisher, const std::string& payload, Extras extras,
                  ConfirmLevel level = ConfirmLevel::kDurable) {
    Publish(publisher, {payload}, {.extras = {std::move(extras)}, .level = level});
  }
  /// Asks without waiting for the commit; the answer is a RequestDone.
  RequestId AskSettle(std::vector<SettleEntry> entries);
  /// Asks, commits everything, and gives the answer.
  SettleResult Settle(DeliveryRange range, SettleOutcome outcome);
  /// Acks what was delivered since the last take.
  void AckAll() {
    for (const Seen& seen : TakeDeliveries()) Settle(seen.range(), AckOutcome{});
  }
  /// A request of any kind: asks, commits everything, and gives the answer; T is what it holds.
  template <class T, class Request>
  T Ask(Request request) {
    Take<RequestDone>();
    request.request = next_request_++;
    Step(std::move(request));
    CommitAll();
    return TakeAnswer<T>();
  }
  void Update(const QueueSettings& settings) {
    Ask<QueueInfo>(UpdateSettings{.settings = settings});
  }
  /// The same settings with one changed: Change([](QueueSettings& s) { s.max_messages = 3; }).
  template <class F>
  void Change(F change) {
    QueueSettings settings = core_->settings();
    change(settings);
    Update(settings);
  }
  /// Asks without committing anything.
  std::vector<Explanation> Why(ExplainSubject subject);
  /// Both clocks.
  void Advance(std::int64_t ms);
  /// Both clocks; the queue has nothing to do in the meantime.
  void PassTime(std::int64_t ms) {
    around_.now.steady_ns += ms * kNsPerMs;
    around_.now.wall_ms += ms;
  }
  /// The wall clock alone: somebody set it.
  void JumpWall(std::int64_t ms);

  // ---- two queues
  /// What the actor does for the dead letters and diverts that this queue has asked for: a
  /// transaction each, with `target`. How many were taken.
  std::size_t MoveTo(QueueHarness& target);
  /// Carries the questions and answers of deliver_after between queues until none is left; a queue
  /// that is not here was deleted.
  static void ExchangeRefs(const std::vector<QueueHarness*>& queues);

  // ---- commits and crashes
  bool CommitNext() { return disk_->CommitNext(); }
  void CommitAll() { disk_->CommitAll(); }
  /// What a crash leaves: only what was committed. Deliveries begin with the next epoch.
  void Restart();
  /// What an unknown outcome leaves: the same, in the same epoch.
  void Rebuild();
  /// The same for the second queue of one disk.
  void Reread();
  /// A restart that leaves what waits on the disk alone: for the second queue of one disk.
  void Recover();
  /// A new queue in the place of one that was deleted.
  void Create(const QueueSettings& settings, Sequence first_sequence);
  /// Every body that is on disk only is read back.
  void LoadBodies();

  // ---- what came out
  std::vector<Seen> TakeDeliveries();
  /// "2 stored as 7", "3 duplicate of 7 READY", "4 QUEUE_FULL", "5 dropped DROP_NEWEST": by
  /// publish id.
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
  /// All that is left, in the order in which it was sent.
  std::vector<Effect> TakeSends() { return std::exchange(sends_, {}); }
  /// The one answer to a request; T is what it holds.
  template <class T>
  T TakeAnswer() {
    return std::get<T>(Take<RequestDone>().at(0).result);
  }
  /// The errors among the results, by publish id; takes all results.
  std::map<std::uint64_t, ErrorInfo> TakeErrors();
  std::vector<PeekedMessage> PeekAll(MessageStatus status);

  /// What the next message gets at least, after a restart.
  Sequence FirstSequence() const { return first_sequence_; }
  QueueStats Stats() const { return core_->Stats(around_.now); }
  const QueueCore& core() const { return *core_; }
  TestDisk& disk() { return *disk_; }
  storage::Sync LastSync() const { return last_sync_; }
  /// Bodies that are wanted from disk do not come.
  void StopReading() { reads_bodies_ = false; }
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
  const std::string& NameOf(std::uint64_t stream) const { return names_.at(stream); }

 private:
  /// Every stream has a number of its own.
  std::uint64_t NewId(const std::string& name);
  bool RunTransaction(QueueHarness& target, PrepareTransaction prepare, CommitTransaction commit);
  RecoveredQueue ReadBack();
  void Perform(Effects effects);
  void Load(const ChunkKey& chunk);
  void Trace(std::uint64_t number);
  void Trace(const Effect& effect);
  void TraceRare(const Effect& effect);

  std::shared_ptr<TestDisk> disk_;
  const QueueId id_;
  const std::string name_;
  Surroundings around_{.now = {.steady_ns = 1'000'000'000'000, .wall_ms = 1'700'000'000'000}};
  std::unique_ptr<QueueCore> core_;
  storage::Epoch epoch_ = 1;
  Sequence first_sequence_ = 1;
  std::vector<Effect> sends_;
  storage::Sync last_sync_ = storage::Sync::kWritten;
  std::size_t loads_ = 0;
  bool reads_bodies_ = true;
  bool deleted_ = false;
  bool rebuild_ = false;
  std::map<std::string, std::uint64_t> ids_;    // the latest of each name
  std::map<std::uint64_t, std::string> names_;  // of all
  std::map<std::string, std::uint64_t> next_publish_id_;
  RequestId next_request_ = 1;
  TransactionId next_transaction_ = 1'000'000'000;
  std::uint64_t trace_ = 0;
};

}  // namespace mqd::queue::testing
