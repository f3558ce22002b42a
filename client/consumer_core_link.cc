#include <algorithm>
#include <utility>

#include "client/consumer_core.h"
#include "client/convert.h"
#include "client/status_map.h"
#include "mqd/v1/broker.pb.h"

namespace mqd::client {
namespace {

using Response = v1::ConsumeStreamResponse;

std::string PingFrame(std::uint64_t nonce) {
  v1::ConsumeStreamRequest frame;
  frame.mutable_ping()->set_nonce(nonce);
  return frame.SerializeAsString();
}

std::string PongFrame(std::uint64_t nonce) {
  v1::ConsumeStreamRequest frame;
  frame.mutable_pong()->set_nonce(nonce);
  return frame.SerializeAsString();
}

LinkKind ConsumeKind() {
  return {.method = "/mqd.v1.BrokerService/ConsumeStream",
          .opened_field = Response::kOpenedFieldNumber,
          .ping_field = Response::kPingFieldNumber,
          .pong_field = Response::kPongFieldNumber,
          .ping = PingFrame,
          .pong = PongFrame};
}

template <class T>
bool Parse(std::string_view content, T& out) {
  return out.ParseFromArray(content.data(), static_cast<int>(content.size()));
}

absl::Status Malformed(const char* frame) {
  return absl::InternalError(std::string("the broker sent a malformed frame: ") + frame);
}

std::vector<IdRange> RangesOf(const google::protobuf::RepeatedPtrField<v1::DeliveryRange>& from) {
  std::vector<IdRange> ranges;
  for (const v1::DeliveryRange& range : from) {
    ranges.push_back({range.first_delivery_id(), range.last_delivery_id()});
  }
  return ranges;
}

bool Covers(const std::vector<IdRange>& ranges, std::uint64_t id) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [id](const IdRange& range) { return id >= range.first && id <= range.last; });
}

}  // namespace

std::shared_ptr<ConsumerCore> ConsumerCore::Make(std::shared_ptr<Connection> connection,
                                                 ConsumerOptions options) {
  auto core = std::make_shared<ConsumerCore>(connection, std::move(options));
  core->link_ = std::make_shared<Link>(std::move(connection), ConsumeKind(), core);
  const std::uint32_t threads = core->options_.handler ? core->options_.concurrency : 0;
  for (std::uint32_t i = 0; i < threads; ++i) {
    core->slots_.push_back(std::make_unique<WorkSlot>());
  }
  for (const std::unique_ptr<WorkSlot>& slot : core->slots_) {
    core->threads_.emplace_back([core, &slot = *slot] { core->RunHandlers(slot); });
  }
  core->link_->Start();
  return core;
}

// ---- frames to the broker

std::string ConsumerCore::OpenFrame() {
  v1::ConsumeStreamRequest frame;
  v1::ConsumeOpen& open = *frame.mutable_open();
  for (const SelectQueue& select : options_.queues) {
    v1::SelectQueue& queue = *open.add_queues();
    queue.set_queue(select.queue);
    queue.set_weight(select.weight);
    queue.set_priority(select.priority);
  }
  open.set_select_mode(options_.select_mode == SelectMode::kPriority ? v1::SELECT_MODE_PRIORITY
                                                                     : v1::SELECT_MODE_WEIGHTED);
  if (options_.ageing_floor.count() > 0) {
    ToProto(options_.ageing_floor, open.mutable_ageing_floor());
  }
  open.set_marks_started(options_.marks_started);
  open.set_client_name(options_.client_name.empty() ? connection_->options().client_name
                                                    : options_.client_name);
  open.set_take_over(options_.take_over);
  open.set_in_flight_per_key(options_.in_flight_per_key);
  return frame.SerializeAsString();
}

bool ConsumerCore::NextFrame(std::vector<grpc::Slice>& slices) {
  const std::string bytes = NextFrameBytes(Clock::now());
  if (bytes.empty()) return false;
  slices.emplace_back(bytes);
  return true;
}

std::string ConsumerCore::NextFrameBytes(Time) {
  base::MutexLock lock(mutex_);
  v1::ConsumeStreamRequest frame;
  if (phase_ == Phase::kRunning && !going_away_) {
    if (const auto grant = credit_.TakeGrant()) {
      frame.mutable_credit()->set_messages(grant->messages);
      frame.mutable_credit()->set_bytes(grant->bytes);
      return frame.SerializeAsString();
    }
  }
  if (!options_.marks_started) to_mark_.clear();
  if (!to_mark_.empty()) return StartedFrame();
  if (std::optional<std::string> settle = book_.NextFrame()) return *std::move(settle);
  if (!std::exchange(drain_wanted_, false)) return {};
  ToProto(drain_deadline_, frame.mutable_drain()->mutable_deadline());
  return frame.SerializeAsString();
}

