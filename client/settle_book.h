#pragma once

// settle_book.h: settles that are to be sent or await their result. Pure: no clock, thread,
// network.
//
// Acks are merged into ranges; everything else is an entry of its own. An atomic settle is a frame
// of its own. What was sent and not answered when a stream breaks is sent again, except extensions
// (pointless) and atomic settles (their outcome is unknown).
//
// Threads:   one at a time.
// Limits:    kEntriesMax entries a frame, kFramesMax plain frames without answer: more acks gather
//            meanwhile.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/range_set.h"
#include "mqd/consumer.h"
#include "mqd/v1/broker.pb.h"

namespace mqd::client {

class SettleBook {
 public:
  static constexpr std::size_t kEntriesMax = 1'024;
  static constexpr std::size_t kFramesMax = 2;

  struct Entry {
    std::uint32_t queue_index = 0;
    IdRange range;
    Outcome outcome = {};
    bool extend = false;
    std::optional<std::chrono::milliseconds> lease = {};  // of extend
    SettleCallback callback = {};
    std::vector<std::string> held = {};  // lines of keys that go on after the answer
    bool resent = false;  // sent before on a stream that broke: it may have taken effect then
  };

  /// What its user has to tell the application.
  struct Answers {
    struct Call {
      SettleCallback callback;
      absl::StatusOr<SettleResult> result;
    };
    struct Error {
      std::uint32_t queue_index = 0;
      IdRange range;
      absl::Status status;
    };
    std::vector<Call> calls;
    std::vector<Error> errors;
    std::vector<std::string> held;  // lines that go on now
    /// Lines that wait until the broker says that this delivery, whose settle was refused, is lost.
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<std::string>> stuck;
    std::uint64_t settled = 0;
    std::uint64_t stale = 0;
  };

  explicit SettleBook(std::size_t queues) : queues_(queues) {}

  void Ack(std::uint32_t queue_index, IdRange range) { queues_[queue_index].acks.Add(range); }
  void Add(Entry entry);
  /// These lines go on after the answer to the entry that was added last.
  void HoldLast(std::uint32_t queue_index, std::vector<std::string> lines) {
    queues_[queue_index].others.back().held = std::move(lines);
  }
  void AddAtomic(Entry entry, std::vector<QueuePublish> publishes);

  /// The next ConsumeStreamRequest{settle}, encoded; nothing when there is none to send now.
  std::optional<std::string> NextFrame();

  void OnResults(const v1::SettleResults& results, Answers& answers);
  void OnDown(Answers& answers);
  /// Completes every callback with `status` and forgets everything.
  void FailAll(const absl::Status& status, Answers& answers);

  /// Whether nothing is to be sent.
  bool sent() const;
  /// Whether, beyond that, everything is answered.
  bool idle() const { return sent() && in_flight_.empty(); }

 private:
  struct PerQueue {
    RangeSet acks;
    std::deque<Entry> others;
  };
  struct Atomic {
    Entry entry;
    std::vector<QueuePublish> publishes;
  };
  struct InFlight {
    std::uint32_t queue_index = 0;
    bool atomic = false;
    std::vector<Entry> entries;
  };

  std::string AtomicFrame();
  std::string PlainFrame(std::uint32_t queue_index);

  std::vector<PerQueue> queues_;
  std::deque<Atomic> atomics_;
  std::map<std::uint64_t, InFlight> in_flight_;  // by settle id
  std::size_t plain_in_flight_ = 0;
  std::uint64_t next_settle_id_ = 1;
  std::uint32_t next_queue_ = 0;  // they take turns
};

}  // namespace mqd::client
