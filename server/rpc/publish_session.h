#pragma once

// publish_session.h: step 2 of 5 (session), and step 5 for confirms. One PublishStream.
//
// open -> opened; then batches -> the queue; results -> Confirms, merged while the frame before
// them is written. Of news about waiting (Blocked) only the latest is kept for the next frame.
//
// Threads: As StreamSession says; the sink is called on the queue's thread.
// Ownership: As StreamSession says.
// Limits: The publish window (publish_window.h); a client that passes it is ended with
// CREDIT_EXCEEDED.

#include <memory>
#include <optional>
#include <string>

#include "server/queue/queue_actor.h"
#include "server/queue/sinks.h"
#include "server/rpc/confirm_buffer.h"
#include "server/rpc/publish_window.h"
#include "server/rpc/stream_session.h"

namespace mqd::rpc {

class PublishSession final : public StreamSession, public queue::PublishSink {
 public:
  PublishSession(const RpcDeps& deps, grpc::CallbackServerContext& context)
      : StreamSession(Kind::kPublish, deps, context) {}

  void OnAttached(absl::StatusOr<queue::AttachedPublisher> attached) override;
  void OnConfirms(queue::Confirms confirms) override;
  void OnBlocked(std::uint64_t first_publish_id, std::optional<queue::ErrorInfo> reason) override;
  void OnGoAway(queue::GoAwayCode code, queue::ErrorInfo error) override;

 private:
  enum class Phase : std::uint8_t { kNew, kAttaching, kOpen };

  /// Messages from first_publish_id on wait; without a reason, they wait no more.
  struct Waiting {
    std::uint64_t first_publish_id = 0;
    std::optional<queue::ErrorInfo> reason;
  };

  Read OnFrame(wire::Frame frame, std::shared_ptr<const grpc::Slice> owner) override;
  void OnHalfClose() override;
  void OnEnded() override;
  void Encode(grpc::ByteBuffer& out) override;
  void OnWritten() override {}
  void OnBrokerDrain() override {}
  void OnDeadline(std::int64_t) override {}
  grpc::ByteBuffer PingFrame(std::uint64_t nonce) const override;
  grpc::ByteBuffer GoAwayFrame(queue::GoAwayCode code, std::chrono::milliseconds deadline,
                               const queue::ErrorInfo& error) const override;
  bool TakeLocked() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Read Fail(absl::Status status);
  Read OnOpen(std::string_view content);
  absl::Status Attach(const v1::PublishOpen& open);
  Read OnBatch(std::string_view content, std::shared_ptr<const grpc::Slice> owner);
  Read OnOther(wire::Frame frame);
  absl::Status CheckIds(const wire::ScannedBatch& batch) const;
  void AddConfirms(queue::Confirms confirms);
  void Detach();

  // Of the reading reaction only.
  std::uint64_t last_publish_id_ = 0;
  std::string queue_name_;  // full

  // Of the holder of the write claim.
  std::optional<Waiting> taken_news_;
  queue::Confirms taken_confirms_;
  PublishWindow::Grant taken_grant_;
  v1::PublishStreamResponse frame_;

  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kNew;
  std::shared_ptr<queue::QueueActor> queue_ ABSL_GUARDED_BY(mutex_);
  PublishWindow window_ ABSL_GUARDED_BY(mutex_);
  std::optional<Waiting> news_ ABSL_GUARDED_BY(mutex_);  // not told yet
  bool told_waiting_ ABSL_GUARDED_BY(mutex_) = false;    // what the last frame said
  ConfirmBuffer results_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t unanswered_ ABSL_GUARDED_BY(mutex_) = 0;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mqd::rpc
