#pragma once

// confirm_buffer.h: step 5 of 5 (delivery). Gathers results of publishes while a frame is being
// written.
//
// Threads: One at a time.
// Limits: One entry a range or exception; the publisher's window bounds them.

#include <cstdint>
#include <vector>

#include "mqd/v1/broker.pb.h"
#include "server/queue/effects.h"

namespace mqd::rpc {

/// Fills one message's exception. Also for the results of unary calls.
void SetResult(const queue::Duplicate& duplicate, v1::Duplicate& out);

class ConfirmBuffer {
 public:
  /// Joins what touches: both publish ids and sequences go on where the last range ended.
  void Add(queue::Confirms confirms);
  bool empty() const { return confirms_.empty(); }
  /// The results so far, which the buffer forgets.
  queue::Confirms Take();

 private:
  queue::Confirms confirms_;
};

void ToProto(const queue::Confirms& confirms, v1::Confirms& out);

/// How many publish ids `confirms` answers.
std::uint64_t CountOf(const queue::Confirms& confirms);

}  // namespace mqd::rpc
