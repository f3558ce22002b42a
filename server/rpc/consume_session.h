#pragma once

// consume_session.h: step 5 of 5 (delivery), and step 2 for settles. One ConsumeStream over one
// queue or several.
//
// With one queue the client's credit goes to the queue, as far as the outbox has room
// (credit_gate.h). With several the queues ask for it and take turns (select_scheduler.h). Results
// of settles and news of leases wait behind the deliveries before them, in one outbox.
//
// Files: consume_session.cc handshake, credit, deliveries · _settle.cc settles · _drain.cc
// drain and the end
// Threads: As StreamSession says; each queue calls the sink on its own thread.
// Ownership: As StreamSession says.
// Limits: limits::kSelectQueuesMax queues, kCreditMessagesMax and kCreditBytesMax of credit,
// kOutboxBytesMax waiting,
//            kSettlesPendingMax settles whose result is not yet written: the stream is not read
//            beyond.

#include <memory>
#include <optional>
#include <vector>

#include "server/queue/queue_actor.h"
#include "server/queue/sinks.h"
#include "server/rpc/credit_gate.h"
#include "server/rpc/delivery_outbox.h"
#include "server/rpc/select_scheduler.h"
#include "server/rpc/settle_request.h"
#include "server/rpc/stream_session.h"

namespace mqd::rpc {

class ConsumeSession final : public StreamSession, public queue::ConsumeSink {
 public:
  ConsumeSession(const RpcDeps& deps, grpc::CallbackServerContext& context)
      : StreamSession(Kind::kConsume, deps, context) {}

  void OnAttached(std::uint32_t slot, absl::StatusOr<std::int64_t> lease_ms) override;
  void OnDeliveries(std::uint32_t slot, queue::DeliveryBatch batch) override;
  void OnWantCredit(std::uint32_t slot) override;
  void OnCreditReturned(std::uint32_t slot, std::uint64_t messages, std::int64_t bytes,
                        bool more) override;
  void OnLeaseLost(std::uint32_t slot, std::vector<queue::DeliveryRange> ranges,
                   queue::LeaseLostCode code) override;
  void OnRecall(std::uint32_t slot, std::vector<queue::DeliveryRange> ranges) override;
  void OnEndOfQueue(std::uint32_t slot) override;
  void OnDrained(std::uint32_t slot, std::uint64_t released, std::uint64_t in_flight) override;
  void OnGoAway(std::uint32_t slot, queue::GoAwayCode code, queue::ErrorInfo error) override;

 private:
  enum class Phase : std::uint8_t { kNew, kAttaching, kOpen };
  enum class Draining : std::uint8_t { kNo, kClientAsked, kBrokerStops };

  struct Slot {
    std::shared_ptr<queue::QueueActor> queue;
    queue::ConsumerId consumer = 0;
    std::int64_t lease_ms = -1;  // -1: not yet attached
    bool drain_answered = false;
    std::uint32_t drain_asked = 0;  // answers that are due
    std::uint64_t in_flight = 0;    // as of the last answer
  };

  /// Calls into queues that are due once the lock is given back.
  using Posts = std::vector<std::pair<std::shared_ptr<queue::QueueActor>, queue::Event>>;
  static void Perform(Posts posts);

  // ---- of StreamSession
  Read OnFrame(wire::Frame frame, std::shared_ptr<const grpc::Slice> owner) override;
  void OnHalfClose() override;
  void OnEnded() override;
  void Encode(grpc::ByteBuffer& out) override;
  void OnWritten() override;
  void BeforeGoAway() override;
  void OnBrokerDrain() override;
  void OnDeadline(std::int64_t now_ns) override;
  grpc::ByteBuffer PingFrame(std::uint64_t nonce) const override;
  grpc::ByteBuffer GoAwayFrame(queue::GoAwayCode code, std::chrono::milliseconds deadline,
                               const queue::ErrorInfo& error) const override;
  bool TakeLocked() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // ---- the handshake
  Read Fail(absl::Status status);
  Read OnOpen(std::string_view content);
  absl::Status Attach(const v1::ConsumeOpen& open);
  absl::StatusOr<std::vector<Slot>> FindSlots(const v1::ConsumeOpen& open);
  void SendOpened(const std::vector<std::int64_t>& leases_ms);
  void Detach();

  // ---- credit
  Read OnCredit(std::string_view content);
  absl::Status AddCreditLocked(const v1::Credit& credit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GrantLocked(Posts& posts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendInOrder(const v1::ConsumeStreamResponse& frame, bool settle_results = false);

  // ---- other frames
  Read OnStarted(std::string_view content);
  Read OnOther(wire::Frame frame);
  Read OnSettle(std::string_view content);
  void OnSettled(std::uint64_t settle_id, std::uint32_t slot, SettleAnswer answer);
  std::shared_ptr<queue::QueueActor> QueueOf(std::uint32_t slot);

  // ---- drain
  Read OnDrain(std::string_view content);
  void BeginDrain(Draining kind, std::int64_t deadline_ns);
  /// Asks the queue how much is in flight; it answers with OnDrained().
  static void Ask(Slot& slot, Posts& posts);
  void AskAgain(std::uint32_t slot);
  void FinishDrain();

  // Of the holder of the write claim.
  std::optional<DeliveryOutbox::Taken> taken_;

  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kNew;
  std::vector<Slot> slots_ ABSL_GUARDED_BY(mutex_);
  DeliveryOutbox outbox_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t writing_bytes_ ABSL_GUARDED_BY(mutex_) =
      0;  // of messages in the frame being written
  bool writing_results_ ABSL_GUARDED_BY(mutex_) = false;

  // What the client granted and deliveries have not used; negative after a message that was larger.
  std::int64_t balance_messages_ ABSL_GUARDED_BY(mutex_) = 0;
  std::int64_t balance_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  CreditGate gate_ ABSL_GUARDED_BY(mutex_);                           // with one queue
  std::optional<SelectScheduler> scheduler_ ABSL_GUARDED_BY(mutex_);  // with several

  std::uint32_t settles_open_ ABSL_GUARDED_BY(mutex_) = 0;  // received, result not written
  std::uint32_t settles_running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool read_paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;

  Draining draining_ ABSL_GUARDED_BY(mutex_) = Draining::kNo;
  bool drain_timed_out_ ABSL_GUARDED_BY(mutex_) = false;
  bool drain_finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::uint64_t drain_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;  // when it began
  std::uint64_t drain_released_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t drain_lost_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mqd::rpc
