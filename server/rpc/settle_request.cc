// settle_request.cc: step 2 of 5 (session). Settles, alone and with publishes.
#include "server/rpc/settle_request.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/limits.h"
#include "server/queue/transaction.h"
#include "server/rpc/confirm_buffer.h"
#include "server/rpc/handshake.h"
#include "server/rpc/message_checks.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

using Done = absl::AnyInvocable<void(SettleAnswer)>;

struct ParsedEntries {
  std::vector<queue::SettleEntry> good;
  std::vector<std::pair<queue::DeliveryRange, queue::ErrorInfo>> refused;
};

absl::Status CheckText(std::string_view field, std::string_view text) {
  if (text.size() <= limits::kReasonBytesMax) return absl::OkStatus();
  return BadFieldStatus(field, "longer than 1 KiB; shorten it", limits::kReasonBytesMax,
                        text.size());
}

absl::StatusOr<queue::SettleOutcome> ParseRetry(const v1::Retry& retry) {
  if (absl::Status status = CheckText("error", retry.error()); !status.ok()) return status;
  queue::RetryOutcome out{.delay_ns = {}, .error = retry.error()};
  if (retry.has_delay()) {
    const auto delay =
        FromDuration(retry.delay(), "delay", std::chrono::milliseconds(0), limits::kDelayMax);
    if (!delay.ok()) return delay.status();
    out.delay_ns = delay->count() * queue::kNsPerMs;
  }
  return queue::SettleOutcome(std::move(out));
}

absl::StatusOr<queue::SettleOutcome> ParseExtend(const v1::Extend& extend) {
  queue::ExtendOutcome out;
  if (extend.has_lease()) {
    const auto lease = FromDuration(extend.lease(), "lease", limits::kLeaseMin, limits::kLeaseMax);
    if (!lease.ok()) return lease.status();
    out.lease_ns = lease->count() * queue::kNsPerMs;
  }
  return queue::SettleOutcome(out);
}

absl::StatusOr<queue::SettleOutcome> ParseOutcome(const v1::SettleEntry& entry) {
  switch (entry.outcome_case()) {
    case v1::SettleEntry::kAck:
      return queue::SettleOutcome(queue::AckOutcome{});
    case v1::SettleEntry::kRetry:
      return ParseRetry(entry.retry());
    case v1::SettleEntry::kRelease:
      return queue::SettleOutcome(queue::ReleaseOutcome{});
    case v1::SettleEntry::kDeadLetter: {
      if (absl::Status status = CheckText("reason", entry.dead_letter().reason()); !status.ok()) {
        return status;
      }
      return queue::SettleOutcome(queue::DeadLetterOutcome{entry.dead_letter().reason()});
    }
    case v1::SettleEntry::kExtend:
      return ParseExtend(entry.extend());
    case v1::SettleEntry::OUTCOME_NOT_SET:
      break;
  }
  return BadFieldStatus("outcome", "one of ack, retry, release, dead_letter, extend must be set");
}

absl::Status CheckRange(const v1::DeliveryRange& range) {
  if (range.first_delivery_id() != 0 && range.first_delivery_id() <= range.last_delivery_id()) {
    return absl::OkStatus();
  }
  return BadFieldStatus("range", absl::StrCat("deliveries ", range.first_delivery_id(), " to ",
                                              range.last_delivery_id(), " are not a range"));
}

ParsedEntries ParseEntries(const SettleEntries& entries) {
  ParsedEntries out;
  out.good.reserve(static_cast<std::size_t>(entries.size()));
  for (const v1::SettleEntry& entry : entries) {
    const queue::DeliveryRange range{entry.range().first_delivery_id(),
                                     entry.range().last_delivery_id()};
    const absl::Status status = CheckRange(entry.range());
    absl::StatusOr<queue::SettleOutcome> outcome =
        status.ok() ? ParseOutcome(entry) : absl::StatusOr<queue::SettleOutcome>(status);
    if (outcome.ok()) {
      out.good.push_back({range, *std::move(outcome)});
    } else {
      out.refused.emplace_back(range, queue::ErrorInfoOf(outcome.status()));
    }
  }
  return out;
}

