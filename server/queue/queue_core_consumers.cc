// queue_core_consumers.cc: steps 3 and 5 of 5 (queue, delivery). Consumers come and go; who of them
// may take.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "proto/base/mutant.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

/// Deliveries are asked back at most this often.
constexpr std::int64_t kRecallPauseNs = 100 * kNsPerMs;
/// With more in flight, looking for something to ask back pauses too when it finds nothing.
constexpr std::uint64_t kRecallLookMax = 256;

}  // namespace

void QueueCore::Handle(AttachConsumer& event) {
  std::optional<ErrorInfo> refusal;
  if (deleting_) {
    refusal = MakeError(Reason::kQueueNotFound, "the queue is being deleted");
  } else {
    refusal = TooManyConsumers(event);
  }
  if (refusal.has_value()) {
    Send(ConsumerAttached{event.consumer, 0, std::move(refusal)});
    return;
  }
  Consumer& consumer = consumers_[event.consumer];
  consumer.lease_ns = event.lease_ns;
  consumer.marks_started = event.marks_started;
  consumer.in_flight_per_key = std::max<std::uint32_t>(event.in_flight_per_key, 1);
  consumer.on_demand = event.on_demand;
  consumer.client_name = std::move(event.client_name);
  consumer.since_ms = around_->now.wall_ms;
  if (consumer.on_demand) ++on_demand_count_;
  if (consumer.marks_started) ++marking_count_;
  ElectActive();
  OwnersChanged();
  const std::int64_t lease_ms =
      event.lease_ns != 0 ? event.lease_ns / kNsPerMs : settings_.lease_duration.count();
  // A select learns who has something before its client can grant anything.
  BalanceOnDemand();
  Send(ConsumerAttached{event.consumer, lease_ms, std::nullopt});
}

std::optional<ErrorInfo> QueueCore::TooManyConsumers(const AttachConsumer& event) {
  if (consumers_.size() < settings_.max_consumers) return std::nullopt;
  if (event.take_over && !consumers_.empty()) {
    const ConsumerId oldest = consumers_.begin()->first;
    const ErrorInfo fenced = MakeError(
        Reason::kFenced, absl::StrCat("consumer \"", event.client_name, "\" has taken over"));
    RemoveConsumer(oldest, "another consumer took over");
    Send(ConsumerGone{oldest, GoAwayCode::kFenced, fenced});
    return std::nullopt;
  }
  const std::string holder =
      consumers_.empty()
          ? ""
          : absl::StrCat(", held by \"", consumers_.begin()->second.client_name, "\" for ",
                         SecondsSince(consumers_.begin()->second.since_ms), " s");
  ErrorInfo error =
      MakeError(Reason::kCardinality,
                absl::StrCat("it takes ", settings_.max_consumers, " consumers at a time", holder,
                             "; close that one, ask with take_over, or raise max_consumers"));
  error.limit = settings_.max_consumers;
  error.current = consumers_.size();
  return error;
}

void QueueCore::Handle(DetachConsumer& event) {
  if (!consumers_.contains(event.consumer)) return;
  if (event.keep_deliveries) in_flight_.Orphan(event.consumer, NameOf(event.consumer));
  RemoveConsumer(event.consumer, "the consumer's stream ended");
}

void QueueCore::RemoveConsumer(ConsumerId id, const std::string& why) {
  Consumer& consumer = consumers_.at(id);
  SetCredit(id, consumer, 0, 0);
  if (consumer.in_flight > 0 && !MQD_MUTANT(lost_stream_keeps_its_messages)) {
    for (const FlightRun& run : in_flight_.TakeConsumer(id)) {
      Note(Transition::kConsumerGone, run, why);
      Return(run, run.started, 0, why);
    }
  }
  if (consumer.on_demand) --on_demand_count_;
  if (consumer.marks_started) --marking_count_;
  consumers_.erase(id);
  ElectActive();
  OwnersChanged();
}

void QueueCore::Handle(GrantCredit& event) {
  const auto found = consumers_.find(event.consumer);
  if (found == consumers_.end()) return;
  Consumer& consumer = found->second;
  consumer.wanting = false;
  consumer.granted = consumer.on_demand;
  if (consumer.draining) return;
  SetCredit(event.consumer, consumer,
            consumer.credit_messages + static_cast<std::int64_t>(event.messages),
            consumer.credit_bytes + static_cast<std::int64_t>(event.bytes));
}

