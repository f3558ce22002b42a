#pragma once

// select_scheduler.h: step 5 of 5 (delivery). Shares one pool of credit between the queues of a
// stream.
//
// A queue that has something asks (OnWant) and gets a grant in its turn; what it does not use comes
// back (OnReturned). One grant is open at a time: order and shares are exact. A queue gets nothing
// while one of higher priority asks, except one message when it has been asking for `ageing_floor`.
// Queues of one priority take turns by deficit round robin: in each round a queue may use its
// weight times kQuantum messages; one that has nothing saves nothing up. While the pool of a stream
// with one priority holds more than a round uses, rounds are longer for all alike, with turns of up
// to kTurnMax: each is a way to the queue and back, and nothing ends it early.
//
// Threads: One at a time. Time is a parameter: the same calls, the same grants.
// Limits: limits::kSelectQueuesMax queues; grants what the pool holds, kGrantBytes at a time.
// Source: M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin", SIGCOMM
// 1995.

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "server/limits.h"

namespace mqd::rpc {

class SelectScheduler {
 public:
  /// Messages a round for each unit of weight, for small weights; large weights need no more.
  static constexpr std::uint64_t kQuantum = 16;
  static constexpr std::uint64_t kTurnMax = 256;
  static constexpr std::int64_t kGrantBytes = 1 << 20;

  struct Queue {
    std::uint32_t weight = 1;
    std::uint32_t priority = 0;  // the higher goes first; all the same: weights alone decide
  };

  struct Grant {
    std::uint32_t slot = 0;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
  };

  explicit SelectScheduler(const std::vector<Queue>& queues,
                           std::chrono::milliseconds ageing_floor = limits::kPriorityAgeingFloor);

  void AddCredit(std::uint64_t messages, std::uint64_t bytes);
  /// `slot` has something to deliver and no credit.
  void OnWant(std::uint32_t slot);
  /// The grant of `slot` has ended and this is what it did not use; the bytes are negative when it
  /// had to use more. With `more` it wants the next one.
  void OnReturned(std::uint32_t slot, std::uint64_t messages, std::int64_t bytes, bool more);

  /// The next grant, which the caller passes on to the queue; none when nobody may have one now.
  /// To be called after each of the above; `now_ns` is on the steady clock.
  std::optional<Grant> Next(std::int64_t now_ns);

  /// Not granted and not used.
  std::int64_t pool_messages() const { return pool_messages_; }
  std::int64_t pool_bytes() const { return pool_bytes_; }

 private:
  static constexpr std::int64_t kNotWaiting = -1;

  struct Slot {
    std::uint64_t quantum = 0;
    std::uint64_t deficit = 0;  // messages left of its turn
    bool wants = false;
    bool in_turn = false;
    std::int64_t waits_since_ns = kNotWaiting;  // it wants, and got nothing since
  };
  /// Queues of one priority.
  struct Level {
    std::vector<std::uint32_t> slots;
    std::size_t turn = 0;       // of slots
    std::uint64_t quanta = 0;   // of all slots
    std::uint64_t longest = 0;  // quantum of a slot
    std::uint64_t stretch = 1;  // of this round
  };

  void NoteWaiting(std::int64_t now_ns);
  /// The slot that waits longest, if it waits for as long as the floor.
  std::optional<std::uint32_t> Aged(std::int64_t now_ns) const;
  /// The slot whose turn it is; none when no slot of the level wants anything.
  std::optional<std::uint32_t> InTurn(Level& level);
  void PassTurn(Level& level);
  std::uint64_t StretchOf(const Level& level) const;
  Grant Open(std::uint32_t slot, std::uint64_t messages);

  const std::int64_t ageing_floor_ns_;
  std::vector<Slot> slots_;
  std::vector<Level> levels_;        // the highest priority first
  std::uint64_t open_messages_ = 0;  // of the grant that has not ended
  std::int64_t pool_messages_ = 0;
  std::int64_t pool_bytes_ = 0;
};

}  // namespace mqd::rpc
