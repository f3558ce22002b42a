// producer.cc: publishing through the client library, with resume and with idempotency keys.

#include <utility>

#include "mqd/errors.h"
#include "tests/simulation/applications.h"
#include "tests/simulation/recorder.h"

namespace mqd::simulation {

using crash::Kind;
using crash::Outcome;

namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kPauseMaxNs = 60 * kNsPerMs;
constexpr std::int64_t kLifeMinNs = 1 * kNsPerSecond;
constexpr std::int64_t kLifeMaxNs = 8 * kNsPerSecond;
constexpr std::uint64_t kBurstMax = 5;
constexpr std::size_t kRepeatsMax = 20;
constexpr std::uint64_t kTimesMax = 4;
/// Longer than a publish can take, so that each has its result.
constexpr auto kCloseTime = milliseconds(30'000);

}  // namespace

std::shared_ptr<client::Connection> Scene::NewConnection() {
  ClientOptions options;
  options.client_name = "simulated";
  options.backoff = {.initial = milliseconds(20), .max = milliseconds(1'000)};
  return std::make_shared<client::Connection>(std::move(options));
}

Producer::Producer(Scene& scene, std::uint32_t queue)
    : scene_(scene), queue_(queue), random_(scene.timeline.Seed()) {}

void Producer::Later() {
  scene_.timeline.After(Between(random_, kNsPerUs, kPauseMaxNs), [this] { Act(); });
}

void Producer::Act() {
  if (scene_.stopping) {
    if (publisher_ != nullptr) publisher_->Close(kCloseTime).IgnoreError();
    publisher_ = nullptr;
    done_ = true;
    return;
  }
  if (publisher_ == nullptr) Open();
  for (std::uint64_t i = Below(random_, kBurstMax + 1); i > 0; --i) {
    queue_ == kKeyedQueue ? PublishKeyed() : PublishOne();
  }
  if (scene_.timeline.steady_ns() >= leave_at_ns_) Leave();
  Later();
}

void Producer::Open() {
  PublisherOptions options;
  options.queue = QueueName(queue_);
  options.timeout = milliseconds(Between(random_, 1'000, 15'000));
  options.unconfirmed_messages_max = 64;
  options.when_full = WhenFull::kRefuse;
  publisher_ = client::PublisherCore::Make(scene_.NewConnection(), std::move(options));
  const bool refused = scene_.refusals || queue_ == kBoundedQueue;
  session_ = refused ? 0 : scene_.next_session++;  // the order in a session is judged
  leave_at_ns_ = scene_.timeline.steady_ns() + Between(random_, kLifeMinNs, kLifeMaxNs);
}

/// In order, or as a process dies: nobody learns what became of its messages.
void Producer::Leave() {
  if (OneIn(random_, 2)) publisher_->Close(kCloseTime).IgnoreError();
  publisher_ = nullptr;
}

void Producer::PublishOne() { Send(scene_.next_message++, 0); }

void Producer::PublishKeyed() {
  if (!taken_.empty() && OneIn(random_, 30)) {  // another message under a key that is taken
    return Send(scene_.next_message++, taken_[Below(random_, taken_.size())]);
  }
  const bool again = repeats_.size() >= kRepeatsMax || (!repeats_.empty() && OneIn(random_, 2));
  if (!again) {
    const std::uint64_t message = scene_.next_message++;
    Send(message, message);
    const std::uint64_t times = Below(random_, kTimesMax + 1);
    if (times > 0) repeats_.push_back({message, times});
    return;
  }
  Repeat& repeat = repeats_[Below(random_, repeats_.size())];
  const std::uint64_t message = repeat.message;
  if (--repeat.times == 0) {
    repeat = repeats_.back();
    repeats_.pop_back();
  }
  Send(message, message);
}

void Producer::Send(std::uint64_t message, std::uint64_t key) {
  const std::string payload = crash::PayloadOf(message);
  const std::string key_text = crash::KeyText(key);
  const crash::OperationId id = scene_.history.Invoke({.kind = Kind::kPublish,
                                                       .queue = queue_,
                                                       .session = session_,
                                                       .message = message,
                                                       .digest = crash::DigestOf(payload),
                                                       .key = key});
  const absl::Status accepted = publisher_->Publish(
      {.payload = payload, .idempotency_key = key_text},
      [this, id, message, key](const PublishResult& result) {
        if (!result.ok()) {
          const std::string text = result.status().ToString();
          return scene_.history.Return(id, crash::OutcomeOf(result.status()), 0, false, text);
        }
        const bool duplicate = result->kind == PublishOutcome::Kind::kDuplicate;
        scene_.history.Return(id, Outcome::kOk, result->sequence, duplicate);
        ++scene_.confirmed;
        if (key == message && key != 0) taken_.push_back(key);
      });
  if (!accepted.ok()) scene_.history.Return(id, Outcome::kFail, 0, false, accepted.ToString());
}

}  // namespace mqd::simulation
