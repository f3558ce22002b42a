#include "mqd/delivery.h"

#include <utility>

#include "client/consumer_core.h"
#include "client/convert.h"

namespace mqd {
namespace {

const wire::ScannedRun& RunOf(const client::DeliveryHandle& handle) {
  return handle.frame->scanned.runs[handle.run];
}

const wire::MessageView& ViewOf(const client::DeliveryHandle& handle) {
  return RunOf(handle).messages[handle.index];
}

}  // namespace

Delivery::Delivery(Delivery&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}

Delivery& Delivery::operator=(Delivery&& other) noexcept {
  if (this == &other) return *this;
  if (pending()) Settle(Outcome::Release());
  handle_ = std::exchange(other.handle_, {});
  return *this;
}

Delivery::~Delivery() {
  if (pending()) Settle(Outcome::Release());
}

std::string_view Delivery::queue() const {
  return handle_.core->QueueName(handle_.frame->scanned.queue_index);
}

std::uint64_t Delivery::sequence() const { return RunOf(handle_).first_sequence + handle_.index; }

std::uint64_t Delivery::delivery_id() const {
  return RunOf(handle_).first_delivery_id + handle_.index;
}

std::uint32_t Delivery::attempt() const { return RunOf(handle_).delivery_attempt; }

std::string_view Delivery::payload() const { return ViewOf(handle_).payload; }

std::string_view Delivery::idempotency_key() const { return ViewOf(handle_).idempotency_key; }

std::string_view Delivery::ordering_key() const { return ViewOf(handle_).ordering_key; }

std::uint32_t Delivery::priority() const { return ViewOf(handle_).priority; }

std::vector<std::pair<std::string_view, std::string_view>> Delivery::headers() const {
  return ViewOf(handle_).headers;
}

std::optional<std::string_view> Delivery::header(std::string_view name) const {
  for (const auto& [key, value] : ViewOf(handle_).headers) {
    if (key == name) return value;
  }
  return std::nullopt;
}

WallTime Delivery::publish_time() const {
  return client::WallTimeOf(RunOf(handle_).publish_time_ms);
}

std::uint64_t Delivery::fence() const { return RunOf(handle_).fence; }

bool Delivery::settled_on_delivery() const { return RunOf(handle_).lease_ms == 0; }

std::optional<DeadLetterInfo> Delivery::dead_letter() const {
  return client::DeadLetterFrom(RunOf(handle_).dead_letter);
}

bool Delivery::lease_lost() const { return handle_.core->LeaseLost(handle_); }

void Delivery::Settle(Outcome outcome) { Settle(std::move(outcome), SettleCallback()); }

void Delivery::Settle(Outcome outcome, SettleCallback callback) {
  if (!pending()) return;
  const client::DeliveryHandle handle = std::exchange(handle_, {});
  handle.core->Settle(handle, std::move(outcome), std::move(callback));
}

void Delivery::Settle(Outcome outcome, std::vector<QueuePublish> publishes,
                      SettleCallback callback) {
  if (!pending()) return;
  const client::DeliveryHandle handle = std::exchange(handle_, {});
  handle.core->SettleAtomic(handle, std::move(outcome), std::move(publishes), std::move(callback));
}

void Delivery::Extend(std::optional<std::chrono::milliseconds> lease) {
  if (pending()) handle_.core->Extend(handle_, lease);
}

}  // namespace mqd
