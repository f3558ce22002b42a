// world_between.cc: what the two queues do with each other: atomic requests, dead letters, diverts,
// and the questions of deliver_after.

#include <algorithm>

#include "tests/model/queue_world.h"

namespace mqd::queue::testing {

void QueueWorld::RunLater(bool all) {
  while (!later_.empty() && complaint_.empty() && (all || Pick(4) != 0)) {
    const std::function<void()> next = std::move(later_.front());
    later_.pop_front();
    next();
  }
}

/// What a turn asks of the other queue, and what it says of requests between them.
void QueueWorld::TakeRequestsOfQueues(Side& side) {
  ModelDues& dues = side.model.dues();
  std::size_t answered = 0;
  for (TransactionPrepared& prepared : side.queue.Take<TransactionPrepared>()) {
    if (answered >= dues.prepared.size()) return Fail(side, "a transaction was let in too early");
    const auto& [transaction, refusal] = dues.prepared[answered++];
    if (prepared.transaction != transaction) return Fail(side, "another transaction is next");
    if (prepared.accepted != refusal.empty()) {
      return Fail(side, "a transaction was decided otherwise: \"" + refusal + "\"");
    }
    auto kept = std::make_shared<TransactionPrepared>(std::move(prepared));
    later_.emplace_back([this, kept] { CommitAtomic(std::move(*kept)); });
  }
  if (answered < dues.prepared.size()) Fail(side, "a transaction was not decided");
  dues.prepared.clear();
  for (const TransactionDone& done : side.queue.Take<TransactionDone>()) {
    later_.emplace_back([this, done] { EndAtomic(done); });
  }
  for (MoveToDeadLetter& move : side.queue.Take<MoveToDeadLetter>()) {
    auto kept = std::make_shared<MoveToDeadLetter>(std::move(move));
    later_.emplace_back([this, &side, kept] { MoveDeadLetters(side, std::move(*kept)); });
  }
  for (DivertToDeadLetter& divert : side.queue.Take<DivertToDeadLetter>()) {
    if (dues.diverts.empty()) return Fail(side, "diverted without need");
    auto kept = std::make_shared<DivertToDeadLetter>(std::move(divert));
    const std::uint64_t number = dues.diverts.front();
    dues.diverts.pop_front();
    later_.emplace_back([this, &side, kept, number] { DivertOne(side, std::move(*kept), number); });
  }
  if (!dues.diverts.empty()) Fail(side, "not diverted");
  for (const AskRef& ask : side.queue.Take<AskRef>()) {
    const Question question{&side, ask.ref, std::nullopt};
    if (std::find(questions_.begin(), questions_.end(), question) == questions_.end()) {
      questions_.push_back(question);
    }
  }
  for (const TellRef& tell : side.queue.Take<TellRef>()) {
    Side& watcher = tell.watcher == a_.queue.id() ? a_ : b_;
    const bool settled = tell.answer.state == RefState::kSettled;
    if (settled && side.model.StateOf(tell.answer.ref.sequence) != RefState::kSettled) {
      Fail(side, "settled was said of what is not");
    }
    questions_.push_back({&watcher, tell.answer.ref, tell.answer.state});
  }
}

// ---- deliver_after

void QueueWorld::CarryQuestion() {
  if (questions_.empty()) return;
  const Question question = questions_.front();
  questions_.pop_front();
  if (question.answer.has_value()) {
    return Turn(
        *question.asker,
        [&] {
          question.asker->queue.Step(RefAnswer{question.ref, *question.answer});
        },
        [&](QueueModel& model) { model.Answered(question.ref, *question.answer); });
  }
  Side& asked = question.ref.queue == a_.queue.id() ? a_ : b_;
  Turn(
      asked,
      [&] {
        asked.queue.Step(WatchMessage{question.asker->queue.id(), question.ref.sequence});
      },
      [](QueueModel&) {});
}

// ---- atomic requests

void QueueWorld::StartAtomic() {
  Atomic atomic{.source = &a_, .target = &b_};
  for (std::uint64_t i = 0; i <= Pick(2); ++i) {
    atomic.entries.push_back({AnyRange(a_), AckOutcome{}});
  }
  const bool keyed = keys_ && Pick(6) == 0;
  if (keyed) Advance(10);
  std::vector<ModelSent> sent;
  for (std::uint64_t i = keyed ? 1 : Pick(3); i > 0; --i) {
    sent.push_back(AnyMessage(b_, keyed));
    sent.back().extras.deliver_after.clear();
  }
  if (!complaint_.empty()) return;
  std::vector<std::string> payloads;
  std::vector<std::string> keys;
  std::vector<Extras> extras;
  for (const ModelSent& one : sent) {
    payloads.push_back(one.payload);
    keys.push_back(one.key);
    extras.push_back(one.extras);
  }
  PublishBatch batch = b_.queue.BatchOf(payloads, keys, extras);
  Prepare(std::move(atomic), std::move(sent), std::move(batch), false, {});
}

void QueueWorld::Prepare(Atomic atomic, std::vector<ModelSent> sent, PublishBatch batch,
                         bool bypass, std::vector<storage::DeadLetterOrigin> origins) {
  const TransactionId id = next_transaction_++;
  Side& target = *atomic.target;
  ModelWaiter waiter{.messages = std::move(sent), .transaction = id, .bypass = bypass};
  if (Pick(2) == 0) {
    waiter.deadline_ms = clock_.steady_ms + 1'007;
    batch.deadline_ns = waiter.deadline_ms * kNsPerMs;
  }
  atomics_[id] = std::move(atomic);
  Turn(
      target,
      [&] {
        target.queue.Step(PrepareTransaction{id, std::move(batch), bypass, std::move(origins)});
      },
      [&](QueueModel& model) { model.Prepare(std::move(waiter)); });
}

void QueueWorld::MoveDeadLetters(Side& side, MoveToDeadLetter move) {
  for (const MoveToDeadLetter::Item& item : move.items) {
    const auto found = side.model.messages().find(item.sequence);
    const std::string payload = PayloadOf(item.body->Element(item.index));
    if (found != side.model.messages().end() && found->second.payload != payload) {
      Fail(side, "another message goes to the dead-letter queue");
    }
    Atomic atomic{.source = &side, .target = &b_, .leaving = {item.sequence}};
    PublishBatch batch{.owner = item.body};
    batch.messages.push_back(
        {.element = item.body->Element(item.index), .charge_bytes = item.charge_bytes});
    Prepare(std::move(atomic), {{.payload = payload, .charge = item.charge_bytes}},
            std::move(batch), true, {item.origin});
  }
}

void QueueWorld::DivertOne(Side& side, DivertToDeadLetter divert, std::uint64_t model_divert) {
  Atomic atomic{
      .source = &side, .target = &b_, .divert = divert.divert, .model_divert = model_divert};
  PublishBatch batch{.owner = divert.owner};
  batch.messages.push_back({.element = divert.element, .charge_bytes = divert.charge_bytes});
  const ModelSent sent{.payload = PayloadOf(divert.element), .charge = divert.charge_bytes};
  Prepare(std::move(atomic), {sent}, std::move(batch), true, {divert.origin});
}

void QueueWorld::RefuseAtomic(const Atomic& atomic) {
  Side& source = *atomic.source;
  if (atomic.divert != 0) {
    const ErrorInfo error{.reason = Reason::kQueueFull};
    return Turn(
        source,
        [&] {
          source.queue.Step(DivertFailed{atomic.divert, error});
        },
        [&](QueueModel& model) { model.EndDivert(atomic.model_divert, false); });
  }
  if (atomic.leaving.empty()) return;
  Turn(
      source, [&] { source.queue.Step(MoveFailed{atomic.leaving.front()}); }, [](QueueModel&) {});
}

void QueueWorld::CommitAtomic(TransactionPrepared prepared) {
  const auto found = atomics_.find(prepared.transaction);
  if (found == atomics_.end()) return Fail(b_, "a transaction was prepared twice");
  if (found->second.orphaned) {
    found->second.allowed = false;
    if (prepared.accepted) return EndAtomic({.transaction = prepared.transaction});
    atomics_.erase(found);
    return;
  }
  if (!prepared.accepted) {
    const Atomic refused = std::move(found->second);
    atomics_.erase(found);
    return RefuseAtomic(refused);
  }
  Atomic& atomic = found->second;
  Side& source = *atomic.source;
  std::set<DeliveryId> seen;
  atomic.allowed = !source.model.deleted();
  for (const auto& [range, outcome] : atomic.entries) {
    for (DeliveryId id = range.first; id <= range.last; ++id) {
      const bool held = source.model.FindDelivery(id) != nullptr || AtMostOnce(source);
      atomic.allowed = atomic.allowed && held && seen.insert(id).second;
    }
  }
  for (const Sequence sequence : atomic.leaving) {
    atomic.allowed = atomic.allowed && source.model.MayLeave(sequence);
  }
  CommitTransaction commit{.transaction = prepared.transaction,
                           .entries = atomic.entries,
                           .leaving = atomic.leaving,
                           .parts = std::move(prepared.part),
                           .flush = prepared.flush};
  if (atomic.divert != 0) commit.diverted = {atomic.divert};
  auto part = atomic.target->model.PartOf(prepared.transaction);
  Turn(
      source, [&] { source.queue.Step(std::move(commit)); },
      [&](QueueModel& model) {
        model.Used();
        if (!atomic.allowed) return;
        for (const SettleEntry& entry : atomic.entries) model.Settle(entry.range, entry.outcome);
        for (const Sequence sequence : atomic.leaving) model.Leave(sequence);
        if (atomic.divert != 0) model.EndDivert(atomic.model_divert, true);
        model.Carry(std::move(part));
      });
}

void QueueWorld::EndAtomic(const TransactionDone& done) {
  const auto found = atomics_.find(done.transaction);
  if (found == atomics_.end()) return Fail(a_, "a transaction ended twice");
  const Atomic atomic = std::move(found->second);
  atomics_.erase(found);
  if (done.committed != atomic.allowed) Fail(*atomic.source, "an atomic request ended otherwise");
  Turn(
      *atomic.target,
      [&] {
        atomic.target->queue.Step(EndTransaction{done.transaction, done.committed});
      },
      [&](QueueModel& model) { model.EndTransaction(done.transaction, done.committed); });
  if (!done.committed && !atomic.leaving.empty() && !atomic.orphaned) RefuseAtomic(atomic);
}

}  // namespace mqd::queue::testing
