#include "tests/bench/ceilings/null_streams.h"

#include <algorithm>
#include <utility>

#include "proto/wire/frame_write.h"
#include "server/limits.h"
#include "server/message_limits.h"

namespace mqd::bench {
namespace {

constexpr std::int64_t kLeaseMs = 30'000;

grpc::ByteBuffer ToBuffer(const google::protobuf::MessageLite& frame) {
  const std::string bytes = frame.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

template <class Frame>
Frame Parse(std::string_view content) {
  Frame frame;
  frame.ParseFromArray(content.data(), static_cast<int>(content.size()));
  return frame;
}

/// A part of what `owner` holds, without a copy.
grpc::Slice Share(const std::shared_ptr<grpc::Slice>& owner, std::string_view bytes) {
  auto* reference = new std::shared_ptr<grpc::Slice>(owner);
  return {const_cast<char*>(bytes.data()), bytes.size(),
          [](void* user) { delete static_cast<std::shared_ptr<grpc::Slice>*>(user); }, reference};
}

void FillLimits(v1::Limits& out) {
  out.set_max_payload_bytes(limits::kPayloadBytesMax);
  out.set_max_batch_messages(limits::kBatchMessagesMax);
  out.set_max_batch_bytes(limits::kBatchBytesMax);
  out.set_max_headers(limits::kHeadersMax);
  out.set_max_header_bytes(limits::kHeaderBytesMax);
  out.set_max_key_bytes(limits::kKeyBytesMax);
  out.set_max_priority(limits::kPriorityMax);
  out.mutable_ping_interval()->set_seconds(60);
  out.mutable_ping_timeout()->set_seconds(60);
  out.set_max_credit_messages(limits::kCreditMessagesMax);
  out.set_max_credit_bytes(limits::kCreditBytesMax);
  out.set_message_overhead_bytes(limits::kMessageOverheadBytes);
}

std::uint64_t ChargeOf(const wire::ScannedMessage& message) {
  return message.content_bytes + limits::kMessageOverheadBytes;
}

}  // namespace

// ---- NullStream

void NullStream::Begin() {
  keep_alive_ = shared_from_this();
  StartRead(&read_buffer_);
}

void NullStream::OnReadDone(bool ok) {
  if (!ok) return Close();
  auto owner = std::make_shared<grpc::Slice>();
  if (!read_buffer_.TrySingleSlice(owner.get()).ok()) {
    static_cast<void>(read_buffer_.DumpToSingleSlice(owner.get()));
  }
  read_buffer_.Clear();
  const std::string_view bytes(reinterpret_cast<const char*>(owner->begin()), owner->size());
  const auto frame = wire::ScanFrame(bytes);
  if (!frame.ok()) return Close();
  OnFrame(*frame, owner);
  {
    base::MutexLock lock(mutex_);
    if (closed_) return;
    starts_read_ = true;
  }
  StartRead(&read_buffer_);
  bool closed = false;
  {
    base::MutexLock lock(mutex_);
    starts_read_ = false;
    closed = closed_;
  }
  if (closed) Pump();
}

void NullStream::OnWriteDone(bool ok) {
  {
    base::MutexLock lock(mutex_);
    writing_ = false;
    write_buffer_.Clear();
  }
  if (!ok) return Close();
  Pump();
}

void NullStream::Send(const google::protobuf::MessageLite& frame) {
  {
    base::MutexLock lock(mutex_);
    control_.push_back(ToBuffer(frame));
  }
  Pump();
}

void NullStream::Pump() {
  bool finish = false;
  {
    base::MutexLock lock(mutex_);
    if (writing_ || finished_) return;
    if (closed_) {
      if (starts_read_) return;
      finish = finished_ = true;
    } else if (!control_.empty()) {
      write_buffer_ = control_.front();
      control_.pop_front();
      writing_ = true;
    } else if (TakeLocked(write_buffer_)) {
      writing_ = true;
    } else {
      return;
    }
  }
  if (finish) return Finish(grpc::Status::OK);
  StartWrite(&write_buffer_);
}

void NullStream::Close() {
  bool first = false;
  {
    base::MutexLock lock(mutex_);
    first = !std::exchange(closed_, true);
  }
  if (first) OnClosed();
  Pump();
}

void NullStream::OnDone() { const std::shared_ptr<NullStream> last = std::move(keep_alive_); }

// ---- NullQueue

std::uint64_t NullQueue::Add(Piece piece) {
  std::uint64_t first = 0;
  {
    base::MutexLock lock(mutex_);
    first = next_sequence_;
    next_sequence_ += piece.messages.size();
    pieces_.push_back(std::move(piece));
  }
  Dispatch();
  return first;
}

void NullQueue::Attach(std::shared_ptr<NullConsume> consumer) {
  base::MutexLock lock(mutex_);
  places_.push_back({std::move(consumer)});
}

void NullQueue::Detach(const NullConsume* consumer) {
  base::MutexLock lock(mutex_);
  std::erase_if(places_, [&](const Place& place) { return place.consumer.get() == consumer; });
}

void NullQueue::Grant(NullConsume& consumer, std::uint64_t messages, std::uint64_t bytes) {
  {
    base::MutexLock lock(mutex_);
    for (Place& place : places_) {
      if (place.consumer.get() != &consumer) continue;
      place.messages += messages;
      place.bytes += static_cast<std::int64_t>(bytes);
    }
  }
  Dispatch();
}

NullRun NullQueue::Take(Piece& piece, Place& place, std::uint64_t first_id) {
  NullRun run{.owner = piece.owner, .first_id = first_id};
  const char* const begin = piece.messages[piece.next].element.data();
  const char* end = begin;
  while (piece.next < piece.messages.size() && place.messages > 0 && place.bytes > 0) {
    const wire::ScannedMessage& message = piece.messages[piece.next++];
    end = message.element.data() + message.element.size();
    ++run.count;
    run.charge += ChargeOf(message);
    --place.messages;
    place.bytes -= static_cast<std::int64_t>(ChargeOf(message));
  }
  run.elements = {begin, static_cast<std::size_t>(end - begin)};
  return run;
}

void NullQueue::Dispatch() {
  struct Given {
    std::shared_ptr<NullPublish> publisher;
    std::uint64_t messages;
    std::uint64_t bytes;
  };
  std::vector<Given> given;
  std::vector<std::shared_ptr<NullConsume>> touched;
  {
    base::MutexLock lock(mutex_);
    std::size_t without = 0;  // consumers in a row that have no credit
    while (!pieces_.empty() && without < places_.size()) {
      Place& place = places_[turn_++ % places_.size()];
      if (place.messages == 0 || place.bytes <= 0) {
        ++without;
        continue;
      }
      without = 0;
      Piece& piece = pieces_.front();
      NullRun run = Take(piece, place, next_delivery_);
      next_delivery_ += run.count;
      given.push_back({piece.publisher, run.count, run.charge});
      touched.push_back(place.consumer);
      place.consumer->Deliver(std::move(run));
      if (piece.next == piece.messages.size()) pieces_.pop_front();
    }
  }
  for (const auto& consumer : touched) consumer->Flush();
  for (const Given& one : given) one.publisher->GiveBack(one.messages, one.bytes);
}

std::shared_ptr<NullQueue> NullQueues::Find(const std::string& name) {
  base::MutexLock lock(mutex_);
  auto& queue = queues_[name];
  if (queue == nullptr) queue = std::make_shared<NullQueue>();
  return queue;
}

void NullQueues::Erase(const std::string& name) {
  base::MutexLock lock(mutex_);
  queues_.erase(name);
}

// ---- NullPublish

void NullPublish::OnFrame(const wire::Frame& frame, const std::shared_ptr<grpc::Slice>& owner) {
  using Request = v1::PublishStreamRequest;
  v1::PublishStreamResponse answer;
  switch (frame.field) {
    case Request::kOpen: {
      queue_ = queues_.Find(Parse<v1::PublishOpen>(frame.content).queue());
      v1::PublishOpened& opened = *answer.mutable_opened();
      opened.set_session_id(1);
      FillLimits(*opened.mutable_limits());
      opened.mutable_credit()->set_messages(limits::kPublishWindowMessages);
      opened.mutable_credit()->set_bytes(limits::kPublishWindowBytes);
      return Send(answer);
    }
    case Request::kBatch:
      return OnBatch(frame.content, owner);
    case Request::kPing:
      answer.mutable_pong()->set_nonce(Parse<v1::Ping>(frame.content).nonce());
      return Send(answer);
    default:
      return;
  }
}

void NullPublish::OnBatch(std::string_view content, const std::shared_ptr<grpc::Slice>& owner) {
  auto batch = wire::ScanPublishBatch(content, limits::MessageLimitsOf(limits::kPayloadBytesMax));
  if (!batch.ok() || queue_ == nullptr) return Close();
  const std::uint64_t count = batch->messages.size();
  if (count == 0) return;
  const std::uint64_t first_id = batch->first_publish_id;
  const std::uint64_t sequence =
      queue_->Add({.owner = owner,
                   .messages = std::move(batch->messages),
                   .publisher = std::static_pointer_cast<NullPublish>(shared_from_this())});
  {
    base::MutexLock lock(mutex_);
    v1::ConfirmedRange& range = *confirms_.mutable_confirms()->add_ranges();
    range.set_first_publish_id(first_id);
    range.set_count(count);
    range.set_first_sequence(sequence);
  }
  Pump();
}

void NullPublish::GiveBack(std::uint64_t messages, std::uint64_t bytes) {
  {
    base::MutexLock lock(mutex_);
    back_messages_ += messages;
    back_bytes_ += bytes;
  }
  Pump();
}

bool NullPublish::TakeLocked(grpc::ByteBuffer& out) {
  if (confirms_.confirms().ranges_size() > 0) {
    out = ToBuffer(confirms_);
    confirms_.Clear();
    return true;
  }
  if (back_messages_ < limits::kPublishWindowMessages / 4 &&
      back_bytes_ < limits::kPublishWindowBytes / 4) {
    return false;
  }
  v1::PublishStreamResponse grant;
  grant.mutable_credit()->set_messages(std::exchange(back_messages_, 0));
  grant.mutable_credit()->set_bytes(std::exchange(back_bytes_, 0));
  out = ToBuffer(grant);
  return true;
}

// ---- NullConsume

void NullConsume::OnFrame(const wire::Frame& frame, const std::shared_ptr<grpc::Slice>&) {
  using Request = v1::ConsumeStreamRequest;
  v1::ConsumeStreamResponse answer;
  switch (frame.field) {
    case Request::kOpen:
      return OnOpen(Parse<v1::ConsumeOpen>(frame.content));
    case Request::kCredit: {
      const auto credit = Parse<v1::Credit>(frame.content);
      if (queue_ != nullptr) queue_->Grant(*this, credit.messages(), credit.bytes());
      return;
    }
    case Request::kSettle:
      return OnSettle(Parse<v1::SettleBatch>(frame.content));
    case Request::kPing:
      answer.mutable_pong()->set_nonce(Parse<v1::Ping>(frame.content).nonce());
      return Send(answer);
    case Request::kDrain:
      answer.mutable_drained();
      return Send(answer);
    default:
      return;
  }
}

void NullConsume::OnOpen(const v1::ConsumeOpen& open) {
  v1::ConsumeStreamResponse answer;
  v1::ConsumeOpened& opened = *answer.mutable_opened();
  opened.set_session_id(1);
  FillLimits(*opened.mutable_limits());
  for (int i = 0; i < open.queues_size(); ++i) {
    opened.add_lease_durations()->set_seconds(kLeaseMs / 1'000);
  }
  Send(answer);
  if (open.queues_size() == 0) return;
  queue_ = queues_.Find(open.queues(0).queue());
  queue_->Attach(std::static_pointer_cast<NullConsume>(shared_from_this()));
}

void NullConsume::OnSettle(const v1::SettleBatch& settle) {
  v1::ConsumeStreamResponse answer;
  v1::SettleResults& results = *answer.mutable_settled();
  results.set_settle_id(settle.settle_id());
  results.set_queue_index(settle.queue_index());
  std::uint64_t count = 0;
  for (const v1::SettleEntry& entry : settle.entries()) {
    count += entry.range().last_delivery_id() - entry.range().first_delivery_id() + 1;
  }
  results.set_settled(count);
  Send(answer);
}

void NullConsume::OnClosed() {
  if (queue_ != nullptr) queue_->Detach(this);
}

void NullConsume::Deliver(NullRun run) {
  base::MutexLock lock(mutex_);
  runs_.push_back(std::move(run));
}

bool NullConsume::TakeLocked(grpc::ByteBuffer& out) {
  if (runs_.empty()) return false;
  std::vector<grpc::Slice> slices(1);  // the first is the frame's head
  std::uint64_t messages = 0;
  std::uint64_t charge = 0;
  std::size_t bytes = 0;
  while (!runs_.empty() && bytes < limits::kDeliveriesFrameBytes) {
    const NullRun run = std::move(runs_.front());
    runs_.pop_front();
    const std::string head = wire::EncodeRunHead({.first_delivery_id = run.first_id,
                                                  .first_sequence = run.first_id,
                                                  .delivery_attempt = 1,
                                                  .lease_ms = kLeaseMs});
    const std::string prefix = wire::RunPrefix(head.size(), run.elements.size()) + head;
    slices.emplace_back(prefix);
    slices.push_back(Share(run.owner, run.elements));
    messages += run.count;
    charge += run.charge;
    bytes += prefix.size() + run.elements.size();
  }
  slices[0] = grpc::Slice(wire::DeliveriesHead(0, messages, charge, bytes));
  out = grpc::ByteBuffer(slices.data(), slices.size());
  return true;
}

}  // namespace mqd::bench
