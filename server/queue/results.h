#pragma once

// results.h: step 3 of 5 (queue). What a queue answers to questions about itself.
//
// Threads: plain values.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/queue/error.h"
#include "server/queue/ids.h"
#include "server/queue/settings.h"
#include "storage/body.h"
#include "storage/records.h"

namespace mqd::queue {

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
  Sequence next_sequence = 1;  // what was stored before has a lower one
};

}  // namespace mqd::queue
