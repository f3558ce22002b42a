// producers.cc: publishing through the client library, with resume and with idempotency keys.

#include "tests/crash/producers.h"

#include <utility>

#include "proto/base/mutex.h"

namespace mqd::crash {
namespace {

constexpr std::size_t kUnconfirmedMax = 2'000;
constexpr std::size_t kRepeatsMax = 200;
constexpr std::uint64_t kTimesMax = 4;  // beside the first
constexpr auto kPublishTimeout = std::chrono::seconds(20);
constexpr auto kFullTimeout = std::chrono::seconds(10);
/// Longer than a publish can take, so that each has its result before the publisher is gone.
constexpr auto kCloseTimeout = std::chrono::seconds(30);
constexpr auto kPublisherLife = std::chrono::seconds(8);

}  // namespace

struct Producer::Confirmed {
  base::Mutex mutex;
  std::vector<std::uint64_t> keys ABSL_GUARDED_BY(mutex);
};

Producer::Producer(World& world, Client& client, std::uint32_t process, std::uint32_t queue)
    : world_(world),
      client_(client),
      process_(process),
      queue_(queue),
      random_(world.RandomOf(process)),
      confirmed_(std::make_shared<Confirmed>()) {}

void Producer::Run() {
  while (!world_.stop_producers().stopped()) RunPublisher();
}

void Producer::RunPublisher() {
  auto publisher = client_.NewPublisher({.queue = QueueName(queue_),
                                         .timeout = kPublishTimeout,
                                         .unconfirmed_messages_max = kUnconfirmedMax,
                                         .full_timeout = kFullTimeout,
                                         .close_timeout = kCloseTimeout});
  if (!publisher.ok()) {
    world_.history().Add({.kind = Kind::kStuck,
                          .process = process_,
                          .queue = queue_,
                          .note = "NewPublisher: " + publisher.status().ToString()});
    return world_.stop_producers().Stop();
  }
  session_ = world_.NextSession();
  const Clock::time_point end = Clock::now() + kPublisherLife;
  while (Clock::now() < end && world_.TakeTurn()) {
    if (queue_ == kKeyedQueue) {
      PublishKeyed(**publisher);
    } else {
      PublishOne(**publisher);
    }
  }
  (*publisher)->Close(kCloseTimeout).IgnoreError();
}

void Producer::PublishOne(Publisher& publisher) { Send(publisher, world_.NextMessage(), 0); }

void Producer::PublishKeyed(Publisher& publisher) {
  if (OneIn(random_, 100)) PublishConflict(publisher);
  const bool again = repeats_.size() >= kRepeatsMax || (!repeats_.empty() && OneIn(random_, 2));
  if (!again) {
    const std::uint64_t message = world_.NextMessage();
    Send(publisher, message, message);
    const std::uint64_t times = Below(random_, kTimesMax + 1);
    if (times > 0) repeats_.push_back({.message = message, .key = message, .times = times});
    return;
  }
  Repeat& repeat = repeats_[Below(random_, repeats_.size())];
  Send(publisher, repeat.message, repeat.key);
  if (--repeat.times > 0) return;
  repeat = repeats_.back();
  repeats_.pop_back();
}

/// Another message under a key that is taken: it must be refused, and never be seen.
void Producer::PublishConflict(Publisher& publisher) {
  std::uint64_t key = 0;
  {
    base::MutexLock lock(confirmed_->mutex);
    if (!confirmed_->keys.empty()) key = confirmed_->keys[Below(random_, confirmed_->keys.size())];
  }
  if (key != 0) Send(publisher, world_.NextMessage(), key);
}

void Producer::Send(Publisher& publisher, std::uint64_t message, std::uint64_t key) {
  const std::string payload = PayloadOf(message);
  const std::string key_text = KeyText(key);
  const OperationId id = world_.history().Invoke({.kind = Kind::kPublish,
                                                  .process = process_,
                                                  .queue = queue_,
                                                  .session = session_,
                                                  .message = message,
                                                  .digest = DigestOf(payload),
                                                  .key = key});
  const absl::Status accepted = publisher.Publish(
      {.payload = payload, .idempotency_key = key_text},
      [world = &world_, confirmed = confirmed_, id, message, key](const PublishResult& result) {
        if (!result.ok()) {
          return world->EndPublish(id, OutcomeOf(result.status()), 0, false,
                                   result.status().ToString());
        }
        const bool duplicate = result->kind == PublishOutcome::Kind::kDuplicate;
        world->EndPublish(id, Outcome::kOk, result->sequence, duplicate, {});
        if (key != message || key == 0) return;
        base::MutexLock lock(confirmed->mutex);
        confirmed->keys.push_back(key);
      });
  if (!accepted.ok()) world_.EndPublish(id, Outcome::kFail, 0, false, accepted.ToString());
}

}  // namespace mqd::crash
