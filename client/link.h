#pragma once

// link.h: a stream that is kept: opened, watched by pings, reopened with backoff. Publisher and
// consumer put their frames on it through one write slot.
//
// The slot. Whoever finds it free (Pump) or has just completed a write asks the user for the next
// frame, so frames are as large as what gathered during the write before, without a timer.
//
// Threads:   Pump(), SendControl(), Close() and Abort(): any. User::NextFrame() is called by one
//            thread at a time; OnFrame() by one at a time; OnTick() on the timer loop. No lock is
//            held in any of them.
// Ownership: shared by its user and the stream. It refers to its user weakly.
// Limits:    kControlFramesMax control frames wait for the slot.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/backoff.h"
#include "client/connection.h"
#include "client/frame_stream.h"
#include "proto/wire/frame_scan.h"

namespace mqd::client {

/// What differs between the two streams: field numbers and encodings of shared frames.
struct LinkKind {
  std::string method;
  std::uint32_t opened_field;
  std::uint32_t ping_field;
  std::uint32_t pong_field;
  std::string (*ping)(std::uint64_t nonce);
  std::string (*pong)(std::uint64_t nonce);
};

class Link final : public FrameStream::Events, public std::enable_shared_from_this<Link> {
 public:
  class User {
   public:
    virtual ~User() = default;
    /// The open frame of a new stream.
    virtual std::string OpenFrame() = 0;
    /// A frame that is neither ping nor pong; `bytes` holds what it points into. An error ends the
    /// stream. The opened frame must be answered with the handshake's limits through SetPing().
    virtual absl::Status OnFrame(const wire::Frame& frame, const grpc::Slice& bytes) = 0;
    /// The slices of the next frame, or false when there is nothing to write.
    virtual bool NextFrame(std::vector<grpc::Slice>& slices) = 0;
    /// The stream has ended; a new one is opened unless `fatal`.
    virtual void OnDown(const absl::Status& status, bool fatal) = 0;
    /// Every kTick, connected or not.
    virtual void OnTick(Time now) = 0;
  };

  static constexpr std::chrono::milliseconds kTick{100};
  static constexpr std::size_t kControlFramesMax = 64;

  Link(std::shared_ptr<Connection> connection, LinkKind kind, std::weak_ptr<User> user);

  /// Opens the first stream and starts ticking. Once.
  void Start();

  /// Something to write may have come up.
  void Pump();

  /// Writes a small frame ahead of the user's.
  void SendControl(std::string frame);

  /// What the handshake said. A pong that stays away ends the stream.
  void SetPing(std::chrono::milliseconds interval, std::chrono::milliseconds timeout);

  /// Ends the stream: after the outstanding write, and for good when `finally`; else it is
  /// reopened at once.
  void Close(bool finally);

  /// Ends the stream at once; it is reopened after the backoff unless Close(true) was called.
  void Abort(absl::Status why);

  /// Waits until the stream has ended after Close(true).
  bool WaitClosed(Time until);

  absl::Status status() const;
  std::uint64_t connects() const { return connects_.load(); }

  void OnFrame(grpc::Slice frame) override;
  void OnWritten(bool ok) override;
  void OnClosed(absl::Status status) override;

 private:
  enum Slot : int { kIdle, kBusy, kAgain };

  void Open();
  void Fill();
  bool WriteNext();
  bool WriteControl(FrameStream& stream);
  void Tick();
  void ScheduleTick();
  void CheckPing(Time now);
  bool OnPingPong(const wire::Frame& frame);
  void TakeDown(absl::Status status);
  void Reopen(bool now);

  const std::shared_ptr<Connection> connection_;
  const LinkKind kind_;
  const std::weak_ptr<User> user_;
  std::atomic<int> slot_{kIdle};
  std::atomic<bool> control_waits_{false};
  std::atomic<bool> heard_{false};  // anything, since the last ping
  std::atomic<std::uint64_t> connects_{0};

  mutable base::Mutex mutex_;
  std::condition_variable closed_;
  std::shared_ptr<FrameStream> stream_ ABSL_GUARDED_BY(mutex_);
  bool writable_ ABSL_GUARDED_BY(mutex_) = false;  // the open frame has been written
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;    // and answered
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool reopen_at_once_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> control_ ABSL_GUARDED_BY(mutex_);
  Backoff backoff_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  absl::Status abort_reason_ ABSL_GUARDED_BY(mutex_);
  Time ping_at_ ABSL_GUARDED_BY(mutex_);  // or, before the handshake, when to give it up
  Time pong_by_ ABSL_GUARDED_BY(mutex_);  // zero: no ping outstanding
  std::chrono::milliseconds ping_interval_ ABSL_GUARDED_BY(mutex_){10'000};
  std::chrono::milliseconds ping_timeout_ ABSL_GUARDED_BY(mutex_){10'000};
  std::uint64_t nonce_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mqd::client
