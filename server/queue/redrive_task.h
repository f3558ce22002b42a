#pragma once

// redrive_task.h: step 3 of 5 (queue). One redrive: which messages of a dead-letter queue are moved
// where, in which order and how fast. The rules only; redrive_manager.h carries them out.
//
// A task is asked what to do next (NextStep) and told how that ended (On...). It looks at the queue
// in order of sequence, moves what meets the filter, and waits when a target does not take it.
//
// Threads: One at a time. No clock, queue or store in here: time is a parameter.
// Limits: limits::kRedriveBatchMax messages looked at, and moved, in one step.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"
#include "server/queue/token_bucket.h"
#include "server/queue/transaction.h"
#include "storage/records.h"

namespace mqd::queue {

/// The numbers are those of mqd.v1.RedriveState.
enum class RedriveState : std::uint8_t {
  kRunning = 1,
  kWaiting = 2,
  kDone = 3,
  kCancelled = 4,
  kFailed = 5
};

class RedriveTask {
 public:
  struct Look {
    Peek peek;
  };
  struct Move {
    std::string target;
    std::vector<PeekedMessage> messages;
  };
  struct Wait {
    std::int64_t until_ns = 0;
  };
  struct End {};
  using Step = std::variant<Look, Move, Wait, End>;

  /// New, or as the store has it. What had been moved behind the cursor is no longer in the queue.
  explicit RedriveTask(storage::RedriveRecord record);

  Step NextStep(const Now& now);
  /// QUEUE_NOT_FOUND ends the task; any other error is waited for.
  void OnLooked(absl::StatusOr<std::vector<PeekedMessage>> looked, const Now& now);
  /// How the Move that NextStep() gave ended.
  void OnMoved(const TransactionResult& result, const Now& now);
  void Cancel(const Now& now);

  bool ended() const { return state() >= RedriveState::kDone; }
  RedriveState state() const { return static_cast<RedriveState>(record_.state); }
  const storage::RedriveRecord& record() const { return record_; }
  /// What to store: messages that wait for their move are not counted, and come again after a
  /// restart.
  storage::RedriveRecord ToStore() const;

 private:
  bool Matches(const PeekedMessage& message) const;
  /// Empty when it has nowhere to go.
  std::string TargetOf(const PeekedMessage& message) const;
  void Take(PeekedMessage message);
  bool HasItsNumber() const;
  void LookAgain();
  void Forget(const std::vector<Sequence>& sequences);
  void GoesOn();
  void Refused(const ErrorInfo& why, const Now& now);
  void SkipFirst();
  void WaitFor(const ErrorInfo& why, const Now& now);
  void Finish(RedriveState state, const Now& now);
  void SetError(const ErrorInfo& why);
  std::uint64_t rate() const { return record_.max_rate == 0 ? kUnlimited : record_.max_rate; }

  storage::RedriveRecord record_;
  Sequence position_;  // everything below has been looked at
  bool looked_at_all_ = false;
  std::map<Sequence, PeekedMessage> pending_;  // to be moved
  std::vector<Sequence> moving_;               // of those, in the Move under way
  std::uint64_t batch_max_;
  TokenBucket bucket_;
  std::int64_t not_before_ns_ = 0;
};

}  // namespace mqd::queue
