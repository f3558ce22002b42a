// world_settings.cc: settings of a queue, drawn at random.

#include "tests/model/queue_world.h"

namespace mqd::queue::testing {
namespace {

using std::chrono::milliseconds;

class Draw {
 public:
  explicit Draw(std::mt19937_64& random) : random_(random) {}
  std::uint64_t Below(std::uint64_t most) { return random_() % most; }
  bool OneIn(std::uint64_t n) { return Below(n) == 0; }

 private:
  std::mt19937_64& random_;
};

void DrawBounds(Draw& draw, QueueSettings& settings, bool has_dead_letters) {
  settings.max_messages = 1 + draw.Below(draw.OneIn(3) ? 4 : 14);
  settings.max_bytes = 200 + draw.Below(3'000);
  if (draw.OneIn(2)) settings.dead_letter_queue = has_dead_letters ? "default/b" : "";
  settings.overflow_policy = static_cast<OverflowPolicy>(1 + draw.Below(6));
  if (settings.overflow_policy == OverflowPolicy::kDeadLetter &&
      settings.dead_letter_queue.empty()) {
    settings.overflow_policy = OverflowPolicy::kBlock;
  }
  const bool drops = settings.overflow_policy == OverflowPolicy::kDropOldest;
  if (draw.OneIn(8) && !drops) settings.max_messages = 0;
  const bool throttles = settings.overflow_policy == OverflowPolicy::kThrottle;
  if (throttles || draw.OneIn(5)) settings.max_publish_rate = 1 + draw.Below(40);
  if (draw.OneIn(5)) settings.max_delivery_rate = 1 + draw.Below(40);
}

void DrawTimes(Draw& draw, QueueSettings& settings) {
  settings.lease_duration = milliseconds(1'000 * (1 + draw.Below(20)));
  settings.max_attempts = static_cast<std::uint32_t>(1 + draw.Below(4));
  settings.retry_backoff = {milliseconds(1'000), 2.0, milliseconds(8'000),
                            draw.OneIn(2) ? 0.25 : 0.0};
  if (draw.OneIn(4)) settings.default_ttl = milliseconds(5 + 10 * (100 + draw.Below(2'000)));
  settings.expired_to_dead_letter = draw.OneIn(2);
  settings.dedup_window = milliseconds(5 + 10 * (100 + draw.Below(3'000)));
  settings.ageing_floor = milliseconds(5 + 10 * (20 + draw.Below(1'000)));
}

}  // namespace

QueueSettings RandomSettings(std::mt19937_64& random, bool has_dead_letters) {
  Draw draw(random);
  QueueSettings settings;
  DrawBounds(draw, settings, has_dead_letters);
  DrawTimes(draw, settings);
  if (draw.OneIn(3)) settings.durability = Durability::kAsync;
  if (draw.OneIn(4)) {
    settings.dedup_max_entries = 1 + draw.Below(5);
    if (draw.OneIn(2)) settings.dedup_full_policy = DedupFullPolicy::kReject;
  }
  settings.dispatch_policy = static_cast<DispatchPolicy>(1 + draw.Below(4));
  settings.ordering = draw.OneIn(2) ? Ordering::kKeyed : Ordering::kFifo;
  if (draw.OneIn(5)) settings.max_producers = 1 + draw.Below(3);
  if (draw.OneIn(5)) settings.max_consumers = 1 + draw.Below(3);
  settings.single_active = draw.OneIn(6);
  if (draw.OneIn(6)) settings.expires_after_idle = milliseconds(5 + 10 * (50 + draw.Below(1'000)));
  if (draw.OneIn(8)) settings.paused = static_cast<Paused>(2 + draw.Below(3));
  if (draw.OneIn(4)) settings.history_entries = 8;
  // Without a disk a turn has rounds: the model must be able to say when one ends.
  const bool sticky = settings.dispatch_policy == DispatchPolicy::kSticky;
  if (draw.OneIn(10) && !sticky) settings.durability = Durability::kMemory;
  // AT_MOST_ONCE settles before it is seen: the model must be able to say what is next.
  if (draw.OneIn(10) && !sticky) {
    settings.delivery = DeliveryMode::kAtMostOnce;
  }
  return settings;
}

}  // namespace mqd::queue::testing
