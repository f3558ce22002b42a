// live_queue_actor_effects.cc: steps 3 and 5 of 5 (queue, delivery). Performs what a turn asked
// for.

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "asio/post.hpp"
#include "proto/base/assert.h"
#include "server/queue/live_queue_actor.h"
#include "server/queue/transaction.h"

namespace mqd::queue {

void LiveQueueActor::Perform() {
  Effects effects = std::exchange(effects_, {});
  for (CommitRequest& commit : effects.commits) Append(std::move(commit));
  for (const ChunkKey chunk : effects.loads) Load(chunk);
  CountCache();
  if (effects.deleted) {
    deleted_ = true;
    CountHeld();
    deps_.directory->Forget(name_, id_);
  }
  for (Effect& effect : effects.sends) {
    std::visit([this](auto& kind) { Perform(kind); }, effect);
  }
  if (effects.rebuild) StartFailing();
  WatchDeadLetters();
  ArmTimer();
}

void LiveQueueActor::Append(CommitRequest commit) {
  ++appends_outstanding_;
  commit.batch.Join(chain_);
  deps_.store->Append(
      deps_.shard, deps_.store->CurrentEpoch(), std::move(commit.batch), commit.sync,
      [self = shared_from_this(), id = commit.commit](storage::CommitResult result) {
        {
          base::MutexLock lock(self->mutex_);
          self->ended_.emplace_back(id, result.outcome);
          if (self->running_) return;
          self->running_ = true;
        }
        asio::post(self->deps_.pool, [self] { self->Run(); });
      });
}

void LiveQueueActor::Load(ChunkKey chunk) {
  deps_.store->ReadBody(
      deps_.shard, id_, chunk,
      [self = shared_from_this(),
       chunk](absl::StatusOr<std::shared_ptr<const storage::Body>> body) {
        BodyLoaded loaded{chunk, body.ok() ? *std::move(body) : nullptr};
        asio::post(self->deps_.pool, [self, loaded = std::move(loaded)]() mutable {
          self->Put(
              [self, loaded = std::move(loaded)]() mutable { self->Step(std::move(loaded)); });
        });
      });
}

void LiveQueueActor::ArmTimer() {
  const std::int64_t wake = core_->next_wake_ns();
  if (wake == kNever || wake >= armed_ns_) return;  // an early alarm only asks again
  armed_ns_ = wake;
  timer_.expires_at(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(wake)));
  timer_.async_wait([weak = weak_from_this()](const std::error_code& error) {
    if (error) return;
    if (const auto self = weak.lock()) {
      self->Put([actor = self.get()] {
        actor->armed_ns_ = kNever;
        actor->Step(Tick{});
      });
    }
  });
}

void LiveQueueActor::CountCache() {
  const std::uint64_t bytes = core_->resident_body_bytes();
  deps_.cached_bytes->fetch_add(bytes - counted_bytes_, std::memory_order_relaxed);
  counted_bytes_ = bytes;
}

/// After every event, so that what one freed the next one may take.
void LiveQueueActor::CountHeld() {
  if (deleted_) return share_.Count(0, 0);
  share_.Count(core_->held_messages(), core_->held_bytes());
}

// ---- alarms

/// `why` is what keeps the target from taking them, if that is the reason.
void LiveQueueActor::MoveFails(std::vector<Sequence> sequences, std::optional<ErrorInfo> why) {
  Put([this, sequences = std::move(sequences), why = std::move(why)] {
    for (const Sequence sequence : sequences) Step(MoveFailed{sequence});
    if (why.has_value() && why->reason != Reason::kOutcomeUnknown) DeadLettersWait(*why);
  });
}

void LiveQueueActor::DeadLettersWait(const ErrorInfo& why) {
  if (std::exchange(dead_letters_wait_, true) || !deps_.on_alarm) return;
  deps_.on_alarm({.queue = name_,
                  .raised = true,
                  .text = absl::StrCat("dead letters stay parked in queue ", name_,
                                       " and are tried again every second: ", why.message)});
}

void LiveQueueActor::WatchDeadLetters() {
  if (!dead_letters_wait_ || core_->Stats(around_.now).dead_letter_waiting > 0) return;
  dead_letters_wait_ = false;
  if (!deps_.on_alarm) return;
  deps_.on_alarm({.queue = name_,
                  .raised = false,
                  .text = absl::StrCat("no dead letter of queue ", name_, " waits any longer")});
}

