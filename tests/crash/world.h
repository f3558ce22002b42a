#pragma once

// world.h: what the threads of a crash run share: the history, the queues, numbers, the pace, and
// the signal to stop.
//
// Threads:   any thread may call any method, at the same time.
// Ownership: the World outlives every thread and every callback that was given a pointer to it.
// Limits:    publishes are paced so that consumers keep up: see Pace.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "mqd/queue.h"
#include "proto/base/mutex.h"
#include "tests/crash/checker.h"
#include "tests/crash/history.h"

namespace mqd::crash {

using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

/// The queues of a run, as indexes of World::rules().
enum QueueIndex : std::uint32_t {
  kPlainQueue,    // dead letters, few attempts
  kKeyedQueue,    // every message has an idempotency key and is published up to five times
  kBoundedQueue,  // BLOCK, small, leases of one second
  kSourceQueue,   // settled atomically with a publish to kSinkQueue
  kSinkQueue,
  kDeadQueue,  // dead letters of kPlainQueue
  kQueueCount,
};

/// The name and settings of a queue, for Admin::CreateQueue.
std::string QueueName(std::uint32_t queue);
QueueSettings SettingsOf(std::uint32_t queue);
/// The same as the checker knows it.
std::vector<QueueRules> AllRules();

/// A flag that can be waited for.
class StopFlag {
 public:
  void Stop();
  void Reset() { stopped_.store(false); }  // when nobody waits
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  /// Waits; false when it was cut short by Stop().
  bool WaitUntil(Clock::time_point until);
  bool WaitFor(Clock::duration time) { return WaitUntil(Clock::now() + time); }

 private:
  base::Mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> stopped_ = false;
};

struct Pace {
  std::uint64_t per_second = 12'000;  // publishes, while the daemon serves
  std::uint64_t burst = 400;
  std::uint64_t backlog_max = 20'000;  // confirmed and not settled
};

class World {
 public:
  /// Messages and sessions are numbered from `first`, apart from those of other processes.
  World(std::uint64_t seed, Pace pace, std::uint64_t first = 1)
      : seed_(seed), pace_(pace), next_message_(first), next_session_(first) {}

  History& history() { return history_; }
  StopFlag& stop_producers() { return stop_producers_; }
  StopFlag& stop_consumers() { return stop_consumers_; }

  /// Each thread's own numbers, the same for the same seed.
  Random RandomOf(std::uint32_t process) const { return Random(seed_ * 1'000'003 + process); }
  std::uint64_t NextMessage() { return next_message_.fetch_add(1); }
  std::uint64_t NextSession() { return next_session_.fetch_add(1); }

  /// Waits until one more message may be published; false when producers stop.
  bool TakeTurn();
  void SetServing(bool serving);

  /// Consumers misbehave no more and acknowledge all they get.
  void Finish() { finishing_.store(true); }
  bool finishing() const { return finishing_.load(); }

  /// Writes down how a publish or a settle ended, and keeps count.
  void EndPublish(OperationId id, Outcome outcome, std::uint64_t sequence, bool duplicate,
                  std::string note);
  void EndSettle(OperationId id, Outcome outcome, SettleKind kind, std::string note);
  std::uint64_t confirmed() const { return confirmed_.load(); }
  std::uint64_t settled() const { return settled_.load(); }

 private:
  void Refill() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::uint64_t seed_;
  const Pace pace_;
  History history_;
  StopFlag stop_producers_;
  StopFlag stop_consumers_;
  std::atomic<std::uint64_t> next_message_;
  std::atomic<std::uint64_t> next_session_;
  std::atomic<std::uint64_t> confirmed_ = 0;
  std::atomic<std::uint64_t> settled_ = 0;
  std::atomic<bool> finishing_ = false;

  base::Mutex mutex_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  double tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  Clock::time_point refilled_ ABSL_GUARDED_BY(mutex_);
};

/// A number up to `limit` - 1; and true once in `times`.
std::uint64_t Below(Random& random, std::uint64_t limit);
bool OneIn(Random& random, std::uint64_t times);

// ---- what messages carry

/// The message's number, and filler of up to 300 bytes that follows from it.
std::string PayloadOf(std::uint64_t message);
/// The number in a payload; 0 when it has none.
std::uint64_t MessageOf(std::string_view payload);
std::uint64_t DigestOf(std::string_view payload);
/// "k17" and back; 0 is no key.
std::string KeyText(std::uint64_t key);
std::uint64_t KeyOf(std::string_view text);

/// What an error of a publish or settle says about its effect.
Outcome OutcomeOf(const absl::Status& status);
/// The same for a number of mqd.v1.Reason.
Outcome OutcomeOfReason(int reason);

}  // namespace mqd::crash
