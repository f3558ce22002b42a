#include "tests/support/fake_broker.h"

#include <chrono>
#include <utility>

namespace mqd::test {

FakeBroker::FakeBroker(int port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeBroker::~FakeBroker() {
  EndAll();
  server_->Shutdown(std::chrono::system_clock::now());
}

void FakeBroker::EndAll() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ending_ = true;
  for (const auto& weak : all_publishes_) {
    if (const auto session = weak.lock()) session->Break();
  }
  for (const auto& weak : all_consumes_) {
    if (const auto session = weak.lock()) session->Break();
  }
}

template <class Session>
std::shared_ptr<Session> FakeBroker::Accept(std::deque<std::shared_ptr<Session>>& waiting) {
  std::unique_lock<std::mutex> lock(mutex_);
  arrived_.wait(lock, [&] { return !waiting.empty(); });
  std::shared_ptr<Session> session = std::move(waiting.front());
  waiting.pop_front();
  return session;
}

template <class Session>
grpc::Status FakeBroker::Serve(typename Session::Stream* stream,
                               std::deque<std::shared_ptr<Session>>& waiting) {
  auto session = std::make_shared<Session>(stream);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ending_) return {grpc::StatusCode::UNAVAILABLE, "the test has ended"};
    waiting.push_back(session);
    if constexpr (std::is_same_v<Session, FakePublish>) {
      all_publishes_.push_back(session);
    } else {
      all_consumes_.push_back(session);
    }
  }
  arrived_.notify_all();
  return session->WaitEnd();
}

std::shared_ptr<FakePublish> FakeBroker::AcceptPublish() { return Accept(publishes_); }

std::shared_ptr<FakeConsume> FakeBroker::AcceptConsume() { return Accept(consumes_); }

grpc::Status FakeBroker::PublishStream(grpc::ServerContext*, FakePublish::Stream* stream) {
  return Serve<FakePublish>(stream, publishes_);
}

grpc::Status FakeBroker::ConsumeStream(grpc::ServerContext*, FakeConsume::Stream* stream) {
  return Serve<FakeConsume>(stream, consumes_);
}

v1::PublishStreamResponse OpenedPublish(bool resumed, std::uint64_t credit_messages,
                                        std::uint64_t credit_bytes) {
  v1::PublishStreamResponse frame;
  v1::PublishOpened& opened = *frame.mutable_opened();
  opened.set_session_id(1);
  opened.set_resumed(resumed);
  opened.mutable_credit()->set_messages(credit_messages);
  opened.mutable_credit()->set_bytes(credit_bytes);
  opened.mutable_limits()->set_max_payload_bytes(1U << 20);
  opened.mutable_limits()->set_max_batch_messages(1'024);
  opened.mutable_limits()->set_max_batch_bytes(4U << 20);
  opened.mutable_limits()->set_message_overhead_bytes(64);
  return frame;
}

v1::PublishStreamResponse Confirm(std::uint64_t first_publish_id, std::uint64_t count,
                                  std::uint64_t first_sequence) {
  v1::PublishStreamResponse frame;
  v1::ConfirmedRange& range = *frame.mutable_confirms()->add_ranges();
  range.set_first_publish_id(first_publish_id);
  range.set_count(count);
  range.set_first_sequence(first_sequence);
  return frame;
}

v1::ConsumeStreamResponse OpenedConsume() {
  v1::ConsumeStreamResponse frame;
  frame.mutable_opened()->set_session_id(1);
  return frame;
}

v1::ConsumeStreamResponse Deliver(std::uint64_t first_id, std::uint64_t count,
                                  std::int64_t lease_ms) {
  v1::ConsumeStreamResponse frame;
  v1::Deliveries& deliveries = *frame.mutable_deliveries();
  v1::DeliveryRun& run = *deliveries.add_runs();
  run.set_first_delivery_id(first_id);
  run.set_first_sequence(first_id);
  run.set_delivery_attempt(1);
  run.mutable_lease()->set_seconds(lease_ms / 1'000);
  run.mutable_lease()->set_nanos(static_cast<std::int32_t>(lease_ms % 1'000 * 1'000'000));
  std::uint64_t bytes = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    v1::Message& message = *run.add_messages();
    message.set_payload("m" + std::to_string(first_id + i));
    bytes += message.payload().size() + 64;
  }
  deliveries.set_charged_messages(count);
  deliveries.set_charged_bytes(bytes);
  return frame;
}

v1::ConsumeStreamResponse Settled(const v1::SettleBatch& settle) {
  v1::ConsumeStreamResponse frame;
  v1::SettleResults& results = *frame.mutable_settled();
  results.set_settle_id(settle.settle_id());
  results.set_queue_index(settle.queue_index());
  std::uint64_t count = 0;
  for (const v1::SettleEntry& entry : settle.entries()) {
    count += entry.range().last_delivery_id() - entry.range().first_delivery_id() + 1;
  }
  results.set_settled(count);
  return frame;
}

v1::DeliveryRange Range(std::uint64_t first, std::uint64_t last) {
  v1::DeliveryRange range;
  range.set_first_delivery_id(first);
  range.set_last_delivery_id(last);
  return range;
}

}  // namespace mqd::test
