// raw_consumer.cc: consuming without the client library.

#include "tests/crash/raw_consumer.h"

#include <grpcpp/channel.h>

#include <array>
#include <thread>
#include <utility>

#include "tests/crash/raw_producer.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kLateMax = 100;
constexpr std::uint64_t kCreditMessages = 40;
constexpr std::uint64_t kCreditBytes = 8'000;
constexpr std::uint64_t kOverheadBytes = 64;
constexpr std::uint64_t kReceiveMax = 20;
constexpr auto kReceiveLease = milliseconds(1'000);
constexpr auto kReceiveWait = milliseconds(100);
constexpr auto kCallTime = milliseconds(1'500);
constexpr auto kPauseTime = milliseconds(5);
/// A stream is cancelled some time before this.
constexpr std::uint64_t kLifeMsMax = 1'500;
constexpr auto kStreamTime = milliseconds(5'000);
constexpr std::uint64_t kLateMsMax = 2'000;
constexpr std::array<std::uint32_t, 4> kStreamQueues = {kPlainQueue, kKeyedQueue, kBoundedQueue,
                                                        kSinkQueue};
constexpr std::array<std::uint32_t, 2> kReceiveQueues = {kPlainQueue, kSourceQueue};

void SetOutcome(SettleKind kind, v1::SettleEntry& entry) {
  switch (kind) {
    case SettleKind::kRetry:
      entry.mutable_retry()->set_error("raw");
      break;
    case SettleKind::kRelease:
      entry.mutable_release();
      break;
    case SettleKind::kDeadLetter:
      entry.mutable_dead_letter()->set_reason("raw");
      break;
    default:
      entry.mutable_ack();
  }
}

void SetRange(std::uint64_t delivery, v1::SettleEntry& entry) {
  entry.mutable_range()->set_first_delivery_id(delivery);
  entry.mutable_range()->set_last_delivery_id(delivery);
}

template <class Exceptions>
const v1::ErrorInfo* ErrorOf(const Exceptions& exceptions, std::uint64_t delivery) {
  for (const v1::SettleException& exception : exceptions) {
    const v1::DeliveryRange& range = exception.range();
    if (range.first_delivery_id() <= delivery && delivery <= range.last_delivery_id()) {
      return &exception.error();
    }
  }
  return nullptr;
}

}  // namespace

RawConsumer::RawConsumer(World& world, const std::string& address, std::uint32_t process)
    : world_(world),
      process_(process),
      random_(world.RandomOf(process)),
      stub_(v1::BrokerService::NewStub(QuickChannel(address))) {}

void RawConsumer::Run() {
  while (!world_.finishing() && world_.stop_consumers().WaitFor(kPauseTime)) {
    session_ = world_.NextSession();
    if (OneIn(random_, 3)) {
      RunReceive(kReceiveQueues[Below(random_, kReceiveQueues.size())]);
    } else {
      RunStream(kStreamQueues[Below(random_, kStreamQueues.size())]);
    }
    SettleLate();
  }
}

void RawConsumer::Detach(std::uint32_t queue, bool broken) {
  world_.history().Add({.kind = Kind::kDetach,
                        .broken = broken,
                        .process = process_,
                        .queue = queue,
                        .session = session_});
}

// ---- what every way of receiving does

std::vector<RawConsumer::Held> RawConsumer::TakeRun(std::uint32_t queue,
                                                    const v1::DeliveryRun& run) {
  std::vector<Held> taken;
  for (int i = 0; i < run.messages_size(); ++i) {
    const v1::Message& message = run.messages(i);
    const auto offset = static_cast<std::uint64_t>(i);
    const Held held = {.queue = queue,
                       .session = session_,
                       .message = MessageOf(message.payload()),
                       .sequence = run.first_sequence() + offset,
                       .delivery = run.first_delivery_id() + offset};
    const std::uint64_t bytes =
        message.payload().size() + message.idempotency_key().size() + kOverheadBytes;
    world_.history().Add({.kind = Kind::kDeliver,
                          .outcome = Outcome::kOk,
                          .limited = true,
                          .process = process_,
                          .queue = queue,
                          .attempt = run.delivery_attempt(),
                          .session = session_,
                          .message = held.message,
                          .digest = DigestOf(message.payload()),
                          .key = KeyOf(message.idempotency_key()),
                          .sequence = held.sequence,
                          .origin = run.dead_letter().sequence(),
                          .delivery = held.delivery,
                          .bytes = bytes,
                          .lease_ns = lease_ns_});
    taken.push_back(held);
  }
  return taken;
}

void RawConsumer::Keep(const Held& held, std::uint64_t delay_ms) {
  if (late_.size() < kLateMax) late_.push_back({held, Clock::now() + milliseconds(delay_ms)});
}

SettleKind RawConsumer::Decide() {
  const std::uint64_t dice = Below(random_, 1'000);
  if (dice < 20) return SettleKind::kNone;
  if (dice < 50) return SettleKind::kRetry;
  if (dice < 70) return SettleKind::kRelease;
  return SettleKind::kAck;
}

RawConsumer::Settling RawConsumer::Invoke(const Held& held, SettleKind kind) {
  const OperationId id = world_.history().Invoke({.kind = Kind::kSettle,
                                                  .settle = kind,
                                                  .process = process_,
                                                  .queue = held.queue,
                                                  .session = held.session,
                                                  .message = held.message,
                                                  .sequence = held.sequence,
                                                  .delivery = held.delivery});
  return {id, kind, held.delivery};
}

void RawConsumer::End(const Settling& settling, const v1::ErrorInfo* error) {
  const Outcome outcome = error == nullptr ? Outcome::kOk : OutcomeOfReason(error->reason());
  world_.EndSettle(settling.id, outcome, settling.kind, error == nullptr ? "" : error->message());
}

// ---- streams

bool RawConsumer::Open(Stream& stream, std::uint32_t queue) {
  settling_.clear();
  lease_ns_ = 0;
  v1::ConsumeStreamRequest open;
  open.mutable_open()->add_queues()->set_queue(QueueName(queue));
  v1::ConsumeStreamResponse answer;
  return stream.Write(open) && stream.Read(&answer) && answer.has_opened();
}

bool RawConsumer::Grant(Stream& stream, std::uint64_t messages, std::uint64_t bytes) {
  world_.history().Add({.kind = Kind::kCredit,
                        .process = process_,
                        .session = session_,
                        .messages = messages,
                        .bytes = bytes});
  v1::ConsumeStreamRequest credit;
  credit.mutable_credit()->set_messages(messages);
  credit.mutable_credit()->set_bytes(bytes);
  return stream.Write(credit);
}

void RawConsumer::RunStream(std::uint32_t queue) {
  grpc::ClientContext context;
  SetDeadline(kStreamTime, context);
  const auto stream = stub_->ConsumeStream(&context);
  StopFlag over;
  const auto life = milliseconds(Below(random_, kLifeMsMax));
  std::thread timer([&] {
    if (!over.WaitFor(life)) return;
    Detach(queue, false);
    context.TryCancel();
  });
  bool good = Open(*stream, queue) && Grant(*stream, kCreditMessages, kCreditBytes);
  v1::ConsumeStreamResponse response;
  while (good && stream->Read(&response)) {
    if (response.has_settled()) OnSettled(response.settled());
    if (response.has_deliveries()) good = OnDeliveries(*stream, queue, response.deliveries());
  }
  over.Stop();
  timer.join();
  Detach(queue, true);
  context.TryCancel();
  stream->Finish();
}

bool RawConsumer::OnDeliveries(Stream& stream, std::uint32_t queue,
                               const v1::Deliveries& deliveries) {
  v1::ConsumeStreamRequest request;
  v1::SettleBatch& batch = *request.mutable_settle();
  batch.set_settle_id(next_settle_id_++);
  std::vector<Settling>& settling = settling_[batch.settle_id()];
  for (const v1::DeliveryRun& run : deliveries.runs()) {
    for (const Held& held : TakeRun(queue, run)) {
      const SettleKind kind = Decide();
      if (kind == SettleKind::kNone) {
        Keep(held, Below(random_, kLateMsMax));
        continue;
      }
      v1::SettleEntry& entry = *batch.add_entries();
      SetRange(held.delivery, entry);
      SetOutcome(kind, entry);
      settling.push_back(Invoke(held, kind));
    }
  }
  if (!settling.empty() && !stream.Write(request)) return false;
  return Grant(stream, deliveries.charged_messages(), deliveries.charged_bytes());
}

void RawConsumer::OnSettled(const v1::SettleResults& results) {
  const auto found = settling_.find(results.settle_id());
  if (found == settling_.end()) return;
  for (const Settling& settling : found->second) {
    const v1::ErrorInfo* error = ErrorOf(results.exceptions(), settling.delivery);
    End(settling, results.has_error() ? &results.error() : error);
  }
  settling_.erase(found);
}

// ---- unary calls

void RawConsumer::RunReceive(std::uint32_t queue) {
  grpc::ClientContext context;
  SetDeadline(kCallTime, context);
  v1::ReceiveRequest request;
  v1::ReceiveResponse response;
  request.set_queue(QueueName(queue));
  request.set_max_messages(kReceiveMax);
  request.set_max_bytes(kCreditBytes);
  SetMilliseconds(kReceiveWait, *request.mutable_wait());
  SetMilliseconds(kReceiveLease, *request.mutable_lease());
  world_.history().Add({.kind = Kind::kCredit,
                        .process = process_,
                        .session = session_,
                        .messages = kReceiveMax,
                        .bytes = kCreditBytes});
  if (!stub_->Receive(&context, request, &response).ok()) return Detach(queue, false);
  lease_ns_ = std::chrono::nanoseconds(kReceiveLease).count();
  for (const v1::DeliveryRun& run : response.runs()) {
    for (const Held& held : TakeRun(queue, run)) {
      if (OneIn(random_, 20)) {
        Keep(held, Below(random_, kLateMsMax));
      } else {
        SettleUnary(held);
      }
    }
  }
}

/// Settles one delivery from another connection than the one it came by; of kSourceQueue together
/// with a publish to kSinkQueue.
void RawConsumer::SettleUnary(const Held& held) {
  grpc::ClientContext context;
  SetDeadline(kCallTime, context);
  v1::SettleRequest request;
  v1::SettleResponse response;
  request.set_queue(QueueName(held.queue));
  v1::SettleEntry& entry = *request.add_entries();
  SetRange(held.delivery, entry);
  SetOutcome(SettleKind::kAck, entry);
  const Settling settling = Invoke(held, SettleKind::kAck);
  OperationId publish = 0;
  if (held.queue == kSourceQueue) {
    const std::uint64_t message = world_.NextMessage();
    v1::TransactionalPublish& target = *request.add_publishes();
    target.set_queue(QueueName(kSinkQueue));
    target.add_messages()->set_payload(PayloadOf(message));
    publish = world_.history().Invoke({.kind = Kind::kPublish,
                                       .process = process_,
                                       .queue = kSinkQueue,
                                       .parent = settling.id,
                                       .message = message,
                                       .digest = DigestOf(PayloadOf(message))});
  }
  if (!stub_->Settle(&context, request, &response).ok()) return;  // unknown
  const v1::ErrorInfo* error = ErrorOf(response.exceptions(), held.delivery);
  End(settling, error);
  if (publish == 0) return;
  const bool stored = error == nullptr && response.publish_results_size() == 1 &&
                      response.publish_results(0).has_published();
  world_.EndPublish(publish, stored ? Outcome::kOk : Outcome::kFail,
                    stored ? response.publish_results(0).published().sequence() : 0, false, {});
}

/// Most of these are stale: their lease ended, their stream broke, or the broker died since.
void RawConsumer::SettleLate() {
  const Clock::time_point now = Clock::now();
  for (std::size_t left = late_.size(); left > 0; --left) {
    const Late late = late_.front();
    late_.pop_front();
    if (late.due <= now) {
      SettleUnary(late.held);
    } else {
      late_.push_back(late);
    }
  }
}

}  // namespace mqd::crash
