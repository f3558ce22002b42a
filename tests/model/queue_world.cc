#include "tests/model/queue_world.h"

#include <algorithm>

namespace mqd::queue::testing {
namespace {

constexpr const char* kConsumers[] = {"cat", "meg", "sam", "sue"};  // meg marks started
const std::set<std::string> kSelecting{"sam", "sue"};
constexpr ProducerId kProducer{4, 2};
constexpr std::int64_t kDedupWindowMs = 60'000;

std::string KeyOf(const std::string& payload) { return payload.substr(0, payload.find('v')); }

}  // namespace

QueueSettings QueueWorld::SettingsOf(std::mt19937_64& random, bool dead_letters) {
  QueueSettings settings{.max_messages = 20 + random() % 60,
                         .max_bytes = 4'000 + random() % 40'000,
                         .max_attempts = static_cast<std::uint32_t>(2 + random() % 4),
                         .dedup_window = std::chrono::milliseconds(kDedupWindowMs)};
  if (random() % 2 == 0) settings.overflow_policy = OverflowPolicy::kBlock;
  if (random() % 3 == 0) settings.durability = Durability::kAsync;
  settings.retry_backoff.jitter = 0;
  if (dead_letters && random() % 2 == 0) settings.dead_letter_queue = "default/b";
  return settings;
}

std::string QueueWorld::KeyPrefix(const Side& side) const { return &side == &a_ ? "ka" : "kb"; }

QueueWorld::QueueWorld(std::uint64_t seed)
    : random_(seed),
      padding_(seed % 3 == 0 ? 400 : 0),
      batch_max_(seed % 2 == 0 ? 24 : 5),
      b_(SettingsOf(random_, false), {disk_, 9, "default/b"}),
      a_(SettingsOf(random_, true), {disk_, 7, "default/a"}) {
  for (Side* side : {&a_, &b_}) ReconnectProducer(*side);
}

void QueueWorld::Fail(const Side& side, const std::string& what) {
  if (complaint_.empty()) complaint_ = (&side == &a_ ? "queue a: " : "queue b: ") + what;
}

void QueueWorld::Run(int events) {
  for (int event = 0; event < events && complaint_.empty(); ++event) {
    OneEvent();
    if (!complaint_.empty()) complaint_ += " (event " + std::to_string(event) + ")";
  }
}

void QueueWorld::OneEvent() {
  Side& side = Pick(3) == 0 ? b_ : a_;
  const std::uint64_t draw = Pick(100);
  if (draw < 20) return Publish(side);
  if (draw < 38) return Settle(side);
  if (draw < 52) return CommitNext();
  if (draw < 57) {
    while (!commits_.empty() && complaint_.empty()) CommitNext();
    return;
  }
  if (draw < 67) return Grant(side);
  if (draw < 73) return Attach(side);
  if (draw < 75) return Detach(side);
  if (draw < 79) return Mark(side);
  if (draw < 88) return Advance(static_cast<std::int64_t>(Pick(Pick(4) == 0 ? 40'000 : 2'000)));
  if (draw < 94) return StartAtomic();
  if (draw < 96) {
    side.queue.around().cache_full = !side.queue.around().cache_full;
    return;
  }
  if (draw < 97) return ReconnectProducer(side);
  if (draw < 98) return Purge(side);
  if (draw < 99) Restart();
}

// ---- turns

template <class Act>
void QueueWorld::Turn(Side& side, Act act) {
  const std::size_t before = disk_->waiting();
  act();
  std::vector<std::pair<Side*, ModelChange>> changes;
  for (ModelChange& change : side.model.TakeChanges()) changes.emplace_back(&side, change);
  if (disk_->waiting() == before && !changes.empty()) Fail(side, "a change is not written");
  for (std::size_t i = before; i < disk_->waiting(); ++i) {
    commits_.push_back(std::exchange(changes, {}));
  }
  Observe(side);
}

void QueueWorld::CommitNext() {
  if (commits_.empty()) return;
  const auto changes = std::move(commits_.front());
  commits_.pop_front();
  disk_->CommitNext();
  for (const auto& [side, change] : changes) side->model.Committed(change);
  for (const Stored& stored : disk_->TakeStored()) NoteStored(stored);
  while (commits_.size() < disk_->waiting()) commits_.emplace_back();
  Observe(a_);
  Observe(b_);
}

void QueueWorld::NoteStored(const Stored& stored) {
  Side& side = stored.queue == a_.queue.id() ? a_ : b_;
  const std::string name = stored.payload.substr(0, stored.payload.find('.'));
  if (!side.ever.emplace(stored.sequence, stored.payload).second) {
    Fail(side, "a sequence was used again");
  }
  if (name[0] != 'k') {
    if (!side.payloads.insert(name).second) Fail(side, "a message was stored twice: " + name);
  } else if (name.starts_with(KeyPrefix(side))) {  // else it came as a dead letter
    const std::string key = KeyOf(name);
    const auto before = side.stored_try.find(key);
    if (before != side.stored_try.end() && now_ms_ - before->second <= kDedupWindowMs) {
      Fail(side, "a key was stored twice within its window: " + key);
    }
    side.stored_try[key] = side.first_try[key];
    side.first_try.erase(key);
  }
  side.model.AddStored(stored, side.held_back.contains(stored.sequence));
}

void QueueWorld::Observe(Side& side) {
  for (const Seen& seen : side.queue.TakeDeliveries()) {
    const std::string wrong = side.model.Deliver(seen);
    if (!wrong.empty()) Fail(side, wrong + ": " + Names({seen})[0]);
    side.stale.push_back(seen.id);
  }
  for (const SendConfirms& send : side.queue.Take<SendConfirms>()) {
    for (const char* publisher : {"ann", "pia"}) {
      if (side.queue.PublisherIdOf(publisher) != send.publisher) continue;
      CheckConfirms(side, publisher, send.confirms);
    }
  }
  for (const SendLeaseLost& send : side.queue.Take<SendLeaseLost>()) {
    for (const DeliveryRange& range : send.ranges) {
      for (DeliveryId id = range.first; id <= range.last; ++id) {
        if (side.lost.erase(id) == 0) Fail(side, "lease_lost for a lease that lives");
      }
    }
  }
  CheckCredit(side);
  CheckAnswers(side);
  CheckCounts(side);
  for (TransactionPrepared& one : side.queue.Take<TransactionPrepared>()) {
    CommitAtomic(std::move(one));
  }
  for (const TransactionDone& one : side.queue.Take<TransactionDone>()) EndAtomic(one);
  for (MoveToDeadLetter& one : side.queue.Take<MoveToDeadLetter>()) {
    MoveDeadLetters(side, std::move(one));
  }
}

void QueueWorld::CheckCredit(Side& side) {
  auto& consumers = side.model.consumers();
  std::map<ConsumerId, ModelConsumer*> selecting;
  for (auto& [name, consumer] : consumers) {
    if (consumer.on_demand) selecting[side.queue.ConsumerIdOf(name)] = &consumer;
  }
  for (const CreditReturned& back : side.queue.Take<CreditReturned>()) {
    if (!selecting.contains(back.consumer)) return Fail(side, "credit came back from nobody");
    ModelConsumer& consumer = *selecting[back.consumer];
    if (static_cast<std::int64_t>(back.messages) != consumer.messages ||
        back.bytes != consumer.bytes) {
      Fail(side, "the credit that came back is not what was left");
    }
    consumer.messages = consumer.bytes = 0;
    consumer.wanting = back.more;
  }
  for (const WantCredit& want : side.queue.Take<WantCredit>()) {
    if (!selecting.contains(want.consumer)) return Fail(side, "nobody is asked for credit");
    if (selecting[want.consumer]->wanting) Fail(side, "credit is asked for twice");
    selecting[want.consumer]->wanting = true;
  }
  const bool ready = side.model.Count(ModelState::kReady) > 0;
  for (const auto& [name, consumer] : consumers) {
    if (ready && consumer.CanTake()) Fail(side, name + " has credit and gets nothing");
    if (!consumer.on_demand || consumer.draining) continue;
    if (ready && !consumer.wanting) Fail(side, name + " is not asked for credit");
    if (!ready && (consumer.messages != 0 || consumer.bytes != 0)) {
      Fail(side, "credit of a select is kept by a queue that has nothing");
    }
  }
}

void QueueWorld::CheckCounts(Side& side) {
  const QueueStats stats = side.queue.Stats();
  const QueueModel& model = side.model;
  const std::uint64_t all =
      stats.ready + stats.in_flight + stats.delayed + stats.parked + stats.committing;
  if (all > side.settings.max_messages) Fail(side, "max_messages is exceeded");
  if (stats.backlog_bytes > side.settings.max_bytes) Fail(side, "max_bytes is exceeded");
  const auto same = [&](const char* what, std::uint64_t have, std::uint64_t want) {
    if (have == want) return;
    Fail(side, std::string(what) + " is " + std::to_string(have) + ", not " + std::to_string(want));
  };
  same("ready", stats.ready, model.Count(ModelState::kReady));
  same("in_flight", stats.in_flight,
       model.Count(ModelState::kInFlight) + model.Count(ModelState::kSettling) +
           model.Count(ModelState::kReturning));
  same("delayed", stats.delayed, model.Count(ModelState::kDelayed));
  same("parked", stats.parked, model.Count(ModelState::kParked));
  if (stats.committing == 0) same("backlog_bytes", stats.backlog_bytes, model.Bytes());
}

// ---- publishing

void QueueWorld::Publish(Side& side) {
  const std::string publisher = Pick(2) == 0 ? "ann" : "pia";
  auto& unanswered = side.unanswered[publisher];
  std::uint64_t& next = side.next_id[publisher];
  const std::uint64_t first = next;
  std::vector<std::string> payloads;
  QueueHarness::PublishOptions options{.first_id = first};
  const std::uint64_t count = 1 + Pick(batch_max_);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::string key;
    std::string payload = "m" + std::to_string(serial_++);
    if (Pick(6) == 0) {
      key = KeyPrefix(side) + std::to_string(Pick(6));
      payload = key + "v" + std::to_string(Pick(8) == 0);
      side.first_try.emplace(key, now_ms_);
    }
    payload += "." + std::string(padding_, 'x');
    unanswered[next++] = {payload, key};
    payloads.push_back(payload);
    options.keys.push_back(key);
  }
  options.answered_through = unanswered.begin()->first - 1;
  if (Pick(2) == 0) options.wait_ms = static_cast<std::int64_t>(Pick(5'000));
  Turn(side, [&] { side.queue.Publish(publisher, payloads, options); });
}

void QueueWorld::ReconnectProducer(Side& side) {
  // Ann does not resume: what was not answered is forgotten. A new stream counts from 1.
  side.unanswered["ann"].clear();
  side.next_id["ann"] = 1;
  side.next_id.try_emplace("pia", 1);
  Turn(side, [&] {
    side.queue.DetachPublisher("ann");
    side.queue.AttachPublisher("ann");
    if (Pick(2) == 0) side.queue.DetachPublisher("pia");
    side.queue.AttachPublisher("pia", kProducer);
  });
  Resend(side);
}

void QueueWorld::Resend(Side& side) {
  const std::map<std::uint64_t, Sent> again = side.unanswered["pia"];
  for (auto next = again.begin(); next != again.end();) {
    QueueHarness::PublishOptions options{.first_id = next->first,
                                         .answered_through = again.begin()->first - 1};
    std::vector<std::string> payloads;
    for (std::uint64_t id = next->first; next != again.end() && next->first == id; ++id, ++next) {
      payloads.push_back(next->second.payload);
      options.keys.push_back(next->second.key);
      if (!next->second.key.empty()) side.first_try.emplace(next->second.key, now_ms_);
    }
    if (Pick(2) == 0) options.wait_ms = static_cast<std::int64_t>(Pick(3'000));
    Turn(side, [&] { side.queue.Publish("pia", payloads, options); });
  }
}

void QueueWorld::CheckConfirms(Side& side, const std::string& publisher, const Confirms& confirms) {
  auto& unanswered = side.unanswered[publisher];
  for (const ConfirmedRange& range : confirms.ranges) {
    for (std::uint64_t i = 0; i < range.count; ++i) {
      const auto sent = unanswered.find(range.first_publish_id + i);
      if (sent == unanswered.end()) return Fail(side, "a publish id was answered twice");
      const auto stored = side.ever.find(range.first_sequence + i);
      if (stored == side.ever.end()) return Fail(side, "confirmed before it was on disk");
      if (stored->second != sent->second.payload) Fail(side, "confirmed as another message");
      unanswered.erase(sent);
    }
  }
  for (const PublishException& one : confirms.exceptions) {
    const auto sent = unanswered.find(one.publish_id);
    if (sent == unanswered.end()) return Fail(side, "a publish id was answered twice");
    CheckException(side, sent->second, one);
    unanswered.erase(sent);
  }
}

void QueueWorld::CheckException(Side& side, const Sent& sent, const PublishException& one) {
  if (const auto* duplicate = std::get_if<Duplicate>(&one.result)) {
    const auto original = side.ever.find(duplicate->sequence);
    if (original == side.ever.end() || original->second != sent.payload || sent.key.empty()) {
      Fail(side, "duplicate of a message that is no such");
    }
    return;
  }
  const auto* error = std::get_if<ErrorInfo>(&one.result);
  if (error == nullptr) return Fail(side, "dropped");
  if (error->reason == Reason::kIdempotencyConflict) {
    const auto original = side.ever.find(error->current);
    if (original == side.ever.end() || original->second == sent.payload) {
      Fail(side, "conflict with a message of the same body");
    }
  } else if (error->reason == Reason::kQueueFull) {
    const bool blocks = side.settings.overflow_policy == OverflowPolicy::kBlock;
    if (blocks || error->current > error->limit) Fail(side, "refused as full without need");
  } else if (error->reason != Reason::kBlockedTimeout) {
    Fail(side, std::string("refused with ") + ToString(error->reason));
  }
  const std::string name = sent.payload.substr(0, sent.payload.find('.'));
  if (sent.key.empty() && side.payloads.contains(name)) {
    Fail(side, "refused although it is stored: " + name);
  }
}

// ---- consuming

void QueueWorld::Attach(Side& side) {
  const std::string name = kConsumers[Pick(std::size(kConsumers))];
  if (side.model.consumers().contains(name)) return;
  ModelConsumer consumer{.marks_started = name == "meg", .on_demand = kSelecting.contains(name)};
  side.model.consumers()[name] = consumer;
  Turn(side, [&] {
    side.queue.AttachConsumer(
        name, {.marks_started = consumer.marks_started, .on_demand = consumer.on_demand});
  });
}

void QueueWorld::Detach(Side& side) {
  const std::string name = kConsumers[Pick(std::size(kConsumers))];
  if (!side.model.consumers().contains(name)) return;
  if (Pick(3) == 0) {
    const std::uint64_t released = side.model.Drain(name);
    Turn(side, [&] { side.queue.Step(DrainConsumer{side.queue.ConsumerIdOf(name)}); });
    for (const ConsumerDrained& drained : side.queue.Take<ConsumerDrained>()) {
      if (drained.released != released) Fail(side, "drain released something else");
    }
    return;
  }
  const bool keep = Pick(3) == 0;
  side.model.Detach(name, keep);
  Turn(side, [&] { side.queue.DetachConsumer(name, keep); });
}

void QueueWorld::Grant(Side& side) {
  const std::string name = kConsumers[Pick(std::size(kConsumers))];
  const auto found = side.model.consumers().find(name);
  if (found == side.model.consumers().end()) return;
  ModelConsumer& consumer = found->second;
  if (consumer.on_demand && !consumer.wanting) return;
  const std::uint64_t messages = 1 + Pick(6);
  const std::uint64_t bytes = 1 + Pick(2'000);
  consumer.wanting = false;
  if (!consumer.draining) {
    consumer.messages += static_cast<std::int64_t>(messages);
    consumer.bytes += static_cast<std::int64_t>(bytes);
  }
  Turn(side, [&] { side.queue.Grant(name, messages, bytes); });
}

DeliveryRange QueueWorld::AnyRange(Side& side) {
  if (side.stale.empty()) return {1, 1 + Pick(3)};
  // Mostly recent ones, which are likely to be held.
  const std::size_t back = Pick(std::min<std::size_t>(side.stale.size(), 30));
  const DeliveryId first = side.stale[side.stale.size() - 1 - back];
  return {first, first + (Pick(2) == 0 ? 0 : Pick(8))};
}

SettleOutcome QueueWorld::AnyOutcome() {
  switch (Pick(9)) {
    case 0:
      return RetryOutcome{std::nullopt, "failed"};
    case 1:
      return RetryOutcome{static_cast<std::int64_t>(Pick(3'000)) * kNsPerMs, "failed"};
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
  std::vector<SettleEntry> entries;
  std::uint64_t held = 0;
  std::uint64_t asked = 0;
  for (std::uint64_t i = 0; i <= Pick(3); ++i) {
    SettleEntry entry{AnyRange(side), AnyOutcome()};
    held += side.model.Settle(entry.range, entry.outcome);
    asked += entry.range.last - entry.range.first + 1;
    entries.push_back(std::move(entry));
  }
  Turn(side, [&] { side.settles[side.queue.AskSettle(std::move(entries))] = {held, asked}; });
}

void QueueWorld::Mark(Side& side) {
  const DeliveryRange range = AnyRange(side);
  side.model.MarkStarted(range);
  Turn(side, [&] { side.queue.Step(MarkStarted{{range}}); });
}

void QueueWorld::Purge(Side& side) {
  constexpr RequestId kPurges = 1'000'000;
  const RequestId request = kPurges + serial_++;
  side.settles[request] = {side.model.Purge(), 0};
  Turn(side, [&] { side.queue.Step(PurgeQueue{request}); });
}

void QueueWorld::CheckAnswers(Side& side) {
  for (const RequestDone& done : side.queue.Take<RequestDone>()) {
    const auto expected = side.settles.find(done.request);
    if (expected == side.settles.end()) return Fail(side, "a request was answered twice");
    const auto [held, asked] = expected->second;
    side.settles.erase(expected);
    if (const auto* purged = std::get_if<std::uint64_t>(&done.result)) {
      if (*purged != held) Fail(side, "purge counted something else");
      continue;
    }
    const auto& result = std::get<SettleResult>(done.result);
    std::uint64_t refused = 0;
    for (const auto& [range, error] : result.exceptions) refused += range.last - range.first + 1;
    if (result.settled != held) Fail(side, "settled what was not held, or not what was");
    if (result.settled + refused != asked) Fail(side, "a settle has not one result a delivery");
  }
}

// ---- time, crashes

void QueueWorld::Advance(std::int64_t ms) {
  now_ms_ += ms;
  for (Side* side : {&a_, &b_}) {
    side->lost = side->model.Advance(ms);
    Turn(*side, [&] { side->queue.Advance(ms); });
    if (!side->lost.empty()) Fail(*side, "a lease ended and nobody was told");
  }
}

void QueueWorld::Restart() {
  disk_->DropWaiting();
  commits_.clear();
  atomics_.clear();
  for (Side* side : {&a_, &b_}) {
    side->held_back.clear();
    side->settles.clear();
    side->model.Crash();
  }
  Turn(a_, [&] {
    b_.queue.Recover();
    a_.queue.Recover();
  });
  for (Side* side : {&a_, &b_}) ReconnectProducer(*side);
}

// ---- atomic requests

void QueueWorld::StartAtomic() {
  Atomic atomic{.source = &a_};
  for (std::uint64_t i = 0; i <= Pick(2); ++i)
    atomic.entries.push_back({AnyRange(a_), AckOutcome{}});
  std::vector<std::string> payloads;
  for (std::uint64_t i = Pick(3); i > 0; --i) {
    payloads.push_back("t" + std::to_string(serial_++) + ".");
  }
  Prepare(std::move(atomic), a_.queue.BatchOf(payloads), {});
}

void QueueWorld::Prepare(Atomic atomic, PublishBatch batch,
                         std::vector<storage::DeadLetterOrigin> origins) {
  const TransactionId id = next_transaction_++;
  const bool dead_letters = !origins.empty();
  if (Pick(2) == 0) batch.deadline_ns = b_.queue.around().now.steady_ns + 1'000 * kNsPerMs;
  atomics_[id] = std::move(atomic);
  Turn(b_, [&] {
    b_.queue.Step(PrepareTransaction{id, std::move(batch), dead_letters, std::move(origins)});
  });
}

void QueueWorld::MoveDeadLetters(Side& side, MoveToDeadLetter move) {
  Atomic atomic{.source = &side};
  PublishBatch batch;
  auto bodies = std::make_shared<std::vector<std::shared_ptr<const storage::Body>>>();
  std::vector<storage::DeadLetterOrigin> origins;
  for (MoveToDeadLetter::Item& item : move.items) {
    batch.messages.push_back(
        {.element = item.body->Element(item.index), .charge_bytes = item.charge_bytes});
    bodies->push_back(item.body);
    origins.push_back(item.origin);
    atomic.parked.push_back(item.sequence);
  }
  batch.owner = bodies;
  Prepare(std::move(atomic), std::move(batch), std::move(origins));
}

void QueueWorld::CommitAtomic(TransactionPrepared prepared) {
  const auto found = atomics_.find(prepared.transaction);
  if (found == atomics_.end()) return Fail(b_, "a transaction was prepared twice");
  if (!prepared.accepted) {
    atomics_.erase(found);
    return;
  }
  Atomic& atomic = found->second;
  for (const auto& result : prepared.results) {
    if (const auto* sequence = std::get_if<Sequence>(&result)) {
      atomic.stored.push_back(*sequence);
      b_.held_back.insert(*sequence);
    }
  }
  QueueModel& model = atomic.source->model;
  std::set<DeliveryId> seen;
  atomic.allowed = true;
  for (const SettleEntry& entry : atomic.entries) {
    for (DeliveryId id = entry.range.first; id <= entry.range.last; ++id) {
      atomic.allowed = atomic.allowed && seen.insert(id).second && model.FindDelivery(id);
    }
  }
  for (const Sequence parked : atomic.parked) {
    atomic.allowed = atomic.allowed && model.IsParked(parked);
  }
  CommitTransaction commit{.transaction = prepared.transaction,
                           .entries = atomic.entries,
                           .leaving = atomic.parked,
                           .parts = std::move(prepared.part),
                           .flush = prepared.flush};
  if (atomic.allowed) {
    for (const SettleEntry& entry : atomic.entries) model.Settle(entry.range, entry.outcome);
    for (const Sequence parked : atomic.parked) model.LeaveParked(parked);
  }
  Side& source = *atomic.source;
  Turn(source, [&] { source.queue.Step(std::move(commit)); });
}

void QueueWorld::EndAtomic(const TransactionDone& done) {
  const auto found = atomics_.find(done.transaction);
  if (found == atomics_.end()) return Fail(a_, "a transaction ended twice");
  const Atomic atomic = std::move(found->second);
  atomics_.erase(found);
  if (done.committed != atomic.allowed) Fail(a_, "an atomic request with a lost lease committed");
  for (const Sequence sequence : atomic.stored) {
    b_.held_back.erase(sequence);
    b_.model.EndTransaction(sequence, done.committed);
  }
  Turn(b_, [&] { b_.queue.Step(EndTransaction{done.transaction, done.committed}); });
}

// ---- the end

void QueueWorld::Drain() {
  for (int round = 0; round < 200 && complaint_.empty(); ++round) {
    while (!commits_.empty() && complaint_.empty()) CommitNext();
    for (Side* side : {&a_, &b_}) {
      auto& consumer = side->model.consumers()["last"];
      if (round == 0) Turn(*side, [&] { side->queue.AttachConsumer("last", {}); });
      consumer.messages += 20;
      consumer.bytes += 100'000;
      Turn(*side, [&] { side->queue.Grant("last", 20, 100'000); });
      std::vector<SettleEntry> entries;
      for (const auto& [sequence, message] : side->model.messages()) {
        if (message.state != ModelState::kInFlight) continue;
        entries.push_back({{message.delivery, message.delivery}, AckOutcome{}});
      }
      for (const SettleEntry& entry : entries) side->model.Settle(entry.range, entry.outcome);
      const std::uint64_t count = entries.size();
      Turn(*side, [&] { side->settles[side->queue.AskSettle(entries)] = {count, count}; });
    }
    Advance(5'000);
    if (round == 190) {  // what is parked
      Purge(a_);
      Purge(b_);
    }
  }
  if (!complaint_.empty()) return;
  for (Side* side : {&a_, &b_}) {
    if (!side->model.empty()) Fail(*side, "a confirmed message was never delivered");
    if (side->queue.Stats().backlog_bytes != 0) Fail(*side, "bytes are left of nothing");
    if (!side->settles.empty()) Fail(*side, "a request was never answered");
    for (const auto& [publisher, unanswered] : side->unanswered) {
      if (!unanswered.empty()) Fail(*side, publisher + " was never answered");
    }
  }
  using storage::Table;
  for (const Table table : {Table::kChunks, Table::kBodies, Table::kSettles, Table::kAttempts}) {
    if (disk_->rows(table) == 0) continue;
    Fail(a_, "rows are left in table " + std::string(storage::TableName(table)));
  }
}

}  // namespace mqd::queue::testing