void QueueCore::Handle(DrainConsumer& event) {
  const auto found = consumers_.find(event.consumer);
  if (found == consumers_.end()) return;
  Consumer& consumer = found->second;
  SetCredit(event.consumer, consumer, 0, 0);
  consumer.draining = true;
  std::uint64_t released = 0;
  for (const FlightRun& run : in_flight_.TakeUnstarted(event.consumer)) {
    released += run.count;
    Note(Transition::kReleased, run, "the consumer drains");
    Return(run, false, 0, "");
  }
  ElectActive();
  OwnersChanged();
  ConsumerDrained drained{event.consumer, released, consumer.in_flight};
  if (settings_.delivery == DeliveryMode::kAtLeastOnce) return Send(std::move(drained));
  open_.replies.push_back(std::move(drained));  // behind deliveries that wait for their commit
}

// ---- credit

bool QueueCore::MayTake(ConsumerId id, const Consumer& consumer) const {
  if (consumer.credit_messages <= 0 || consumer.credit_bytes <= 0 || consumer.draining) {
    return false;
  }
  return !settings_.single_active || id == active_;
}

void QueueCore::SetCredit(ConsumerId id, Consumer& consumer, std::int64_t messages,
                          std::int64_t bytes) {
  idle_credit_.erase({consumer.credit_messages, id});
  consumer.credit_messages = messages;
  consumer.credit_bytes = bytes;
  if (MayTake(id, consumer)) idle_credit_.emplace(messages, id);
}

void QueueCore::ElectActive() {
  ConsumerId elected = 0;
  if (settings_.single_active) {
    for (const auto& [id, consumer] : consumers_) {
      if (consumer.draining) continue;
      elected = id;
      break;
    }
  }
  if (elected == active_) return;
  active_ = elected;
  for (auto& [id, consumer] : consumers_) {
    SetCredit(id, consumer, consumer.credit_messages, consumer.credit_bytes);
  }
}

void QueueCore::BalanceOnDemand() {
  if (on_demand_count_ == 0) return;
  const bool offered = rendezvous() && (committing_ > 0 || !waiters_.empty());
  const bool something = (HasReady() || offered) && !consume_paused();
  for (auto& [id, consumer] : consumers_) {
    if (!consumer.on_demand || consumer.draining) continue;
    const bool ready = (something || (!consumer.own.empty() && !consume_paused())) &&
                       (!settings_.single_active || id == active_);
    if (consumer.granted) {
      if (ready && consumer.credit_messages > 0 && consumer.credit_bytes > 0) continue;
      Send(CreditReturned{id, static_cast<std::uint64_t>(consumer.credit_messages),
                          consumer.credit_bytes, ready});
      SetCredit(id, consumer, 0, 0);
      consumer.granted = false;
      consumer.wanting = ready;
    } else if (ready && !consumer.wanting) {
      consumer.wanting = true;
      Send(WantCredit{id});
    }
  }
}

// ---- deliveries asked back

void QueueCore::RecallForIdle() {
  recall_wake_ns_ = kNever;
  if (marking_count_ == 0 || consumers_.size() < 2 || HasReady() || consume_paused()) return;
  ConsumerId taker = 0;
  for (const auto& [credit, id] : idle_credit_) {
    const Consumer& idle = consumers_.at(id);
    if (idle.in_flight == 0 && idle.own.empty()) taker = id;
  }
  if (taker == 0) return;
  if (now_ns() < next_recall_ns_) {
    recall_wake_ns_ = next_recall_ns_;
    return;
  }
  ConsumerId holder = 0;
  std::uint64_t most = 1;  // a single delivery is begun soon
  for (const auto& [id, consumer] : consumers_) {
    if (!consumer.marks_started || consumer.in_flight <= most) continue;
    const std::uint64_t unstarted = in_flight_.Unstarted(id);
    if (unstarted <= most) continue;
    most = unstarted;
    holder = id;
  }
  if (holder != 0 || in_flight_.messages() > kRecallLookMax) {
    next_recall_ns_ = recall_wake_ns_ = now_ns() + kRecallPauseNs;
  }
  if (holder == 0) return;
  favoured_ = taker;
  std::vector<DeliveryRange> ranges = in_flight_.Recall(holder, most / 2);
  for (const DeliveryRange& range : ranges) totals_.recalled += range.last - range.first + 1;
  Send(SendRecall{holder, std::move(ranges)});
}

void QueueCore::TellEnd() {
  // A commit under way may be the one that closes the queue.
  if (!closed_ || messages_ != held_.parked() || !waiters_.empty() || !sent_.empty()) return;
  for (auto& [id, consumer] : consumers_) {
    if (consumer.told_end) continue;
    consumer.told_end = true;
    Send(SendEndOfQueue{id});
  }
}

}  // namespace mqd::queue
