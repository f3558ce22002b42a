// checker_publish.cc: LOST, PHANTOM, CORRUPT, GHOST-FAIL, DUP-STORE, ORDER and ATOMIC: what became
// of each message that was published.

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/crash/checker_index.h"

namespace mqd::crash {
namespace {

/// Whether the message may have left `queue` for good, as far as the deliveries seen there tell. An
/// unknown settle counts only of the last delivery: an earlier one was over when the last was made.
bool MayBeSettled(const Index& index, std::uint32_t queue, std::uint64_t message) {
  const Records* deliveries = index.DeliveriesOfMessage(queue, message);
  if (deliveries == nullptr) return false;
  if (MayHaveEnded(index, *deliveries->back())) return true;
  return std::any_of(deliveries->begin(), deliveries->end(), [&](const Record* delivery) {
    const Records& settles = index.SettlesOf(*delivery);
    return std::any_of(settles.begin(), settles.end(), [](const Record* settle) {
      return IsTerminal(*settle) && settle->outcome == Outcome::kOk;
    });
  });
}

/// Whether only a move to the dead-letter queue can have taken the message out of its queue.
bool OnlyDeadLettered(const Index& index, const Records& deliveries) {
  for (const Record* delivery : deliveries) {
    for (const Record* settle : index.SettlesOf(*delivery)) {
      if (settle->settle == SettleKind::kAck && settle->outcome != Outcome::kFail) return false;
    }
  }
  return true;
}

bool IsLost(const Index& index, const Record& publish) {
  const std::optional<std::uint32_t> dead_letter = index.RulesOf(publish).dead_letter;
  if (dead_letter.has_value() &&
      index.DeliveriesOfMessage(*dead_letter, publish.message) != nullptr) {
    return !MayBeSettled(index, *dead_letter, publish.message);
  }
  if (!MayBeSettled(index, publish.queue, publish.message)) return true;
  const Records* deliveries = index.DeliveriesOfMessage(publish.queue, publish.message);
  return dead_letter.has_value() && OnlyDeadLettered(index, *deliveries);
}

bool AllFailed(const Records& publishes) {
  return std::all_of(publishes.begin(), publishes.end(),
                     [](const Record* publish) { return publish->outcome == Outcome::kFail; });
}

/// Every publish that can have put the message into the queue of `delivery`.
Records SourcesOf(const Index& index, const Record& delivery) {
  Records sources;
  for (std::uint32_t queue = 0; queue < index.rules().size(); ++queue) {
    if (queue != delivery.queue && index.rules()[queue].dead_letter != delivery.queue) continue;
    const Records* publishes = index.PublishesOf(queue, delivery.message);
    if (publishes != nullptr) sources.insert(sources.end(), publishes->begin(), publishes->end());
  }
  return sources;
}

void ReportDoubles(const Index& index, const std::map<InQueue, std::set<std::uint64_t>>& stored,
                   const char* what, Findings& findings) {
  for (const auto& [key, sequences] : stored) {
    if (sequences.size() < 2) continue;
    findings.Add(Violation::kDupStore,
                 absl::StrCat(what, " ", key.second, " of queue ", index.rules()[key.first].name,
                              " has sequences ", absl::StrJoin(sequences, ", ")));
  }
}

/// First deliveries of one queue under one broker, in order of delivery id.
struct FirstDeliveries {
  Records deliveries;
  std::int64_t begin_ns = INT64_MAX;
};

/// Whether its first delivery may be one that nobody saw: recalled from the buffer of a consumer
/// that was busy. Then its place in the line has a delivery id to spare.
bool MayHaveBeenOut(std::uint64_t sequence, const std::map<std::uint64_t, std::uint64_t>& before) {
  const auto next = before.upper_bound(sequence);
  if (next == before.begin() || next == before.end()) return false;
  const auto& [last_sequence, last_id] = *std::prev(next);
  const auto& [next_sequence, next_id] = *next;
  return next_id > last_id && next_id - last_id >= next_sequence - last_sequence;
}

void CheckFirstDeliveries(const Index& index, std::uint32_t queue, FirstDeliveries& first,
                          Findings& findings) {
  std::sort(first.deliveries.begin(), first.deliveries.end(),
            [](const Record* a, const Record* b) { return a->delivery < b->delivery; });
  // From the first detach on, a message may have been out before, unseen.
  const std::int64_t end =
      index.FirstDetach(queue, first.begin_ns - index.options().clock_margin_ns);
  const Record* last = nullptr;
  std::map<std::uint64_t, std::uint64_t> before;  // sequence, delivery id
  for (const Record* delivery : first.deliveries) {
    if (delivery->invoked_ns >= end) continue;
    const bool behind = last != nullptr && delivery->sequence < last->sequence;
    if (behind && MayHaveBeenOut(delivery->sequence, before)) continue;
    before.emplace(delivery->sequence, delivery->delivery);
    if (behind) {
      findings.Add(Violation::kOrder,
                   absl::StrCat(Describe(index, *delivery), " was first delivered after ",
                                Describe(index, *last)));
      return;
    }
    last = delivery;
  }
}

void CheckDeliveryOrder(const Index& index, Findings& findings) {
  std::map<InQueue, FirstDeliveries> groups;  // by queue and epoch
  for (const auto& [key, deliveries] : index.deliveries()) {
    const Record& first = *deliveries.front();
    FirstDeliveries& group = groups[{key.first, EpochOf(first)}];
    group.begin_ns = std::min(group.begin_ns, first.invoked_ns);
    if (first.attempt == 1) group.deliveries.push_back(&first);
  }
  for (auto& [key, group] : groups) {
    const bool leases_end = index.rules()[key.first].lease_ns < 10'000'000'000;
    if (!leases_end && !index.IsDeadLetterQueue(key.first)) {
      CheckFirstDeliveries(index, key.first, group, findings);
    }
  }
}

}  // namespace

void CheckLost(const Index& index, Findings& findings) {
  if (!index.options().drained) return;
  for (const auto& [key, publishes] : index.publishes()) {
    const auto stored = std::find_if(publishes.begin(), publishes.end(), [](const Record* publish) {
      return publish->outcome == Outcome::kOk;
    });
    if (stored == publishes.end() || !IsLost(index, **stored)) continue;
    const bool seen = index.DeliveriesOfMessage(key.first, key.second) != nullptr;
    findings.Add(Violation::kLost,
                 absl::StrCat(Describe(index, **stored), " was confirmed, ",
                              seen ? "delivered, and never settled" : "and never delivered"));
  }
}

void CheckSource(const Index& index, Findings& findings) {
  for (const auto& [key, deliveries] : index.deliveries()) {
    for (const Record* delivery : deliveries) {
      const Records sources = SourcesOf(index, *delivery);
      if (sources.empty()) {
        findings.Add(Violation::kPhantom,
                     absl::StrCat(Describe(index, *delivery), " was never published"));
      } else if (sources.front()->digest != delivery->digest) {
        findings.Add(Violation::kCorrupt,
                     absl::StrCat(Describe(index, *delivery), " has other bytes than record ",
                                  sources.front()->id));
      } else if (AllFailed(sources)) {
        findings.Add(Violation::kGhostFail,
                     absl::StrCat(Describe(index, *delivery), " was refused: record ",
                                  sources.front()->id, " ", sources.front()->note));
      }
    }
  }
}

void CheckStored(const Index& index, Findings& findings) {
  std::map<InQueue, std::set<std::uint64_t>> messages;
  std::map<InQueue, std::set<std::uint64_t>> keys;
  for (const auto& [key, publishes] : index.publishes()) {
    for (const Record* publish : publishes) {
      if (publish->outcome != Outcome::kOk) continue;
      messages[key].insert(publish->sequence);
      if (publish->key != 0) keys[{publish->queue, publish->key}].insert(publish->sequence);
    }
  }
  for (const auto& [key, deliveries] : index.deliveries()) {
    const Record& delivery = *deliveries.front();
    messages[{delivery.queue, delivery.message}].insert(delivery.sequence);
    if (delivery.key != 0 && !index.IsDeadLetterQueue(delivery.queue)) {
      keys[{delivery.queue, delivery.key}].insert(delivery.sequence);
    }
  }
  ReportDoubles(index, messages, "message", findings);
  ReportDoubles(index, keys, "key", findings);
}

void CheckOrder(const Index& index, Findings& findings) {
  std::map<InQueue, const Record*> last;  // by queue and session of the producer
  for (const Record& record : index.records()) {
    const bool stored = record.kind == Kind::kPublish && record.outcome == Outcome::kOk;
    if (!stored || record.duplicate || record.parent != 0 || record.session == 0) continue;
    const Record*& before = last[{record.queue, record.session}];
    if (before != nullptr && record.sequence <= before->sequence) {
      findings.Add(Violation::kOrder, absl::StrCat(Describe(index, record), " was stored before ",
                                                   Describe(index, *before)));
    }
    before = &record;
  }
  CheckDeliveryOrder(index, findings);
}

void CheckAtomic(const Index& index, Findings& findings) {
  for (const auto& [key, publishes] : index.publishes()) {
    const Record& publish = *publishes.front();
    if (publish.parent == 0) continue;
    const Record& settle = index.records().at(publish.parent - 1);
    const Records* source = index.DeliveriesOfSequence(settle.queue, settle.sequence);
    const bool published = index.DeliveriesOfMessage(publish.queue, publish.message) != nullptr ||
                           publish.outcome == Outcome::kOk;
    const bool last = source == nullptr || source->back()->delivery == settle.delivery;
    if (published && !last) {
      findings.Add(Violation::kAtomic,
                   absl::StrCat(Describe(index, publish), " was published with the settle of ",
                                Describe(index, settle), ", which came again"));
    }
    const bool only = last && source != nullptr && index.SettlesOf(*source->back()).size() == 1;
    const bool settled = settle.outcome == Outcome::kOk ||
                         (settle.outcome == Outcome::kUnknown && index.options().drained && only);
    if (settled && !published && index.options().drained) {
      findings.Add(
          Violation::kAtomic,
          absl::StrCat(Describe(index, settle), " was settled without ", Describe(index, publish)));
    }
  }
}

}  // namespace mqd::crash