/// Those of one queue; the others follow with the next frame.
std::string ConsumerCore::StartedFrame() {
  constexpr std::size_t kRangesMax = 1'024;
  const std::uint32_t queue_index = to_mark_.begin()->first;
  RangeSet marks;
  for (const Key& key : to_mark_) {
    if (key.first == queue_index) marks.Add({key.second, key.second});
  }
  v1::ConsumeStreamRequest frame;
  frame.mutable_started()->set_queue_index(queue_index);
  for (const IdRange range : marks.Take(kRangesMax)) {
    v1::DeliveryRange& out = *frame.mutable_started()->add_ranges();
    out.set_first_delivery_id(range.first);
    out.set_last_delivery_id(range.last);
    for (std::uint64_t id = range.first; id <= range.last; ++id) to_mark_.erase({queue_index, id});
  }
  return frame.SerializeAsString();
}

// ---- frames from the broker

absl::Status ConsumerCore::OnFrame(const wire::Frame& frame, const grpc::Slice& bytes) {
  switch (frame.field) {
    case Response::kDeliveriesFieldNumber:
      return OnDeliveries(frame.content, bytes);
    case Response::kSettledFieldNumber:
      return OnSettled(frame.content);
    case Response::kOpenedFieldNumber:
      return OnOpened(frame.content);
    case Response::kLeaseLostFieldNumber:
      return OnLeaseLost(frame.content);
    case Response::kRecallFieldNumber:
      return OnRecall(frame.content);
    case Response::kEndOfQueueFieldNumber:
      return OnEndOfQueue(frame.content);
    case Response::kDrainedFieldNumber:
      return OnDrained(frame.content);
    case Response::kGoAwayFieldNumber:
      return OnGoAway(frame.content);
    default:
      return absl::OkStatus();  // of a newer broker
  }
}

absl::Status ConsumerCore::OnOpened(std::string_view content) {
  v1::ConsumeOpened opened;
  if (!Parse(content, opened)) return Malformed("opened");
  const v1::Limits& limits = opened.limits();
  {
    base::MutexLock lock(mutex_);
    ++stream_;
    connected_ = true;
    going_away_ = false;
    credit_.OnOpened(limits.max_credit_messages(), limits.max_credit_bytes(), Clock::now());
  }
  link_->SetPing(FromProto(limits.ping_interval()), FromProto(limits.ping_timeout()));
  PostConnection(absl::OkStatus());
  return absl::OkStatus();
}

absl::Status ConsumerCore::OnDeliveries(std::string_view content, const grpc::Slice& bytes) {
  absl::StatusOr<wire::ScannedDeliveries> scanned = wire::ScanDeliveries(content);
  if (!scanned.ok() || scanned->queue_index >= options_.queues.size()) {
    return Malformed("deliveries");
  }
  auto frame = std::make_shared<DeliveryFrame>();
  frame->owner = std::make_shared<grpc::Slice>(bytes);
  frame->scanned = *std::move(scanned);
  frame->arrived = Clock::now();
  frame->SplitCharge();
  std::uint64_t count = 0;
  for (const wire::ScannedRun& run : frame->scanned.runs) count += run.messages.size();
  bool wake_all = false;
  {
    base::MutexLock lock(mutex_);
    frame->stream = stream_;
    stats_.delivered += count;
    credit_.OnDelivered(frame->scanned.charged_messages, frame->scanned.charged_bytes);
    if (phase_ != Phase::kRunning) {  // the broker takes it back when the stream ends or drains
      credit_.OnDropped(frame->scanned.charged_messages, frame->scanned.charged_bytes);
      if (!frame->scanned.runs.empty() && frame->scanned.runs[0].lease_ms == 0) {
        stats_.lost += count;
      }
      return absl::OkStatus();
    }
    wake_all = waiting_ > 1 && count > 1;
    buffer_.Push(frame);
  }
  if (wake_all) {
    work_.notify_all();
  } else {
    work_.notify_one();
  }
  return absl::OkStatus();
}

absl::Status ConsumerCore::OnSettled(std::string_view content) {
  v1::SettleResults results;
  if (!Parse(content, results)) return Malformed("settled");
  SettleBook::Answers answers;
  bool more = false;
  {
    base::MutexLock lock(mutex_);
    book_.OnResults(results, answers);
    for (const std::string& line : answers.held) more = buffer_.Unhold(line) || more;
    stuck_.merge(answers.stuck);
  }
  if (more) work_.notify_all();
  changed_.notify_all();
  Tell(std::move(answers));
  link_->Pump();
  return absl::OkStatus();
}

absl::Status ConsumerCore::OnLeaseLost(std::string_view content) {
  v1::LeaseLost lost;
  if (!Parse(content, lost) || lost.queue_index() >= options_.queues.size()) {
    return Malformed("lease_lost");
  }
  const std::vector<IdRange> ranges = RangesOf(lost.ranges());
  TakeBack(lost.queue_index(), ranges, false);
  std::vector<std::uint64_t> handling;
  for (const std::unique_ptr<WorkSlot>& slot : slots_) {
    const std::optional<WorkSlot::Running> running = slot->running();
    if (!running || running->piece.queue_index() != lost.queue_index()) continue;
    handling.push_back(running->piece.id(running->piece.begin));
  }
  base::MutexLock lock(mutex_);
  Unstick(lost.queue_index(), ranges);
  for (const auto& [key, deferred] : deferred_) {
    if (key.first == lost.queue_index()) handling.push_back(key.second);
  }
  for (const std::uint64_t id : handling) {
    if (!Covers(ranges, id)) continue;
    lost_.insert({lost.queue_index(), id});
    to_mark_.erase({lost.queue_index(), id});
    ++stats_.lease_lost;
  }
  return absl::OkStatus();
}

