// consume_session.cc: step 5 of 5 (delivery). Handshake, credit and deliveries of a consume stream.
#include "server/rpc/consume_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "server/rpc/buffers.h"
#include "server/rpc/handshake.h"
#include "server/rpc/session_list.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

absl::Status CreditExceeded(const std::string& unit, std::uint64_t limit, std::int64_t balance,
                            std::uint64_t granted) {
  return queue::ToStatus(
      {.reason = queue::Reason::kCreditExceeded,
       .resource = absl::StrCat("consume credit in ", unit),
       .message =
           absl::StrCat("a credit of ", granted, " ", unit, " on top of a balance of ", balance,
                        " is above the limit of ", limit, "; grant what you have room for"),
       .limit = limit,
       .current = granted});
}

/// How the queues of a stream share its credit.
struct SelectRules {
  std::vector<SelectScheduler::Queue> queues;
  std::chrono::milliseconds ageing_floor = limits::kPriorityAgeingFloor;
};

absl::Status CheckMode(const v1::ConsumeOpen& open) {
  if (!v1::SelectMode_IsValid(open.select_mode())) {
    return BadFieldStatus("select_mode", "not a mode that this version knows");
  }
  if (open.select_mode() == v1::SELECT_MODE_PRIORITY) return absl::OkStatus();
  if (open.has_ageing_floor()) {
    return BadFieldStatus("ageing_floor", "means something only with SELECT_MODE_PRIORITY");
  }
  for (const v1::SelectQueue& select : open.queues()) {
    if (select.priority() == 0) continue;
    return BadFieldStatus("queues.priority", "means something only with SELECT_MODE_PRIORITY");
  }
  return absl::OkStatus();
}

absl::StatusOr<SelectRules> CheckOpen(const v1::ConsumeOpen& open) {
  if (absl::Status status = CheckClientName(open.client_name()); !status.ok()) return status;
  if (absl::Status status = CheckMode(open); !status.ok()) return status;
  const auto count = static_cast<std::uint64_t>(open.queues_size());
  if (count == 0 || count > limits::kSelectQueuesMax) {
    return BadFieldStatus("queues", "a stream names 1 to 64 queues", limits::kSelectQueuesMax,
                          count);
  }
  if (open.in_flight_per_key() > limits::kInFlightPerKeyMax) {
    return BadFieldStatus("in_flight_per_key", "at most 1,024 messages of a key at a time",
                          limits::kInFlightPerKeyMax, open.in_flight_per_key());
  }
  SelectRules rules;
  for (const v1::SelectQueue& select : open.queues()) {
    if (select.weight() > limits::kSelectWeightMax) {
      return BadFieldStatus("queues.weight", "a weight is from 1 to 1,000",
                            limits::kSelectWeightMax, select.weight());
    }
    rules.queues.push_back({std::max(select.weight(), 1U), select.priority()});
  }
  if (open.has_ageing_floor()) {
    const auto floor = FromDuration(open.ageing_floor(), "ageing_floor", limits::kAgeingFloorMin,
                                    limits::kAgeingFloorMax);
    if (!floor.ok()) return floor.status();
    rules.ageing_floor = *floor;
  }
  return rules;
}

}  // namespace

void ConsumeSession::Perform(Posts posts) {
  for (auto& [queue, event] : posts) queue->Post(std::move(event));
}

StreamSession::Read ConsumeSession::Fail(absl::Status status) {
  End(std::move(status), Rest::kDrop);
  return Read::kPause;
}

StreamSession::Read ConsumeSession::OnFrame(wire::Frame frame, std::shared_ptr<const grpc::Slice>) {
  Phase phase;
  {
    base::MutexLock lock(mutex_);
    if (ended_) return Read::kPause;
    phase = phase_;
  }
  const bool is_open = frame.field == v1::ConsumeStreamRequest::kOpen;
  if (is_open != (phase == Phase::kNew)) {
    return Fail(BadFieldStatus(
        "frame", is_open ? "open may be sent only once" : "the first frame must be open"));
  }
  switch (frame.field) {
    case v1::ConsumeStreamRequest::kOpen:
      return OnOpen(frame.content);
    case v1::ConsumeStreamRequest::kCredit:
      return OnCredit(frame.content);
    case v1::ConsumeStreamRequest::kSettle:
      return OnSettle(frame.content);
    case v1::ConsumeStreamRequest::kStarted:
      return OnStarted(frame.content);
    case v1::ConsumeStreamRequest::kDrain:
      return OnDrain(frame.content);
    default:
      return OnOther(frame);
  }
}

// ---- the handshake

StreamSession::Read ConsumeSession::OnOpen(std::string_view content) {
  v1::ConsumeOpen open;
  if (!ParseFrame(content, open)) {
    return Fail(BadFieldStatus("open", "the bytes are not a ConsumeOpen"));
  }
  const absl::Status status = Attach(open);
  return status.ok() ? Read::kPause : Fail(status);
}

