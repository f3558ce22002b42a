// world_events.cc: what clients do to a queue, at random.

#include <algorithm>

#include "tests/model/queue_world.h"

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
  switch (Pick(15)) {
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
    case 12:
      return EverybodyLeaves(side);
    default:
      side.queue.around().cache_full = !AtMostOnce(side) && Pick(2) == 0;
  }
}

// ---- publishing

Extras QueueWorld::AnyExtras(Side& side) {
  Extras extras;
  if (!special_) return extras;
  if (Pick(2) == 0) extras.ordering_key = kOrderingKeys[Pick(std::size(kOrderingKeys))];
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
  const bool only = AtMostOnce(side);
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
  return {first, std::min(first + (Pick(2) == 0 ? 0 : Pick(6)), side.newest)};
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

/// How many deliveries are settled by these.
std::uint64_t QueueWorld::Settles(Side& side, const std::vector<SettleEntry>& entries) {
  std::uint64_t settled = 0;
  std::set<DeliveryId> taken;  // by earlier ones of these
  for (const auto& [range, outcome] : entries) {
    const bool by_itself = AtMostOnce(side) && std::holds_alternative<AckOutcome>(outcome);
    for (DeliveryId id = range.first; id <= range.last; ++id) {
      const bool held = side.model.FindDelivery(id) != nullptr && !taken.contains(id);
      if (held || by_itself) ++settled;
      if (!std::holds_alternative<ExtendOutcome>(outcome)) taken.insert(id);
    }
  }
  return settled;
}

void QueueWorld::Settle(Side& side) {
  std::vector<SettleEntry> entries;
  std::uint64_t asked = 0;
  for (std::uint64_t i = 0; i <= Pick(3); ++i) {
    entries.push_back({AnyRange(side), AnyOutcome()});
    asked += entries.back().range.last - entries.back().range.first + 1;
  }
  // The answer may come in this turn: it must be known before.
  const std::uint64_t settled = Settles(side, entries);
  Turn(
      side,
      [&] {
        side.requests[side.queue.AskSettle(entries)] = {settled, asked, {}};
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

}  // namespace mqd::queue::testing
