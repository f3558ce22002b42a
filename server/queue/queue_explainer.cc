// queue_explainer.cc: step 3 of 5 (queue). Why something does not move.

#include "server/queue/queue_explainer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mqd::queue {

using storage::HeldState;

namespace {
constexpr std::size_t kKeysNamed = 3;
}  // namespace

std::vector<Explanation> QueueExplainer::Explain(const ExplainSubject& subject) {
  return std::visit([this](const auto& kind) { return Of(kind); }, subject);
}

WallMs QueueExplainer::WallOf(std::int64_t steady_ns) const {
  const Now& now = core_.around_->now;
  return now.wall_ms + (steady_ns - now.steady_ns) / kNsPerMs;
}

std::string QueueExplainer::Client(const char* kind, std::uint64_t id,
                                   const std::string& name) const {
  return absl::StrCat(kind, " ", id, " (", name.empty() ? "no name" : name, ")");
}

// ---- the queue

std::optional<Explanation> QueueExplainer::QueueHolds() {
  if (core_.consume_paused()) {
    return Explanation{.cause = Cause::kConsumePaused,
                       .text = "consuming is paused; resume the queue"};
  }
  if (core_.consumers_.empty()) {
    return Explanation{.cause = Cause::kNoConsumers, .text = "no consumer is attached"};
  }
  const std::uint64_t rate = core_.settings_.max_delivery_rate;
  if (core_.delivery_rate_.Available(core_.now_ns(), rate) == 0) {
    return Explanation{.cause = Cause::kDeliveryRate,
                       .text = absl::StrCat("max_delivery_rate is ", rate, " messages a second"),
                       .until_ms = WallOf(core_.delivery_rate_.NextNs(rate)),
                       .limit = rate};
  }
  return std::nullopt;
}

Explanation QueueExplainer::NobodyTakes() {
  if (auto holds = QueueHolds()) return *std::move(holds);
  if (!core_.idle_credit_.empty()) {
    const Sequence fresh = core_.FirstFresh();
    const auto head = core_.lanes_.Next(fresh, core_.now_ns(), kNever);
    const Chunk* chunk = head.has_value() ? core_.FindChunk(head->sequence) : nullptr;
    if (chunk != nullptr && chunk->body == nullptr) {
      return {.cause = Cause::kLoading,
              .text = "the next message's body is being read from disk",
              .sequence = head->sequence};
    }
    return {.cause = Cause::kMoving, .text = "it is being delivered"};
  }
  std::optional<Explanation> best;
  for (const auto& [id, consumer] : core_.consumers_) {
    auto holds = ConsumerHolds(id, consumer);
    if (holds.has_value() && (!best.has_value() || holds->cause < best->cause)) best = holds;
  }
  return best.value_or(Explanation{.cause = Cause::kNoCredit, .text = "no consumer has credit"});
}

std::vector<Explanation> QueueExplainer::Of(const ExplainQueue&) {
  Causes causes;
  if (core_.HasReady()) {
    causes.push_back(NobodyTakes());
  } else if (core_.ReadyCount() > 0) {
    causes = ReadyKeysHold();
    if (causes.empty()) causes.push_back(NobodyTakes());
  }
  if (!core_.waiters_.empty()) causes.push_back(WhyWaits(core_.waiters_.front(), true));
  if (core_.closed_) {
    causes.push_back({.cause = Cause::kClosed, .text = "the queue is closed to publishers"});
  }
  if (core_.publish_paused()) {
    causes.push_back({.cause = Cause::kPublishPaused, .text = "publishing is paused"});
  }
  if (core_.around_->disk_low) {
    causes.push_back({.cause = Cause::kDiskLow,
                      .text = "the broker's disk is nearly full: publishes are refused"});
  }
  if (core_.next_move_ns_ != kNever && core_.held_.parked() > 0) {
    causes.push_back({.cause = Cause::kDeadLetterQueueFull,
                      .text = absl::StrCat(core_.to_move_.size() + core_.moving_.size(),
                                           " parked messages wait for room in the dead-letter "
                                           "queue; it is full, closed, paused or missing"),
                      .resource = absl::StrCat("queue ", core_.settings_.dead_letter_queue)});
  }
  if (!causes.empty()) return causes;
  if (core_.in_flight_.messages() > 0) {
    const FlightRun& oldest = core_.in_flight_.runs().begin()->second;
    causes.push_back({.cause = Cause::kInFlight,
                      .text = "every message that is not delayed or parked is in flight",
                      .resource = Client("consumer", oldest.consumer, core_.NameOf(oldest)),
                      .delivery_id = oldest.first});
  }
  if (!core_.held_.live().empty() && core_.held_.delayed() > 0) {
    for (const auto& [sequence, held] : core_.held_.live()) {
      if (held.state != HeldState::kDelayed) continue;
      causes.push_back(WhyDelayed(sequence, held));
      break;
    }
  }
  if (core_.held_.parked() > 0) {
    const auto& [sequence, held] = *core_.held_.parked_rows().begin();
    causes.push_back(WhyParked(sequence, held));
  }
  if (core_.committing_ + core_.settling_ + core_.returning_ > 0) {
    causes.push_back({.cause = Cause::kCommitting, .text = "a commit is under way"});
  }
  if (causes.empty()) causes.push_back({.cause = Cause::kEmpty, .text = "the queue is empty"});
  return causes;
}

