#pragma once

// session_list.h: the streams that are alive, their ids, and the clock that ticks for all of them.
//
// Threads: Any. Tick() is called by one timer; WaitEmpty() blocks and is for the thread that
//          stops the broker.
// Ownership: Shares each session from Add() to Remove(). Outlives them.
// Limits: limits::kStreamsMax streams.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "proto/base/mutex.h"

namespace mqd::rpc {

class StreamSession;

class SessionList {
 public:
  /// Never repeats in the life of the process: for sessions, publishers and consumers.
  std::uint64_t NextId() { return next_id_.fetch_add(1, std::memory_order_relaxed); }

  /// DRAINING after BeginDrain(), QUOTA_EXCEEDED above the limit.
  absl::Status Add(std::shared_ptr<StreamSession> session);
  void Remove(const StreamSession& session);

  std::uint64_t publish_streams() const { return publish_streams_.load(); }
  std::uint64_t consume_streams() const { return consume_streams_.load(); }
  bool draining() const { return draining_.load(); }

  /// Gives time to the sessions that have something due.
  void Tick(std::int64_t now_ns);

  /// Lets no further stream in and tells the present ones to go away within `grace`.
  void BeginDrain(std::chrono::milliseconds grace);
  /// True when no stream is left by `deadline`.
  bool WaitEmpty(std::chrono::steady_clock::time_point deadline);
  /// Ends what is left.
  void EndAll();

 private:
  std::vector<std::shared_ptr<StreamSession>> All() const;

  std::atomic<std::uint64_t> next_id_{1};
  std::atomic<std::uint64_t> publish_streams_{0};
  std::atomic<std::uint64_t> consume_streams_{0};
  std::atomic<bool> draining_{false};
  mutable base::Mutex mutex_;
  std::condition_variable empty_;
  // By id, so that a tick reaches them in the same order in every run.
  absl::btree_map<std::uint64_t, std::shared_ptr<StreamSession>> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::rpc