absl::StatusOr<std::vector<ConsumeSession::Slot>> ConsumeSession::FindSlots(
    const v1::ConsumeOpen& open) {
  std::vector<Slot> slots;
  for (const v1::SelectQueue& select : open.queues()) {
    auto found = FindQueue(deps_.registry, select.queue());
    if (!found.ok()) return found.status();
    for (const Slot& other : slots) {
      if (other.queue->id() != (*found)->id()) continue;
      return BadFieldStatus("queues", absl::StrCat((*found)->name(), " comes twice"));
    }
    slots.push_back({.queue = *std::move(found), .consumer = deps_.sessions.NextId()});
  }
  return slots;
}

absl::Status ConsumeSession::Attach(const v1::ConsumeOpen& open) {
  for (const v1::SelectQueue& select : open.queues()) {
    const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kConsume, select.queue());
    if (!allowed.ok()) return allowed;
  }
  const absl::StatusOr<SelectRules> rules = CheckOpen(open);
  if (!rules.ok()) return rules.status();
  auto slots = FindSlots(open);
  if (!slots.ok()) return slots.status();
  const bool several = slots->size() > 1;
  {
    base::MutexLock lock(mutex_);
    phase_ = Phase::kAttaching;
    slots_ = *slots;
    if (several) scheduler_.emplace(rules->queues, rules->ageing_floor);
  }
  const auto sink = std::static_pointer_cast<ConsumeSession>(shared_from_this());
  for (std::uint32_t slot = 0; slot < slots->size(); ++slot) {
    queue::AttachConsumer attach{.consumer = (*slots)[slot].consumer,
                                 .marks_started = open.marks_started(),
                                 .on_demand = several,
                                 .client_name = open.client_name(),
                                 .take_over = open.take_over(),
                                 .in_flight_per_key = open.in_flight_per_key()};
    (*slots)[slot].queue->Attach(std::move(attach), slot, sink);
  }
  if (ended()) Detach();  // it may have ended before an attach reached its queue
  return absl::OkStatus();
}

void ConsumeSession::OnAttached(std::uint32_t slot, absl::StatusOr<std::int64_t> lease_ms) {
  if (!lease_ms.ok()) return End(lease_ms.status(), Rest::kDrop);
  std::vector<std::int64_t> leases_ms;
  {
    base::MutexLock lock(mutex_);
    if (ended_) return;
    slots_[slot].lease_ms = *lease_ms;
    for (const Slot& each : slots_) {
      if (each.lease_ms < 0) return;
      leases_ms.push_back(each.lease_ms);
    }
  }
  SendOpened(leases_ms);
}

void ConsumeSession::SendOpened(const std::vector<std::int64_t>& leases_ms) {
  v1::ConsumeStreamResponse frame;
  v1::ConsumeOpened& opened = *frame.mutable_opened();
  opened.set_session_id(id());
  FillLimits(deps_.options, *opened.mutable_limits());
  FillServerInfo(deps_.store.CurrentEpoch(), *opened.mutable_server());
  for (const std::int64_t lease_ms : leases_ms) {
    SetDuration(lease_ms, *opened.add_lease_durations());
  }
  MarkOpened();
  SendControl(ToBuffer(frame));
  {
    base::MutexLock lock(mutex_);
    phase_ = Phase::kOpen;  // after the opened frame has its place in front
  }
  if (deps_.sessions.draining()) OnBrokerDrain();
  ResumeRead();
  Pump();
}

// ---- credit

absl::Status ConsumeSession::AddCreditLocked(const v1::Credit& credit) {
  const auto messages_max = static_cast<std::int64_t>(limits::kCreditMessagesMax);
  const auto bytes_max = static_cast<std::int64_t>(limits::kCreditBytesMax);
  if (credit.messages() > limits::kCreditMessagesMax ||
      balance_messages_ + static_cast<std::int64_t>(credit.messages()) > messages_max) {
    return CreditExceeded("messages", limits::kCreditMessagesMax, balance_messages_,
                          credit.messages());
  }
  // A negative balance may be repaid on top of the limit.
  if (credit.bytes() > 2 * limits::kCreditBytesMax ||
      balance_bytes_ + static_cast<std::int64_t>(credit.bytes()) > bytes_max) {
    return CreditExceeded("bytes", limits::kCreditBytesMax, balance_bytes_, credit.bytes());
  }
  balance_messages_ += static_cast<std::int64_t>(credit.messages());
  balance_bytes_ += static_cast<std::int64_t>(credit.bytes());
  if (scheduler_) {
    scheduler_->AddCredit(credit.messages(), credit.bytes());
  } else {
    gate_.AddCredit(credit.messages(), credit.bytes());
  }
  return absl::OkStatus();
}

StreamSession::Read ConsumeSession::OnCredit(std::string_view content) {
  v1::Credit credit;
  if (!ParseFrame(content, credit)) {
    return Fail(BadFieldStatus("credit", "the bytes are not a Credit"));
  }
  absl::Status status;
  Posts posts;
  {
    base::MutexLock lock(mutex_);
    status = AddCreditLocked(credit);
    if (status.ok()) GrantLocked(posts);
  }
  if (!status.ok()) return Fail(std::move(status));
  Perform(std::move(posts));
  return Read::kNext;
}