// ---- sends

void LiveQueueActor::Perform(PublisherAttached& effect) {
  const auto found = publishers_.find(effect.publisher);
  if (found == publishers_.end()) return;
  const std::shared_ptr<PublishSink> sink = found->second;
  if (!effect.error.has_value()) return sink->OnAttached(effect.attached);
  publishers_.erase(found);
  sink->OnAttached(ToStatus(*effect.error));
}

void LiveQueueActor::Perform(SendConfirms& effect) {
  const auto found = publishers_.find(effect.publisher);
  if (found != publishers_.end()) found->second->OnConfirms(std::move(effect.confirms));
}

void LiveQueueActor::Perform(SendBlocked& effect) {
  const auto found = publishers_.find(effect.publisher);
  if (found != publishers_.end()) {
    found->second->OnBlocked(effect.first_publish_id, std::move(effect.reason));
  }
}

void LiveQueueActor::Perform(PublisherGone& effect) {
  const auto found = publishers_.find(effect.publisher);
  if (found == publishers_.end()) return;
  const std::shared_ptr<PublishSink> sink = std::move(found->second);
  publishers_.erase(found);
  sink->OnGoAway(effect.code, std::move(effect.error));
}

void LiveQueueActor::Perform(ConsumerAttached& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found == consumers_.end()) return;
  const ConsumerEntry entry = found->second;
  if (!effect.error.has_value()) return entry.sink->OnAttached(entry.slot, effect.lease_ms);
  consumers_.erase(found);
  entry.sink->OnAttached(entry.slot, ToStatus(*effect.error));
}

void LiveQueueActor::Perform(SendDeliveries& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found != consumers_.end()) {
    found->second.sink->OnDeliveries(found->second.slot, std::move(effect.batch));
  }
}

void LiveQueueActor::Perform(WantCredit& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found != consumers_.end()) found->second.sink->OnWantCredit(found->second.slot);
}

void LiveQueueActor::Perform(CreditReturned& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found == consumers_.end()) return;
  found->second.sink->OnCreditReturned(found->second.slot, effect.messages, effect.bytes,
                                       effect.more);
}

void LiveQueueActor::Perform(SendLeaseLost& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found == consumers_.end()) return;
  found->second.sink->OnLeaseLost(found->second.slot, std::move(effect.ranges), effect.code);
}

void LiveQueueActor::Perform(SendRecall& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found == consumers_.end()) return;
  found->second.sink->OnRecall(found->second.slot, std::move(effect.ranges));
}

void LiveQueueActor::Perform(SendEndOfQueue& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found != consumers_.end()) found->second.sink->OnEndOfQueue(found->second.slot);
}

void LiveQueueActor::Perform(ConsumerDrained& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found == consumers_.end()) return;
  found->second.sink->OnDrained(found->second.slot, effect.released, effect.in_flight);
}

void LiveQueueActor::Perform(ConsumerGone& effect) {
  const auto found = consumers_.find(effect.consumer);
  if (found == consumers_.end()) return;
  const ConsumerEntry entry = std::move(found->second);
  consumers_.erase(found);
  entry.sink->OnGoAway(entry.slot, effect.code, std::move(effect.error));
}

void LiveQueueActor::Perform(RequestDone& effect) {
  const auto found = requests_.find(effect.request);
  MQD_ASSERT(found != requests_.end());
  Answer answer = std::move(found->second);
  requests_.erase(found);
  answer(std::move(effect));
}

void LiveQueueActor::Perform(TransactionPrepared& effect) {
  const auto found = preparing_.find(effect.transaction);
  MQD_ASSERT(found != preparing_.end());
  auto done = std::move(found->second.second);
  preparing_.erase(found);
  done(std::move(effect));
}

void LiveQueueActor::Perform(TransactionDone& effect) {
  const auto found = committing_.find(effect.transaction);
  MQD_ASSERT(found != committing_.end());
  auto done = std::move(found->second);
  committing_.erase(found);
  done({.committed = effect.committed, .result = std::move(effect.result)});
}

