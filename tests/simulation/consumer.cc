// consumer.cc: consuming through the client library.

#include <utility>

#include "mqd/errors.h"
#include "tests/simulation/applications.h"
#include "tests/simulation/recorder.h"

namespace mqd::simulation {

using crash::Kind;
using crash::SettleKind;

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kHeldMax = 8;
constexpr std::int64_t kPauseMaxNs = 30 * kNsPerMs;
constexpr std::int64_t kHangMaxNs = 4 * kNsPerSecond;
constexpr std::int64_t kHoldMaxNs = 5 * kNsPerSecond;
constexpr std::int64_t kLifeMinNs = 1 * kNsPerSecond;
constexpr std::int64_t kLifeMaxNs = 8 * kNsPerSecond;
constexpr std::uint64_t kTakeMax = 8;
constexpr auto kDrainTime = milliseconds(2'000);
/// Leases are not prolonged beyond this, so that held messages lose theirs.
constexpr auto kLeaseTotal = milliseconds(100);

Outcome OutcomeOf(SettleKind kind, std::int64_t delay_ms) {
  switch (kind) {
    case SettleKind::kRetry:
      if (delay_ms == 0) return Outcome::Retry("again");
      return Outcome::RetryAfter(milliseconds(delay_ms), "later");
    case SettleKind::kRelease:
      return Outcome::Release();
    case SettleKind::kDeadLetter:
      return Outcome::DeadLetter("unwanted");
    default:
      return Outcome::Ack();
  }
}

}  // namespace

Consumer::Consumer(Scene& scene, std::vector<std::uint32_t> queues)
    : scene_(scene), queues_(std::move(queues)), random_(scene.timeline.Seed()) {}

void Consumer::Later() {
  const bool hangs = !scene_.finishing && OneIn(random_, 200);
  const std::int64_t most = hangs ? kHangMaxNs : kPauseMaxNs;
  scene_.timeline.After(Between(random_, kNsPerUs, most), [this] { Act(); });
}

void Consumer::Act() {
  if (stopped_) return;
  if (consumer_ == nullptr) Open();
  SettleHeld(scene_.finishing);
  for (std::uint64_t i = Below(random_, kTakeMax + 1); i > 0; --i) {
    auto delivery = consumer_->Next(milliseconds(0));
    if (!delivery.ok()) break;
    Handle(*std::move(delivery));
  }
  if (scene_.timeline.steady_ns() >= leave_at_ns_ && !scene_.finishing) Leave();
  Later();
}

void Consumer::Open() {
  ConsumerOptions options;
  for (const std::uint32_t queue : queues_) options.queues.push_back({.queue = QueueName(queue)});
  options.credit_messages_initial = 4;
  options.credit_messages_max = 64;
  options.credit_bytes_initial = 4'000;
  options.credit_bytes_max = 64'000;
  options.lease_total_max = kLeaseTotal;
  options.marks_started = !OneIn(random_, 4);
  consumer_ = client::ConsumerCore::Make(scene_.NewConnection(), std::move(options));
  leave_at_ns_ = scene_.timeline.steady_ns() + Between(random_, kLifeMinNs, kLifeMaxNs);
}

void Consumer::Leave() {
  const std::uint64_t how = Below(random_, 3);
  if (how == 0) return Die();
  if (how == 1) consumer_->Drain(kDrainTime).IgnoreError();
  consumer_->Stop();
  Die();
}

/// The process is gone: what it held is not given back by it.
void Consumer::Die() {
  for (Held& held : held_) held.delivery.handle() = {};
  held_.clear();
  consumer_ = nullptr;
}

void Consumer::Stop() {
  stopped_ = true;
  if (consumer_ == nullptr) return;
  SettleHeld(true);
  consumer_->Stop();
  Die();
}

std::uint32_t Consumer::QueueOf(const Delivery& delivery) const {
  for (const std::uint32_t queue : queues_) {
    if (delivery.queue() == QueueName(queue)) return queue;
  }
  return queues_.front();
}

void Consumer::Handle(Delivery delivery) {
  const std::uint32_t queue = QueueOf(delivery);
  const std::uint64_t dice = scene_.finishing ? 999 : Below(random_, 1'000);
  if (dice < 30 && held_.size() < kHeldMax) {
    const std::int64_t due = scene_.timeline.steady_ns() + Between(random_, 0, kHoldMaxNs);
    held_.push_back({std::move(delivery), due});
  } else if (dice < 90) {
    Settle(std::move(delivery), SettleKind::kRetry);
  } else if (dice < 120) {
    Settle(std::move(delivery), SettleKind::kRelease);
  } else if (dice < 130 && queue == kJobsQueue) {
    Settle(std::move(delivery), SettleKind::kDeadLetter);
  } else if (queue == kSourceQueue) {
    SettleAndPublish(std::move(delivery));
  } else {
    Settle(std::move(delivery), SettleKind::kAck);
  }
}

crash::OperationId Consumer::InvokeSettle(const Delivery& delivery, SettleKind kind) {
  return scene_.history.Invoke({.kind = Kind::kSettle,
                                .settle = kind,
                                .queue = QueueOf(delivery),
                                .message = crash::MessageOf(delivery.payload()),
                                .sequence = delivery.sequence(),
                                .delivery = delivery.delivery_id()});
}

void Consumer::Settle(Delivery delivery, SettleKind kind) {
  const crash::OperationId id = InvokeSettle(delivery, kind);
  delivery.Settle(OutcomeOf(kind, Between(random_, 0, 50)),
                  [this, id](const absl::StatusOr<SettleResult>& result) {
                    scene_.history.Return(id, crash::OutcomeOf(result.status()), 0, false,
                                          result.status().ToString());
                  });
}

void Consumer::SettleAndPublish(Delivery delivery) {
  const std::uint64_t message = scene_.next_message++;
  const std::string payload = crash::PayloadOf(message);
  const crash::OperationId settle = InvokeSettle(delivery, SettleKind::kAck);
  const crash::OperationId publish = scene_.history.Invoke({.kind = Kind::kPublish,
                                                            .queue = kSinkQueue,
                                                            .parent = settle,
                                                            .message = message,
                                                            .digest = crash::DigestOf(payload)});
  delivery.Settle(Outcome::Ack(),
                  {{.queue = QueueName(kSinkQueue), .messages = {{.payload = payload}}}},
                  [this, settle, publish](const absl::StatusOr<SettleResult>& result) {
                    const crash::Outcome outcome = crash::OutcomeOf(result.status());
                    const std::string note = result.status().ToString();
                    const bool stored =
                        result.ok() && result->publishes.size() == 1 && result->publishes[0].ok();
                    const std::uint64_t sequence = stored ? result->publishes[0]->sequence : 0;
                    scene_.history.Return(settle, outcome, 0, false, note);
                    scene_.history.Return(publish, outcome, sequence, false, note);
                  });
}

void Consumer::SettleHeld(bool all) {
  std::vector<Held> kept;
  for (Held& held : std::exchange(held_, {})) {
    if (!all && held.due_ns > scene_.timeline.steady_ns()) {
      kept.push_back(std::move(held));
    } else if (QueueOf(held.delivery) == kSourceQueue) {
      SettleAndPublish(std::move(held.delivery));
    } else {
      Settle(std::move(held.delivery), SettleKind::kAck);
    }
  }
  for (Held& held : kept) held_.push_back(std::move(held));
}

}  // namespace mqd::simulation
