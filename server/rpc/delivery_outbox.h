#pragma once

// delivery_outbox.h: step 5 of 5 (delivery). What waits to be written to one consume stream, in
// order.
//
// Deliveries wait as references into the queue's bodies and become frames of about
// limits::kDeliveriesFrameBytes when it is their turn, so that what arrives while a frame is
// written travels together. Other frames wait encoded.
//
// A reader that stands still must not keep more than it waits for: what does not go with the next
// frame gets a body of its own, unless it is most of the one it came in.
//
// Threads: One at a time; EncodeDeliveries() is a pure function.
// Ownership: Shares the bodies until their frame is written; gRPC may share them longer.
// Limits: The client's credit bounds the deliveries; a frame holds at least one message.

#include <cstdint>
#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "grpcpp/support/byte_buffer.h"
#include "server/limits.h"
#include "server/queue/effects.h"

namespace mqd::rpc {

/// Elements of at least this size are handed to gRPC as they lie when they are most of their body,
/// others are copied together.
inline constexpr std::size_t kZeroCopyBytes = 16 * 1024;
/// While no more waits, it shares the bodies of the queue.
inline constexpr std::size_t kSharedWaitBytes = limits::kDeliveriesFrameBytes;

/// Content of one Deliveries frame.
struct TakenDeliveries {
  std::uint32_t slot = 0;
  std::vector<queue::DeliveryRun> runs;
  std::uint64_t charged_messages = 0;
  std::uint64_t charged_bytes = 0;
  std::size_t elements_bytes = 0;
};

/// One encoded DeliveryRun or several, as fields with number 15.
struct EncodedRuns {
  std::vector<grpc::Slice> slices;
  std::size_t bytes = 0;
};
EncodedRuns EncodeRuns(const std::vector<queue::DeliveryRun>& runs);

grpc::ByteBuffer EncodeDeliveries(const TakenDeliveries& taken);

class DeliveryOutbox {
 public:
  /// A settled frame is counted, so that the session knows when to read on.
  struct Frame {
    grpc::ByteBuffer bytes;
    bool settle_results = false;
  };
  using Taken = std::variant<TakenDeliveries, Frame>;

  void Add(std::uint32_t slot, queue::DeliveryBatch batch);
  void Add(Frame frame);
  std::optional<Taken> Take();
  void DropDeliveries();

  /// Bytes of messages that wait.
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Pending {
    std::uint32_t slot = 0;
    std::size_t next = 0;  // run
    queue::DeliveryBatch batch;
    bool own_bodies = false;
  };

  /// Moves what fits from the front into `taken`; false when the frame is full.
  bool TakeRuns(Pending& from, TakenDeliveries& taken);
  void LetGoOfSharedBodies();

  std::deque<std::variant<Pending, Frame>> items_;
  std::uint64_t bytes_ = 0;
};

}  // namespace mqd::rpc