/// The broker has taken back what was behind these: their lines go on.
void ConsumerCore::Unstick(std::uint32_t queue_index, const std::vector<IdRange>& ranges) {
  for (auto stuck = stuck_.begin(); stuck != stuck_.end();) {
    if (stuck->first.first != queue_index || !Covers(ranges, stuck->first.second)) {
      ++stuck;
      continue;
    }
    for (const std::string& line : stuck->second) buffer_.Unhold(line);
    stuck = stuck_.erase(stuck);
  }
  if (!buffer_.empty()) work_.notify_all();
}

absl::Status ConsumerCore::OnRecall(std::string_view content) {
  v1::Recall recall;
  if (!Parse(content, recall) || recall.queue_index() >= options_.queues.size()) {
    return Malformed("recall");
  }
  TakeBack(recall.queue_index(), RangesOf(recall.ranges()), true);
  return absl::OkStatus();
}

/// Drops what no handler has begun; gives it back to the broker when it asks for it.
void ConsumerCore::TakeBack(std::uint32_t queue_index, const std::vector<IdRange>& ranges,
                            bool release) {
  ReclaimSlots(true);
  {
    base::MutexLock lock(mutex_);
    const auto then = release ? DeliveryBuffer::Then::kHold : DeliveryBuffer::Then::kGoOn;
    DeliveryBuffer::Dropped dropped = buffer_.Drop(queue_index, ranges, then);
    credit_.OnDropped(dropped.messages, dropped.bytes);
    (release ? stats_.recalled : stats_.lease_lost) += dropped.messages;
    if (!release) dropped.ranges.clear();
    for (const IdRange out : dropped.ranges) {
      book_.Add({.queue_index = queue_index, .range = out, .outcome = Outcome::Release()});
    }
    // Lines go on when the last of these is answered.
    if (!dropped.held.empty()) book_.HoldLast(queue_index, std::move(dropped.held));
  }
  link_->Pump();
}

absl::Status ConsumerCore::OnEndOfQueue(std::string_view content) {
  v1::EndOfQueue end;
  if (!Parse(content, end) || end.queue_index() >= options_.queues.size()) {
    return Malformed("end_of_queue");
  }
  {
    base::MutexLock lock(mutex_);
    ended_[end.queue_index()] = true;
  }
  work_.notify_all();
  if (!options_.on_end_of_queue) return absl::OkStatus();
  connection_->callbacks().Post([self = shared_from_this(), index = end.queue_index()] {
    if (!self->silent_) self->options_.on_end_of_queue(self->QueueName(index));
  });
  return absl::OkStatus();
}

absl::Status ConsumerCore::OnDrained(std::string_view content) {
  v1::Drained drained;
  if (!Parse(content, drained)) return Malformed("drained");
  {
    base::MutexLock lock(mutex_);
    drained_ = DrainCounts{.settled = drained.settled(),
                           .released = drained.released(),
                           .abandoned = drained.abandoned()};
  }
  changed_.notify_all();
  return absl::OkStatus();
}

/// No more credit; what is here is worked off, then the stream is reopened (LeaveIfIdle()).
absl::Status ConsumerCore::OnGoAway(std::string_view content) {
  v1::GoAway go_away;
  if (!Parse(content, go_away)) return Malformed("go_away");
  if (go_away.code() == v1::GO_AWAY_CODE_FENCED) return FencedOff(go_away);
  base::MutexLock lock(mutex_);
  going_away_ = true;
  return absl::OkStatus();
}

/// Another consumer has taken over: to come back would fence it off in turn.
absl::Status ConsumerCore::FencedOff(const v1::GoAway& go_away) {
  ErrorInfo info = FromProto(go_away.error());
  info.reason = Reason::kFenced;
  info.retryable = false;
  return MakeStatus(info);
}

void ConsumerCore::OnDown(const absl::Status& status, bool fatal) {
  SettleBook::Answers answers;
  {
    base::MutexLock lock(mutex_);
    connected_ = false;
    going_away_ = false;
    DropLeased();
    stuck_.clear();
    book_.OnDown(answers);
    to_mark_.clear();
    if (fatal) {
      failed_ = status;
      book_.FailAll(status, answers);
    }
    const bool draining = phase_ == Phase::kDraining && !drained_;
    if (draining) drain_failed_ = absl::UnavailableError("the stream broke: " + status.ToString());
  }
  ReclaimSlots(false);
  work_.notify_all();
  changed_.notify_all();
  Tell(std::move(answers));
  PostConnection(status);
}

}  // namespace mqd::client
