#pragma once

// work_slot.h: what one handler thread works on: a few consecutive messages, and the outcomes of
// those it is done with. Others may take outcomes out and messages back while a handler runs, so
// one that hangs holds up nothing but its own message.
//
// Threads:   Load() and Next(): the handler thread. The rest: any.
// Limits:    kPieceMax messages at a time; fewer when handlers are slow, one when nothing is known.

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "client/delivery_buffer.h"
#include "client/settle_book.h"
#include "proto/base/mutex.h"

namespace mqd::client {

class WorkSlot {
 public:
  static constexpr std::uint32_t kPieceMax = 128;
  /// How long a piece should take; sets how many messages are taken at once.
  static constexpr std::chrono::microseconds kPieceTime{200};

  /// What was done since the last report.
  struct Report {
    std::uint32_t queue_index = 0;
    RangeSet acks;
    std::vector<SettleBook::Entry> others;
    /// Settled by the handler itself, or moved out to be settled later.
    std::vector<std::uint64_t> handed_off;
    std::uint64_t finished = 0;  // handed_off not included
    std::uint64_t finished_bytes = 0;
    std::uint64_t exceptions = 0;
    std::shared_ptr<const DeliveryFrame> frame;
    std::uint32_t run = 0;
    bool empty() const { return finished == 0 && handed_off.empty(); }
  };

  /// How the handler left its message.
  struct Done {
    bool handed_off = false;
    bool exception = false;
    Outcome outcome = {};
  };

  /// How many messages to take at once.
  std::uint32_t PieceSize() const { return piece_size_; }

  void Load(DeliveryPiece piece, Time now);
  /// Writes down how the message before ended, if there was one, and answers the index of the next.
  std::optional<std::uint32_t> Next(std::optional<Done> before);
  /// The piece is worked off; adjusts PieceSize().
  void Unload(Time now);

  Report TakeReport();
  /// Takes back what the handler has not begun.
  std::optional<DeliveryPiece> Reclaim();

  /// The message being handled, when a handler runs for one.
  struct Running {
    DeliveryPiece piece;  // of this one message
    Time since;           // of the piece
  };
  std::optional<Running> running() const;
  /// True once for each message being handled: the broker is to be told that it is.
  bool TakeMark();
  /// Notes that the leases of what is loaded end then.
  void SetLease(Time until);

  /// The piece's frame and run: for the handler thread between Load() and Unload().
  const DeliveryPiece& piece() const { return own_; }

 private:
  void Record(Done done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Of the handler thread.
  DeliveryPiece own_;
  std::uint32_t loaded_count_ = 0;
  std::uint32_t piece_size_ = 1;

  mutable base::Mutex mutex_;
  DeliveryPiece piece_ ABSL_GUARDED_BY(mutex_);  // begin: the next to begin
  Report report_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;  // message piece_.begin - 1
  bool marked_ ABSL_GUARDED_BY(mutex_) = false;
  Time since_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::client
