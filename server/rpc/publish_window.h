#pragma once

// publish_window.h: step 2 of 5 (session). How much one publish stream may have unconfirmed, as the
// client knows it.
//
// The client may send while both balances are positive; its last message may be larger than the
// bytes left, and the balance is then negative. What results give back is collected and granted in
// large pieces.
//
// Threads: One at a time.
// Limits: limits::kPublishWindowMessages and limits::kPublishWindowBytes.

#include <cstdint>
#include <utility>

#include "proto/base/mutant.h"
#include "server/limits.h"

namespace mqd::rpc {

class PublishWindow {
 public:
  struct Grant {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
  };

  /// Takes `messages` with `bytes` in all, of which the last message has `last_bytes`. False, with
  /// nothing taken, when the client was not allowed to send them.
  bool Use(std::uint64_t messages, std::uint64_t bytes, std::uint64_t last_bytes) {
    if (messages == 0) return true;
    const auto ahead = static_cast<std::int64_t>(bytes - last_bytes);
    if (static_cast<std::int64_t>(messages) > messages_ || ahead >= bytes_) return false;
    messages_ -= static_cast<std::int64_t>(messages);
    bytes_ -= static_cast<std::int64_t>(bytes);
    return true;
  }

  void GiveBack(std::uint64_t messages, std::uint64_t bytes) {
    if (MQD_MUTANT(publish_credit_lost)) return;
    back_.messages += messages;
    back_.bytes += bytes;
  }

  /// Whether what came back is worth a frame: a quarter of the window.
  bool worth_granting() const {
    return back_.messages * 4 >= limits::kPublishWindowMessages ||
           back_.bytes * 4 >= limits::kPublishWindowBytes;
  }

  /// What came back, which the client may use from now on.
  Grant TakeGrant() {
    messages_ += static_cast<std::int64_t>(back_.messages);
    bytes_ += static_cast<std::int64_t>(back_.bytes);
    return std::exchange(back_, {});
  }

  std::int64_t messages() const { return messages_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t messages_ = limits::kPublishWindowMessages;
  std::int64_t bytes_ = static_cast<std::int64_t>(limits::kPublishWindowBytes);
  Grant back_;
};

}  // namespace mqd::rpc
