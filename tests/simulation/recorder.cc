// recorder.cc: frames into records.

#include "tests/simulation/recorder.h"

#include "client/convert.h"
#include "proto/base/assert.h"
#include "tests/crash/world.h"

namespace mqd::simulation {

using crash::Kind;
using crash::Outcome;
using crash::SettleKind;

namespace {

constexpr std::uint64_t kOverheadBytes = 64;

SettleKind KindOf(const v1::SettleEntry& entry) {
  if (entry.has_ack()) return SettleKind::kAck;
  if (entry.has_retry()) return SettleKind::kRetry;
  if (entry.has_release()) return SettleKind::kRelease;
  if (entry.has_dead_letter()) return SettleKind::kDeadLetter;
  return SettleKind::kNone;
}

const v1::ErrorInfo* ErrorOf(const v1::SettleResults& results, std::uint64_t delivery) {
  if (results.has_error()) return &results.error();
  for (const v1::SettleException& exception : results.exceptions()) {
    const v1::DeliveryRange& range = exception.range();
    if (range.first_delivery_id() <= delivery && delivery <= range.last_delivery_id()) {
      return &exception.error();
    }
  }
  for (const v1::PublishResult& publish : results.publish_results()) {
    if (publish.has_error()) return &publish.error();  // all or nothing
  }
  return nullptr;
}

bool IsConsume(const Stream& stream) { return stream.method().ends_with("ConsumeStream"); }

}  // namespace

const char* QueueName(std::uint32_t queue) {
  static constexpr const char* kNames[kQueueCount] = {"fifo",   "jobs", "keyed", "bounded",
                                                      "source", "sink", "dead"};
  return kNames[queue];
}

void Recorder::OnSent(const Stream& stream, Side from, const std::string& frame) {
  Timeline::current()->Note(from == Side::kClient ? "client sends" : "broker sends", stream.id(),
                            frame);
  if (from != Side::kClient || !IsConsume(stream)) return;
  v1::ConsumeStreamRequest request;
  MQD_ASSERT(request.ParseFromString(frame));
  if (request.has_open()) Open(stream.id(), request.open());
  if (request.has_settle()) Settle(stream.id(), request.settle());
  if (!request.has_credit()) return;
  history_.Add({.kind = Kind::kCredit,
                .session = stream.id(),
                .messages = request.credit().messages(),
                .bytes = request.credit().bytes()});
}

void Recorder::OnArrived(const Stream& stream, Side at, const std::string& frame) {
  Timeline::current()->Note(at == Side::kClient ? "client gets" : "broker gets", stream.id());
  if (!IsConsume(stream)) return;
  if (at == Side::kBroker) {
    v1::ConsumeStreamRequest request;
    if (request.ParseFromString(frame) && request.has_drain()) Leave(stream, false);
    return;
  }
  const auto scanned = wire::ScanFrame(frame);
  MQD_ASSERT(scanned.ok());
  if (scanned->field == v1::ConsumeStreamResponse::kDeliveriesFieldNumber) {
    const auto deliveries = wire::ScanDeliveries(scanned->content);
    MQD_ASSERT(deliveries.ok());
    return Deliver(stream.id(), *deliveries);
  }
  v1::ConsumeStreamResponse response;
  MQD_ASSERT(response.ParseFromString(frame));
  if (response.has_settled()) Settled(stream.id(), response.settled());
}

/// What is in flight may go to others from now on.
void Recorder::Leave(const Stream& stream, bool killed) {
  const auto found = consuming_.find(stream.id());
  if (found == consuming_.end()) return;
  for (const std::uint32_t queue : found->second.queues) {
    history_.Add({.kind = Kind::kDetach, .broken = killed, .queue = queue, .session = stream.id()});
  }
}

void Recorder::OnHalfClosed(const Stream& stream, Side at) {
  if (at == Side::kBroker) Leave(stream, false);
}

void Recorder::OnLeft(const Stream& stream, bool killed) { Leave(stream, killed); }

void Recorder::Open(std::uint64_t stream, const v1::ConsumeOpen& open) {
  std::vector<std::uint32_t>& queues = consuming_[stream].queues;
  for (const v1::SelectQueue& select : open.queues()) {
    std::uint32_t queue = 0;
    while (select.queue() != QueueName(queue)) ++queue;
    queues.push_back(queue);
  }
}

void Recorder::Deliver(std::uint64_t stream, const wire::ScannedDeliveries& deliveries) {
  const std::uint32_t queue = consuming_.at(stream).queues.at(deliveries.queue_index);
  for (const wire::ScannedRun& run : deliveries.runs) {
    const auto origin = client::DeadLetterFrom(run.dead_letter);
    for (std::size_t i = 0; i < run.messages.size(); ++i) {
      const wire::MessageView& view = run.messages[i];
      const Known known = {crash::MessageOf(view.payload), run.first_sequence + i};
      known_[{queue, run.first_delivery_id + i}] = known;
      history_.Add({.kind = Kind::kDeliver,
                    .outcome = Outcome::kOk,
                    .limited = true,
                    .queue = queue,
                    .attempt = run.delivery_attempt,
                    .session = stream,
                    .message = known.message,
                    .digest = crash::DigestOf(view.payload),
                    .key = crash::KeyOf(view.idempotency_key),
                    .sequence = known.sequence,
                    .origin = origin ? origin->sequence : 0,
                    .delivery = run.first_delivery_id + i,
                    .bytes = view.payload.size() + view.idempotency_key.size() +
                             view.ordering_key.size() + kOverheadBytes});
    }
  }
}

void Recorder::Settle(std::uint64_t stream, const v1::SettleBatch& batch) {
  Consuming& consuming = consuming_.at(stream);
  const std::uint32_t queue = consuming.queues.at(batch.queue_index());
  std::vector<Settling>& settling = consuming.settles[batch.settle_id()];
  for (const v1::SettleEntry& entry : batch.entries()) {
    const SettleKind kind = KindOf(entry);
    if (kind == SettleKind::kNone) continue;  // a longer lease
    for (std::uint64_t id = entry.range().first_delivery_id();
         id <= entry.range().last_delivery_id(); ++id) {
      const Known known = known_.at({queue, id});
      const crash::OperationId operation = history_.Invoke({.kind = Kind::kSettle,
                                                            .settle = kind,
                                                            .queue = queue,
                                                            .session = stream,
                                                            .message = known.message,
                                                            .sequence = known.sequence,
                                                            .delivery = id});
      settling.push_back({operation, id});
    }
  }
}

void Recorder::Settled(std::uint64_t stream, const v1::SettleResults& results) {
  Consuming& consuming = consuming_.at(stream);
  for (const Settling& settling : consuming.settles[results.settle_id()]) {
    const v1::ErrorInfo* error = ErrorOf(results, settling.delivery);
    history_.Return(settling.operation,
                    error == nullptr ? Outcome::kOk : crash::OutcomeOfReason(error->reason()), 0,
                    false, error == nullptr ? "" : error->message());
  }
  consuming.settles.erase(results.settle_id());
}

}  // namespace mqd::simulation