// ---- consumers

std::optional<Explanation> QueueExplainer::ConsumerHolds(ConsumerId id, const Consumer& consumer) {
  Explanation why{.resource = Client("consumer", id, consumer.client_name)};
  if (consumer.draining) {
    why.cause = Cause::kDraining;
    why.text = "the consumer drains and takes nothing new";
  } else if (core_.settings_.single_active && id != core_.active_) {
    why.cause = Cause::kStandby;
    why.text = "single_active: another consumer is active, this one is next in line";
    why.resource = Client("consumer", core_.active_, core_.NameOf(core_.active_));
  } else if (consumer.on_demand && consumer.credit_messages <= 0) {
    why.cause = Cause::kSelectBusy;
    why.text = "its select stream serves its other queues, or has no credit left";
  } else if (consumer.credit_messages <= 0) {
    why.cause = Cause::kNoCredit;
    why.text = "the consumer has granted no more credit in messages";
  } else if (consumer.credit_bytes <= 0) {
    why.cause = Cause::kCreditBytesSpent;
    why.text = absl::StrCat("the consumer has ", consumer.credit_bytes,
                            " bytes of credit left; grant bytes too");
  } else {
    return std::nullopt;
  }
  return why;
}

std::vector<Explanation> QueueExplainer::Of(const ExplainConsumer& subject) {
  Causes causes;
  for (const auto& [id, consumer] : core_.consumers_) {
    if (subject.id != 0 ? id != subject.id : consumer.client_name != subject.name) continue;
    if (core_.consume_paused()) {
      causes.push_back(*QueueHolds());
    } else if (auto holds = ConsumerHolds(id, consumer)) {
      causes.push_back(*std::move(holds));
    } else if (core_.HasReady() || !consumer.own.empty()) {
      causes.push_back(QueueHolds().value_or(NobodyTakes()));
    } else {
      Causes queue = Of(ExplainQueue{});
      queue.front().resource = Client("consumer", id, consumer.client_name);
      causes.push_back(std::move(queue.front()));
    }
  }
  if (causes.empty()) {
    causes.push_back({.cause = Cause::kNoConsumers, .text = "no such consumer is attached"});
  }
  return causes;
}

// ---- publishers

Explanation QueueExplainer::WhyWaits(const Waiter& waiter, bool first) {
  Explanation why;
  const auto publisher = core_.publishers_.find(waiter.batch.publisher);
  if (publisher != core_.publishers_.end()) {
    why.resource = Client("publisher", publisher->first, publisher->second.client_name);
    why.since_ms = publisher->second.blocked_since_ms;
  }
  if (waiter.batch.deadline_ns != kNever) why.until_ms = WallOf(waiter.batch.deadline_ns);
  switch (first ? waiter.waits_for : core_.waiters_.front().waits_for) {
    case WaitFor::kRate:
      why.cause = Cause::kPublishRate;
      why.limit = core_.settings_.max_publish_rate;
      why.text = absl::StrCat("max_publish_rate is ", why.limit, " messages a second");
      break;
    case WaitFor::kTaker:
      why.cause = Cause::kNoRendezvous;
      why.text = "max_messages is 0 and no consumer with credit is waiting";
      break;
    case WaitFor::kKey:
      why.cause = Cause::kKeyPending;
      why.text = "an earlier message with the same idempotency_key is not decided yet";
      break;
    case WaitFor::kRefs:
      why.cause = Cause::kWaitsForMessage;
      why.text = "another queue is asked about deliver_after";
      break;
    case WaitFor::kCommit:
      why.cause = Cause::kCommitting;
      why.text = "what could be dropped for it is being committed";
      break;
    case WaitFor::kRoom: {
      const ErrorInfo full = core_.FullError();
      why.cause = Cause::kQueueFull;
      why.text = full.message;
      why.limit = full.limit;
      why.current = full.current;
      break;
    }
  }
  if (!first) absl::StrAppend(&why.text, "; earlier publishes wait in line before it");
  return why;
}

