// checker.cc: the index over a history, and the report.

#include "tests/crash/checker.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/crash/checker_index.h"

namespace mqd::crash {
namespace {

const Records kNone;

const Records* FindIn(const absl::flat_hash_map<InQueue, Records>& map, InQueue key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

void SortByDelivery(Records& deliveries) {
  std::sort(deliveries.begin(), deliveries.end(),
            [](const Record* a, const Record* b) { return a->delivery < b->delivery; });
}

/// A fault that nobody has ended lasts.
std::int64_t EndOf(const Record& fault) {
  return fault.returned_ns == 0 ? INT64_MAX : fault.returned_ns;
}

void CountPublish(const Record& record, Report& report) {
  if (record.outcome == Outcome::kUnknown) {
    ++report.unknown_publishes;
  } else if (record.outcome == Outcome::kFail) {
    ++report.refused;
  } else if (record.duplicate) {
    ++report.duplicates;
  } else {
    ++report.confirmed;
  }
}

void Summarize(const Index& index, Report& report) {
  for (const Record& record : index.records()) {
    report.kills += record.kind == Kind::kKill && !record.broken;
    report.power_cuts += record.kind == Kind::kKill && record.broken;
    report.faults += record.kind == Kind::kFault;
    report.delivered += record.kind == Kind::kDeliver;
    if (record.kind == Kind::kPublish) CountPublish(record, report);
    if (record.kind != Kind::kSettle) continue;
    report.settled += record.outcome == Outcome::kOk;
    report.unknown_settles += record.outcome == Outcome::kUnknown;
    report.stale_settles += record.outcome == Outcome::kFail;
  }
  std::set<InQueue> keys;
  for (const Record& record : index.records()) {
    if (record.kind == Kind::kPublish && record.key != 0) keys.insert({record.queue, record.key});
  }
  report.keys = keys.size();
  report.redelivered = report.delivered - index.deliveries().size();
}

}  // namespace

const char* NameOf(Violation violation) {
  static constexpr const char* kNames[kViolations] = {
      "LOST",          "PHANTOM",   "CORRUPT", "GHOST-FAIL", "DUP-STORE", "RESURRECT",
      "LEASE-OVERLAP", "STALE-ACK", "ATTEMPT", "CREDIT",     "BOUND",     "ORDER",
      "CONSERVE",      "ATOMIC",    "STUCK",   "DAEMON-EXIT"};
  return kNames[static_cast<std::size_t>(violation)];
}

std::uint64_t Report::total() const {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

void Findings::Add(Violation violation, std::string text) {
  if (++report_.counts[static_cast<std::size_t>(violation)] <= kFindingsMax) {
    report_.findings.push_back({violation, std::move(text)});
  }
}

std::string Describe(const Index& index, const Record& record) {
  return absl::StrCat("message ", record.message, " of queue ", index.RulesOf(record).name,
                      " (sequence ", record.sequence, ", record ", record.id, ")");
}

bool MayHaveEnded(const Index& index, const Record& delivery) {
  const Records& settles = index.SettlesOf(delivery);
  return std::any_of(settles.begin(), settles.end(), [](const Record* settle) {
    return IsTerminal(*settle) && settle->outcome != Outcome::kFail;
  });
}

Index::Index(const std::vector<Record>& records, const std::vector<QueueRules>& rules,
             const CheckOptions& options)
    : records_(records), rules_(rules), options_(options) {
  for (const QueueRules& queue : rules) {
    if (queue.dead_letter.has_value()) dead_letter_queues_.insert(*queue.dead_letter);
  }
  for (const Record& record : records) Add(record);
  // Histories of other processes come behind.
  std::sort(kills_.begin(), kills_.end());
  for (auto* times : {&queue_detaches_, &queue_leaves_}) {
    for (auto& [queue, detaches] : *times) std::sort(detaches.begin(), detaches.end());
  }
  for (auto& [key, deliveries] : deliveries_) SortByDelivery(deliveries);
  for (auto& [key, deliveries] : by_message_) SortByDelivery(deliveries);
}

void Index::Add(const Record& record) {
  switch (record.kind) {
    case Kind::kPublish:
      publishes_[{record.queue, record.message}].push_back(&record);
      break;
    case Kind::kDeliver: {
      deliveries_[{record.queue, record.sequence}].push_back(&record);
      by_message_[{record.queue, record.message}].push_back(&record);
      const auto seen = epochs_.emplace(EpochOf(record), record.invoked_ns).first;
      seen->second = std::min(seen->second, record.invoked_ns);
      break;
    }
    case Kind::kSettle:
      settles_[{record.queue, record.delivery}].push_back(&record);
      break;
    case Kind::kDetach:
      session_detaches_[record.session].push_back(&record);
      queue_detaches_[record.queue].push_back(record.invoked_ns);
      if (!record.broken) queue_leaves_[record.queue].push_back(record.invoked_ns);
      break;
    case Kind::kKill:
      kills_.push_back(std::max(record.invoked_ns, record.returned_ns));
      if (record.broken) power_cuts_.push_back(record.invoked_ns);
      break;
    case Kind::kFault:
      faults_.push_back(&record);
      break;
    default:
      break;
  }
}

std::int64_t Index::Earliest(std::int64_t at) const {
  std::int64_t earliest = at;
  for (const Record* fault : faults_) {
    const std::int64_t end = EndOf(*fault);
    if (fault->invoked_ns <= at && at <= end + options_.clock_margin_ns) {
      earliest = std::min(earliest, fault->invoked_ns);
    }
  }
  return earliest;
}

std::int64_t Index::Latest(std::int64_t at) const {
  std::int64_t latest = at;
  for (const Record* fault : faults_) {
    const std::int64_t end = EndOf(*fault);
    if (fault->invoked_ns - options_.clock_margin_ns <= at && at <= end) {
      latest = std::max(latest, end);
    }
  }
  return latest;
}

bool Index::MayBeUndone(std::int64_t at) const {
  const auto cut = std::lower_bound(power_cuts_.begin(), power_cuts_.end(), at);
  return cut != power_cuts_.end() && *cut - at <= options_.unsynced_ns;
}

std::uint64_t Index::Faults(std::int64_t from, std::int64_t to) const {
  return static_cast<std::uint64_t>(std::count_if(
      faults_.begin(), faults_.end(),
      [&](const Record* fault) { return fault->invoked_ns <= to && EndOf(*fault) >= from; }));
}

std::int64_t Index::LeaseOf(const Record& delivery) const {
  return delivery.lease_ns != 0 ? delivery.lease_ns : RulesOf(delivery).lease_ns;
}

const Records* Index::DeliveriesOfMessage(std::uint32_t queue, std::uint64_t message) const {
  return FindIn(by_message_, {queue, message});
}

const Records* Index::DeliveriesOfSequence(std::uint32_t queue, std::uint64_t sequence) const {
  const auto found = deliveries_.find({queue, sequence});
  return found == deliveries_.end() ? nullptr : &found->second;
}

const Records* Index::PublishesOf(std::uint32_t queue, std::uint64_t message) const {
  const auto found = publishes_.find({queue, message});
  return found == publishes_.end() ? nullptr : &found->second;
}

const Records& Index::SettlesOf(const Record& delivery) const {
  const Records* found = FindIn(settles_, {delivery.queue, delivery.delivery});
  return found == nullptr ? kNone : *found;
}

bool Index::Detached(const Record& delivery, std::int64_t from, std::int64_t to,
                     bool broken_too) const {
  const auto found = session_detaches_.find(delivery.session);
  if (found == session_detaches_.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](const Record* detach) {
    return (broken_too || !detach->broken) && detach->invoked_ns >= from &&
           detach->invoked_ns <= to;
  });
}

std::uint64_t Index::Detaches(std::uint32_t queue, std::int64_t from, std::int64_t to,
                              bool broken_too) const {
  const auto& map = broken_too ? queue_detaches_ : queue_leaves_;
  const auto found = map.find(queue);
  if (found == map.end() || from > to) return 0;
  const auto& times = found->second;
  return static_cast<std::uint64_t>(std::upper_bound(times.begin(), times.end(), to) -
                                    std::lower_bound(times.begin(), times.end(), from));
}

std::int64_t Index::FirstDetach(std::uint32_t queue, std::int64_t from) const {
  const auto found = queue_detaches_.find(queue);
  std::int64_t first = INT64_MAX;
  for (const Record* fault : faults_) {
    if (EndOf(*fault) >= from) first = std::min(first, fault->invoked_ns);
  }
  if (found == queue_detaches_.end()) return first;
  const auto at = std::lower_bound(found->second.begin(), found->second.end(), from);
  return at == found->second.end() ? first : std::min(first, *at);
}

std::int64_t Index::EndOfEpoch(const Record& delivery) const {
  const auto next = epochs_.upper_bound(EpochOf(delivery));
  if (next == epochs_.end()) return INT64_MAX;
  const auto kill = std::upper_bound(kills_.begin(), kills_.end(), next->second);
  return kill == kills_.begin() ? next->second : *std::prev(kill);
}

namespace {

/// What a plain settle promises is not yet true of one shortly before a power cut: it may have been
/// undone, so that it is as good as unknown. Empty when there was no power cut.
std::vector<Record> WithoutUnsynced(const std::vector<Record>& records,
                                    const CheckOptions& options) {
  std::vector<std::int64_t> cuts;
  for (const Record& record : records) {
    if (record.kind == Kind::kKill && record.broken) cuts.push_back(record.invoked_ns);
  }
  if (cuts.empty()) return {};
  std::vector<Record> weaker = records;
  for (Record& record : weaker) {
    if (record.kind != Kind::kSettle || record.outcome != Outcome::kOk) continue;
    const auto cut = std::lower_bound(cuts.begin(), cuts.end(), record.returned_ns);
    if (cut == cuts.end() || *cut - record.returned_ns > options.unsynced_ns) continue;
    record.outcome = Outcome::kUnknown;
  }
  return weaker;
}

}  // namespace

Report Check(const std::vector<Record>& given, const std::vector<QueueRules>& rules,
             const CheckOptions& options) {
  const std::vector<Record> weaker = WithoutUnsynced(given, options);
  const std::vector<Record>& records = weaker.empty() ? given : weaker;
  const Index index(records, rules, options);
  Report report;
  Findings findings(report);
  CheckLost(index, findings);
  CheckSource(index, findings);
  CheckStored(index, findings);
  CheckOrder(index, findings);
  CheckAtomic(index, findings);
  CheckSettled(index, findings);
  CheckLeases(index, findings);
  CheckAttempts(index, findings);
  CheckDeadLetters(index, findings);
  CheckCredit(index, findings);
  CheckBounds(index, findings);
  CheckConserved(index, findings);
  CheckAlive(index, findings);
  Summarize(index, report);
  return report;
}

}  // namespace mqd::crash
