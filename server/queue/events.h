#pragma once

// events.h: step 3 of 5 (queue). Everything that can happen to a queue, as values.
//
// Threads: plain values, made on one thread and moved to the queue's.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/queue/admin_events.h"
#include "server/queue/error.h"
#include "server/queue/ids.h"
#include "storage/body.h"
#include "storage/records.h"
#include "storage/store.h"
#include "storage/types.h"

namespace mqd::queue {

using storage::ProducerId;

// ---- publishing

/// The numbers are those of mqd.v1.ConfirmLevel.
enum class ConfirmLevel : std::uint8_t {
  kAccepted = 1,
  kDurable = 2,
  kDelivered = 3,
  kSettled = 4
};

/// What makes a message more than plain. Views point into PublishBatch::owner.
struct SpecialFields {
  std::string_view ordering_key;
  std::uint32_t priority = 0;
  std::int64_t delay_ms = 0;  // 0: none; at most one of delay_ms and deliver_at_ms
  WallMs deliver_at_ms = 0;   // 0: none
  std::int64_t ttl_ms = 0;    // 0: the queue's default
  std::vector<storage::MessageRef> deliver_after;
  std::shared_ptr<const ErrorInfo> fault;  // why it is refused unless it is here already; or null
};

/// A message that passed the edge's checks. Views point into PublishBatch::owner.
struct IncomingMessage {
  std::string_view element;
  std::uint32_t charge_bytes = 0;  // payload + headers + keys + overhead
  std::string_view idempotency_key;
  KeyHash key_hash;
  std::uint64_t digest = 0;
  std::uint32_t special = 0;  // 0: plain; else PublishBatch::specials[special - 1]
};

/// Messages of one publisher with consecutive publish ids.
struct PublishBatch {
  PublisherId publisher = 0;
  std::uint64_t first_publish_id = 0;
  std::uint64_t answered_through = 0;
  std::int64_t deadline_ns = kNever;  // steady; for waiting on a full queue, and for its level
  ConfirmLevel level = ConfirmLevel::kDurable;
  std::vector<IncomingMessage> messages;
  std::vector<SpecialFields> specials;
  std::shared_ptr<const void> owner;

  /// Null for a plain message.
  const SpecialFields* SpecialOf(const IncomingMessage& message) const {
    return message.special == 0 ? nullptr : &specials[message.special - 1];
  }
};

struct AttachPublisher {
  PublisherId publisher = 0;
  std::optional<ProducerId> producer;
  std::string client_name;
  /// Fences off the publisher that was here longest when max_producers is reached.
  bool take_over = false;
};

struct DetachPublisher {
  PublisherId publisher = 0;
};

// ---- consuming

struct AttachConsumer {
  ConsumerId consumer = 0;
  /// Sends Started; otherwise a delivery counts as started when it is handed over.
  bool marks_started = false;
  /// Part of a select: holds no credit, asks for it (WantCredit) and gives back what it did not
  /// use.
  bool on_demand = false;
  std::int64_t lease_ns = 0;  // 0: the queue's
  std::string client_name;
  /// Fences off the consumer that was here longest when max_consumers is reached.
  bool take_over = false;
  /// KEYED: how many messages of a key it may have at a time; at least 1. It works on them in
  /// order, and when one comes back those behind it are taken back too.
  std::uint32_t in_flight_per_key = 1;
};

/// The consumer is gone: what it had started is charged an attempt, the rest is released, all at
/// once.
struct DetachConsumer {
  ConsumerId consumer = 0;
  /// For a unary receive: its deliveries stay leased.
  bool keep_deliveries = false;
};

struct GrantCredit {
  ConsumerId consumer = 0;
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
};

struct MarkStarted {
  std::vector<DeliveryRange> ranges;
};

/// Nothing new for this consumer; its unstarted deliveries are released. Answered with
/// ConsumerDrained.
struct DrainConsumer {
  ConsumerId consumer = 0;
};

struct AckOutcome {};
struct RetryOutcome {
  std::optional<std::int64_t> delay_ns;  // none: the queue's backoff
  std::string error;
};
struct ReleaseOutcome {};
struct DeadLetterOutcome {
  std::string reason;
};
struct ExtendOutcome {
  std::optional<std::int64_t> lease_ns;  // none: the queue's
};
using SettleOutcome =
    std::variant<AckOutcome, RetryOutcome, ReleaseOutcome, DeadLetterOutcome, ExtendOutcome>;

struct SettleEntry {
  DeliveryRange range;
  SettleOutcome outcome;
};

struct Settle {
  RequestId request = 0;
  std::vector<SettleEntry> entries;
};

// ---- atomic requests (transaction.h tells the whole story)

/// At a target: reserve room for these messages and hold them until the transaction ends.
struct PrepareTransaction {
  TransactionId transaction = 0;
  PublishBatch batch;  // publisher 0
  /// Dead-lettered messages: no dedup, and where they came from, one for each message.
  bool bypass_dedup = false;
  std::vector<storage::DeadLetterOrigin> origins;
};

/// At the source, when every target is prepared: settle and commit together with `parts`.
struct CommitTransaction {
  TransactionId transaction = 0;
  std::vector<SettleEntry> entries;
  /// Instead of entries: ready, delayed or parked messages that leave for another queue.
  std::vector<Sequence> leaving;
  /// Instead of entries: publishes that this full queue hands on (DivertToDeadLetter).
  std::vector<std::uint64_t> diverted;
  storage::Batch parts;
  bool flush = false;
};

/// The dead-letter queue did not take a parked message; it is tried again later.
struct MoveFailed {
  Sequence sequence = 0;
};

/// The dead-letter queue did not take it.
struct DivertFailed {
  std::uint64_t divert = 0;
  ErrorInfo error;
};

/// At a target: how it ended.
struct EndTransaction {
  TransactionId transaction = 0;
  bool committed = false;
};

// ---- deliver_after: queues ask each other about messages

enum class RefState : std::uint8_t { kUnknown, kPending, kSettled };
/// Another queue asks after a message of this one, and wants to hear when it is settled.
struct WatchMessage {
  QueueId watcher = 0;
  Sequence sequence = 0;
};
/// What another queue answers, now or later.
struct RefAnswer {
  storage::MessageRef ref;
  RefState state = RefState::kUnknown;
};

// ---- what comes back

/// The commit with this id ended. Commits end in the order in which they were asked for.
struct CommitDone {
  std::uint64_t commit = 0;
};

struct BodyLoaded {
  ChunkKey chunk;
  std::shared_ptr<const storage::Body> body;
};

/// Time has passed; nothing else happened.
struct Tick {};

using Event =
    std::variant<PublishBatch, AttachPublisher, DetachPublisher, AttachConsumer, DetachConsumer,
                 GrantCredit, MarkStarted, DrainConsumer, Settle, PrepareTransaction,
                 CommitTransaction, EndTransaction, CloseQueue, ReopenQueue, PurgeQueue,
                 UpdateSettings, DeleteQueue, GetStats, Peek, CancelMessages, FindMessage, GetDedup,
                 ForgetDedup, GetHistory, ListClients, Explain, WatchMessage, RefAnswer,
                 DivertFailed, MoveFailed, CommitDone, BodyLoaded, Tick>;

}  // namespace mqd::queue
