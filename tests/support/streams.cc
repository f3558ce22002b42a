#include "tests/support/streams.h"

#include <gtest/gtest.h>

#include <utility>

namespace mqd::test {
namespace {

void SetDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kStreamDeadline);
}

}  // namespace

v1::Message MessageWith(std::string payload, std::string idempotency_key) {
  v1::Message message;
  message.set_payload(std::move(payload));
  message.set_idempotency_key(std::move(idempotency_key));
  return message;
}

v1::ErrorInfo DetailOf(const grpc::Status& status) {
  v1::RpcStatus details;
  v1::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details_size() != 1 ||
      !details.details(0).UnpackTo(&info)) {
    return {};
  }
  return info;
}

std::string Describe(const grpc::Status& status) {
  if (status.ok()) return "OK";
  return v1::Reason_Name(DetailOf(status).reason()) + " " + status.error_message();
}

// ---- publish

PublishStream::PublishStream(v1::BrokerService::Stub& stub) {
  SetDeadline(context_);
  stream_ = stub.PublishStream(&context_);
}

PublishStream::~PublishStream() {
  if (finished_) return;
  context_.TryCancel();
  Finish();
}

v1::PublishOpened PublishStream::Open(const std::string& queue, const std::string& producer_id) {
  v1::PublishStreamRequest request;
  request.mutable_open()->set_queue(queue);
  request.mutable_open()->set_producer_id(producer_id);
  Write(request);
  const auto answer = Next();
  if (!answer || !answer->has_opened()) {
    ADD_FAILURE() << "not opened: " << Describe(Finish());
    return {};
  }
  return answer->opened();
}

void PublishStream::Send(std::uint64_t first_publish_id, const std::vector<v1::Message>& messages) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(first_publish_id);
  for (const v1::Message& message : messages) *batch.add_messages() = message;
  Send(batch);
}

void PublishStream::Send(const v1::PublishBatch& batch) {
  v1::PublishStreamRequest request;
  *request.mutable_batch() = batch;
  Write(request);
}

std::optional<v1::PublishStreamResponse> PublishStream::Next() {
  v1::PublishStreamResponse frame;
  while (stream_->Read(&frame)) {
    if (frame.has_ping()) {
      v1::PublishStreamRequest pong;
      pong.mutable_pong()->set_nonce(frame.ping().nonce());
      Write(pong);
    } else if (frame.has_credit()) {
      credit_messages_ += frame.credit().messages();
      credit_bytes_ += frame.credit().bytes();
    } else {
      return frame;
    }
  }
  return std::nullopt;
}

v1::Confirms PublishStream::Results(std::uint64_t count) {
  v1::Confirms all;
  std::uint64_t seen = 0;
  while (seen < count) {
    const auto frame = Next();
    if (!frame || !frame->has_confirms()) {
      ADD_FAILURE() << "after " << seen << " of " << count << " results came "
                    << (frame ? frame->ShortDebugString() : Describe(Finish()));
      return all;
    }
    all.MergeFrom(frame->confirms());
    seen += static_cast<std::uint64_t>(frame->confirms().exceptions_size());
    for (const v1::ConfirmedRange& range : frame->confirms().ranges()) seen += range.count();
  }
  EXPECT_EQ(seen, count);
  return all;
}

grpc::Status PublishStream::Finish() {
  if (finished_) return grpc::Status::OK;
  finished_ = true;
  while (Next()) continue;
  return stream_->Finish();
}

// ---- consume

std::vector<Delivery> Unpack(std::uint32_t queue_index,
                             const google::protobuf::RepeatedPtrField<v1::DeliveryRun>& runs) {
  std::vector<Delivery> out;
  for (const v1::DeliveryRun& run : runs) {
    for (int i = 0; i < run.messages_size(); ++i) {
      out.push_back({.queue_index = queue_index,
                     .id = run.first_delivery_id() + static_cast<std::uint64_t>(i),
                     .sequence = run.first_sequence() + static_cast<std::uint64_t>(i),
                     .attempt = run.delivery_attempt(),
                     .message = run.messages(i),
                     .dead_letter = run.dead_letter()});
    }
  }
  return out;
}

