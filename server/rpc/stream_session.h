#pragma once

// stream_session.h: steps 2 and 5 of 5 (session, delivery). What both kinds of stream have in
// common: one read, one write and one finish at a time, pings, and the end.
//
// A session is written by many threads and gRPC allows one write at a time. So a frame is first put
// aside under the one mutex; whoever then finds no write open claims it (writing_), and calls gRPC
// outside the lock. The claim is passed on by OnWriteDone. Finish is claimed in the same place,
// once, and never beside a write.
//
// Threads: Reactions, OnTick(), GoAway(), End() and the sinks of derived classes: any, also at
// once, also from inside a
//            call that this session makes into a queue. Nothing is called while mutex_ is held.
// Ownership: Keeps itself alive from Begin() until gRPC says OnDone(); queues share it while it is
// attached.
// Limits: kControlFramesMax small frames wait; derived classes bound the rest. An idle
// stream holds no buffers.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"
#include "proto/base/mutex.h"
#include "proto/wire/frame_scan.h"
#include "server/queue/effects.h"
#include "server/rpc/rpc_deps.h"

namespace mqd::rpc {

class StreamSession : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                      public std::enable_shared_from_this<StreamSession> {
 public:
  enum class Kind : std::uint8_t { kPublish, kConsume };
  /// What to do at the end with frames that wait to be written.
  enum class Rest : std::uint8_t { kWrite, kDrop };
  static constexpr std::size_t kControlFramesMax = 64;

  StreamSession(Kind kind, const RpcDeps& deps, grpc::CallbackServerContext& context);

  Kind kind() const { return kind_; }
  std::uint64_t id() const { return id_; }
  /// When OnTick() has something to do; on the steady clock.
  std::int64_t due_ns() const { return due_ns_.load(std::memory_order_relaxed); }

  /// Enters the list of sessions, or ends at once with the reason why not, and reads the first
  /// frame. gRPC is to be given the session after this.
  void Begin();
  void OnTick(std::int64_t now_ns);
  /// The broker stops: tells the client, takes nothing new on.
  void GoAway(std::chrono::milliseconds grace);
  /// Ends the stream with `status`, once; the first reason wins.
  void End(absl::Status status, Rest rest);

  void OnReadDone(bool ok) final;
  void OnWriteDone(bool ok) final;
  void OnCancel() final;
  void OnDone() final;

 protected:
  enum class Read : std::uint8_t { kNext, kPause };

  // ---- what derived classes do. Without the lock:
  /// One frame of the client. `owner` keeps its bytes.
  virtual Read OnFrame(wire::Frame frame, std::shared_ptr<const grpc::Slice> owner) = 0;
  /// The client will send no more.
  virtual void OnHalfClose() = 0;
  /// The stream has begun to end: leave every queue. Once.
  virtual void OnEnded() = 0;
  /// Fills `out` from what TakeLocked() took. Only the holder of the write claim.
  virtual void Encode(grpc::ByteBuffer& out) = 0;
  /// What Encode() filled has been written. Nothing else is taken before this returns.
  virtual void OnWritten() = 0;
  /// The client is about to be told that the broker stops: what it asks for after that is too late.
  virtual void BeforeGoAway() {}
  virtual void OnBrokerDrain() = 0;
  virtual void OnDeadline(std::int64_t now_ns) = 0;
  virtual grpc::ByteBuffer PingFrame(std::uint64_t nonce) const = 0;
  virtual grpc::ByteBuffer GoAwayFrame(queue::GoAwayCode code, std::chrono::milliseconds deadline,
                                       const queue::ErrorInfo& error) const = 0;
  // ---- with it:
  /// Takes the next thing to write; false for nothing.
  virtual bool TakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;

  // ---- for derived classes, without the lock
  /// Goes in front of everything TakeLocked() gives.
  void SendControl(grpc::ByteBuffer frame);
  void SendGoAway(queue::GoAwayCode code, const queue::ErrorInfo& error);
  /// Writes, or finishes, if there is something to write and no write is open.
  void Pump();
  void ResumeRead();
  void MarkOpened();
  /// OnDeadline() is called at about this time, besides what the session itself has due.
  void SetDeadline(std::int64_t at_ns);
  bool ended() ABSL_LOCKS_EXCLUDED(mutex_);

  const RpcDeps& deps_;
  base::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;

 private:
  enum class Claim : std::uint8_t { kNothing, kControl, kTaken, kFinish };

  Claim ClaimLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CancelCall();
  void Unhold();
  /// What is due by itself. The reason to end the call, if there is one.
  const char* PingDueLocked(std::int64_t now_ns, std::uint64_t& ping_nonce)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Kind kind_;
  const std::uint64_t id_;
  grpc::CallbackServerContext& context_;
  std::shared_ptr<StreamSession> keep_alive_;  // from Begin() to OnDone()
  grpc::ByteBuffer read_buffer_;               // gRPC's between StartRead and OnReadDone
  grpc::ByteBuffer write_buffer_;              // of whoever holds the write claim
  std::atomic<std::int64_t> due_ns_{0};
  std::atomic<bool> heard_{false};  // a frame has come since the last ping

  std::deque<grpc::ByteBuffer> control_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool control_write_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool drop_rest_ ABSL_GUARDED_BY(mutex_) = false;
  int holds_ ABSL_GUARDED_BY(mutex_) = 0;  // calls into gRPC on their way: no Finish beside them
  absl::Status end_status_ ABSL_GUARDED_BY(mutex_);
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;
  const std::int64_t begin_ns_;
  std::int64_t ended_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  std::int64_t next_ping_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  std::int64_t ping_sent_ns_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: none is unanswered
  std::uint64_t ping_nonce_ ABSL_GUARDED_BY(mutex_) = 0;
  std::int64_t deadline_ns_ ABSL_GUARDED_BY(mutex_) = INT64_MAX;
};

}  // namespace mqd::rpc
