// checker_flow.cc: CREDIT, BOUND, CONSERVE, STUCK and DAEMON-EXIT: counts, and whether anything
// moves at all.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/crash/checker_index.h"

namespace mqd::crash {
namespace {

struct Balance {
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
};

/// How many messages of a queue live at one moment: at least, and at most.
struct Live {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
};

struct Presence {
  bool surely_stored = false;
  bool maybe_stored = false;
  bool surely_gone = false;
  bool maybe_gone = false;
};

void AddStored(const Records& publishes, std::int64_t at, Presence& presence) {
  for (const Record* publish : publishes) {
    if (publish->invoked_ns > at || publish->outcome == Outcome::kFail) continue;
    presence.maybe_stored = true;
    if (publish->outcome == Outcome::kOk && publish->returned_ns <= at) {
      presence.surely_stored = true;
    }
  }
}

void AddGone(const Index& index, const Records& deliveries, std::int64_t at, Presence& presence) {
  for (const Record* delivery : deliveries) {
    if (delivery->invoked_ns > at) continue;
    presence.surely_stored = true;
    for (const Record* settle : index.SettlesOf(*delivery)) {
      if (!IsTerminal(*settle) || settle->outcome == Outcome::kFail || settle->invoked_ns > at) {
        continue;
      }
      presence.maybe_gone = true;
      if (settle->outcome == Outcome::kOk && settle->returned_ns <= at) presence.surely_gone = true;
    }
  }
}

std::map<std::uint32_t, Live> LiveAt(const Index& index, std::int64_t at) {
  std::map<std::uint32_t, Live> live;
  for (const auto& [key, publishes] : index.publishes()) {
    const auto [queue, message] = key;
    Presence presence;
    AddStored(publishes, at, presence);
    const Records* deliveries = index.DeliveriesOfMessage(queue, message);
    if (deliveries != nullptr) AddGone(index, *deliveries, at, presence);
    const auto dead_letter = index.rules()[queue].dead_letter;
    if (dead_letter.has_value() && index.DeliveriesOfMessage(*dead_letter, message) != nullptr) {
      presence.maybe_gone = true;
    }
    live[queue].least += presence.surely_stored && !presence.maybe_gone;
    live[queue].most += presence.maybe_stored && !presence.surely_gone;
  }
  return live;
}

void CheckAtRest(const Index& index, const Record& stats, Findings& findings) {
  if (index.IsDeadLetterQueue(stats.queue)) return;
  const Live live = LiveAt(index, stats.invoked_ns)[stats.queue];
  if (stats.messages >= live.least && stats.messages <= live.most) return;
  findings.Add(Violation::kConserve, absl::StrCat("queue ", index.RulesOf(stats).name, " holds ",
                                                  stats.messages, " messages, not ", live.least,
                                                  " to ", live.most, " (record ", stats.id, ")"));
}

void CheckSum(const Index& index, const Record& before, const Record& after, Findings& findings) {
  const std::uint64_t expected =
      before.messages + (after.stored - before.stored) - (after.gone - before.gone);
  if (after.messages == expected) return;
  findings.Add(Violation::kConserve,
               absl::StrCat("queue ", index.RulesOf(after).name, " holds ", after.messages,
                            " messages; what came and went makes ", expected, " (records ",
                            before.id, " and ", after.id, ")"));
}

}  // namespace

void CheckCredit(const Index& index, Findings& findings) {
  absl::flat_hash_map<std::uint64_t, Balance> balances;
  for (const Record& record : index.records()) {
    if (record.kind == Kind::kCredit) {
      balances[record.session].messages += static_cast<std::int64_t>(record.messages);
      balances[record.session].bytes += static_cast<std::int64_t>(record.bytes);
    }
    if (record.kind != Kind::kDeliver || !record.limited) continue;
    Balance& balance = balances[record.session];
    if (balance.messages <= 0 || balance.bytes <= 0) {
      findings.Add(Violation::kCredit,
                   absl::StrCat(Describe(index, record), " came with a credit of ",
                                balance.messages, " messages and ", balance.bytes, " bytes left"));
    }
    balance.messages -= 1;
    balance.bytes -= static_cast<std::int64_t>(record.bytes);
  }
}

void CheckBounds(const Index& index, Findings& findings) {
  for (const Record& record : index.records()) {
    if (record.kind != Kind::kStats || record.outcome != Outcome::kOk) continue;
    const QueueRules& rules = index.RulesOf(record);
    if (record.messages <= rules.max_messages && record.bytes <= rules.max_bytes) continue;
    findings.Add(Violation::kBound,
                 absl::StrCat("queue ", rules.name, " held ", record.messages, " messages of ",
                              rules.max_messages, " and ", record.bytes, " bytes of ",
                              rules.max_bytes, " (record ", record.id, ")"));
  }
}

void CheckConserved(const Index& index, Findings& findings) {
  std::map<std::uint32_t, const Record*> before;  // by queue, under the same broker
  std::map<std::uint32_t, const Record*> last;
  for (const Record& record : index.records()) {
    if (record.kind == Kind::kKill) before.clear();
    if (record.kind != Kind::kStats || !record.at_rest || record.outcome != Outcome::kOk) continue;
    CheckAtRest(index, record, findings);
    const Record*& earlier = before[record.queue];
    if (earlier != nullptr) CheckSum(index, *earlier, record, findings);
    earlier = &record;
    last[record.queue] = &record;
  }
  for (const auto& [queue, stats] : last) {
    if (!index.options().drained || (stats->messages == 0 && stats->bytes == 0)) continue;
    findings.Add(Violation::kConserve,
                 absl::StrCat("queue ", index.rules()[queue].name, " holds ", stats->messages,
                              " messages and ", stats->bytes, " bytes after it was drained"));
  }
}

void CheckAlive(const Index& index, Findings& findings) {
  for (const Record& record : index.records()) {
    if (record.kind == Kind::kStuck) findings.Add(Violation::kStuck, record.note);
    if (record.kind == Kind::kDaemonExit) findings.Add(Violation::kDaemonExit, record.note);
  }
}

}  // namespace mqd::crash
