#include "tests/model/queue_world.h"

#include <algorithm>

namespace mqd::queue::testing {

QueueWorld::QueueWorld(std::uint64_t seed)
    : random_(seed),
      clock_{1'000'000, 1'700'000'000'000},
      b_settings_(RandomSettings(random_, false)),
      first_settings_(RandomSettings(random_, true)),
      b_(b_settings_, {disk_, 9, "default/b"}, clock_),
      a_(first_settings_, {disk_, 7, "default/a"}, clock_),
      keys_(seed % 3 != 0),
      special_(seed % 4 != 0) {
  for (Side* side : {&a_, &b_}) {
    side->queue.around().ledger = side->ledger.get();
    AttachPublisher(*side);
  }
}

void QueueWorld::Fail(const Side& side, const std::string& what) {
  if (complaint_.empty()) complaint_ = side.name + ": " + what;
}

void QueueWorld::Run(int events) {
  for (int event = 0; event < events && complaint_.empty(); ++event) {
    OneEvent();
    RunLater(false);
    if (!complaint_.empty()) complaint_ += " (event " + std::to_string(event) + ")";
  }
}

// ---- turns

bool QueueWorld::Pending(const Side& side) const {
  return std::any_of(commits_.begin(), commits_.end(),
                     [&](const Filed& filed) { return filed.side == &side; });
}

/// The model's changes go to disk with the commits that the turn has asked for.
void QueueWorld::File(Side& side, std::size_t commits) {
  ModelCommit changes = side.model.TakeCommit();
  ModelCommit handed_over = side.model.TakeHandedOver();
  if (commits == 0) {
    if (!changes.disk.empty() || !handed_over.disk.empty()) Fail(side, "a change is not written");
    for (auto filed = commits_.rbegin(); filed != commits_.rend(); ++filed) {
      if (filed->side != &side) continue;
      for (auto& step : changes.memory) filed->commit.memory.push_back(std::move(step));
      for (auto& step : handed_over.memory) filed->commit.memory.push_back(std::move(step));
      return;
    }
    for (auto& step : changes.memory) step();
    return;
  }
  for (std::size_t i = 0; i < commits; ++i) commits_.push_back({&side, {}});
  commits_[commits_.size() - commits].commit = std::move(changes);
  ModelCommit& last = commits_.back().commit;
  for (auto& step : handed_over.disk) last.disk.push_back(std::move(step));
  for (auto& step : handed_over.memory) last.memory.push_back(std::move(step));
}

void QueueWorld::EndTurn(Side& side, std::size_t commits, bool pending) {
  std::deque<Seen> seen;
  for (const Seen& one : side.queue.TakeDeliveries()) {
    seen.push_back(one);
    side.past.push_back(one.id);
    side.newest = std::max(side.newest, one.id);
  }
  const std::string wrong = side.model.EndTurn(commits > 0, pending, seen);
  if (!wrong.empty()) Fail(side, wrong);
  File(side, commits);
}

void QueueWorld::CommitNext() {
  if (commits_.empty()) return;
  const Filed filed = std::move(commits_.front());
  commits_.pop_front();
  Side& side = *filed.side;
  const std::size_t before = disk_->waiting() - 1;
  const bool pending = Pending(side);
  disk_->CommitNext();
  for (const auto& step : filed.commit.disk) step();
  for (const Stored& stored : disk_->TakeStored()) {
    const Side& owner = stored.queue == a_.queue.id() ? a_ : b_;
    if (!owner.model.OnDisk(stored)) Fail(owner, "stored as something else: " + stored.payload);
  }
  if (!side.model.deleted()) {
    for (const auto& step : filed.commit.memory) step();
  }
  const std::size_t commits = disk_->waiting() - before;
  const bool lived = !side.model.deleted();
  EndTurn(side, commits, pending);
  Observe(side);
  if (lived && side.model.deleted()) Recreate(side);
}

void QueueWorld::Observe(Side& side) {
  if (side.model.deleted()) {
    CheckRequests(side);
    return TakeRequestsOfQueues(side);
  }
  CheckGone(side);
  CheckDeliveries(side);
  CheckConfirms(side);
  CheckBlocked(side);
  CheckCredit(side);
  CheckRequests(side);
  CheckEnd(side);
  CheckCounts(side);
  TakeRequestsOfQueues(side);
  if (!complaint_.empty()) return;
  if (std::string left = side.model.NothingLeft(); !left.empty()) Fail(side, left);
  if (std::string left = side.model.CheckAnswers(Pending(side)); !left.empty()) Fail(side, left);
}

// ---- what came out

void QueueWorld::CheckGone(Side& side) {
  ModelDues& dues = side.model.dues();
  for (const SendLeaseLost& send : side.queue.Take<SendLeaseLost>()) {
    for (const DeliveryRange& range : send.ranges) {
      for (DeliveryId id = range.first; id <= range.last; ++id) {
        if (dues.lost.erase(id) == 0) Fail(side, "lease_lost for a lease that lives");
      }
    }
  }
  if (!dues.lost.empty()) Fail(side, "a lease ended and nobody was told");
  for (const PublisherGone& gone : side.queue.Take<PublisherGone>()) {
    if (dues.publishers_gone.erase(gone.publisher) == 0 || gone.code != GoAwayCode::kFenced) {
      Fail(side, "a publisher was sent away");
    }
  }
  if (!dues.publishers_gone.empty()) Fail(side, "a publisher was not fenced off");
  for (const ConsumerGone& gone : side.queue.Take<ConsumerGone>()) {
    if (dues.consumers_gone.erase(gone.consumer) == 0 || gone.code != GoAwayCode::kFenced) {
      Fail(side, "a consumer was sent away");
    }
  }
  if (!dues.consumers_gone.empty()) Fail(side, "a consumer was not fenced off");
}

void QueueWorld::CheckDeliveries(Side& side) {
  if (!side.model.dues().at_most_once.empty()) Fail(side, "what was settled was never sent");
  for (const SendRecall& recall : side.queue.Take<SendRecall>()) {
    const std::string wrong = side.model.Recall(recall.consumer, recall.ranges);
    if (!wrong.empty()) Fail(side, wrong);
  }
}

void QueueWorld::CheckConfirms(Side& side) {
  for (const SendConfirms& send : side.queue.Take<SendConfirms>()) {
    for (const ConfirmedRange& range : send.confirms.ranges) {
      for (std::uint64_t i = 0; i < range.count; ++i) {
        CheckConfirm(side, send.publisher, range.first_publish_id + i,
                     "stored as " + std::to_string(range.first_sequence + i));
      }
    }
    for (const PublishException& one : send.confirms.exceptions) {
      CheckConfirm(side, send.publisher, one.publish_id, NameOf(one.result));
    }
  }
}

void QueueWorld::CheckConfirm(Side& side, PublisherId publisher, std::uint64_t id,
                              const std::string& result) {
  const std::string wrong = side.model.Told(publisher, id, result);
  if (!wrong.empty()) Fail(side, wrong);
  side.streams[publisher].unanswered.erase(id);
  const auto who = side.model.publishers().find(publisher);
  if (who == side.model.publishers().end()) return Fail(side, "told to a publisher that is gone");
  if (!who->second.producer.empty()) side.resuming.unanswered.erase(id);
}

void QueueWorld::CheckBlocked(Side& side) {
  for (const SendBlocked& send : side.queue.Take<SendBlocked>()) {
    const bool begins = send.reason.has_value();
    const bool was = !side.blocked.insert(send.publisher).second;
    if (begins == was) Fail(side, "blocked twice, or not blocked and released");
    if (!begins) side.blocked.erase(send.publisher);
  }
  for (const auto& [publisher, who] : side.model.publishers()) {
    const bool told = side.blocked.contains(publisher);
    if (told && !side.model.Waiting(publisher)) Fail(side, "blocked, and nothing of it waits");
  }
}

void QueueWorld::CheckCredit(Side& side) {
  using Has = QueueModel::Has;
  auto& consumers = side.model.consumers();
  for (const CreditReturned& back : side.queue.Take<CreditReturned>()) {
    const auto found = consumers.find(back.consumer);
    if (found == consumers.end() || !found->second.on_demand) {
      return Fail(side, "credit came back from nobody");
    }
    ModelConsumer& consumer = found->second;
    if (static_cast<std::int64_t>(back.messages) != consumer.messages ||
        back.bytes != consumer.bytes) {
      Fail(side, "the credit that came back is not what was left");
    }
    consumer.messages = consumer.bytes = 0;
    consumer.wanting = back.more;
  }
  for (const WantCredit& want : side.queue.Take<WantCredit>()) {
    const auto found = consumers.find(want.consumer);
    if (found == consumers.end()) return Fail(side, "nobody is asked for credit");
    if (std::exchange(found->second.wanting, true)) Fail(side, "credit is asked for twice");
  }
  for (const auto& [id, consumer] : consumers) {
    if (!consumer.on_demand || consumer.draining) continue;
    const Has has = side.model.HasFor(id);
    if (has == Has::kSomething && !consumer.HasCredit() && !consumer.wanting) {
      Fail(side, consumer.name + " is not asked for credit");
    }
    if (has == Has::kNothing && (consumer.messages != 0 || consumer.bytes != 0)) {
      Fail(side, "credit of a select is kept by a queue that has nothing");
    }
  }
}

void QueueWorld::CheckEnd(Side& side) {
  const QueueModel& model = side.model;
  for (const SendEndOfQueue& end : side.queue.Take<SendEndOfQueue>()) {
    if (!model.closed()) Fail(side, "the end of a queue that is open");
    if (!side.told_end.insert(end.consumer).second) Fail(side, "the end was told twice");
    if (model.Slots() != model.Count(ModelState::kParked)) Fail(side, "the end came too early");
  }
  if (!model.closed() || Pending(side) || !model.waiters().empty()) return;
  if (model.Slots() != model.Count(ModelState::kParked)) return;
  for (const auto& [id, consumer] : model.consumers()) {
    if (!side.told_end.contains(id)) Fail(side, consumer.name + " was not told the end");
  }
}

void QueueWorld::CheckRequests(Side& side) {
  for (const RequestDone& done : side.queue.Take<RequestDone>()) {
    const auto found = side.requests.find(done.request);
    if (found == side.requests.end()) return Fail(side, "a request was answered twice");
    const Expected expected = found->second;
    side.requests.erase(found);
    if (const auto* count = std::get_if<std::uint64_t>(&done.result)) {
      if (*count != expected.held) Fail(side, "purge counted something else");
    } else if (const auto* cancelled = std::get_if<CancelResult>(&done.result)) {
      if (cancelled->cancelled != expected.held) Fail(side, "cancelled something else");
      if (cancelled->cancelled + cancelled->exceptions.size() != expected.asked) {
        Fail(side, "a cancel has not one result a sequence");
      }
    } else if (const auto* why = std::get_if<std::vector<Explanation>>(&done.result)) {
      const std::string wrong = side.model.WrongExplanation(*expected.subject, *why);
      if (!wrong.empty()) Fail(side, wrong);
    } else if (const auto* result = std::get_if<SettleResult>(&done.result)) {
      std::uint64_t refused = 0;
      for (const auto& [range, error] : result->exceptions) refused += range.last - range.first + 1;
      if (result->settled != expected.held)
        Fail(side, "settled what was not held, or not what was");
      if (result->settled + refused != expected.asked) {
        Fail(side, "a settle has not one result a delivery");
      }
    } else if (const auto* error = std::get_if<ErrorInfo>(&done.result)) {
      const auto* message =
          expected.subject.has_value() ? std::get_if<ExplainMessage>(&*expected.subject) : nullptr;
      const bool unknown =
          message != nullptr && side.model.StateOf(message->sequence) == RefState::kUnknown;
      if (side.model.deleted() && error->reason == Reason::kQueueNotFound) continue;
      if (!unknown || error->reason != Reason::kMessageNotFound) {
        Fail(side, "a request was refused: " + error->message);
      }
    }
  }
}

void QueueWorld::CheckCounts(Side& side) {
  const QueueStats stats = side.queue.Stats();
  const QueueModel& model = side.model;
  const auto same = [&](const char* what, std::uint64_t have, std::uint64_t want) {
    if (have == want) return;
    Fail(side, std::string(what) + " is " + std::to_string(have) + ", not " + std::to_string(want));
  };
  same("committing", stats.committing, model.Count(ModelState::kCommitting));
  same("ready", stats.ready, model.Count(ModelState::kReady));
  same("in_flight", stats.in_flight,
       model.Count(ModelState::kInFlight) + model.Count(ModelState::kSettling) +
           model.Count(ModelState::kReturning));
  same("delayed", stats.delayed, model.Count(ModelState::kDelayed));
  same("parked", stats.parked, model.Count(ModelState::kParked));
  same("backlog_bytes", stats.backlog_bytes, model.Bytes());
  same("awaited_confirms", stats.awaited_confirms, model.Awaited());
  same("publishers", stats.publishers, side.model.publishers().size());
  same("consumers", stats.consumers, model.consumers().size());
  // A bound that was lowered below what is held lets nothing more in.
  const QueueSettings& settings = model.settings();
  const std::uint64_t slots =
      stats.ready + stats.in_flight + stats.delayed + stats.parked + stats.committing;
  if (settings.max_messages > 0 && slots > std::max(settings.max_messages, side.slots_before)) {
    Fail(side, "max_messages is exceeded");
  }
  if (stats.backlog_bytes > std::max(settings.max_bytes, side.bytes_before)) {
    Fail(side, "max_bytes is exceeded");
  }
  if (stats.dedup_entries > std::max(settings.dedup_max_entries, side.keys_before)) {
    Fail(side, "dedup_max_entries is exceeded");
  }
  side.keys_before = stats.dedup_entries;
  side.slots_before = slots;
  side.bytes_before = stats.backlog_bytes;
  CheckConservation(side, stats);
}

/// Accepted = acked + ready + in flight + delayed + parked + dead-lettered + dropped + expired +
/// purged + cancelled.
void QueueWorld::CheckConservation(Side& side, const QueueStats& stats) {
  const ModelCounts& counts = side.model.counts();
  const auto same = [&](const char* what, std::uint64_t have, std::uint64_t want) {
    if (have == want) return;
    Fail(side,
         std::string(what) + " counts " + std::to_string(have) + ", not " + std::to_string(want));
  };
  same("published", stats.published, counts.published);
  same("acked", stats.acked, counts.acked);
  same("dead_lettered", stats.dead_lettered, counts.dead_lettered);
  same("dropped", stats.dropped, counts.dropped);
  same("expired", stats.expired, counts.expired);
  same("purged", stats.purged, counts.purged);
  same("cancelled", stats.cancelled, counts.cancelled);
  same("diverted", stats.diverted, counts.diverted);
  const std::uint64_t settling = side.model.Count(ModelState::kSettling);
  same("what was accepted", stats.published + counts.restored,
       stats.acked + stats.dead_lettered + counts.victims + stats.expired + stats.purged +
           stats.cancelled + stats.ready + stats.in_flight - settling + stats.delayed +
           stats.parked);
}

// ---- the end

/// Nothing holds up anything any more, and one consumer takes it all.
void QueueWorld::OpenUp(Side& side) {
  while (!side.model.consumers().empty()) {
    const ConsumerId gone = side.model.consumers().begin()->first;
    Turn(
        side, [&] { side.queue.Step(queue::DetachConsumer{gone}); },
        [&](QueueModel& model) { model.DetachConsumer(gone, false); });
  }
  side.queue.around().disk_low = side.model.world().disk_low = false;
  side.ledger->full = side.model.world().quota_full = false;
  if (side.model.closed()) CloseOrReopen(side);
  QueueSettings settings = side.model.settings();
  settings.max_messages = 1'000;
  settings.max_bytes = 1'000'000;
  settings.max_consumers = kUnlimited;
  settings.paused = Paused::kNone;
  settings.expires_after_idle = std::chrono::milliseconds(0);
  settings.max_publish_rate = settings.max_delivery_rate = kUnlimited;
  if (settings.overflow_policy == OverflowPolicy::kThrottle) {
    settings.overflow_policy = OverflowPolicy::kBlock;
  }
  Apply(side, settings);
  Turn(
      side, [&] { side.queue.AttachConsumer("last", {}); },
      [&](QueueModel& model) {
        model.AttachConsumer(side.queue.ConsumerIdOf("last"), {.name = "last"}, false);
      });
}

void QueueWorld::TakeAll(Side& side) {
  const ConsumerId last = side.queue.ConsumerIdOf("last");
  Turn(
      side,
      [&] {
        side.queue.Step(GrantCredit{last, 50, 100'000});
      },
      [&](QueueModel& model) { model.Grant(last, 50, 100'000); });
  std::vector<SettleEntry> entries;
  for (const auto& [sequence, message] : side.model.messages()) {
    if (message.state != ModelState::kInFlight) continue;
    entries.push_back({{message.delivery, message.delivery}, AckOutcome{}});
  }
  const std::uint64_t count = entries.size();
  Turn(
      side,
      [&] {
        side.requests[side.queue.AskSettle(entries)] = {count, count, {}};
      },
      [&](QueueModel& model) {
        for (const SettleEntry& entry : entries) model.Settle(entry.range, entry.outcome);
      });
}

void QueueWorld::Drain() {
  for (Side* side : {&a_, &b_}) OpenUp(*side);
  for (int round = 0; round < 60 && complaint_.empty(); ++round) {
    while (!commits_.empty() && complaint_.empty()) CommitNext();
    RunLater(true);
    while (!questions_.empty() && complaint_.empty()) CarryQuestion();
    for (Side* side : {&a_, &b_}) TakeAll(*side);
    Advance(5'000);
    const bool empty = a_.model.Slots() == 0 && b_.model.Slots() == 0;
    if (empty && commits_.empty() && later_.empty() && questions_.empty()) break;
    if (round < 40) continue;
    for (Side* side : {&a_, &b_}) Purge(*side);  // what is parked
  }
  if (complaint_.empty()) CheckNothingIsLeft();
}

void QueueWorld::CheckNothingIsLeft() {
  for (Side* side : {&a_, &b_}) {
    if (side->model.Slots() > 0) Fail(*side, "a confirmed message was never delivered");
    if (!side->requests.empty()) Fail(*side, "a request was never answered");
    for (const auto& [publisher, who] : side->model.publishers()) {
      if (!side->streams[publisher].unanswered.empty()) Fail(*side, who.name + " got no answer");
    }
  }
  using storage::Table;
  for (const Table table : {Table::kChunks, Table::kBodies, Table::kSettles, Table::kAttempts}) {
    if (disk_->rows(table) == 0) continue;
    Fail(a_, "rows are left in table " + std::string(storage::TableName(table)));
  }
}

}  // namespace mqd::queue::testing
