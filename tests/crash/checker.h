#pragma once

// checker.h: finds in a history what a broker must never do.
//
// Outcomes are three-valued: an operation that is unknown may have taken effect or not, and only
// what contradicts both is a violation. Times are those of one steady clock at the clients, so a
// delivery was begun by the broker some time before it was received; where that matters the
// deliveries of one message are put in order by delivery id (counted upwards by each queue, the
// broker's epoch in the high 20 bits). Messages are told apart by the number in their payload.
//
// The method is that of Jepsen's total-queue checker (multisets over a drained queue), with
// interval rules for leases and attempts added.
//
// Threads:   pure functions.
// Limits:    O(n log n) in the number of records; kFindingsMax texts for each violation.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash/history.h"

namespace mqd::crash {

enum class Violation : std::uint8_t {
  kLost,          // confirmed, and at the end of a full drain never settled by anybody
  kPhantom,       // delivered, and never published
  kCorrupt,       // delivered with other bytes than those published
  kGhostFail,     // delivered although every publish of it was refused
  kDupStore,      // one message, or one idempotency key, stored under two sequences
  kResurrect,     // delivered again after an ack or dead-letter of it returned ok
  kLeaseOverlap,  // delivered again while the lease before it stood
  kStaleAck,      // a settle of an old delivery accepted although a newer one was out
  kAttempt,       // attempt numbers that do not count what was charged; dead-lettered too early
  kCredit,        // more delivered than granted
  kBound,         // a queue seen above its limits
  kOrder,         // one producer's messages stored, or first delivered, in another order
  kConserve,      // counts of a queue that do not add up
  kAtomic,        // half of an atomic settle and publish
  kStuck,         // no progress
  kDaemonExit,    // the daemon ended by itself
};
inline constexpr std::size_t kViolations = 16;
inline constexpr std::size_t kFindingsMax = 20;

/// "LOST", "DUP-STORE"
const char* NameOf(Violation violation);

/// What a queue has promised.
struct QueueRules {
  std::string name;
  std::uint64_t max_messages = UINT64_MAX;
  std::uint64_t max_bytes = UINT64_MAX;
  std::int64_t lease_ns = 30'000'000'000;
  std::uint32_t max_attempts = UINT32_MAX;
  std::optional<std::uint32_t> dead_letter = {};  // index of the queue its dead letters go to
};

/// While a fault of the network or a pause of a process lasts, a client may see what the broker did
/// as late as its end, or, where bytes are lost, never. What was seen in it, or soon after, counts
/// as done at any time since its beginning; everything else is held to these margins.
struct CheckOptions {
  /// How much earlier than the client saw a delivery its lease may have begun.
  std::int64_t lease_margin_ns = 800'000'000;
  /// How late a client may write down what has happened to it.
  std::int64_t clock_margin_ns = 2'000'000'000;
  /// How long before a power cut was seen a settle can have returned ok without being synced: the
  /// broker's sync_interval, and the time to see it.
  std::int64_t unsynced_ns = 600'000'000;
  /// The history ends with every queue drained: what is not settled by then is lost.
  bool drained = true;
};

struct Finding {
  Violation violation;
  std::string text;  // names the records by id
};

struct Report {
  std::array<std::uint64_t, kViolations> counts = {};
  std::vector<Finding> findings;

  std::uint64_t kills = 0;
  std::uint64_t power_cuts = 0;
  std::uint64_t faults = 0;       // other than these
  std::uint64_t confirmed = 0;    // stored by a publish that returned so
  std::uint64_t duplicates = 0;   // answered as a duplicate
  std::uint64_t refused = 0;      // publishes
  std::uint64_t delivered = 0;    // all deliveries seen
  std::uint64_t redelivered = 0;  // those after the first of a message
  std::uint64_t settled = 0;      // answered with OK
  std::uint64_t keys = 0;         // published with, at least once
  std::uint64_t unknown_publishes = 0;
  std::uint64_t unknown_settles = 0;
  std::uint64_t stale_settles = 0;

  std::uint64_t count(Violation violation) const {
    return counts[static_cast<std::size_t>(violation)];
  }
  std::uint64_t total() const;
};

/// `records` as History::Copy() gives them: in order of invocation.
Report Check(const std::vector<Record>& records, const std::vector<QueueRules>& rules,
             const CheckOptions& options = {});

}  // namespace mqd::crash
