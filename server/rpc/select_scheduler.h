#pragma once

// select_scheduler.h: step 5 of 5 (delivery). Shares one pool of credit between the queues of a
// stream.
//
// A queue that has something asks (OnWant) and gets a grant when it is its turn; what it does not
// use comes back (OnReturned). Turns follow deficit round robin: in each round a queue may use its
// weight times kQuantum messages, in as many grants as the pool needs for them; a queue that has
// nothing passes its turn on and saves nothing up. While a queue's grant is open the turn stays
// with it, so that the shares are exact whatever the queues' speed.
//
// Threads: One at a time. No clock: the same calls, the same grants.
// Limits: limits::kSelectQueuesMax queues; never grants more than the pool holds, kGrantBytes at a
// time. Source   M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin",
// SIGCOMM 1995.

#include <cstdint>
#include <optional>
#include <vector>

namespace mqd::rpc {

class SelectScheduler {
 public:
  /// Messages a round for each unit of weight, for small weights; large weights need no more.
  static constexpr std::uint64_t kQuantum = 16;
  static constexpr std::int64_t kGrantBytes = 1 << 20;

  struct Grant {
    std::uint32_t slot = 0;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
  };

  explicit SelectScheduler(const std::vector<std::uint32_t>& weights);

  void AddCredit(std::uint64_t messages, std::uint64_t bytes);
  /// `slot` has something to deliver and no credit.
  void OnWant(std::uint32_t slot);
  /// The grant of `slot` has ended and this is what it did not use; the bytes are negative when it
  /// had to use more. With `more` it wants the next one.
  void OnReturned(std::uint32_t slot, std::uint64_t messages, std::int64_t bytes, bool more);

  /// The next grant, which the caller passes on to the queue; none when nobody may have one now.
  std::optional<Grant> Next();

  /// Not granted and not used.
  std::int64_t pool_messages() const { return pool_messages_; }
  std::int64_t pool_bytes() const { return pool_bytes_; }

 private:
  struct Slot {
    std::uint64_t quantum = 0;
    std::uint64_t deficit = 0;        // messages left of its turn
    std::uint64_t open_messages = 0;  // of the grant that has not ended
    bool wants = false;
    bool in_turn = false;
  };

  void PassTurn();

  std::vector<Slot> slots_;
  std::size_t turn_ = 0;
  std::int64_t pool_messages_ = 0;
  std::int64_t pool_bytes_ = 0;
};

}  // namespace mqd::rpc