std::vector<Explanation> QueueExplainer::Of(const ExplainPublisher& subject) {
  Causes causes;
  for (const auto& [id, publisher] : core_.publishers_) {
    if (subject.id != 0 ? id != subject.id : publisher.client_name != subject.name) continue;
    const std::string client = Client("publisher", id, publisher.client_name);
    const Waiter* waiting = nullptr;
    for (const Waiter& waiter : core_.waiters_) {
      if (waiter.transaction != 0 || waiter.batch.publisher != id) continue;
      waiting = &waiter;
      break;
    }
    if (waiting != nullptr) {
      causes.push_back(WhyWaits(*waiting, waiting == &core_.waiters_.front()));
    } else if (core_.closed_) {
      causes.push_back(
          {.cause = Cause::kClosed, .text = "the queue is closed", .resource = client});
    } else if (core_.publish_paused()) {
      causes.push_back(
          {.cause = Cause::kPublishPaused, .text = "publishing is paused", .resource = client});
    } else if (core_.around_->disk_low) {
      causes.push_back({.cause = Cause::kDiskLow,
                        .text = "the broker's disk is nearly full",
                        .resource = client});
    } else if (const auto refused = Refuses(); refused.has_value()) {
      causes.push_back(*refused);
      causes.back().resource = client;
    } else if (!core_.sent_.empty() && core_.committing_ > 0) {
      causes.push_back(
          {.cause = Cause::kCommitting, .text = "a commit is under way", .resource = client});
    } else {
      causes.push_back({.cause = Cause::kIdle,
                        .text = "it may publish; everything it sent has been decided",
                        .resource = client});
    }
  }
  if (causes.empty()) {
    causes.push_back({.cause = Cause::kIdle, .text = "no such publisher is attached"});
  }
  return causes;
}

std::optional<Explanation> QueueExplainer::Refuses() {
  if (core_.publish_rate_.Available(core_.now_ns(), core_.settings_.max_publish_rate) == 0) {
    return Explanation{.cause = Cause::kPublishRate,
                       .text = core_.WaitError(WaitFor::kRate).message,
                       .limit = core_.settings_.max_publish_rate};
  }
  const bool drops = core_.settings_.overflow_policy == OverflowPolicy::kDropOldest;
  if (!drops && !core_.HasRoom(1)) {
    const ErrorInfo full = core_.FullError();
    return Explanation{.cause = core_.rendezvous() ? Cause::kNoRendezvous : Cause::kQueueFull,
                       .text = full.message,
                       .limit = full.limit,
                       .current = full.current};
  }
  if (core_.around_->ledger != nullptr) {
    if (const auto quota = core_.around_->ledger->Full()) {
      return Explanation{.cause = Cause::kQuota,
                         .text = quota->message,
                         .limit = quota->limit,
                         .current = quota->current};
    }
  }
  if (!core_.HasDedupRoom(1)) {
    return Explanation{.cause = Cause::kDedupFull,
                       .text = core_.DedupFullError().message,
                       .limit = core_.settings_.dedup_max_entries,
                       .current = core_.dedup_.size()};
  }
  return std::nullopt;
}

// ---- keys

/// Messages are ready, and yet for nobody: keys, or consumers to which they stick. Those of the
/// lowest sequences, at most kKeysNamed.
QueueExplainer::Causes QueueExplainer::ReadyKeysHold() {
  Causes causes;
  std::vector<const KeyState*> named;
  for (const auto& [sequence, held] : core_.held_.live()) {
    if (named.size() == kKeysNamed) break;
    if (held.state != HeldState::kReady || held.key == nullptr) continue;
    if (std::find(named.begin(), named.end(), held.key) != named.end()) continue;
    auto holds = KeyHolds(*held.key);
    if (!holds.has_value()) continue;
    named.push_back(held.key);
    causes.push_back(*std::move(holds));
  }
  return causes;
}

