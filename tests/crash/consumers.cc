// consumers.cc: consuming through the client library.

#include "tests/crash/consumers.h"

#include <atomic>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "mqd/errors.h"
#include "proto/base/mutex.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kHeldMax = 20;
constexpr std::uint32_t kCreditMax = 256;
constexpr auto kUpkeepTime = milliseconds(20);
constexpr auto kDrainTime = milliseconds(2'000);
/// Leases are not prolonged beyond this, so that held messages lose theirs.
constexpr auto kLeaseTotal = milliseconds(100);
constexpr std::uint64_t kHoldMsMax = 1'600;
constexpr std::uint64_t kLifeMsMin = 500;
constexpr std::uint64_t kLifeMsMax = 4'000;

mqd::Outcome ToOutcome(SettleKind kind, std::uint64_t delay_ms) {
  switch (kind) {
    case SettleKind::kRetry:
      if (delay_ms == 0) return mqd::Outcome::Retry("again");
      return mqd::Outcome::RetryAfter(milliseconds(delay_ms), "later");
    case SettleKind::kRelease:
      return mqd::Outcome::Release();
    case SettleKind::kDeadLetter:
      return mqd::Outcome::DeadLetter("unwanted");
    default:
      return mqd::Outcome::Ack();
  }
}

}  // namespace

/// One Consumer, shared with its callbacks.
struct BusyConsumer::Session {
  struct Held {
    Delivery delivery;
    Clock::time_point due;
  };

  std::uint64_t id = 0;
  /// How often its stream broke. The library sends a settle again that was not answered, so a stale
  /// answer after a break does not tell what became of the first try.
  std::atomic<std::uint64_t> breaks = 0;
  base::Mutex mutex;
  Random random ABSL_GUARDED_BY(mutex);
  std::vector<Held> held ABSL_GUARDED_BY(mutex);

  std::uint64_t Draw(std::uint64_t limit) {
    base::MutexLock lock(mutex);
    return Below(random, limit);
  }
};

BusyConsumer::BusyConsumer(World& world, Client& client, std::uint32_t process,
                           std::vector<std::uint32_t> queues)
    : world_(world),
      client_(client),
      process_(process),
      queues_(std::move(queues)),
      random_(world.RandomOf(process)) {}

void BusyConsumer::Run() {
  while (!world_.stop_consumers().stopped()) RunSession();
}

void BusyConsumer::RunSession() {
  auto session = std::make_shared<Session>();
  session->id = world_.NextSession();
  {
    base::MutexLock lock(session->mutex);
    session->random.seed(random_());
  }
  ConsumerOptions options;
  for (const std::uint32_t queue : queues_) options.queues.push_back({.queue = QueueName(queue)});
  options.handler = [this, session](Delivery& delivery) { return OnDelivery(session, delivery); };
  options.concurrency = 2;
  options.credit_messages_max = kCreditMax;
  options.lease_total_max = kLeaseTotal;
  options.on_connection = [this, session](const absl::Status& status) {
    if (status.ok()) return;
    session->breaks.fetch_add(1);
    Detach(*session, true);
  };
  auto consumer = client_.NewConsumer(std::move(options));
  if (!consumer.ok()) {
    const std::string text = "NewConsumer: " + consumer.status().ToString();
    world_.history().Add({.kind = Kind::kStuck, .process = process_, .note = text});
    return world_.stop_consumers().Stop();
  }
  const auto life = milliseconds(kLifeMsMin + Below(random_, kLifeMsMax - kLifeMsMin));
  const Clock::time_point end = Clock::now() + life;
  while (world_.stop_consumers().WaitFor(kUpkeepTime)) {
    SettleHeld(session, world_.finishing());
    if (Clock::now() >= end && !world_.finishing()) break;
  }
  const bool abrupt = OneIn(random_, 2) && !world_.finishing();
  Detach(*session, false);
  if (!abrupt) (*consumer)->Drain(kDrainTime).IgnoreError();
  consumer->reset();
}

std::uint32_t BusyConsumer::QueueOf(const Delivery& delivery) const {
  for (const std::uint32_t queue : queues_) {
    if (delivery.queue() == QueueName(queue)) return queue;
  }
  return queues_.front();
}

