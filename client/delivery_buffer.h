#pragma once

// delivery_buffer.h: deliveries that no handler has begun, those of one ordering_key one at a time.
// Pure: time is a parameter.
//
// Threads:   one at a time.
// Ownership: pieces share the frame they lie in, and that its bytes.
// Limits:    the credit its user grants.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/delivery_piece.h"
#include "client/key_lines.h"
#include "client/range_set.h"

namespace mqd::client {

class DeliveryBuffer {
 public:
  struct Dropped {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    std::vector<IdRange> ranges;    // of Drop() only
    std::uint64_t leaseless = 0;    // of `messages`, of Clear() only
    std::vector<std::string> held;  // names of lines, of Drop() with kHold only
  };
  struct Extension {
    std::uint32_t queue_index = 0;
    IdRange range;
  };

  void Push(const std::shared_ptr<const DeliveryFrame>& frame);

  /// Up to `max` messages, consecutive, the oldest.
  std::optional<DeliveryPiece> Take(std::uint32_t max);
  void PutBack(DeliveryPiece piece);

  enum class Then : std::uint8_t { kGoOn, kHold };
  /// Takes out deliveries that are no longer ours; with kHold their keys are held.
  Dropped Drop(std::uint32_t queue_index, std::vector<IdRange> ranges, Then then = Then::kGoOn);
  Dropped Clear();
  /// Keeps those without a lease.
  Dropped ClearLeased();

  // ---- lines of ordering keys; see key_lines.h. They answer whether there is more to take.
  /// The handler is done with the message that it took, or it was lost.
  bool Leave(const std::string& line);
  void Hold(const std::string& line) { lines_.Hold(line); }
  bool Unhold(const std::string& line);

  /// Those of which less than half the lease is left; their lease now ends a lease after `now`.
  std::vector<Extension> ExtendDue(Time now);

  /// Whether the oldest has waited for more than this share of its lease.
  bool Late(Time now, double lease_share) const;

  /// Those in line included.
  std::uint64_t messages() const { return messages_; }
  /// Whether there is nothing to take now.
  bool empty() const { return pieces_.empty(); }

 private:
  /// They answer of which lines something was dropped.
  std::vector<std::string> DropFromLines(std::uint32_t queue_index,
                                         const std::vector<IdRange>& ranges, Dropped& dropped);
  void Cut(std::uint32_t queue_index, IdRange range, Dropped& dropped,
           std::vector<std::string>& lines);
  bool TakeOut(std::optional<DeliveryPiece> next);
  template <class F>
  Dropped ClearIf(F unwanted);

  std::deque<DeliveryPiece> pieces_;  // none empty
  KeyLines lines_;
  std::uint64_t messages_ = 0;
};

}  // namespace mqd::client
