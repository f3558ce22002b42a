#include "mqd/consumer.h"

#include <utility>

#include "client/consumer_core.h"

namespace mqd {

Consumer::Consumer(std::shared_ptr<client::ConsumerCore> core) : core_(std::move(core)) {}

Consumer::~Consumer() { core_->Stop(); }

absl::StatusOr<Delivery> Consumer::Next(std::chrono::milliseconds timeout) {
  return core_->Next(timeout);
}

void Consumer::CancelNext() { core_->CancelNext(); }

absl::StatusOr<DrainCounts> Consumer::Drain(std::chrono::milliseconds deadline) {
  return core_->Drain(deadline);
}

void Consumer::Stop() { core_->Stop(); }

absl::Status Consumer::ConnectionStatus() const { return core_->ConnectionStatus(); }

ConsumerStats Consumer::Stats() const { return core_->Stats(); }

}  // namespace mqd
