// world_admin.cc: what operators, clocks and crashes do to a queue, at random.

#include "tests/model/queue_world.h"

namespace mqd::queue::testing {
namespace {

/// Requests that do not go through the harness.
constexpr RequestId kRequests = 1'000'000;

}  // namespace

// ---- administration

Sequence QueueWorld::AnySequence(Side& side) {
  const auto& messages = side.model.messages();
  if (messages.empty() || Pick(8) == 0) return 1 + Pick(20);
  return std::next(messages.begin(), static_cast<long>(Pick(messages.size())))->first;
}

void QueueWorld::Purge(Side& side) {
  const RequestId request = kRequests + serial_++;
  const bool dedup = Pick(2) == 0 && !side.model.HasPendingKeys();
  Turn(
      side,
      [&] {
        side.queue.Step(PurgeQueue{request, dedup});
      },
      [&](QueueModel& model) {
        side.requests[request] = {model.Purge(dedup), 0, {}};
      });
}

void QueueWorld::Cancel(Side& side) {
  std::set<Sequence> named;
  for (std::uint64_t i = 0; i <= Pick(3); ++i) named.insert(AnySequence(side));
  const std::vector<Sequence> sequences(named.begin(), named.end());
  const RequestId request = kRequests + serial_++;
  Turn(
      side,
      [&] {
        side.queue.Step(CancelMessages{request, sequences});
      },
      [&](QueueModel& model) {
        side.requests[request] = {model.Cancel(sequences).size(), sequences.size(), {}};
      });
}

/// Every setting at once, or one of them; all but those that need an empty queue.
void QueueWorld::Update(Side& side) {
  const QueueSettings now = side.model.settings();
  QueueSettings settings = RandomSettings(random_, &side == &a_);
  settings.dedup_window = now.dedup_window;  // what a shorter one forgets, and when, is left open
  if (!side.model.Blank()) {
    const bool memory = now.durability == Durability::kMemory;
    if (memory || settings.durability == Durability::kMemory) settings.durability = now.durability;
  }
  // The model knows what is handed over at most once, or without a disk, only when it has no
  // choice.
  if (side.model.consumers().size() > 1) settings.delivery = now.delivery;
  const bool no_choice =
      settings.durability == Durability::kMemory || settings.delivery == DeliveryMode::kAtMostOnce;
  if (no_choice && settings.dispatch_policy == DispatchPolicy::kSticky) {
    settings.dispatch_policy = DispatchPolicy::kLeastLoaded;
  }
  if (settings.delivery == DeliveryMode::kAtMostOnce && !AtMostOnce(side)) {
    side.queue.around().cache_full = false;
    Turn(
        side, [&] { side.queue.LoadBodies(); }, [](QueueModel&) {});
    if (!complaint_.empty()) return;
  }
  Apply(side, settings);
}

void QueueWorld::Apply(Side& side, const QueueSettings& settings) {
  const RequestId request = kRequests + serial_++;
  side.requests[request] = {};
  Turn(
      side,
      [&] {
        side.queue.Step(UpdateSettings{request, settings});
      },
      [&](QueueModel& model) { model.Update(settings); });
}

void QueueWorld::CloseOrReopen(Side& side) {
  const RequestId request = kRequests + serial_++;
  side.requests[request] = {};
  const bool closes = !side.model.closed();
  if (!closes) side.told_end.clear();
  Turn(
      side,
      [&] {
        if (closes) {
          side.queue.Step(CloseQueue{request});
        } else {
          side.queue.Step(ReopenQueue{request});
        }
      },
      [&](QueueModel& model) { closes ? model.Close() : model.Reopen(); });
}

void QueueWorld::Ask(Side& side) {
  ExplainSubject subject = ExplainQueue{};
  const auto& consumers = side.model.consumers();
  const auto& publishers = side.model.publishers();
  switch (Pick(5)) {
    case 0:
      if (consumers.empty()) return;
      subject = ExplainConsumer{
          .id = std::next(consumers.begin(), static_cast<long>(Pick(consumers.size())))->first};
      break;
    case 1:
      if (publishers.empty()) return;
      subject = ExplainPublisher{
          .id = std::next(publishers.begin(), static_cast<long>(Pick(publishers.size())))->first};
      break;
    case 2:
      subject = ExplainKey{kOrderingKeys[Pick(std::size(kOrderingKeys))]};
      break;
    case 3:
      subject = ExplainMessage{AnySequence(side)};
      break;
    default:
      break;
  }
  const RequestId request = kRequests + serial_++;
  side.requests[request].subject = subject;
  Turn(
      side,
      [&] {
        side.queue.Step(Explain{request, subject});
      },
      [](QueueModel&) {});
}

void QueueWorld::Surround(Side& side) {
  ModelWorld& world = side.model.world();
  side.queue.around().disk_low = world.disk_low = !world.disk_low && Pick(3) == 0;
  side.ledger->full = world.quota_full = !world.quota_full && Pick(3) == 0;
  Turn(
      side, [&] { side.queue.Step(Tick{}); }, [](QueueModel&) {});
}

// ---- time, idleness and crashes

void QueueWorld::SetClocks(std::int64_t steady_ms, WallMs wall_ms) {
  const bool jumped = wall_ms - clock_.wall_ms != steady_ms - clock_.steady_ms;
  clock_ = {steady_ms, wall_ms};
  for (Side* side : {&a_, &b_}) {
    side->queue.around().now = {.steady_ns = steady_ms * kNsPerMs, .wall_ms = wall_ms};
  }
  for (Side* side : {&a_, &b_}) {
    Turn(
        *side, [&] { Wake(*side, jumped); }, [](QueueModel&) {});
  }
}

/// What happens because time has passed happens when the queue has asked for a turn; but nobody
/// can ask for the moment when the wall clock is set.
void QueueWorld::Wake(Side& side, bool jumped) {
  const std::uint64_t before = side.queue.trace();
  side.queue.Step(Tick{});
  const std::int64_t now_ns = clock_.steady_ms * kNsPerMs;
  if (side.queue.trace() != before && side.wakes_ns > now_ns && !jumped) {
    Fail(side, "it has not asked to be woken for this");
  }
  if (side.queue.core().next_wake_ns() <= now_ns) Fail(side, "it asks for a turn in vain");
}

void QueueWorld::Advance(std::int64_t ms) {
  for (Side* side : {&a_, &b_}) side->wakes_ns = side->queue.core().next_wake_ns();
  SetClocks(clock_.steady_ms + ms, clock_.wall_ms + ms);
  for (Side* side : {&a_, &b_}) side->wakes_ns = 0;
}

void QueueWorld::JumpWall(std::int64_t ms) {
  jumped_ms_ += ms;
  SetClocks(clock_.steady_ms, clock_.wall_ms + ms);
}

void QueueWorld::EverybodyLeaves(Side& side) {
  while (!side.model.consumers().empty() && complaint_.empty()) {
    const ConsumerId gone = side.model.consumers().begin()->first;
    Turn(
        side, [&] { side.queue.Step(queue::DetachConsumer{gone}); },
        [&](QueueModel& model) { model.DetachConsumer(gone, false); });
  }
  while (!side.model.publishers().empty() && complaint_.empty()) {
    const PublisherId gone = side.model.publishers().begin()->first;
    side.streams.erase(gone);
    Turn(
        side, [&] { side.queue.Step(queue::DetachPublisher{gone}); },
        [&](QueueModel& model) { model.DetachPublisher(gone); });
  }
}

/// The idle queue goes with its commit; after what is under way, a new one comes in its place.
void QueueWorld::Recreate(Side& side) {
  while ((!commits_.empty() || !later_.empty()) && complaint_.empty()) {
    RunLater(true);
    CommitNext();
  }
  if (!complaint_.empty()) return;
  if (!side.queue.deleted()) return Fail(side, "an idle queue is still there");
  if (!side.requests.empty()) return Fail(side, "a request was never answered");
  if (keys_) JumpWall(-jumped_ms_);  // as for a crash
  for (auto& [id, atomic] : atomics_) {
    atomic.orphaned = atomic.orphaned || atomic.source == &side;
  }
  side.streams.clear();
  side.resuming = {};
  side.blocked.clear();
  side.told_end.clear();
  side.slots_before = side.bytes_before = side.keys_before = 0;
  const QueueSettings settings = RandomSettings(random_, &side == &a_);
  side.queue.around().cache_full = false;
  side.queue.Create(settings, side.queue.core().Info(side.queue.around().now).next_sequence);
  side.model.Recreate(settings, side.queue.FirstSequence());
}

/// All that was not yet on disk is lost, some of it perhaps not.
void QueueWorld::Crash(bool rebuild) {
  // The age of an idempotency key over a restart is told by the wall clock: it is set right before.
  if (keys_ && !rebuild) JumpWall(-jumped_ms_);
  if (!complaint_.empty()) return;
  for (std::uint64_t kept = Pick(3); kept > 0 && !commits_.empty(); --kept) {
    disk_->ApplyNext();
    for (const auto& step : commits_.front().commit.disk) step();
    commits_.pop_front();
  }
  disk_->TakeStored();
  disk_->DropWaiting();
  commits_.clear();
  atomics_.clear();
  questions_.clear();
  later_.clear();
  for (Side* side : {&b_, &a_}) {
    side->streams.clear();
    side->requests.clear();
    side->blocked.clear();
    side->told_end.clear();
    // What was dropped or forgotten for a newcomer may be back.
    side->slots_before = side->bytes_before = side->keys_before = UINT64_MAX;
    Turn(
        *side,
        [&] {
          if (rebuild) {
            side->queue.Reread();
          } else {
            side->queue.Recover();
          }
          if (side->queue.core().settings().delivery == DeliveryMode::kAtMostOnce) {
            side->queue.around().cache_full = false;
            side->queue.LoadBodies();
          }
        },
        [&](QueueModel& model) { model.Crash(side->queue.FirstSequence(), rebuild); });
  }
  for (Side* side : {&a_, &b_}) {
    if (complaint_.empty()) AttachPublisher(*side);
  }
}

}  // namespace mqd::queue::testing