void ConsumeSession::GrantLocked(Posts& posts) {
  if (ended_ || phase_ != Phase::kOpen || draining_ != Draining::kNo) return;
  const std::uint64_t waiting = outbox_.bytes() + writing_bytes_;
  if (!scheduler_) {
    if (const auto grant = gate_.Take(waiting)) {
      posts.emplace_back(slots_[0].queue,
                         queue::GrantCredit{slots_[0].consumer, grant->messages, grant->bytes});
    }
    return;
  }
  if (waiting >= limits::kOutboxBytesMax) return;
  if (const auto grant = scheduler_->Next(SteadyNs())) {
    const Slot& slot = slots_[grant->slot];
    posts.emplace_back(slot.queue,
                       queue::GrantCredit{slot.consumer, grant->messages, grant->bytes});
  }
}

void ConsumeSession::OnWantCredit(std::uint32_t slot) {
  Posts posts;
  {
    base::MutexLock lock(mutex_);
    if (!scheduler_) return;
    scheduler_->OnWant(slot);
    GrantLocked(posts);
  }
  Perform(std::move(posts));
}

void ConsumeSession::OnCreditReturned(std::uint32_t slot, std::uint64_t messages,
                                      std::int64_t bytes, bool more) {
  Posts posts;
  {
    base::MutexLock lock(mutex_);
    if (!scheduler_) return;
    scheduler_->OnReturned(slot, messages, bytes, more);
    GrantLocked(posts);
  }
  Perform(std::move(posts));
}

// ---- deliveries

void ConsumeSession::OnDeliveries(std::uint32_t slot, queue::DeliveryBatch batch) {
  {
    base::MutexLock lock(mutex_);
    if (ended_) return;  // the queue takes them back when the detach reaches it
    balance_messages_ -= static_cast<std::int64_t>(batch.charged_messages);
    balance_bytes_ -= static_cast<std::int64_t>(batch.charged_bytes);
    if (!scheduler_) gate_.OnDelivered(batch.charged_bytes);
    outbox_.Add(slot, std::move(batch));
  }
  Pump();
}

bool ConsumeSession::TakeLocked() {
  if (phase_ != Phase::kOpen) return false;
  taken_ = outbox_.Take();
  if (!taken_) return false;
  if (const auto* deliveries = std::get_if<TakenDeliveries>(&*taken_)) {
    writing_bytes_ = deliveries->elements_bytes;
  } else {
    writing_results_ = std::get<DeliveryOutbox::Frame>(*taken_).settle_results;
  }
  return true;
}

void ConsumeSession::Encode(grpc::ByteBuffer& out) {
  if (const auto* deliveries = std::get_if<TakenDeliveries>(&*taken_)) {
    out = EncodeDeliveries(*deliveries);
  } else {
    out = std::get<DeliveryOutbox::Frame>(*taken_).bytes;
  }
  taken_.reset();
}

void ConsumeSession::OnWritten() {
  Posts posts;
  bool resume = false;
  {
    base::MutexLock lock(mutex_);
    writing_bytes_ = 0;
    if (std::exchange(writing_results_, false)) {
      --settles_open_;
      resume = read_paused_ && settles_open_ < limits::kSettlesPendingMax / 2;
      if (resume) read_paused_ = false;
    }
    GrantLocked(posts);
  }
  if (resume) ResumeRead();
  Perform(std::move(posts));
}

void ConsumeSession::SendInOrder(const v1::ConsumeStreamResponse& frame, bool settle_results) {
  grpc::ByteBuffer bytes = ToBuffer(frame);
  {
    base::MutexLock lock(mutex_);
    outbox_.Add(DeliveryOutbox::Frame{std::move(bytes), settle_results});
  }
  Pump();
}

void ConsumeSession::OnLeaseLost(std::uint32_t slot, std::vector<queue::DeliveryRange> ranges,
                                 queue::LeaseLostCode code) {
  v1::ConsumeStreamResponse frame;
  frame.mutable_lease_lost()->set_queue_index(slot);
  frame.mutable_lease_lost()->set_code(static_cast<v1::LeaseLostCode>(code));
  ToProto(ranges, *frame.mutable_lease_lost()->mutable_ranges());
  bool again = false;
  {
    base::MutexLock lock(mutex_);
    if (ended_) return;
    again = draining_ != Draining::kNo;
    for (const queue::DeliveryRange& range : ranges) drain_lost_ += range.last - range.first + 1;
    if (!again) drain_lost_ = 0;
  }
  SendInOrder(frame);
  if (again) AskAgain(slot);
}

void ConsumeSession::OnRecall(std::uint32_t slot, std::vector<queue::DeliveryRange> ranges) {
  v1::ConsumeStreamResponse frame;
  frame.mutable_recall()->set_queue_index(slot);
  ToProto(ranges, *frame.mutable_recall()->mutable_ranges());
  if (!ended()) SendInOrder(frame);
}

void ConsumeSession::OnEndOfQueue(std::uint32_t slot) {
  v1::ConsumeStreamResponse frame;
  frame.mutable_end_of_queue()->set_queue_index(slot);
  if (!ended()) SendInOrder(frame);
}

}  // namespace mqd::rpc