void LiveQueueActor::Perform(MoveToDeadLetter& effect) {
  absl::StatusOr<std::shared_ptr<QueueActor>> target =
      deps_.directory->Find(core_->settings().dead_letter_queue);
  if (!target.ok()) {
    std::vector<Sequence> all;
    for (const MoveToDeadLetter::Item& item : effect.items) all.push_back(item.sequence);
    return MoveFails(std::move(all), ErrorInfoOf(target.status()));
  }
  auto bodies = std::make_shared<std::vector<std::shared_ptr<const storage::Body>>>();
  TransactionTarget move{.queue = *target, .bypass_dedup = true};
  std::vector<Sequence> leaving;
  for (MoveToDeadLetter::Item& item : effect.items) {
    move.batch.messages.push_back(
        {.element = item.body->Element(item.index), .charge_bytes = item.charge_bytes});
    move.origins.push_back(std::move(item.origin));
    leaving.push_back(item.sequence);
    bodies->push_back(std::move(item.body));
  }
  move.batch.owner = bodies;
  std::vector<TransactionTarget> targets;
  targets.push_back(std::move(move));
  RunTransaction({shared_from_this(), {}, leaving, {}}, std::move(targets),
                 [self = shared_from_this(), leaving](const TransactionResult& result) {
                   if (result.committed) return;
                   std::optional<ErrorInfo> why;
                   if (!result.refused_at_source) why = WhyRefused(result);
                   self->MoveFails(leaving, std::move(why));
                 });
}

void LiveQueueActor::Perform(DivertToDeadLetter& effect) {
  absl::StatusOr<std::shared_ptr<QueueActor>> dead_letters =
      deps_.directory->Find(core_->settings().dead_letter_queue);
  if (!dead_letters.ok()) {
    return Post(DivertFailed{effect.divert, ErrorInfoOf(dead_letters.status())});
  }
  TransactionTarget target{.queue = *std::move(dead_letters), .bypass_dedup = true};
  target.batch.messages.push_back({.element = effect.element, .charge_bytes = effect.charge_bytes});
  target.batch.owner = std::move(effect.owner);
  target.origins.push_back(std::move(effect.origin));
  std::vector<TransactionTarget> targets;
  targets.push_back(std::move(target));
  RunTransaction(
      {shared_from_this(), {}, {}, {effect.divert}}, std::move(targets),
      [self = shared_from_this(), divert = effect.divert](const TransactionResult& result) {
        if (result.committed) return;
        self->Post(DivertFailed{divert, WhyRefused(result)});
      });
}

// ---- deliver_after

void LiveQueueActor::Perform(AskRef& effect) {
  const std::shared_ptr<QueueActor> queue = deps_.directory->FindById(effect.ref.queue);
  if (queue != nullptr) return queue->Post(WatchMessage{id_, effect.ref.sequence});
  Post(RefAnswer{effect.ref, RefState::kUnknown});
}

void LiveQueueActor::Perform(TellRef& effect) {
  if (const std::shared_ptr<QueueActor> queue = deps_.directory->FindById(effect.watcher)) {
    queue->Post(effect.answer);
  }
}

// ---- peek

void LiveQueueActor::ReadPeeked(std::vector<PeekedMessage> peeked,
                                Callback<std::vector<PeekedMessage>> done) {
  std::size_t next = 0;
  while (next < peeked.size() && peeked[next].body != nullptr) ++next;
  if (next == peeked.size()) return done(std::move(peeked));
  const ChunkKey chunk = peeked[next].chunk;
  deps_.store->ReadBody(
      deps_.shard, id_, chunk,
      [self = shared_from_this(), chunk, peeked = std::move(peeked),
       done = std::move(done)](absl::StatusOr<std::shared_ptr<const storage::Body>> body) mutable {
        // A chunk that went away meanwhile takes its messages with it.
        std::erase_if(peeked, [&](PeekedMessage& message) {
          if (message.body != nullptr || message.chunk != chunk) return false;
          if (!body.ok()) return true;
          message.body = *body;
          return message.index >= (*body)->count();
        });
        asio::post(self->deps_.pool,
                   [self, peeked = std::move(peeked), done = std::move(done)]() mutable {
                     self->ReadPeeked(std::move(peeked), std::move(done));
                   });
      });
}

}  // namespace mqd::queue
