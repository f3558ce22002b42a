#pragma once

// consumer_core.h: what stands behind a Consumer: the buffer, the slots of its handler threads, the
// settles, and the link they go over.
//
// Files      consumer_core.cc the application's side · consumer_core_link.cc the link's side
//            consumer_core_upkeep.cc ticks: leases, hanging handlers, late messages
// Threads:   as Consumer says; Link::User as link.h says.
// Ownership: shared by its Consumer, its deliveries and posted callbacks; Stop() joins the handler
//            threads and ends the link.
// Limits:    ConsumerOptions.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "client/connection.h"
#include "client/credit_control.h"
#include "client/delivery_buffer.h"
#include "client/link.h"
#include "client/settle_book.h"
#include "client/work_slot.h"
#include "mqd/consumer.h"
#include "proto/base/mutex.h"

namespace mqd::v1 {
class GoAway;
}  // namespace mqd::v1

namespace mqd::client {

class ConsumerCore final : public Link::User, public std::enable_shared_from_this<ConsumerCore> {
 public:
  static std::shared_ptr<ConsumerCore> Make(std::shared_ptr<Connection> connection,
                                            ConsumerOptions options);

  ConsumerCore(std::shared_ptr<Connection> connection, ConsumerOptions options);

  absl::StatusOr<Delivery> Next(std::chrono::milliseconds timeout);
  void CancelNext();
  absl::StatusOr<DrainCounts> Drain(std::chrono::milliseconds deadline);
  void Stop();
  absl::Status ConnectionStatus() const;
  ConsumerStats Stats() const;

  // ---- of Delivery; `handle` names one that is not settled yet
  void Settle(const DeliveryHandle& handle, Outcome outcome, SettleCallback callback);
  void SettleAtomic(const DeliveryHandle& handle, Outcome outcome,
                    std::vector<QueuePublish> publishes, SettleCallback callback);
  void Extend(const DeliveryHandle& handle, std::optional<std::chrono::milliseconds> lease);
  bool LeaseLost(const DeliveryHandle& handle) const;
  const std::string& QueueName(std::uint32_t index) const { return options_.queues[index].queue; }

  // ---- of Link
  std::string OpenFrame() override;
  absl::Status OnFrame(const wire::Frame& frame, const grpc::Slice& bytes) override;
  bool NextFrame(std::vector<grpc::Slice>& slices) override;
  void OnDown(const absl::Status& status, bool fatal) override;
  void OnTick(Time now) override;

 private:
  using Key = std::pair<std::uint32_t, std::uint64_t>;  // queue index, delivery id

  /// Handed to the application, to be settled through its Delivery.
  struct Deferred {
    std::uint64_t stream = 0;
    Time since;
    Time lease_until;
    Clock::duration lease{};
    std::uint64_t bytes = 0;
    std::string line;  // of its ordering_key, or empty
  };
  enum class Phase : std::uint8_t { kRunning, kDraining, kStopped };

  static Key KeyOf(const DeliveryHandle& handle);
  void PostSettled(SettleCallback callback, absl::StatusOr<SettleResult> result);
  /// The broker takes back what it sent behind a message that is given back.
  void HoldIfGivenBack(const std::string& line, SettleBook::Entry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Nothing of the line is begun before the entry is answered.
  void HoldLine(const std::string& line, SettleBook::Entry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveLine(const std::string& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishDeferred(const Key& key, Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddDeferred(const DeliveryPiece& piece, std::uint32_t index, Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // ---- handler threads
  void RunHandlers(WorkSlot& slot);
  void RunPiece(WorkSlot& slot);
  WorkSlot::Done RunHandler(Delivery& delivery);
  bool LoadSlot(WorkSlot& slot);
  void Absorb(WorkSlot::Report report, Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Report(WorkSlot& slot);

  // ---- frames
  absl::Status OnOpened(std::string_view content);
  absl::Status OnDeliveries(std::string_view content, const grpc::Slice& bytes);
  absl::Status OnSettled(std::string_view content);
  absl::Status OnLeaseLost(std::string_view content);
  absl::Status OnRecall(std::string_view content);
  absl::Status OnEndOfQueue(std::string_view content);
  absl::Status OnDrained(std::string_view content);
  absl::Status OnGoAway(std::string_view content);
  std::string NextFrameBytes(Time now);
  std::string StartedFrame() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MarkRunning();
  absl::Status FencedOff(const v1::GoAway& go_away);
  void DropBuffer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropLeased() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeBack(std::uint32_t queue_index, const std::vector<IdRange>& ranges, bool release);
  void Unstick(std::uint32_t queue_index, const std::vector<IdRange>& ranges)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReclaimSlots(bool keep);

  // ---- upkeep
  void ReportHanging(Time now);
  void ExtendRunning(Time now);
  void ExtendWaiting(Time now);
  void AdaptCredit(Time now);
  void LeaveIfIdle();
  void Finish(bool flushed);

  void Tell(SettleBook::Answers answers);
  void PostConnection(absl::Status status);

  const std::shared_ptr<Connection> connection_;
  const ConsumerOptions options_;
  std::shared_ptr<Link> link_;                    // set once, before any other thread
  std::vector<std::unique_ptr<WorkSlot>> slots_;  // likewise
  std::vector<std::thread> threads_;              // likewise; joined by Stop()
  std::once_flag stop_once_;
  std::atomic<bool> silent_{false};  // stopped: no callback but that of a settle

  mutable base::Mutex mutex_;
  std::condition_variable work_;     // the buffer or the phase changed
  std::condition_variable changed_;  // settles, drain or the phase changed
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kRunning;
  DeliveryBuffer buffer_ ABSL_GUARDED_BY(mutex_);
  CreditControl credit_ ABSL_GUARDED_BY(mutex_);
  SettleBook book_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, std::vector<std::string>> stuck_ ABSL_GUARDED_BY(mutex_);  // see SettleBook
  absl::btree_map<Key, Deferred> deferred_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<Key> settled_early_ ABSL_GUARDED_BY(mutex_);  // before their handler returned
  absl::btree_set<Key> to_mark_ ABSL_GUARDED_BY(mutex_);            // started, not told yet
  absl::flat_hash_set<Key> lost_ ABSL_GUARDED_BY(mutex_);           // of those handed over
  std::vector<bool> ended_ ABSL_GUARDED_BY(mutex_);                 // by queue index
  std::uint64_t stream_ ABSL_GUARDED_BY(mutex_) = 0;                // counts opened streams
  bool next_cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool connected_ ABSL_GUARDED_BY(mutex_) = false;
  std::uint64_t running_ ABSL_GUARDED_BY(mutex_) = 0;  // handed over, not settled
  std::uint32_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // threads without work
  bool drain_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool going_away_ ABSL_GUARDED_BY(mutex_) = false;
  std::chrono::milliseconds drain_deadline_ ABSL_GUARDED_BY(mutex_){0};
  std::optional<DrainCounts> drained_ ABSL_GUARDED_BY(mutex_);
  absl::Status drain_failed_ ABSL_GUARDED_BY(mutex_);
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  ConsumerStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::client
