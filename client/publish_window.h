#pragma once

// publish_window.h: the unconfirmed messages of one publisher, and which of them to send next.
// Pure: no clock, thread or network, so that resume can be tested step by step.
//
// Messages lie encoded in batches; a frame is a piece of one batch, so a resend costs no encoding.
//
// Threads:   one at a time.
// Ownership: batches are shared with the frames being written, and live until their last message
//            is answered.
// Limits:    its user's; a frame at most Limits::batch_messages and batch_bytes, within credit.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/loop.h"
#include "client/ring.h"
#include "mqd/message.h"
#include "proto/wire/frame_write.h"

namespace mqd::client {

class PublishWindow {
 public:
  using Callback = std::function<void(const PublishResult&)>;

  struct Completion {
    Callback callback;
    PublishResult result;
  };
  using Completions = std::vector<Completion>;

  struct Limits {
    std::size_t batch_messages = 1'024;
    std::size_t batch_bytes = 4U << 20;
    /// Added to a message's content when its bytes are counted against credit.
    std::size_t overhead_bytes = 64;
  };

  /// `elements[offset, offset + bytes)` are the messages first_id .. first_id + count - 1.
  struct Frame {
    std::shared_ptr<const std::string> elements;
    std::size_t offset = 0;
    std::size_t bytes = 0;
    std::uint64_t first_id = 0;
    std::uint64_t count = 0;
  };

  /// Takes a message in; its publish id. `content_bytes` are payload, headers and keys.
  std::uint64_t Append(const wire::MessageParts& message, std::size_t content_bytes,
                       Callback callback, Time now);

  /// Whether the next message goes into a batch that is begun already; Append() then ignores its
  /// `now`, which spares reading the clock for each message.
  bool BatchOpen() const;

  /// Whether NextFrame() may have something to answer.
  bool CanWrite() const { return next_to_write_ < next_id_ && HasCredit(); }

  /// The next piece to write, nothing when all is written or credit is spent. Messages go while
  /// both balances are positive; the last one may be larger than the bytes left, and the balance is
  /// negative then, as it is at the broker.
  std::optional<Frame> NextFrame();

  /// A stream stands. `known`: the broker knows the producer, so all that is unanswered is sent
  /// again under its ids. Not known, after an earlier stream had stood: what was written then is
  /// sent again if it has an idempotency key, else completed with kOutcomeUnknown.
  void OnOpened(bool known, const Limits& limits, std::uint64_t credit_messages,
                std::uint64_t credit_bytes, Completions& done);
  void OnCredit(std::uint64_t messages, std::uint64_t bytes);
  /// The stream is gone, and its credit.
  void OnDown();

  void OnConfirmed(std::uint64_t first_id, std::uint64_t count, std::uint64_t first_sequence,
                   Completions& done);
  void OnResult(std::uint64_t id, PublishResult result, Completions& done);

  /// Completes messages taken in before `unsent_before` that were never written with
  /// kBlockedTimeout, and written ones of before `sent_before` with kOutcomeUnknown.
  void Expire(Time unsent_before, Time sent_before, Completions& done);

  /// Completes everything. Messages that were written get `sent`, the others `unsent`.
  void FailAll(const absl::Status& sent, const absl::Status& unsent, Completions& done);

  std::size_t unanswered() const { return unanswered_; }
  /// From the oldest that is unanswered to the last: what the window remembers.
  std::size_t span() const { return entries_.size(); }
  std::size_t unanswered_bytes() const { return unanswered_bytes_; }
  /// Not yet written to the present stream.
  std::uint64_t waiting() const { return next_id_ - next_to_write_; }
  /// Every id up to this one has its result.
  std::uint64_t answered_through() const { return first_id_ - 1; }
  std::uint64_t last_id() const { return next_id_ - 1; }
  std::uint64_t resent() const { return resent_; }
  /// Written to the present stream and not answered.
  std::size_t outstanding() const { return outstanding_; }
  /// Frames of which the last message is not answered, nor a later one.
  std::size_t outstanding_frames() const { return frame_ends_.size(); }

 private:
  struct Entry {
    Callback callback;
    std::uint32_t end = 0;      // of its element in the batch
    std::uint32_t content = 0;  // bytes counted against limits
    bool keyed = false;
    bool outstanding = false;  // written to the present stream
    bool written = false;      // to a stream that stood
    bool answered = false;
  };
  struct Batch {
    std::uint64_t first_id = 0;
    std::uint64_t count = 0;
    std::shared_ptr<std::string> elements;
    Time begun;
    std::uint64_t answered = 0;  // while it was not the first batch
    bool sealed = false;         // a frame shares its bytes: nothing may be added
  };

  Entry& At(std::uint64_t id) { return entries_[id - first_id_]; }
  std::size_t Cost(const Entry& entry) const { return entry.content + limits_.overhead_bytes; }
  Batch& OpenBatch(Time now);
  Batch& BatchOf(std::uint64_t id);
  bool HasCredit() const { return credit_messages_ > 0 && credit_bytes_ > 0; }
  std::size_t StartOf(const Batch& batch, std::uint64_t id);
  void Spend(Entry& entry);
  void Complete(std::uint64_t id, PublishResult result, Completions& done);
  void CountAnswered(std::uint64_t id);
  void DropAnswered();

  Limits limits_;
  Ring<Entry> entries_;  // of ids first_id_ .. next_id_ - 1
  std::deque<Batch> batches_;
  std::deque<std::uint64_t> frame_ends_;  // last ids of frames outstanding
  std::uint64_t first_id_ = 1;
  std::uint64_t next_id_ = 1;
  std::uint64_t next_to_write_ = 1;
  std::size_t unanswered_ = 0;
  std::size_t unanswered_bytes_ = 0;
  std::size_t outstanding_ = 0;
  std::uint64_t resent_ = 0;
  std::int64_t credit_messages_ = 0;
  std::int64_t credit_bytes_ = 0;
  std::size_t likely_batch_bytes_ = 0;
  std::size_t dropped_end_ = 0;  // where the element of first_id_ - 1 ended in its batch
  bool stood_ = false;           // a stream was opened before
};

}  // namespace mqd::client
