// checker_delivery.cc: RESURRECT, STALE-ACK, LEASE-OVERLAP and ATTEMPT: the deliveries of one
// message, one after the other.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/crash/checker_index.h"

namespace mqd::crash {
namespace {

/// Deliveries of one message that a fault can hide: to sessions that the broker alone believes in.
constexpr std::uint64_t kUnseenInFault = 16;

std::string Pair(const Record& a, const Record& b) {
  return absl::StrCat("delivery ", a.delivery, " (record ", a.id, ") and ", b.delivery, " (record ",
                      b.id, ")");
}

bool HasSettle(const Index& index, const Record& delivery, SettleKind kind, Outcome outcome) {
  const Records& settles = index.SettlesOf(delivery);
  return std::any_of(settles.begin(), settles.end(), [&](const Record* settle) {
    return settle->settle == kind && settle->outcome == outcome;
  });
}

bool MayHave(const Index& index, const Record& delivery, SettleKind kind) {
  return HasSettle(index, delivery, kind, Outcome::kOk) ||
         HasSettle(index, delivery, kind, Outcome::kUnknown);
}

/// An accepted settle of `delivery`, and a later delivery of the same message.
void CheckAccepted(const Index& index, const Record& delivery, const Record& settle,
                   const Record& later, Findings& findings) {
  if (later.invoked_ns < settle.invoked_ns) {
    findings.Add(Violation::kStaleAck,
                 absl::StrCat(Describe(index, delivery), ": settle ", settle.id, " of delivery ",
                              delivery.delivery, " was accepted after delivery ", later.delivery));
  } else if (IsTerminal(settle)) {
    findings.Add(Violation::kResurrect,
                 absl::StrCat(Describe(index, delivery), " was settled by record ", settle.id,
                              " and came again: ", Pair(delivery, later)));
  }
}

/// Whether anything can have ended the lease of `a` before `b` was made by the same broker.
bool LeaseMayHaveEnded(const Index& index, const Record& a, const Record& b) {
  const std::int64_t margin = index.options().clock_margin_ns;
  const std::int64_t made = index.Earliest(a.invoked_ns);
  if (b.invoked_ns - made >= index.LeaseOf(a) - index.options().lease_margin_ns) return true;
  const Records& settles = index.SettlesOf(a);
  if (std::any_of(settles.begin(), settles.end(), [&](const Record* settle) {
        return settle->outcome != Outcome::kFail && settle->invoked_ns <= b.invoked_ns;
      })) {
    return true;
  }
  return index.Detached(a, made - margin, index.Latest(b.invoked_ns) + margin, true);
}

/// Whether delivery `a` may have been charged before `b` was made. A broker that dies charges
/// nothing.
bool MayBeCharged(const Index& index, const Record& a, const Record& b) {
  const bool same = EpochOf(a) == EpochOf(b);
  const std::int64_t margin = index.options().clock_margin_ns;
  const std::int64_t end = same ? b.invoked_ns : std::min(b.invoked_ns, index.EndOfEpoch(a));
  if (MayHave(index, a, SettleKind::kRetry)) return true;
  if (end - index.Earliest(a.invoked_ns) >= index.LeaseOf(a) - index.options().lease_margin_ns)
    return true;
  return index.Detached(a, index.Earliest(a.invoked_ns) - margin,
                        same ? index.Latest(end) + margin : end, same);
}

/// How many charged deliveries of the message nobody can have seen between `a` and `b`: frames that
/// were on their way to a session that ended.
std::uint64_t UnseenCharges(const Index& index, const Record& a, const Record& b) {
  const std::int64_t since = a.invoked_ns - index.options().clock_margin_ns;
  return index.Detaches(a.queue, since, b.invoked_ns, EpochOf(a) == EpochOf(b)) +
         kUnseenInFault * index.Faults(since, b.invoked_ns);
}

void CheckNextAttempt(const Index& index, const Record& a, const Record& b, Findings& findings) {
  const bool surely = HasSettle(index, a, SettleKind::kRetry, Outcome::kOk);
  // A charge is written like a plain settle: one that was not yet synced goes with the power.
  const bool undone = EpochOf(a) != EpochOf(b) && index.MayBeUndone(a.invoked_ns);
  const std::uint64_t least = undone ? 1 : a.attempt + (surely ? 1U : 0U);
  std::uint64_t most = a.attempt + (MayBeCharged(index, a, b) ? 1U : 0U);
  if (b.attempt > most) most += UnseenCharges(index, a, b);
  if (b.attempt >= least && b.attempt <= most) return;
  findings.Add(Violation::kAttempt,
               absl::StrCat(Describe(index, b), " has attempt ", b.attempt, " after ", a.attempt,
                            ", not ", least, " to ", most, ": ", Pair(a, b)));
}

void CheckFirstAttempt(const Index& index, const Record& first, Findings& findings) {
  if (first.attempt == 1) return;
  std::int64_t since = 0;
  const Records* publishes = index.PublishesOf(first.queue, first.message);
  if (publishes != nullptr) {
    since = publishes->front()->invoked_ns - index.options().clock_margin_ns;
  }
  const std::uint64_t unseen = index.Detaches(first.queue, since, first.invoked_ns, true) +
                               kUnseenInFault * index.Faults(since, first.invoked_ns);
  if (first.attempt >= 1 && first.attempt - 1 <= unseen) return;
  findings.Add(Violation::kAttempt,
               absl::StrCat(Describe(index, first), " came first with attempt ", first.attempt));
}

/// A message moved to a dead-letter queue: asked for, or out of attempts.
void CheckMove(const Index& index, const Record& moved, const Records& source, Findings& findings) {
  const bool asked = std::any_of(source.begin(), source.end(), [&](const Record* delivery) {
    return MayHave(index, *delivery, SettleKind::kDeadLetter);
  });
  const Record& last = *source.back();
  const std::uint64_t reached = last.attempt + UnseenCharges(index, last, moved);
  if (!asked && reached < index.RulesOf(last).max_attempts) {
    findings.Add(Violation::kAttempt,
                 absl::StrCat(Describe(index, last), " was dead-lettered after ", last.attempt,
                              " attempts"));
  }
  if (EpochOf(last) > EpochOf(moved) ||
      index.Earliest(last.invoked_ns) > moved.invoked_ns + index.options().clock_margin_ns) {
    findings.Add(Violation::kAttempt,
                 absl::StrCat(Describe(index, last),
                              " came again after it was dead-lettered: ", Pair(moved, last)));
  }
}

}  // namespace

void CheckSettled(const Index& index, Findings& findings) {
  for (const auto& [key, deliveries] : index.deliveries()) {
    for (std::size_t i = 0; i + 1 < deliveries.size(); ++i) {
      for (const Record* settle : index.SettlesOf(*deliveries[i])) {
        if (settle->outcome != Outcome::kOk) continue;
        CheckAccepted(index, *deliveries[i], *settle, *deliveries[i + 1], findings);
      }
    }
  }
}

void CheckLeases(const Index& index, Findings& findings) {
  for (const auto& [key, deliveries] : index.deliveries()) {
    for (std::size_t i = 0; i + 1 < deliveries.size(); ++i) {
      const Record& a = *deliveries[i];
      const Record& b = *deliveries[i + 1];
      if (EpochOf(a) != EpochOf(b) || LeaseMayHaveEnded(index, a, b)) continue;
      findings.Add(Violation::kLeaseOverlap,
                   absl::StrCat(Describe(index, a), " was out twice: ", Pair(a, b)));
    }
  }
}

void CheckAttempts(const Index& index, Findings& findings) {
  for (const auto& [key, deliveries] : index.deliveries()) {
    CheckFirstAttempt(index, *deliveries.front(), findings);
    for (std::size_t i = 0; i + 1 < deliveries.size(); ++i) {
      CheckNextAttempt(index, *deliveries[i], *deliveries[i + 1], findings);
    }
    const Record& last = *deliveries.back();
    if (last.attempt <= index.RulesOf(last).max_attempts) continue;
    findings.Add(Violation::kAttempt,
                 absl::StrCat(Describe(index, last), " has attempt ", last.attempt, " of ",
                              index.RulesOf(last).max_attempts));
  }
}

void CheckDeadLetters(const Index& index, Findings& findings) {
  std::map<InQueue, const Record*> moved;  // by the queue and sequence it had before
  for (const auto& [key, deliveries] : index.deliveries()) {
    if (!index.IsDeadLetterQueue(key.first)) continue;
    const Record& first = *deliveries.front();
    for (std::uint32_t queue = 0; queue < index.rules().size(); ++queue) {
      if (index.rules()[queue].dead_letter != key.first) continue;
      const Records* source = index.DeliveriesOfSequence(queue, first.origin);
      if (source == nullptr || source->front()->message != first.message) continue;
      const auto [other, fresh] = moved.emplace(InQueue{queue, first.origin}, &first);
      if (!fresh) {
        findings.Add(
            Violation::kDupStore,
            absl::StrCat(Describe(index, *source->front()), " was dead-lettered as ",
                         Describe(index, first), " and ", Describe(index, *other->second)));
      }
      CheckMove(index, first, *source, findings);
    }
  }
}

}  // namespace mqd::crash
