#pragma once

// credit_gate.h: step 5 of 5 (delivery). What part of a client's credit a queue is told of.
//
// Messages are passed on at once. Bytes are passed on as far as the outbox has room, so that a
// client that grants much and reads slowly holds limits::kOutboxBytesMax here, and not its whole
// grant.
//
// Threads: One at a time.
// Limits: limits::kOutboxBytesMax, and one message.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "proto/base/mutant.h"
#include "server/limits.h"

namespace mqd::rpc {

class CreditGate {
 public:
  struct Grant {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
  };

  void AddCredit(std::uint64_t messages, std::uint64_t bytes) {
    messages_ += messages;
    bytes_ += static_cast<std::int64_t>(bytes);
  }

  void OnDelivered(std::uint64_t bytes) { open_bytes_ -= static_cast<std::int64_t>(bytes); }

  /// What to grant the queue now that `outbox_bytes` wait to be written.
  std::optional<Grant> Take(std::uint64_t outbox_bytes) {
    const auto most = static_cast<std::int64_t>(limits::kOutboxBytesMax);
    const std::int64_t room = most - static_cast<std::int64_t>(outbox_bytes) - open_bytes_;
    std::int64_t bytes = std::min(bytes_, room);
    if (MQD_MUTANT(stuck_reader_not_held_back)) bytes = bytes_;
    if (bytes < std::min(bytes_, most / 4)) bytes = 0;  // not worth a call
    bytes = std::max<std::int64_t>(bytes, 0);
    if (messages_ == 0 && bytes == 0) return std::nullopt;
    bytes_ -= bytes;
    open_bytes_ += bytes;
    return Grant{std::exchange(messages_, 0), static_cast<std::uint64_t>(bytes)};
  }

 private:
  std::uint64_t messages_ = 0;   // not passed on
  std::int64_t bytes_ = 0;       // not passed on
  std::int64_t open_bytes_ = 0;  // the queue's balance
};

}  // namespace mqd::rpc
