#pragma once

// credit_control.h: how much credit a consumer grants. Pure: time is a parameter.
//
// The target is what may be on its way, buffered or running at once. It doubles when a whole target
// was worked off within kTurnover, so that fast handlers are never short; it is halved when
// messages wait in the buffer for too long, so that slow handlers hoard nothing.
//
// Threads:   one at a time.
// Limits:    Options::messages_max and bytes_max, and the broker's; a target is never below
//            kMessagesMin and kBytesMin.

#include <cstdint>
#include <optional>

#include "client/loop.h"

namespace mqd::client {

class CreditControl {
 public:
  static constexpr std::chrono::milliseconds kTurnover{50};
  static constexpr std::int64_t kMessagesMin = 1;
  static constexpr std::int64_t kBytesMin = 64 << 10;

  struct Options {
    std::int64_t messages_initial = 16;
    std::int64_t messages_max = 8'192;
    std::int64_t bytes_initial = 4 << 20;
    std::int64_t bytes_max = 64 << 20;
  };
  struct Grant {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
  };

  explicit CreditControl(const Options& options);

  /// A new stream: nothing is granted yet. The limits are the broker's, 0 when it has none.
  void OnOpened(std::uint64_t messages_limit, std::uint64_t bytes_limit, Time now);

  void OnDelivered(std::uint64_t messages, std::uint64_t bytes);
  /// Worked off by handlers.
  void OnFinished(std::uint64_t messages, std::uint64_t bytes, Time now);
  /// Left the buffer unhandled: lost, recalled, or of a broken stream.
  void OnDropped(std::uint64_t messages, std::uint64_t bytes);
  /// The application asks for more while it holds on to all that was granted: it gathers.
  void OnStarved();
  /// Buffered messages wait too long.
  void OnLate(Time now);

  /// What to grant now: nothing while it is less than a quarter of the target, unless the broker
  /// can send nothing at all.
  std::optional<Grant> TakeGrant();

  std::uint64_t target_messages() const { return static_cast<std::uint64_t>(target_messages_); }
  std::uint64_t target_bytes() const { return static_cast<std::uint64_t>(target_bytes_); }

 private:
  void NewWindow(Time now);

  const Options options_;
  std::int64_t messages_max_;
  std::int64_t bytes_max_;
  std::int64_t target_messages_;
  std::int64_t target_bytes_;
  std::int64_t granted_messages_ = 0;  // and not used
  std::int64_t granted_bytes_ = 0;     // negative after a message that was larger
  std::int64_t held_messages_ = 0;     // buffered or running
  std::int64_t held_bytes_ = 0;
  std::int64_t finished_messages_ = 0;  // since window_begin_
  std::int64_t finished_bytes_ = 0;
  Time window_begin_;
};

}  // namespace mqd::client
