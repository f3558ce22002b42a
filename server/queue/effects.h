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
  std::uint64_t fence = 0;  // as mqd.v1.DeliveryRun
  std::uint64_t charge_bytes = 0;  // of all
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

struct QueueStats {
  std::uint64_t ready = 0, in_flight = 0, delayed = 0, parked = 0, committing = 0;
  std::uint64_t backlog_bytes = 0;
  std::uint64_t publishers = 0, consumers = 0, blocked_publishers = 0, dedup_entries = 0;
  std::uint64_t published = 0, duplicates = 0, rejected = 0, delivered = 0, redelivered = 0;
  std::uint64_t acked = 0, retried = 0, released = 0, dead_lettered = 0, lease_expired = 0;
  std::uint64_t purged = 0, dedup_evicted = 0, dropped = 0, expired = 0;
  std::uint64_t diverted = 0, cancelled = 0, recalled = 0;
  std::uint64_t awaited_confirms = 0, dead_letter_waiting = 0;
  std::vector<std::string> alarms;
  std::optional<std::int64_t> oldest_age_ms;
  bool closed = false;
};

struct PeekedMessage {
  Sequence sequence = 0;
  MessageStatus status = MessageStatus::kUnspecified;
  std::uint32_t attempts = 0;
  WallMs publish_time_ms = 0;
  WallMs deliver_at_ms = 0;  // 0: not delayed
  DeliveryId delivery_id = 0;
  std::vector<storage::AttemptNote> notes;  // oldest first
  std::optional<storage::DeadLetterOrigin> dead_letter;
  std::uint32_t charge_bytes = 0;
  ChunkKey chunk;
  std::uint32_t index = 0;
  std::shared_ptr<const storage::Body> body;  // the actor reads it when the queue does not hold it
};

struct CancelResult {
  std::uint64_t cancelled = 0;
  std::vector<std::pair<Sequence, ErrorInfo>> exceptions;
};

struct DedupInfo {
  Sequence sequence = 0;
  MessageStatus status = MessageStatus::kUnspecified;
  WallMs first_seen_ms = 0;
  WallMs expires_ms = 0;
};

/// The numbers are those of mqd.v1.Transition.
enum class Transition : std::uint8_t {
  kPublished = 1,
  kDelivered = 2,
  kAcked = 3,
  kRetried = 4,
  kReleased = 5,
  kLeaseExpired = 6,
  kConsumerGone = 7,
  kParked = 8,
  kDeadLettered = 9,
  kExpired = 10,
  kDropped = 11,
  kPurged = 12,
  kCancelled = 13
};
struct HistoryEntry {
  Sequence first = 0;
  Sequence last = 0;
  WallMs time_ms = 0;
  Transition transition = Transition::kPublished;
  std::uint32_t attempt = 0;
  std::string client_name;
  std::string text;
};

struct PublisherInfo {
  PublisherId id = 0;
  std::string client_name;
  WallMs since_ms = 0;
  std::uint64_t waiting = 0;
};
struct ConsumerInfo {
  ConsumerId id = 0;
  std::string client_name;
  WallMs since_ms = 0;
  std::uint64_t in_flight = 0;
  std::int64_t credit_messages = 0;
  std::int64_t credit_bytes = 0;
  std::uint64_t delivered = 0;
  std::uint64_t acked = 0;
  bool draining = false;
  bool standby = false;
  bool select = false;
};
struct ClientList {
  std::vector<PublisherInfo> publishers;
  std::vector<ConsumerInfo> consumers;
};

/// The numbers are those of mqd.v1.Cause, which says what each means.
enum class Cause : std::uint8_t {
  kMoving = 1,
  kEmpty = 2,
  kNoConsumers = 3,
  kNoCredit = 4,
  kCreditBytesSpent = 5,
  kKeyHeld = 6,
  kKeyWaitsForRetry = 7,
  kPublishPaused = 8,
  kConsumePaused = 9,
  kDelayed = 10,
  kRetryWait = 11,
  kQueueFull = 12,
  kClosed = 13,
  kDiskLow = 14,
  kDeliveryRate = 15,
  kPublishRate = 16,
  kDraining = 17,
  kStandby = 18,
  kStickyOwnerBusy = 19,
  kWaitsForMessage = 20,
  kParked = 21,
  kDeadLetterQueueFull = 22,
  kInFlight = 23,
  kLoading = 24,
  kCommitting = 25,
  kNoRendezvous = 26,
  kQuota = 27,
  kDedupFull = 28,
  kBehindOthers = 29,
  kSelectBusy = 30,
  kSettled = 31,
  kKeyPending = 32,
  kIdle = 33
};
struct Explanation {
  Cause cause = Cause::kMoving;
  std::string text;
  std::string resource;
  DeliveryId delivery_id = 0;
  Sequence sequence = 0;
  WallMs since_ms = 0;  // 0: not known
  WallMs until_ms = 0;  // 0: not known
  std::uint64_t limit = 0;
  std::uint64_t current = 0;
};

/// What GetQueue shows.
struct QueueInfo {
  std::string name;
  QueueSettings settings;
  std::uint64_t generation = 1;
  WallMs create_time_ms = 0;
  bool closed = false;
  QueueStats stats;
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

using Effect = std::variant<PublisherAttached, SendConfirms, SendBlocked, PublisherGone,
                            ConsumerAttached, SendDeliveries, WantCredit, CreditReturned,
                            SendLeaseLost, SendEndOfQueue, ConsumerDrained, ConsumerGone,
                            SendRecall, RequestDone, TransactionPrepared, TransactionDone,
                            MoveToDeadLetter, DivertToDeadLetter, AskRef, TellRef>;

struct Effects {
  std::vector<Effect> sends;  // in order
  std::vector<CommitRequest> commits;
  std::vector<ChunkKey> loads;
  bool deleted = false;  // the queue's rows are gone: forget it
  bool rebuild = false;  // the store knows more than this queue: read it again
};

}  // namespace mqd::queue
