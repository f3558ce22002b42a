// queue_core_confirm.cc: step 3 of 5 (queue). What each publish id is told, and when.
//
// ACCEPTED is told in the same turn, DURABLE with the commit, DELIVERED when a consumer gets the
// message, SETTLED with the commit after which it holds no slot.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {

Confirms& ConfirmsOf(ConfirmList& list, PublisherId publisher) {
  for (auto entry = list.rbegin(); entry != list.rend(); ++entry) {
    if (entry->first == publisher) return entry->second;
  }
  return list.emplace_back(publisher, Confirms{}).second;
}

void AddConfirm(ConfirmList& list, PublisherId publisher, std::uint64_t publish_id,
                Sequence sequence, std::uint32_t charge) {
  Confirms& confirms = ConfirmsOf(list, publisher);
  ++confirms.messages;
  confirms.bytes += charge;
  if (!confirms.ranges.empty()) {
    ConfirmedRange& last = confirms.ranges.back();
    if (last.first_publish_id + last.count == publish_id &&
        last.first_sequence + last.count == sequence) {
      ++last.count;
      return;
    }
  }
  confirms.ranges.push_back({publish_id, 1, sequence});
}

void QueueCore::Except(PublisherId publisher, std::uint64_t publish_id, std::uint32_t charge,
                       std::variant<Duplicate, Dropped, ErrorInfo> result) {
  if (std::holds_alternative<Duplicate>(result)) ++totals_.duplicates;
  Confirms& confirms = ConfirmsOf(open_.confirms, publisher);
  ++confirms.messages;
  confirms.bytes += charge;
  confirms.exceptions.push_back({publish_id, std::move(result)});
}

ConfirmLevel QueueCore::LevelOf(const Waiter& waiter) const {
  return rendezvous() ? std::max(waiter.batch.level, ConfirmLevel::kDelivered) : waiter.batch.level;
}

void QueueCore::ConfirmStored(const Waiter& waiter, std::uint64_t publish_id, Sequence sequence,
                              std::uint32_t charge) {
  const PublisherId publisher = waiter.batch.publisher;
  const ConfirmLevel level = LevelOf(waiter);
  if (level == ConfirmLevel::kAccepted) {
    return AddConfirm(early_confirms_, publisher, publish_id, sequence, charge);
  }
  if (level >= ConfirmLevel::kDelivered && !Reached(sequence, level)) {
    return Await(sequence, {publisher, publish_id, charge, level, waiter.batch.deadline_ns});
  }
  AddConfirm(open_.confirms, publisher, publish_id, sequence, charge);
}

bool QueueCore::Reached(Sequence sequence, ConfirmLevel level) const {
  const MessageStatus status = StatusOf(sequence);
  if (status == MessageStatus::kSettled) return true;
  if (level == ConfirmLevel::kSettled) return false;
  const Held* held = held_.Find(sequence);
  return status == MessageStatus::kInFlight || (held != nullptr && held->attempts > 0);
}

void QueueCore::Await(Sequence sequence, Awaited awaited) {
  const auto [entry, inserted] = awaited_.try_emplace(sequence, awaited);
  if (!inserted) {  // a resend: the new stream waits
    awaited_deadlines_.erase({entry->second.deadline_ns, sequence});
    entry->second = awaited;
  }
  if (awaited.deadline_ns != kNever) awaited_deadlines_.emplace(awaited.deadline_ns, sequence);
}

void QueueCore::AnswerAwaited(Sequence first, Sequence last, ConfirmLevel reached,
                              ConfirmList& list) {
  for (auto entry = awaited_.lower_bound(first); entry != awaited_.end() && entry->first <= last;) {
    const Awaited& awaited = entry->second;
    if (awaited.level > reached) {
      ++entry;
      continue;
    }
    awaited_deadlines_.erase({awaited.deadline_ns, entry->first});
    AddConfirm(list, awaited.publisher, awaited.publish_id, entry->first, awaited.charge);
    entry = awaited_.erase(entry);
  }
}

void QueueCore::ExpireAwaited() {
  while (!awaited_deadlines_.empty() && awaited_deadlines_.begin()->first <= now_ns()) {
    const Sequence sequence = awaited_deadlines_.begin()->second;
    awaited_deadlines_.erase(awaited_deadlines_.begin());
    const Awaited late = awaited_.at(sequence);
    awaited_.erase(sequence);
    ErrorInfo error =
        MakeError(Reason::kBlockedTimeout,
                  absl::StrCat("the message is stored as sequence ", sequence, " and was not ",
                               late.level == ConfirmLevel::kSettled ? "settled" : "delivered",
                               " before the deadline; it stays in the queue"));
    error.current = sequence;
    Except(late.publisher, late.publish_id, late.charge, std::move(error));
  }
}

void QueueCore::DropAwaitedOf(PublisherId publisher) {
  for (auto entry = awaited_.begin(); entry != awaited_.end();) {
    if (entry->second.publisher != publisher) {
      ++entry;
      continue;
    }
    awaited_deadlines_.erase({entry->second.deadline_ns, entry->first});
    entry = awaited_.erase(entry);
  }
}

void QueueCore::FlushEarlyConfirms() {
  for (auto& [publisher, confirms] : std::exchange(early_confirms_, {})) {
    if (publishers_.contains(publisher)) Send(SendConfirms{publisher, std::move(confirms)});
  }
}

}  // namespace mqd::queue