void SettlePlain(std::shared_ptr<queue::QueueActor> source, ParsedEntries parsed, Done done) {
  if (parsed.good.empty()) return done({.exceptions = std::move(parsed.refused)});
  source->Settle(std::move(parsed.good),
                 [done = std::move(done), refused = std::move(parsed.refused)](
                     absl::StatusOr<queue::SettleResult> result) mutable {
                   SettleAnswer answer{.exceptions = std::move(refused)};
                   if (!result.ok()) {
                     answer.error = queue::ErrorInfoOf(result.status());
                   } else {
                     answer.settled = result->settled;
                     std::move(result->exceptions.begin(), result->exceptions.end(),
                               std::back_inserter(answer.exceptions));
                   }
                   done(std::move(answer));
                 });
}

// ---- with publishes

struct ParsedTargets {
  std::vector<queue::TransactionTarget> targets;
  std::vector<std::optional<queue::ErrorInfo>> faults;  // one a message, of all targets
  bool faulty = false;
};

absl::Status AddTarget(const RpcDeps& deps, const queue::QueueActor& source,
                       const v1::TransactionalPublish& publish, ParsedTargets& out) {
  if (absl::Status status = deps.authorizer.Authorize({}, Action::kPublish, publish.queue());
      !status.ok()) {
    return status;
  }
  auto found = FindQueue(deps.registry, publish.queue());
  if (!found.ok()) return found.status();
  if (queue::NamespaceOf((*found)->name()) != queue::NamespaceOf(source.name())) {
    return BadFieldStatus("publishes.queue",
                          absl::StrCat((*found)->name(), " is not in the namespace of ",
                                       source.name(), "; an atomic settle stays in one namespace"));
  }
  for (const queue::TransactionTarget& other : out.targets) {
    if (other.queue->id() != (*found)->id()) continue;
    return BadFieldStatus("publishes.queue",
                          absl::StrCat((*found)->name(), " comes twice; join its messages"));
  }
  auto owner = std::make_shared<const std::string>(publish.SerializeAsString());
  wire::ScannedBatch scanned;
  scanned.first_publish_id = 1;
  if (absl::Status s = wire::ScanMessages(*owner, deps.message_limits(), scanned); !s.ok()) {
    return BadFieldStatus("publishes.messages", std::string(s.message()));
  }
  CheckedBatch checked = CheckBatch(scanned, WallMs(), RefuseReference);
  std::vector<std::optional<queue::ErrorInfo>> faults(scanned.messages.size());
  for (queue::PublishException& refused : checked.refused) {
    faults[refused.publish_id - 1] = std::get<queue::ErrorInfo>(std::move(refused.result));
    out.faulty = true;
  }
  for (const queue::PublishBatch& good : checked.good) {
    for (std::size_t i = 0; i < good.messages.size(); ++i) {
      const queue::SpecialFields* special = good.SpecialOf(good.messages[i]);
      if (special == nullptr || special->fault == nullptr) continue;
      faults[good.first_publish_id - 1 + i] = *special->fault;
      out.faulty = true;
    }
  }
  std::move(faults.begin(), faults.end(), std::back_inserter(out.faults));
  queue::PublishBatch batch;
  if (!checked.good.empty()) batch = std::move(checked.good.front());
  batch.owner = std::move(owner);
  out.targets.push_back({*std::move(found), std::move(batch)});
  return absl::OkStatus();
}

/// The request is off because of some messages: each of them says why, and the others that they are
/// not to blame.
SettleAnswer FaultyAnswer(const ParsedTargets& parsed) {
  SettleAnswer answer;
  for (const std::optional<queue::ErrorInfo>& fault : parsed.faults) {
    v1::PublishResult& result = answer.publish_results.emplace_back();
    *result.mutable_error() = ToProto(
        fault ? *fault : BadField("publishes", "not published: another message was refused"));
  }
  answer.error = BadField("publishes", "a message was refused, so nothing took effect");
  return answer;
}

