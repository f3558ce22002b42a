#pragma once

// redrive.h: moving dead letters back, as a task of the broker that outlives its starter.
//
// Threads:   values; any.
// Limits:    the broker remembers the last 100 tasks that have ended.

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "mqd/message.h"
#include "mqd/queue.h"

namespace mqd {

/// A message is moved when it meets every condition that is set.
struct RedriveFilter {
  std::string origin = {};           // the queue it came from
  std::string reason_contains = {};  // a part of the reason
  std::optional<WallTime> dead_lettered_before = {};
  std::optional<WallTime> dead_lettered_after = {};
  std::uint64_t max_messages = 0;  // 0: as many as there are
};

struct RedriveOptions {
  std::string target = {};  // empty: each message goes to the queue it came from
  RedriveFilter filter = {};
  std::optional<Limit> max_rate = {};  // messages a second; not set: as fast as it goes
  bool dry_run = false;                // count what would be moved and move nothing
};

enum class RedriveState : std::int32_t {
  kUnspecified = 0,
  kRunning = 1,
  kWaiting = 2,  // the target is full, closed or missing: it is tried again
  kDone = 3,
  kCancelled = 4,
  kFailed = 5,
};

/// "RUNNING"; "REDRIVE_STATE_99" for a number this version does not know.
std::string RedriveStateName(RedriveState state);

struct Redrive {
  std::string task_id = {};
  std::string queue = {};  // the dead-letter queue
  RedriveOptions options = {};
  RedriveState state = RedriveState::kUnspecified;
  std::uint64_t matched = 0;  // met the filter; of them moved and skipped
  std::uint64_t moved = 0;
  std::uint64_t skipped = 0;
  WallTime start_time = {};
  std::optional<WallTime> end_time = {};
  absl::Status error = {};  // why it waits or failed

  bool ended() const { return state >= RedriveState::kDone; }
};

}  // namespace mqd