std::optional<Explanation> QueueExplainer::KeyHolds(const KeyState& key) {
  if (core_.keyed() && key.busy > 0) {
    const FlightRun* flight = core_.FlightOf(key);
    if (flight == nullptr) {
      return Explanation{
          .cause = Cause::kCommitting,
          .text = absl::StrCat("the settle of key \"", key.name, "\" is being committed"),
          .resource = Client("consumer", key.holder, core_.NameOf(key.holder)),
          .delivery_id = key.flight};
    }
    const std::string client = Client("consumer", flight->consumer, core_.NameOf(*flight));
    return Explanation{.cause = Cause::kKeyHeld,
                       .text = absl::StrCat("key \"", key.name, "\" is held by delivery ",
                                            flight->first, " of ", client),
                       .resource = client,
                       .delivery_id = flight->first};
  }
  if (key.waiting.empty()) return std::nullopt;
  const Sequence head = *key.waiting.begin();
  const Held& held = *core_.held_.Find(head);
  if (held.state == HeldState::kDelayed) {
    return Explanation{.cause = Cause::kKeyWaitsForRetry,
                       .text = absl::StrCat("sequence ", head, " of key \"", key.name,
                                            "\" waits for its retry, and its key with it"),
                       .sequence = head,
                       .until_ms = WallOf(held.due)};
  }
  if (key.placed_with != 0) {
    const Consumer& owner = core_.consumers_.at(key.placed_with);
    if (auto holds = ConsumerHolds(key.placed_with, owner)) {
      return Explanation{.cause = Cause::kStickyOwnerBusy,
                         .text = absl::StrCat("key \"", key.name,
                                              "\" belongs to a consumer that "
                                              "cannot take: ",
                                              holds->text),
                         .resource = Client("consumer", key.placed_with, owner.client_name),
                         .sequence = head};
    }
  }
  return std::nullopt;
}

std::vector<Explanation> QueueExplainer::Of(const ExplainKey& subject) {
  const KeyState* key = core_.keys_.Find(subject.key);
  if (key == nullptr) {
    return {{.cause = Cause::kIdle, .text = "no message of this key waits or is in flight"}};
  }
  if (auto holds = KeyHolds(*key)) return {*std::move(holds)};
  if (key->waiting.empty() && key->busy == 0) {
    return {{.cause = Cause::kIdle, .text = "its messages are delayed or parked"}};
  }
  if (key->waiting.empty()) {
    if (const FlightRun* flight = core_.FlightOf(*key)) {
      return {{.cause = Cause::kInFlight,
               .text = "its messages are in flight",
               .resource = Client("consumer", flight->consumer, core_.NameOf(*flight)),
               .delivery_id = flight->first}};
    }
    return {{.cause = Cause::kCommitting, .text = "what became of them is being committed"}};
  }
  const Sequence head = *key->waiting.begin();
  return {WhyReady(head, *core_.FindChunk(head))};
}

// ---- messages

Explanation QueueExplainer::WhyDelayed(Sequence sequence, const Held& held) {
  Explanation why{.sequence = sequence};
  switch (held.wait) {
    case Wait::kRetry:
      why.cause = Cause::kRetryWait;
      why.until_ms = WallOf(held.due);
      why.text = absl::StrCat("attempt ", held.attempts, " failed; it waits for its retry",
                              held.notes.empty() ? "" : ": ",
                              held.notes.empty() ? "" : held.notes.back().error);
      break;
    case Wait::kMessages: {
      why.cause = Cause::kWaitsForMessage;
      why.text = absl::StrCat("deliver_after: ", held.refs, " of the named messages not settled");
      for (const auto& ref : held.chunk->ControlOf(held.index)->deliver_after) {
        if (core_.waiting_refs_.contains(ref)) {
          why.resource = absl::StrCat("message ", ref.sequence, " of queue number ", ref.queue);
        }
      }
      break;
    }
    default:
      why.cause = Cause::kDelayed;
      why.until_ms = held.wait == Wait::kWallTime ? held.due : WallOf(held.due);
      why.text = "it was published with delay or deliver_at";
  }
  return why;
}

