#pragma once

// checker_index.h: a history sorted by what its records are about, for the checks of checker_*.cc.
//
// Threads:   one at a time.
// Ownership: points into the records it was made from, which must outlive it.
// Limits:    O(n log n) to build.

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "tests/crash/checker.h"

namespace mqd::crash {

using Records = std::vector<const Record*>;
/// A queue and a message number, a sequence, a key or a delivery id of it.
using InQueue = std::pair<std::uint32_t, std::uint64_t>;

/// Delivery ids count upwards in each queue; their high 20 bits are the broker's epoch.
inline std::uint64_t EpochOf(const Record& delivery) { return delivery.delivery >> 44; }

class Index {
 public:
  Index(const std::vector<Record>& records, const std::vector<QueueRules>& rules,
        const CheckOptions& options);

  const std::vector<Record>& records() const { return records_; }
  const std::vector<QueueRules>& rules() const { return rules_; }
  const CheckOptions& options() const { return options_; }
  const QueueRules& RulesOf(const Record& record) const { return rules_.at(record.queue); }
  std::int64_t LeaseOf(const Record& delivery) const;
  bool IsDeadLetterQueue(std::uint32_t queue) const { return dead_letter_queues_.contains(queue); }

  /// By message number, in order of invocation.
  const std::map<InQueue, Records>& publishes() const { return publishes_; }
  /// By sequence, in order of delivery id.
  const std::map<InQueue, Records>& deliveries() const { return deliveries_; }
  /// Null when there is none.
  const Records* DeliveriesOfMessage(std::uint32_t queue, std::uint64_t message) const;
  const Records* DeliveriesOfSequence(std::uint32_t queue, std::uint64_t sequence) const;
  const Records* PublishesOf(std::uint32_t queue, std::uint64_t message) const;
  const Records& SettlesOf(const Record& delivery) const;

  /// Whether the session of `delivery` ended, or may have, in the time from `from` to `to`.
  bool Detached(const Record& delivery, std::int64_t from, std::int64_t to, bool broken_too) const;
  /// How many sessions of `queue` ended then.
  std::uint64_t Detaches(std::uint32_t queue, std::int64_t from, std::int64_t to,
                         bool broken_too) const;
  /// The first time that a session of `queue` ended, or broke, or may have by a fault, at or after
  /// `from`.
  std::int64_t FirstDetach(std::uint32_t queue, std::int64_t from) const;
  /// The latest moment at which the broker that made `delivery` can have lived.
  std::int64_t EndOfEpoch(const Record& delivery) const;

  /// What a client saw at `at` can have been done since, and what was done then can have been seen
  /// by: a fault stretches the time, else both are `at`.
  std::int64_t Earliest(std::int64_t at) const;
  std::int64_t Latest(std::int64_t at) const;
  /// Whether a power cut may have undone what was written at `at` and not yet synced.
  bool MayBeUndone(std::int64_t at) const;
  /// How many faults there were, in part at least, between `from` and `to`.
  std::uint64_t Faults(std::int64_t from, std::int64_t to) const;

 private:
  void Add(const Record& record);

  const std::vector<Record>& records_;
  const std::vector<QueueRules>& rules_;
  const CheckOptions options_;
  std::set<std::uint32_t> dead_letter_queues_;
  std::map<InQueue, Records> publishes_;
  std::map<InQueue, Records> deliveries_;
  absl::flat_hash_map<InQueue, Records> by_message_;
  absl::flat_hash_map<InQueue, Records> settles_;  // by delivery id
  absl::flat_hash_map<std::uint64_t, Records> session_detaches_;
  absl::flat_hash_map<std::uint32_t, std::vector<std::int64_t>> queue_detaches_;  // all
  absl::flat_hash_map<std::uint32_t, std::vector<std::int64_t>> queue_leaves_;    // not broken
  std::vector<std::int64_t> kills_;
  Records faults_;
  std::vector<std::int64_t> power_cuts_;
  std::map<std::uint64_t, std::int64_t> epochs_;  // the first delivery seen of each
};

/// Collects what the checks find.
class Findings {
 public:
  explicit Findings(Report& report) : report_(report) {}
  void Add(Violation violation, std::string text);

 private:
  Report& report_;
};

/// "message 7 of queue plain (sequence 3)"
std::string Describe(const Index& index, const Record& record);

/// Whether a settle of this kind ends the message in its queue.
inline bool IsTerminal(const Record& settle) {
  return settle.settle == SettleKind::kAck || settle.settle == SettleKind::kDeadLetter;
}
/// A delivery that may have ended its message, as far as the settles of it tell.
bool MayHaveEnded(const Index& index, const Record& delivery);

// ---- checker_publish.cc
void CheckLost(const Index& index, Findings& findings);
void CheckSource(const Index& index, Findings& findings);  // PHANTOM, CORRUPT, GHOST-FAIL
void CheckStored(const Index& index, Findings& findings);  // DUP-STORE
void CheckOrder(const Index& index, Findings& findings);
void CheckAtomic(const Index& index, Findings& findings);

// ---- checker_delivery.cc
void CheckSettled(const Index& index, Findings& findings);  // RESURRECT, STALE-ACK
void CheckLeases(const Index& index, Findings& findings);
void CheckAttempts(const Index& index, Findings& findings);
void CheckDeadLetters(const Index& index, Findings& findings);

// ---- checker_flow.cc
void CheckCredit(const Index& index, Findings& findings);
void CheckBounds(const Index& index, Findings& findings);
void CheckConserved(const Index& index, Findings& findings);
void CheckAlive(const Index& index, Findings& findings);  // STUCK, DAEMON-EXIT

}  // namespace mqd::crash
