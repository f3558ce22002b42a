#include "mqd/select.h"

#include <exception>
#include <utility>

#include "proto/base/assert.h"

namespace mqd {
namespace {

/// For ever, and yet far from where adding it to the present time overflows.
constexpr std::chrono::milliseconds kForEver = std::chrono::hours(24 * 365);

ConsumerOptions ConsumerOptionsOf(const SelectOptions& options) {
  ConsumerOptions out;
  for (const SelectArm& arm : options.arms) out.queues.push_back(arm.queue);
  out.select_mode = options.mode;
  out.ageing_floor = options.ageing_floor;
  out.client_name = options.client_name;
  out.credit_messages_initial = options.credit_messages;
  out.credit_messages_max = options.credit_messages;
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Select>> Select::Make(Client& client, SelectOptions options) {
  for (const SelectArm& arm : options.arms) {
    if (!arm.handler) return absl::InvalidArgumentError("arms: each needs a handler");
  }
  auto consumer = client.NewConsumer(ConsumerOptionsOf(options));
  if (!consumer.ok()) return consumer.status();
  return std::make_unique<Select>(*std::move(consumer), std::move(options));
}

Select::Select(std::unique_ptr<Consumer> consumer, SelectOptions options)
    : options_(std::move(options)), consumer_(std::move(consumer)) {}

Select::~Select() = default;

absl::StatusOr<Selected> Select::Wait() {
  absl::StatusOr<Delivery> delivery = consumer_->Next(options_.timeout.value_or(kForEver));
  if (delivery.ok()) {
    const std::size_t arm = ArmOf(*delivery);
    Handle(*std::move(delivery), arm);
    return Selected{Selected::Kind::kMessage, arm};
  }
  switch (delivery.status().code()) {
    case absl::StatusCode::kDeadlineExceeded:
      if (options_.on_timeout) options_.on_timeout();
      return Selected{Selected::Kind::kTimeout, 0};
    case absl::StatusCode::kCancelled:
      if (options_.on_cancel) options_.on_cancel();
      return Selected{Selected::Kind::kCancelled, 0};
    case absl::StatusCode::kOutOfRange:
      return Selected{Selected::Kind::kEnded, 0};
    default:
      return delivery.status();
  }
}

absl::Status Select::Run() {
  for (;;) {
    const absl::StatusOr<Selected> selected = Wait();
    if (!selected.ok()) return selected.status();
    const bool over =
        selected->kind == Selected::Kind::kCancelled || selected->kind == Selected::Kind::kEnded;
    if (over) return absl::OkStatus();
  }
}

void Select::Cancel() { consumer_->CancelNext(); }

std::size_t Select::ArmOf(const Delivery& delivery) const {
  for (std::size_t arm = 0; arm < options_.arms.size(); ++arm) {
    if (options_.arms[arm].queue.queue == delivery.queue()) return arm;
  }
  MQD_ASSERT(false);
  return 0;
}

void Select::Handle(Delivery delivery, std::size_t arm) const {
  Outcome outcome;
  try {
    outcome = options_.arms[arm].handler(delivery);
  } catch (const std::exception& error) {
    outcome = Outcome::Retry(error.what());
  }
  if (outcome.kind == Outcome::Kind::kDeferred) outcome = Outcome::Release();
  delivery.Settle(std::move(outcome));  // nothing, when the handler has settled it or moved it out
}

}  // namespace mqd
