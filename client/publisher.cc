#include "mqd/publisher.h"

#include <utility>

#include "client/publisher_core.h"

namespace mqd {

Publisher::Publisher(std::shared_ptr<client::PublisherCore> core) : core_(std::move(core)) {}

Publisher::~Publisher() { (void)core_->Close(core_->options().close_timeout); }

absl::Status Publisher::Publish(const MessageView& message, Callback callback) {
  return core_->Publish(message, std::move(callback));
}

std::future<PublishResult> Publisher::Publish(const MessageView& message) {
  auto promise = std::make_shared<std::promise<PublishResult>>();
  std::future<PublishResult> future = promise->get_future();
  absl::Status accepted = core_->Publish(
      message, [promise](const PublishResult& result) { promise->set_value(result); });
  if (!accepted.ok()) promise->set_value(std::move(accepted));
  return future;
}

absl::Status Publisher::Flush(std::chrono::milliseconds timeout) { return core_->Flush(timeout); }

absl::Status Publisher::Close(std::chrono::milliseconds timeout) { return core_->Close(timeout); }

absl::Status Publisher::ConnectionStatus() const { return core_->ConnectionStatus(); }

PublisherStats Publisher::Stats() const { return core_->Stats(); }

}  // namespace mqd