ConsumeStream::ConsumeStream(v1::BrokerService::Stub& stub) {
  SetDeadline(context_);
  stream_ = stub.ConsumeStream(&context_);
}

ConsumeStream::~ConsumeStream() {
  if (finished_) return;
  context_.TryCancel();
  Finish();
}

v1::ConsumeOpened ConsumeStream::Open(const std::string& queue, bool marks_started) {
  v1::ConsumeOpen open;
  open.add_queues()->set_queue(queue);
  open.set_marks_started(marks_started);
  return Open(open);
}

v1::ConsumeOpened ConsumeStream::Open(const v1::ConsumeOpen& open) {
  v1::ConsumeStreamRequest request;
  *request.mutable_open() = open;
  Write(request);
  const auto answer = Next();
  if (!answer || !answer->has_opened()) {
    ADD_FAILURE() << "not opened: " << Describe(Finish());
    return {};
  }
  return answer->opened();
}

void ConsumeStream::Grant(std::uint64_t messages, std::uint64_t bytes) {
  v1::ConsumeStreamRequest request;
  request.mutable_credit()->set_messages(messages);
  request.mutable_credit()->set_bytes(bytes);
  Write(request);
}

void ConsumeStream::Started(std::uint64_t delivery_id) {
  v1::ConsumeStreamRequest request;
  v1::DeliveryRange& range = *request.mutable_started()->add_ranges();
  range.set_first_delivery_id(delivery_id);
  range.set_last_delivery_id(delivery_id);
  Write(request);
}

void ConsumeStream::Settle(const v1::SettleBatch& batch) {
  v1::ConsumeStreamRequest request;
  *request.mutable_settle() = batch;
  Write(request);
}

void ConsumeStream::Drain(std::chrono::milliseconds deadline) {
  v1::ConsumeStreamRequest request;
  auto& duration = *request.mutable_drain()->mutable_deadline();
  duration.set_seconds(deadline.count() / 1'000);
  duration.set_nanos(static_cast<std::int32_t>(deadline.count() % 1'000 * 1'000'000));
  Write(request);
}

std::optional<v1::ConsumeStreamResponse> ConsumeStream::Next() {
  v1::ConsumeStreamResponse frame;
  while (stream_->Read(&frame)) {
    if (!frame.has_ping()) return frame;
    v1::ConsumeStreamRequest pong;
    pong.mutable_pong()->set_nonce(frame.ping().nonce());
    Write(pong);
  }
  return std::nullopt;
}

std::vector<Delivery> ConsumeStream::Take(std::size_t count) {
  std::vector<Delivery> all;
  while (all.size() < count) {
    const auto frame = Next();
    if (!frame || !frame->has_deliveries()) {
      ADD_FAILURE() << "after " << all.size() << " of " << count << " deliveries came "
                    << (frame ? frame->ShortDebugString() : Describe(Finish()));
      return all;
    }
    const v1::Deliveries& deliveries = frame->deliveries();
    for (Delivery& delivery : Unpack(deliveries.queue_index(), deliveries.runs())) {
      all.push_back(std::move(delivery));
    }
  }
  return all;
}

v1::SettleResults ConsumeStream::Settled() {
  const auto frame = Next();
  if (frame && frame->has_settled()) return frame->settled();
  ADD_FAILURE() << "no settle results but "
                << (frame ? frame->ShortDebugString() : Describe(Finish()));
  return {};
}

v1::SettleResults ConsumeStream::Ack(std::uint64_t delivery_id) {
  v1::SettleBatch batch;
  batch.set_settle_id(next_settle_id_++);
  v1::SettleEntry& entry = *batch.add_entries();
  entry.mutable_range()->set_first_delivery_id(delivery_id);
  entry.mutable_range()->set_last_delivery_id(delivery_id);
  entry.mutable_ack();
  Settle(batch);
  return Settled();
}

grpc::Status ConsumeStream::Finish() {
  if (finished_) return grpc::Status::OK;
  finished_ = true;
  while (Next()) continue;
  return stream_->Finish();
}

}  // namespace mqd::test
