// world_events.cc: what happens to a queue, at random.

#include <algorithm>

#include "tests/model/full/queue_world.h"

namespace mqd::queue::testing {
namespace {

struct Client {
  const char* name;
  bool marks_started;
  bool on_demand;
};
constexpr Client kConsumers[] = {
    {"cat", false, false}, {"meg", true, false}, {"sam", false, true}, {"sue", true, true}};
constexpr const char* kPublishers[] = {"ann", "pia", "pat"};  // pia resumes
constexpr ProducerId kProducer{4, 2};
constexpr const char* kKeys[] = {"k0", "k1", "k2"};

/// Requests that do not go through the harness.
constexpr RequestId kRequests = 1'000'000;

}  // namespace

void QueueWorld::OneEvent() {
  Side& side = Pick(3) == 0 ? b_ : a_;
  if (side.model.closed() && Pick(12) == 0) return CloseOrReopen(side);
  const std::uint64_t draw = Pick(200);
  if (draw < 40) return Publish(side);
  if (draw < 72) return Settle(side);
  if (draw < 96) return CommitNext();
  if (draw < 104) {
    while (!commits_.empty() && complaint_.empty()) CommitNext();
    return;
  }
  if (draw < 124) return Grant(side);
  if (draw < 134) return AttachConsumer(side);
  if (draw < 138) return DetachConsumer(side);
  if (draw < 144) return Mark(side);
  if (draw < 164) {
    return Advance(10 * static_cast<std::int64_t>(Pick(Pick(4) == 0 ? 1'500 : 60)));
  }
  if (draw < 172) return StartAtomic();
  if (draw < 180) return Ask(side);
  if (draw < 186) return CarryQuestion();
  RareEvent(side);
}

void QueueWorld::RareEvent(Side& side) {
  switch (Pick(14)) {
    case 0:
    case 1:
      return AttachPublisher(side);
    case 2:
      return DetachPublisher(side);
    case 3:
      return Pick(3) == 0 ? Purge(side) : Cancel(side);
    case 4:
      return Cancel(side);
    case 5:
    case 6:
      return Update(side);
    case 7:
      return CloseOrReopen(side);
    case 8:
    case 9:
      return Surround(side);
    case 10:
      return JumpWall((Pick(2) == 0 ? 1 : -1) * (Pick(2) == 0 ? 3'600'000 : 2'000));
    case 11:
      return Crash(Pick(3) == 0);
    default:
      side.queue.around().cache_full =
          side.model.settings().delivery != DeliveryMode::kAtMostOnce && Pick(2) == 0;
  }
}

// ---- publishing

Extras QueueWorld::AnyExtras(Side& side) {
  Extras extras;
  if (!special_) return extras;
  if (Pick(2) == 0) extras.ordering_key = kKeys[Pick(std::size(kKeys))];
  if (Pick(3) == 0) extras.priority = static_cast<std::uint32_t>(Pick(3) * 4);
  if (Pick(6) == 0) extras.ttl_ms = Odd(20'000) + 2;
  const std::uint64_t draw = Pick(16);
  if (draw == 0) extras.delay_ms = Odd(10'000);
  if (draw == 1) extras.deliver_at_ms = clock_.wall_ms - 2'000 + Odd(12'000);
  if (draw > 3) return extras;
  for (std::uint64_t i = draw - 1; draw > 1 && i > 0; --i) {
    const Side& named = Pick(2) == 0 ? side : (&side == &a_ ? b_ : a_);
    const auto& messages = named.model.messages();
    Sequence sequence = 1 + Pick(6);
    if (!messages.empty() && Pick(8) != 0) {
      sequence = std::next(messages.begin(), static_cast<long>(Pick(messages.size())))->first;
    }
    extras.deliver_after.push_back({named.queue.id(), sequence});
  }
  return extras;
}

ModelSent QueueWorld::AnyMessage(Side& side, bool keyed) {
  ModelSent sent{.payload = "m" + std::to_string(serial_++), .extras = AnyExtras(side)};
  if (keyed) {
    sent.key = "i" + std::to_string(Pick(6));
    sent.payload = sent.key + "v" + std::to_string(Pick(8) == 0);
  }
  sent.payload.resize(sent.payload.size() + (Pick(8) == 0 ? Pick(400) : 0), '.');
  if (keyed) sent.payload.resize(4);  // the same key, the same body; or not
  sent.charge = static_cast<std::uint32_t>(sent.payload.size()) + kOverheadBytes;
  return sent;
}

void QueueWorld::Publish(Side& side) {
  const auto& publishers = side.model.publishers();
  if (publishers.empty()) return AttachPublisher(side);
  const auto who = std::next(publishers.begin(), static_cast<long>(Pick(publishers.size())));
  Producer& stream = who->second.producer.empty() ? side.streams[who->first] : side.resuming;
  std::vector<ModelSent> sent;
  const bool keyed = keys_ && Pick(5) == 0;
  if (keyed) Advance(10);  // keys are told apart by their time
  if (!complaint_.empty() || !publishers.contains(who->first)) return;
  for (std::uint64_t i = 0; i <= (keyed ? 0 : Pick(4)); ++i) {
    sent.push_back(AnyMessage(side, keyed));
  }
  const std::uint64_t first = stream.next_id;
  stream.next_id += sent.size();
  for (std::size_t i = 0; i < sent.size(); ++i) stream.unanswered[first + i] = sent[i];
  Send(side, who->first, first, std::move(sent), stream.unanswered.begin()->first - 1);
}

void QueueWorld::Send(Side& side, PublisherId publisher, std::uint64_t first_id,
                      std::vector<ModelSent> sent, std::uint64_t answered_through) {
  std::vector<std::string> payloads;
  std::vector<std::string> keys;
  std::vector<Extras> extras;
  for (const ModelSent& one : sent) {
    payloads.push_back(one.payload);
    keys.push_back(one.key);
    extras.push_back(one.extras);
  }
  ModelWaiter waiter{.publisher = publisher, .first_id = first_id, .messages = std::move(sent)};
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    side.streams[publisher].unanswered[first_id + i] = waiter.messages[i];
  }
  if (Pick(4) == 0) waiter.level = static_cast<ConfirmLevel>(1 + Pick(4));
  if (Pick(2) == 0) waiter.deadline_ms = clock_.steady_ms + Odd(5'000) + 4;
  PublishBatch batch = side.queue.BatchOf(payloads, keys, extras);
  batch.publisher = publisher;
  batch.first_publish_id = first_id;
  batch.answered_through = answered_through;
  batch.level = waiter.level;
  if (waiter.deadline_ms != INT64_MAX) batch.deadline_ns = waiter.deadline_ms * kNsPerMs;
  Turn(
      side, [&] { side.queue.Step(std::move(batch)); },
      [&](QueueModel& model) { model.Publish(std::move(waiter), answered_through); });
}

void QueueWorld::AttachPublisher(Side& side) {
  const std::string name = kPublishers[Pick(std::size(kPublishers))];
  const bool resumes = name == "pia";
  const bool take_over = Pick(2) == 0;
  bool expected = false;
  PublisherId publisher = 0;
  Turn(
      side,
      [&] {
        side.queue.AttachPublisher(name,
                                   {.producer = resumes ? std::optional(kProducer) : std::nullopt,
                                    .take_over = take_over});
        publisher = side.queue.PublisherIdOf(name);
      },
      [&](QueueModel& model) {
        expected = model.AttachPublisher(publisher, {name, resumes ? "pia" : ""}, take_over);
      });
  const auto attached = side.queue.Take<PublisherAttached>();
  const auto& error = attached.back().error;
  if (error.has_value() == expected) Fail(side, "a publisher was let in, or refused, wrongly");
  if (error.has_value() && error->reason != Reason::kCardinality) Fail(side, "refused otherwise");
  if (expected && resumes && complaint_.empty()) Resend(side, publisher);
}

void QueueWorld::Resend(Side& side, PublisherId publisher) {
  const std::map<std::uint64_t, ModelSent> again = side.resuming.unanswered;
  for (auto next = again.begin(); next != again.end() && complaint_.empty();) {
    const std::uint64_t first = next->first;
    std::vector<ModelSent> sent;
    for (std::uint64_t id = first; next != again.end() && next->first == id; ++id, ++next) {
      sent.push_back(next->second);
      if (!next->second.key.empty()) {  // one at a time, for its time
        ++next;
        break;
      }
    }
    if (std::any_of(sent.begin(), sent.end(), [](const auto& one) { return !one.key.empty(); })) {
      Advance(10);
    }
    if (!side.model.publishers().contains(publisher)) return;
    Send(side, publisher, first, std::move(sent), again.begin()->first - 1);
  }
}

void QueueWorld::DetachPublisher(Side& side) {
  const auto& publishers = side.model.publishers();
  if (publishers.empty()) return;
  const PublisherId gone =
      std::next(publishers.begin(), static_cast<long>(Pick(publishers.size())))->first;
  side.streams.erase(gone);
  Turn(
      side, [&] { side.queue.Step(queue::DetachPublisher{gone}); },
      [&](QueueModel& model) { model.DetachPublisher(gone); });
}

// ---- consuming

void QueueWorld::AttachConsumer(Side& side) {
  const Client& client = kConsumers[Pick(std::size(kConsumers))];
  auto& consumers = side.model.consumers();
  const bool here = std::any_of(consumers.begin(), consumers.end(), [&](const auto& entry) {
    return entry.second.name == client.name;
  });
  const bool only = side.model.settings().delivery == DeliveryMode::kAtMostOnce;
  if (here || (only && !consumers.empty())) return;
  const bool take_over = Pick(2) == 0;
  bool expected = false;
  Turn(
      side,
      [&] {
        side.queue.AttachConsumer(client.name, {.marks_started = client.marks_started,
                                                .on_demand = client.on_demand,
                                                .take_over = take_over});
      },
      [&](QueueModel& model) {
        expected = model.AttachConsumer(side.queue.ConsumerIdOf(client.name),
                                        {.name = client.name,
                                         .marks_started = client.marks_started,
                                         .on_demand = client.on_demand},
                                        take_over);
      });
  const auto attached = side.queue.Take<ConsumerAttached>();
  if (attached.back().error.has_value() == expected) {
    Fail(side, "a consumer was let in, or refused, wrongly");
  }
}

void QueueWorld::DetachConsumer(Side& side) {
  auto& consumers = side.model.consumers();
  if (consumers.empty()) return;
  const ConsumerId gone =
      std::next(consumers.begin(), static_cast<long>(Pick(consumers.size())))->first;
  if (Pick(3) == 0 && !consumers.at(gone).draining) {
    return Turn(
        side, [&] { side.queue.Step(queue::DrainConsumer{gone}); },
        [&](QueueModel& model) { model.Drain(gone); });
  }
  const bool keep = Pick(3) == 0;
  Turn(
      side,
      [&] {
        side.queue.Step(queue::DetachConsumer{gone, keep});
      },
      [&](QueueModel& model) { model.DetachConsumer(gone, keep); });
}

void QueueWorld::Grant(Side& side) {
  auto& consumers = side.model.consumers();
  if (consumers.empty()) return;
  const auto who = std::next(consumers.begin(), static_cast<long>(Pick(consumers.size())));
  if (who->second.on_demand && !who->second.wanting) return;
  const ConsumerId id = who->first;
  const std::uint64_t messages = 1 + Pick(4);
  const std::uint64_t bytes = 1 + Pick(600);
  Turn(
      side,
      [&] {
        side.queue.Step(GrantCredit{id, messages, bytes});
      },
      [&](QueueModel& model) { model.Grant(id, messages, bytes); });
}

DeliveryRange QueueWorld::AnyRange(Side& side) {
  if (side.past.empty()) return {1, 1 + Pick(3)};
  // Mostly recent ones, which are likely to be held.
  const std::size_t back = Pick(std::min<std::size_t>(side.past.size(), 20));
  const DeliveryId first = side.past[side.past.size() - 1 - back];
  return {first, first + (Pick(2) == 0 ? 0 : Pick(6))};
}

SettleOutcome QueueWorld::AnyOutcome() {
  switch (Pick(10)) {
    case 0:
      return RetryOutcome{std::nullopt, "failed"};
    case 1:
      return RetryOutcome{static_cast<std::int64_t>(Pick(300) * 10) * kNsPerMs, "failed"};
    case 2:
      return ReleaseOutcome{};
    case 3:
      return Pick(3) == 0 ? SettleOutcome(DeadLetterOutcome{"bad"}) : SettleOutcome(AckOutcome{});
    case 4:
      return ExtendOutcome{};
    default:
      return AckOutcome{};
  }
}

void QueueWorld::Settle(Side& side) {
  if (side.model.settings().delivery == DeliveryMode::kAtMostOnce) return;
  std::vector<SettleEntry> entries;
  std::uint64_t asked = 0;
  for (std::uint64_t i = 0; i <= Pick(3); ++i) {
    entries.push_back({AnyRange(side), AnyOutcome()});
    asked += entries.back().range.last - entries.back().range.first + 1;
  }
  // The answer may come in this turn: it must be known before.
  QueueModel before = side.model;
  std::uint64_t held = 0;
  for (const SettleEntry& entry : entries) held += before.Settle(entry.range, entry.outcome);
  Turn(
      side,
      [&] {
        side.requests[side.queue.AskSettle(entries)] = {held, asked, {}};
      },
      [&](QueueModel& model) {
        for (const SettleEntry& entry : entries) model.Settle(entry.range, entry.outcome);
      });
}

void QueueWorld::Mark(Side& side) {
  const DeliveryRange range = AnyRange(side);
  Turn(
      side, [&] { side.queue.Step(MarkStarted{{range}}); },
      [&](QueueModel& model) { model.MarkStarted(range); });
}

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
  settings.delivery = now.delivery;
  settings.dedup_window = now.dedup_window;  // what a shorter one forgets, and when, is left open
  const bool memory = now.durability == Durability::kMemory;
  if (memory || settings.durability == Durability::kMemory) settings.durability = now.durability;
  if (memory || now.delivery == DeliveryMode::kAtMostOnce) {
    settings.dispatch_policy = now.dispatch_policy;
    settings.single_active = now.single_active;
  }
  if (side.model.world().quota_full) settings.dedup_max_entries = now.dedup_max_entries;
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
      subject = ExplainKey{kKeys[Pick(std::size(kKeys))]};
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
  side.queue.around().disk_low = side.model.world().disk_low =
      !side.model.world().disk_low && Pick(3) == 0;
  Turn(
      side, [&] { side.queue.Step(Tick{}); }, [](QueueModel&) {});
}

// ---- time and crashes

void QueueWorld::Advance(std::int64_t ms) {
  clock_.steady_ms += ms;
  clock_.wall_ms += ms;
  for (Side* side : {&a_, &b_}) {
    Turn(
        *side, [&] { side->queue.Advance(ms); }, [](QueueModel&) {});
  }
}

void QueueWorld::JumpWall(std::int64_t ms) {
  clock_.wall_ms += ms;
  jumped_ms_ += ms;
  for (Side* side : {&a_, &b_}) {
    Turn(
        *side, [&] { side->queue.JumpWall(ms); }, [](QueueModel&) {});
  }
}

/// All that was not yet on disk is lost, some of it perhaps not.
void QueueWorld::Crash(bool rebuild) {
  // What was handed over at most once must be known commit by commit, and bodies that are read back
  // after a crash come at times of their own.
  const auto at_most_once = [](const Side& side) {
    return side.model.settings().delivery == DeliveryMode::kAtMostOnce;
  };
  if (at_most_once(a_) || at_most_once(b_)) return;
  // The age of an idempotency key over a restart is told by the wall clock: it is set right before.
  if (keys_) JumpWall(-jumped_ms_);
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
    side->slots_before = side->bytes_before = UINT64_MAX;  // victims of DROP_OLDEST may be back
    Turn(
        *side,
        [&] {
          if (rebuild) {
            side->queue.Reread();
          } else {
            side->queue.Recover();
          }
        },
        [&](QueueModel& model) { model.Crash(side->queue.FirstSequence(), rebuild); });
  }
  for (Side* side : {&a_, &b_}) {
    if (complaint_.empty()) AttachPublisher(*side);
  }
}

}  // namespace mqd::queue::testing