v1::PublishResult ToResult(
    const std::variant<queue::Sequence, queue::Duplicate, queue::ErrorInfo>& result) {
  v1::PublishResult out;
  if (const auto* sequence = std::get_if<queue::Sequence>(&result)) {
    out.mutable_published()->set_sequence(*sequence);
  } else if (const auto* duplicate = std::get_if<queue::Duplicate>(&result)) {
    SetResult(*duplicate, *out.mutable_duplicate());
  } else {
    *out.mutable_error() = ToProto(std::get<queue::ErrorInfo>(result));
  }
  return out;
}

SettleAnswer ToAnswer(queue::TransactionResult result) {
  SettleAnswer answer{.settled = result.committed ? result.settle.settled : 0,
                      .exceptions = std::move(result.settle.exceptions),
                      .error = std::move(result.error)};
  for (const auto& target : result.publishes) {
    for (const auto& message : target) answer.publish_results.push_back(ToResult(message));
  }
  return answer;
}

void SettleWithPublishes(const RpcDeps& deps, std::shared_ptr<queue::QueueActor> source,
                         ParsedEntries parsed, const SettlePublishes& publishes, Done done) {
  ParsedTargets targets;
  if (!parsed.refused.empty()) {
    return done({.exceptions = std::move(parsed.refused),
                 .error = BadField("entries", "an entry is wrong, so nothing took effect")});
  }
  for (const v1::TransactionalPublish& publish : publishes) {
    const absl::Status status = AddTarget(deps, *source, publish, targets);
    if (!status.ok()) return done({.error = queue::ErrorInfoOf(status)});
  }
  if (targets.faulty) return done(FaultyAnswer(targets));
  if (targets.faults.size() > limits::kSettlePublishesMax) {
    return done(
        {.error = BadField("publishes", "too many messages in one atomic settle; send fewer",
                           limits::kSettlePublishesMax, targets.faults.size())});
  }
  queue::SettleAtomically(std::move(source), std::move(parsed.good), std::move(targets.targets),
                          [done = std::move(done)](queue::TransactionResult result) mutable {
                            done(ToAnswer(std::move(result)));
                          });
}

}  // namespace

void RunSettle(const RpcDeps& deps, std::shared_ptr<queue::QueueActor> source,
               const SettleEntries& entries, const SettlePublishes& publishes, Done done) {
  const auto count = static_cast<std::uint64_t>(entries.size());
  if (count > limits::kSettleEntriesMax) {
    return done({.error = BadField("entries", "too many entries in one settle; send fewer",
                                   limits::kSettleEntriesMax, count)});
  }
  ParsedEntries parsed = ParseEntries(entries);
  if (publishes.empty()) return SettlePlain(std::move(source), std::move(parsed), std::move(done));
  SettleWithPublishes(deps, std::move(source), std::move(parsed), publishes, std::move(done));
}

void ToProto(const std::pair<queue::DeliveryRange, queue::ErrorInfo>& exception,
             v1::SettleException& out) {
  out.mutable_range()->set_first_delivery_id(exception.first.first);
  out.mutable_range()->set_last_delivery_id(exception.first.last);
  *out.mutable_error() = ToProto(exception.second);
}

absl::StatusOr<std::vector<queue::DeliveryRange>> FromProto(
    const google::protobuf::RepeatedPtrField<v1::DeliveryRange>& ranges) {
  std::vector<queue::DeliveryRange> out;
  out.reserve(static_cast<std::size_t>(ranges.size()));
  for (const v1::DeliveryRange& range : ranges) {
    if (absl::Status status = CheckRange(range); !status.ok()) return status;
    out.push_back({range.first_delivery_id(), range.last_delivery_id()});
  }
  return out;
}

void ToProto(const std::vector<queue::DeliveryRange>& ranges,
             google::protobuf::RepeatedPtrField<v1::DeliveryRange>& out) {
  for (const queue::DeliveryRange& range : ranges) {
    v1::DeliveryRange& to = *out.Add();
    to.set_first_delivery_id(range.first);
    to.set_last_delivery_id(range.last);
  }
}

}  // namespace mqd::rpc
