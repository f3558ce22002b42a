#pragma once

// effects.h: step 3 of 5 (queue). Everything that a queue asks to be done, as values. The actor
// performs them.
//
// Threads: plain values.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/queue/events.h"
#include "server/queue/results.h"
#include "storage/batch.h"

namespace mqd::queue {

struct Duplicate {
  Sequence sequence = 0;
  MessageStatus status = MessageStatus::kUnspecified;
};
struct Dropped {
  OverflowPolicy policy;
};

/// publish ids first_publish_id .. + count - 1 became sequences first_sequence .. + count - 1.
struct ConfirmedRange {
  std::uint64_t first_publish_id = 0;
  std::uint64_t count = 0;
  Sequence first_sequence = 0;
};
struct PublishException {
  std::uint64_t publish_id = 0;
  std::variant<Duplicate, Dropped, ErrorInfo> result;
};
/// What became of some messages of one publisher. Every publish id gets exactly one result.
struct Confirms {
  std::vector<ConfirmedRange> ranges;
  std::vector<PublishException> exceptions;
  /// What the results give back of the publisher's window.
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  bool empty() const { return ranges.empty() && exceptions.empty(); }
};

struct AttachedPublisher {
  bool resumed = false;
  std::uint64_t last_publish_id = 0;
};

/// Deliveries first_delivery_id + i of sequence first_sequence + i: message first_index + i of the
/// body.
struct DeliveryRun {
  DeliveryId first_delivery_id = 0;
  Sequence first_sequence = 0;
  std::uint32_t count = 0;
  std::uint32_t attempt = 1;
  WallMs publish_time_ms = 0;
  std::int64_t lease_ms = 0;
  std::shared_ptr<const storage::Body> body;
  std::uint32_t first_index = 0;
  std::uint64_t fence = 0;                               // as mqd.v1.DeliveryRun
  std::uint64_t charge_bytes = 0;                        // of all
  std::optional<storage::DeadLetterOrigin> dead_letter;  // then count is 1
  std::string_view elements() const { return body->Elements(first_index, first_index + count); }
};
struct DeliveryBatch {
  std::vector<DeliveryRun> runs;
  std::uint64_t charged_messages = 0;
  std::uint64_t charged_bytes = 0;
};

enum class LeaseLostCode : std::uint8_t { kExpired = 1, kPurged = 2, kRecalled = 3 };
enum class GoAwayCode : std::uint8_t {
  kDraining = 1,
  kQueueDeleted = 2,
  kRecovering = 3,
  kFenced = 4,
  kNotLeader = 5
};

struct SettleResult {
  std::uint64_t settled = 0;
  std::vector<std::pair<DeliveryRange, ErrorInfo>> exceptions;
};

// ---- what the actor sends on

struct PublisherAttached {
  PublisherId publisher = 0;
  AttachedPublisher attached;
  std::optional<ErrorInfo> error;
};
struct SendConfirms {
  PublisherId publisher = 0;
  Confirms confirms;
};
/// `reason` is empty when the wait has ended.
struct SendBlocked {
  PublisherId publisher = 0;
  std::uint64_t first_publish_id = 0;
  std::optional<ErrorInfo> reason;
};
struct PublisherGone {
  PublisherId publisher = 0;
  GoAwayCode code;
  ErrorInfo error;
};

struct ConsumerAttached {
  ConsumerId consumer = 0;
  std::int64_t lease_ms = 0;
  std::optional<ErrorInfo> error;
};
struct SendDeliveries {
  ConsumerId consumer = 0;
  DeliveryBatch batch;
};
struct WantCredit {
  ConsumerId consumer = 0;
};
/// A grant has ended: this much of it was not used. With `more` the queue wants the next one.
struct CreditReturned {
  ConsumerId consumer = 0;
  std::uint64_t messages = 0;
  std::int64_t bytes = 0;  // may be negative: a message larger than the bytes left was sent
  bool more = false;
};
struct SendLeaseLost {
  ConsumerId consumer = 0;
  std::vector<DeliveryRange> ranges;
  LeaseLostCode code;
};
/// Asks for unstarted deliveries back: another consumer is idle.
struct SendRecall {
  ConsumerId consumer = 0;
  std::vector<DeliveryRange> ranges;
};
struct SendEndOfQueue {
  ConsumerId consumer = 0;
};
struct ConsumerDrained {
  ConsumerId consumer = 0;
  std::uint64_t released = 0;
  std::uint64_t in_flight = 0;
};
struct ConsumerGone {
  ConsumerId consumer = 0;
  GoAwayCode code;
  ErrorInfo error;
};

struct RequestDone {
  RequestId request = 0;
  std::variant<SettleResult, QueueInfo, QueueStats, std::uint64_t, std::vector<PeekedMessage>,
               CancelResult, DedupInfo, std::vector<HistoryEntry>, ClientList,
               std::vector<Explanation>, ErrorInfo>
      result;
};

/// A target has reserved what was asked: the rows to write and each message's result.
struct TransactionPrepared {
  TransactionId transaction = 0;
  storage::Batch part;
  bool flush = false;
  std::vector<std::variant<Sequence, Duplicate, ErrorInfo>> results;
  bool accepted = false;  // no result is an error
};
/// The source has committed, or refused.
struct TransactionDone {
  TransactionId transaction = 0;
  bool committed = false;
  SettleResult result;
};
/// Messages to move to the dead-letter queue, now parked.
struct MoveToDeadLetter {
  struct Item {
    Sequence sequence = 0;
    std::uint32_t charge_bytes = 0;
    storage::DeadLetterOrigin origin;
    std::shared_ptr<const storage::Body> body;
    std::uint32_t index = 0;
  };
  std::vector<Item> items;
};

/// A publish that the full queue hands on to its dead-letter queue: the actor runs a transaction
/// with CommitTransaction::diverted, or answers DivertFailed.
struct DivertToDeadLetter {
  std::uint64_t divert = 0;
  std::uint32_t charge_bytes = 0;
  std::string_view element;  // in `owner`
  std::shared_ptr<const void> owner;
  storage::DeadLetterOrigin origin;
};
/// For `ref.queue`: a message of this queue waits until that one is settled.
struct AskRef {
  storage::MessageRef ref;
};
/// For the queue `watcher`.
struct TellRef {
  QueueId watcher = 0;
  RefAnswer answer;
};

struct CommitRequest {
  std::uint64_t commit = 0;
  storage::Batch batch;
  storage::Sync sync = storage::Sync::kWritten;
};

using Effect =
    std::variant<PublisherAttached, SendConfirms, SendBlocked, PublisherGone, ConsumerAttached,
                 SendDeliveries, WantCredit, CreditReturned, SendLeaseLost, SendEndOfQueue,
                 ConsumerDrained, ConsumerGone, SendRecall, RequestDone, TransactionPrepared,
                 TransactionDone, MoveToDeadLetter, DivertToDeadLetter, AskRef, TellRef>;

struct Effects {
  std::vector<Effect> sends;  // in order
  std::vector<CommitRequest> commits;
  std::vector<ChunkKey> loads;
  bool deleted = false;  // the queue's rows are gone: forget it
  bool rebuild = false;  // the store knows more than this queue: read it again
};

}  // namespace mqd::queue
