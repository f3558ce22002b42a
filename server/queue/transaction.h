#pragma once

// transaction.h: one atomic request: settle at a source queue and publish to others, all or
// nothing.
//
// Threads: SettleAtomically(): any. `done` is called once, on the thread of one of the queues.
//
// The story, each step an event of the queue it happens at:
//   1. PrepareTransaction at each target, in order of queue id: room is reserved, sequences are
//   given, keys are held.
//      A full target with overflow_policy BLOCK lets the request wait its turn there. The order by
//      id makes a circle of waiting requests impossible.
//   2. CommitTransaction at the source: the leases are checked, and the settles and every target's
//   rows go into one
//      batch, one flush. A lease that ended in the meantime refuses the whole request.
//   3. EndTransaction at each target: its messages become ready, or its reservation is given back.
// When the outcome of the batch is unknown every queue that took part is read again from the store.
//
// Ownership: The request keeps itself and its queues alive until it ends.

#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "server/queue/queue_actor.h"

namespace mqd::queue {

/// Messages for one queue inside an atomic settle. Of `batch` the messages, their owner and the
/// deadline count.
struct TransactionTarget {
  std::shared_ptr<QueueActor> queue;
  PublishBatch batch;
  bool bypass_dedup = false;
  std::vector<storage::DeadLetterOrigin> origins;  // of dead letters: one for each message
};

struct TransactionResult {
  bool committed = false;
  /// Every target would have taken its part; what was to leave the source is not there.
  bool refused_at_source = false;
  SettleResult settle;
  /// For each target in the order given, for each message; empty when a target before it refused.
  std::vector<std::vector<std::variant<Sequence, Duplicate, ErrorInfo>>> publishes;
  /// Set when the whole request failed for a reason that is no entry's.
  std::optional<ErrorInfo> error;
};

/// The first reason for which `result` was not committed.
ErrorInfo WhyRefused(const TransactionResult& result);

/// What leaves the source: settled deliveries; or ready, delayed or parked messages; or publishes
/// that it does not take itself. One of the three.
struct TransactionSource {
  std::shared_ptr<QueueActor> queue;
  std::vector<SettleEntry> entries;
  std::vector<Sequence> leaving;
  std::vector<std::uint64_t> diverted;
};

/// Targets are queues of the source's namespace, all different.
void RunTransaction(TransactionSource source, std::vector<TransactionTarget> targets,
                    absl::AnyInvocable<void(TransactionResult)> done);

inline void SettleAtomically(std::shared_ptr<QueueActor> source, std::vector<SettleEntry> entries,
                             std::vector<TransactionTarget> targets,
                             absl::AnyInvocable<void(TransactionResult)> done) {
  RunTransaction({std::move(source), std::move(entries), {}}, std::move(targets), std::move(done));
}

}  // namespace mqd::queue