Explanation QueueExplainer::WhyParked(Sequence sequence, const Held& held) {
  const std::string reason = held.notes.empty() ? "" : held.notes.back().error;
  if (!core_.to_dead_letters()) {
    return {.cause = Cause::kParked,
            .text = absl::StrCat("parked after ", held.attempts, " attempts: ", reason,
                                 "; set a dead_letter_queue, or cancel it"),
            .sequence = sequence};
  }
  return {.cause = core_.next_move_ns_ != kNever ? Cause::kDeadLetterQueueFull : Cause::kMoving,
          .text = core_.next_move_ns_ != kNever
                      ? "its dead-letter queue is full, closed, paused or missing"
                      : "it is on its way to the dead-letter queue",
          .resource = absl::StrCat("queue ", core_.settings_.dead_letter_queue),
          .sequence = sequence};
}

Explanation QueueExplainer::WhyInFlight(Sequence sequence, const Chunk& chunk,
                                        std::uint32_t index) {
  const FlightRun* run = core_.in_flight_.Find(&chunk, index);
  if (run == nullptr) {
    return {
        .cause = Cause::kCommitting, .text = "its settle is being committed", .sequence = sequence};
  }
  return {.cause = Cause::kInFlight,
          .text = absl::StrCat("attempt ", run->attempt, " is with ",
                               Client("consumer", run->consumer, core_.NameOf(*run)),
                               run->started ? "" : ", which has not begun it"),
          .resource = Client("consumer", run->consumer, core_.NameOf(*run)),
          .delivery_id = run->first + (index - run->first_index),
          .sequence = sequence,
          .until_ms = WallOf(run->deadline_ns)};
}

Explanation QueueExplainer::WhyReady(Sequence sequence, const Chunk& chunk) {
  Explanation why;
  const Held* held = core_.held_.Find(sequence);
  if (!chunk.committed) {
    why = {.cause = Cause::kCommitting, .text = "it is being committed"};
  } else if (auto holds = QueueHolds()) {
    why = *std::move(holds);
  } else if (held != nullptr && held->key != nullptr && KeyHolds(*held->key).has_value()) {
    why = *KeyHolds(*held->key);
  } else {
    const auto head = core_.lanes_.Next(core_.FirstFresh(), core_.now_ns(), kNever);
    const bool placed_here =
        held == nullptr || held->key == nullptr || !core_.keyed() || held->key->placed == sequence;
    if (placed_here && head.has_value() && head->sequence == sequence) {
      why = NobodyTakes();
    } else {
      why = {.cause = Cause::kBehindOthers,
             .text = "it is ready, and others are delivered before it"};
      if (head.has_value()) why.sequence = head->sequence;
      return why;
    }
  }
  why.sequence = sequence;
  return why;
}

std::vector<Explanation> QueueExplainer::Of(const ExplainMessage& subject) {
  const Sequence sequence = subject.sequence;
  const Chunk* chunk = core_.FindChunk(sequence);
  const auto index = chunk == nullptr ? std::nullopt : chunk->IndexOf(sequence);
  const MessageStatus status = core_.StatusOf(sequence);
  if (!index.has_value() && status != MessageStatus::kSettled) {
    return {{.cause = Cause::kCommitting,
             .text = "it waits for the atomic request that publishes it",
             .sequence = sequence}};
  }
  if (!index.has_value() || status == MessageStatus::kSettled) {
    const bool given = sequence > 0 && sequence < core_.next_sequence_;
    return {{.cause = Cause::kSettled,
             .text = given ? "it is settled: acknowledged, dead-lettered, dropped, expired, "
                             "cancelled or purged"
                           : "no message has this sequence yet",
             .sequence = sequence}};
  }
  switch (status) {
    case MessageStatus::kDelayed:
      return {WhyDelayed(sequence, *core_.held_.Find(sequence))};
    case MessageStatus::kParked:
      return {WhyParked(sequence, *core_.held_.Find(sequence))};
    case MessageStatus::kInFlight:
      return {WhyInFlight(sequence, *chunk, *index)};
    default:
      return {WhyReady(sequence, *chunk)};
  }
}

}  // namespace mqd::queue