mqd::Outcome BusyConsumer::OnDelivery(const std::shared_ptr<Session>& session, Delivery& delivery) {
  const std::uint32_t queue = QueueOf(delivery);
  const auto dead_letter = delivery.dead_letter();
  world_.history().Add({.kind = Kind::kDeliver,
                        .outcome = Outcome::kOk,
                        .process = process_,
                        .queue = queue,
                        .attempt = delivery.attempt(),
                        .session = session->id,
                        .message = MessageOf(delivery.payload()),
                        .digest = DigestOf(delivery.payload()),
                        .key = KeyOf(delivery.idempotency_key()),
                        .sequence = delivery.sequence(),
                        .origin = dead_letter ? dead_letter->sequence : 0,
                        .delivery = delivery.delivery_id()});
  const std::uint64_t dice = world_.finishing() ? 999 : session->Draw(1'000);
  if (dice < 10) {
    const auto due = Clock::now() + milliseconds(session->Draw(kHoldMsMax));
    base::MutexLock lock(session->mutex);
    if (session->held.size() < kHeldMax) {
      session->held.push_back({std::move(delivery), due});
      return mqd::Outcome::Deferred();
    }
  }
  if (dice < 40) {
    Settle(session, delivery, SettleKind::kRetry);
  } else if (dice < 60) {
    Settle(session, delivery, SettleKind::kRelease);
  } else if (dice < 65 && queue == kPlainQueue) {
    Settle(session, delivery, SettleKind::kDeadLetter);
  } else if (queue == kSourceQueue) {
    SettleAndPublish(session, delivery);
  } else {
    Settle(session, delivery, SettleKind::kAck);
  }
  return mqd::Outcome::Ack();
}

OperationId BusyConsumer::InvokeSettle(const Session& session, const Delivery& delivery,
                                       SettleKind kind) {
  return world_.history().Invoke({.kind = Kind::kSettle,
                                  .settle = kind,
                                  .process = process_,
                                  .queue = QueueOf(delivery),
                                  .session = session.id,
                                  .message = MessageOf(delivery.payload()),
                                  .sequence = delivery.sequence(),
                                  .delivery = delivery.delivery_id()});
}

void BusyConsumer::Settle(const std::shared_ptr<Session>& session, Delivery& delivery,
                          SettleKind kind) {
  const std::uint64_t breaks = session->breaks.load();
  const OperationId id = InvokeSettle(*session, delivery, kind);
  delivery.Settle(
      ToOutcome(kind, session->Draw(50)),
      [world = &world_, session, id, kind, breaks](const absl::StatusOr<SettleResult>& result) {
        Outcome outcome = OutcomeOf(result.status());
        if (result.ok() && result->settled == 0) outcome = Outcome::kFail;
        const bool broke = session->breaks.load() != breaks;
        if (outcome == Outcome::kFail && broke) outcome = Outcome::kUnknown;
        world->EndSettle(id, outcome, kind, result.status().ToString());
      });
}

void BusyConsumer::SettleAndPublish(const std::shared_ptr<Session>& session, Delivery& delivery) {
  const std::uint64_t message = world_.NextMessage();
  const std::string payload = PayloadOf(message);
  const OperationId settle = InvokeSettle(*session, delivery, SettleKind::kAck);
  const OperationId publish = world_.history().Invoke({.kind = Kind::kPublish,
                                                       .process = process_,
                                                       .queue = kSinkQueue,
                                                       .parent = settle,
                                                       .message = message,
                                                       .digest = DigestOf(payload)});
  delivery.Settle(
      mqd::Outcome::Ack(), {{.queue = QueueName(kSinkQueue), .messages = {{.payload = payload}}}},
      [world = &world_, settle, publish](const absl::StatusOr<SettleResult>& result) {
        const Outcome outcome = OutcomeOf(result.status());
        const std::string note = result.status().ToString();
        const bool stored =
            result.ok() && result->publishes.size() == 1 && result->publishes.front().ok();
        world->EndSettle(settle, outcome, SettleKind::kAck, note);
        world->EndPublish(publish, outcome, stored ? result->publishes.front()->sequence : 0, false,
                          note);
      });
}

void BusyConsumer::SettleHeld(const std::shared_ptr<Session>& session, bool all) {
  std::vector<Session::Held> due;
  {
    base::MutexLock lock(session->mutex);
    const Clock::time_point now = Clock::now();
    for (std::size_t i = 0; i < session->held.size();) {
      Session::Held& held = session->held[i];
      if (!all && held.due > now) {
        ++i;
        continue;
      }
      due.push_back(std::move(held));
      held = std::move(session->held.back());
      session->held.pop_back();
    }
  }
  for (Session::Held& held : due) {
    const bool atomic = QueueOf(held.delivery) == kSourceQueue;
    if (atomic) {
      SettleAndPublish(session, held.delivery);
    } else {
      Settle(session, held.delivery, SettleKind::kAck);
    }
  }
}

void BusyConsumer::Detach(const Session& session, bool broken) {
  for (const std::uint32_t queue : queues_) {
    world_.history().Add({.kind = Kind::kDetach,
                          .broken = broken,
                          .process = process_,
                          .queue = queue,
                          .session = session.id});
  }
}

}  // namespace mqd::crash
