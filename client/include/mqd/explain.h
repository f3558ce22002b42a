#pragma once

// explain.h: why something stands still, who is at a queue, and what happened to its messages.
//
// Threads:   values; any.
// Limits:    the broker's: 1,000 history entries an answer, 4 notes a message.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mqd/message.h"

namespace mqd {

/// What to ask Admin::Explain about. Made by the functions.
struct Subject {
  enum class Kind : std::uint8_t {
    kQueue,
    kConsumerId,
    kPublisherId,
    kConsumerName,
    kPublisherName,
    kOrderingKey,
    kMessage,
  };
  Kind kind = Kind::kQueue;
  std::uint64_t id = 0;
  std::string name = {};

  static Subject Queue() { return {}; }
  /// Ids as Admin::ListClients answers them.
  static Subject Consumer(std::uint64_t id) { return {Kind::kConsumerId, id, {}}; }
  static Subject Publisher(std::uint64_t id) { return {Kind::kPublisherId, id, {}}; }
  /// All that have this client_name.
  static Subject ConsumersNamed(std::string name) {
    return {Kind::kConsumerName, 0, std::move(name)};
  }
  static Subject PublishersNamed(std::string name) {
    return {Kind::kPublisherName, 0, std::move(name)};
  }
  static Subject OrderingKey(std::string key) { return {Kind::kOrderingKey, 0, std::move(key)}; }
  static Subject Message(std::uint64_t sequence) { return {Kind::kMessage, sequence, {}}; }
};

/// The closed list of causes. Numbers are those of mqd.v1.Cause and never change; one that this
/// version does not know is kept as it is.
enum class Cause : std::int32_t {
  kUnspecified = 0,
  kMoving = 1,  // nothing holds it up
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
  kIdle = 33,
};

/// "KEY_HELD"; "CAUSE_99" for a number this version does not know.
std::string CauseName(Cause cause);

struct Explanation {
  Cause cause = Cause::kUnspecified;
  std::string text = {};      // one sentence: what, why, what to do
  std::string resource = {};  // "consumer 17 (billing-3)", "message 42", "queue default/dead"
  std::uint64_t delivery_id = 0;
  std::uint64_t sequence = 0;
  std::optional<WallTime> since = {};
  std::optional<WallTime> until = {};
  std::uint64_t limit = 0;
  std::uint64_t current = 0;
};

struct PublisherInfo {
  std::uint64_t publisher_id = 0;
  std::string client_name = {};
  WallTime since = {};
  std::uint64_t waiting = 0;  // messages that wait for room, rate or a commit
};

struct ConsumerInfo {
  std::uint64_t consumer_id = 0;
  std::string client_name = {};
  WallTime since = {};
  std::uint64_t in_flight = 0;
  std::int64_t credit_messages = 0;
  std::int64_t credit_bytes = 0;
  std::uint64_t delivered_total = 0;
  std::uint64_t acked_total = 0;
  bool draining = false;
  bool standby = false;  // single_active: waits for its turn
  bool select = false;   // one of several queues of its stream
};

/// Who is at a queue.
struct QueueClients {
  std::vector<PublisherInfo> publishers = {};
  std::vector<ConsumerInfo> consumers = {};
};

/// What happened to messages; mqd.v1.Transition.
enum class Transition : std::int32_t {
  kUnspecified = 0,
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
  kCancelled = 13,
};

/// "LEASE_EXPIRED"; "TRANSITION_99" for a number this version does not know.
std::string TransitionName(Transition transition);

/// The same happened at once to messages first_sequence to last_sequence, both included.
struct HistoryEntry {
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  WallTime time = {};
  Transition transition = Transition::kUnspecified;
  std::uint32_t attempt = 0;
  std::string client_name = {};  // of the consumer, where one took part
  std::string text = {};
};

/// What the dedup table knows of a key.
struct DedupEntry {
  std::uint64_t sequence = 0;  // of the first message with the key
  MessageStatus status = MessageStatus::kUnspecified;
  WallTime first_seen = {};
  WallTime expires = {};
};

/// What Admin::CancelMessages did.
struct CancelResult {
  struct Error {
    std::uint64_t sequence = 0;
    absl::Status status = {};  // mostly Reason::kMessageNotFound
  };
  std::uint64_t cancelled = 0;
  std::vector<Error> errors = {};
};

}  // namespace mqd
