#include "server/queue/namespace_registry.h"

#include <atomic>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "asio/post.hpp"
#include "proto/base/assert.h"
#include "server/limits.h"
#include "server/queue/queue_registry.h"
#include "storage/record_codec.h"

namespace mqd::queue {
namespace {

using storage::NamespaceRecord;

ErrorInfo NamespaceError(Reason reason, std::string_view name, absl::string_view text) {
  return {.reason = reason,
          .resource = absl::StrCat("namespace ", std::string(name)),
          .message = absl::StrCat("namespace ", std::string(name), ": ", text)};
}

absl::Status NotFound(std::string_view name) {
  return ToStatus(NamespaceError(Reason::kNamespaceNotFound, name,
                                 "there is none; create it, or a queue in it"));
}

absl::Status CheckName(std::string_view name) {
  if (name.find('/') == std::string_view::npos &&
      FullName(absl::StrCat(std::string(name), "/q")).ok()) {
    return absl::OkStatus();
  }
  return ToStatus({.reason = Reason::kBadField,
                   .resource = "field name",
                   .message = "a namespace's name is a letter or digit and up to 127 more "
                              "letters, digits, '.', '_' or '-'"});
}

std::string LimitText(std::uint64_t limit) {
  return limit == NamespaceRecord::kNoQuota ? "unlimited" : absl::StrCat(limit);
}

NamespaceRecord Applied(NamespaceRecord record, const NamespaceQuotas& quotas) {
  record.max_queues = quotas.max_queues.value_or(record.max_queues);
  record.max_messages = quotas.max_messages.value_or(record.max_messages);
  record.max_bytes = quotas.max_bytes.value_or(record.max_bytes);
  return record;
}

/// "max_queues: 5, not unlimited" for each quota that differs. `have` is named first.
std::vector<std::string> Difference(const NamespaceRecord& have, const NamespaceRecord& want) {
  std::vector<std::string> difference;
  const auto compare = [&](const char* field, std::uint64_t NamespaceRecord::*quota) {
    if (have.*quota == want.*quota) return;
    difference.push_back(
        absl::StrCat(field, ": ", LimitText(have.*quota), ", not ", LimitText(want.*quota)));
  };
  compare("max_queues", &NamespaceRecord::max_queues);
  compare("max_messages", &NamespaceRecord::max_messages);
  compare("max_bytes", &NamespaceRecord::max_bytes);
  return difference;
}

}  // namespace

absl::Status NamespaceRegistry::Recover() {
  std::vector<NamespaceRecord> rows;
  const absl::Status status = deps_.store.Scan(
      deps_.shard, storage::Table::kMeta, storage::NamespaceRowPrefix(),
      [&](std::string_view key, std::string_view value) {
        absl::StatusOr<NamespaceRecord> row = storage::DecodeNamespaceRecord(value);
        if (row.ok()) {
          rows.push_back(*std::move(row));
          return absl::OkStatus();
        }
        return absl::Status(
            row.status().code(),
            absl::StrCat("table meta, row ", absl::BytesToHexString(std::string(key)), ": ",
                         row.status().message()));
      });
  if (!status.ok()) return status;
  for (NamespaceRecord& row : rows) {
    std::string name = row.name;
    TakeOver(name, std::move(row));
  }
  return absl::OkStatus();
}

// ---- what is there

NamespaceRegistry::Entry& NamespaceRegistry::EntryOf(std::string_view name) {
  Entry& entry = entries_[std::string(name)];
  if (entry.ledger == nullptr) entry.ledger = std::make_shared<NamespaceLedger>(std::string(name));
  return entry;
}

void NamespaceRegistry::DropIfUnusedLocked(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.row.has_value() || found->second.queues > 0) return;
  entries_.erase(found);
}

NamespaceInfo NamespaceRegistry::InfoLocked(const std::string& name, const Entry& entry) const {
  return {.record = entry.row.value_or(NamespaceRecord{.name = name}),
          .queues = entry.queues,
          .messages = entry.ledger->messages(),
          .bytes = entry.ledger->bytes()};
}

absl::StatusOr<NamespaceInfo> NamespaceRegistry::Get(std::string_view name) const {
  base::MutexLock lock(mutex_);
  const auto found = entries_.find(std::string(name));
  if (found == entries_.end()) return NotFound(name);
  return InfoLocked(found->first, found->second);
}

std::vector<NamespaceInfo> NamespaceRegistry::List(std::string_view after,
                                                   std::size_t limit) const {
  std::vector<NamespaceInfo> page;
  base::MutexLock lock(mutex_);
  auto next = entries_.upper_bound(std::string(after));
  for (; next != entries_.end() && page.size() < limit; ++next) {
    page.push_back(InfoLocked(next->first, next->second));
  }
  return page;
}

// ---- queues come and go

std::optional<ErrorInfo> NamespaceRegistry::AdmitQueue(std::string_view name_space) {
  base::MutexLock lock(mutex_);
  Entry& entry = EntryOf(name_space);
  if (entry.row.has_value() && entry.queues >= entry.row->max_queues) {
    ErrorInfo refusal =
        NamespaceError(Reason::kQuotaExceeded, name_space,
                       absl::StrCat("it has ", entry.queues, " of ", entry.row->max_queues,
                                    " queues; delete some, or raise the namespace's max_queues"));
    refusal.limit = entry.row->max_queues;
    refusal.current = entry.queues;
    return refusal;
  }
  ++entry.queues;
  return std::nullopt;
}

void NamespaceRegistry::AddQueue(std::string_view name_space) {
  base::MutexLock lock(mutex_);
  ++EntryOf(name_space).queues;
}

void NamespaceRegistry::RemoveQueue(std::string_view name_space) {
  const std::string name(name_space);
  base::MutexLock lock(mutex_);
  Entry& entry = EntryOf(name);
  MQD_ASSERT(entry.queues > 0);
  --entry.queues;
  DropIfUnusedLocked(name);
}

std::shared_ptr<NamespaceLedger> NamespaceRegistry::LedgerOf(std::string_view name_space) const {
  base::MutexLock lock(mutex_);
  return entries_.at(std::string(name_space)).ledger;
}

// ---- one change after the other

void NamespaceRegistry::Change(Task task) {
  {
    base::MutexLock lock(mutex_);
    changes_.push_back(std::move(task));
    if (std::exchange(changing_, true)) return;
  }
  EndChange();
}

void NamespaceRegistry::EndChange() {
  asio::post(deps_.pool, [this] { NextChange(); });
}

void NamespaceRegistry::NextChange() {
  Task task;
  {
    base::MutexLock lock(mutex_);
    changing_ = !changes_.empty();
    if (!changing_) return;
    task = std::move(changes_.front());
    changes_.pop_front();
  }
  task();
}

template <class T>
void NamespaceRegistry::Answer(Callback<T>& done, absl::StatusOr<T> value) {
  EndChange();
  done(std::move(value));
}

void NamespaceRegistry::Create(std::string name, NamespaceQuotas quotas,
                               Callback<CreatedNamespace> done) {
  if (absl::Status status = CheckName(name); !status.ok()) return done(status);
  Change([this, name = std::move(name), quotas, done = std::move(done)]() mutable {
    StartCreate(std::move(name), quotas, std::move(done));
  });
}

void NamespaceRegistry::Update(std::string name, NamespaceQuotas quotas,
                               Callback<NamespaceInfo> done) {
  Change([this, name = std::move(name), quotas, done = std::move(done)]() mutable {
    StartUpdate(std::move(name), quotas, std::move(done));
  });
}

void NamespaceRegistry::Delete(std::string name, bool force, Callback<std::uint64_t> done) {
  Change([this, name = std::move(name), force, done = std::move(done)]() mutable {
    StartDelete(std::move(name), force, std::move(done));
  });
}

void NamespaceRegistry::StartCreate(std::string name, NamespaceQuotas quotas,
                                    Callback<CreatedNamespace> done) {
  NamespaceRecord wanted = Applied({.name = name, .create_time_ms = deps_.clock().wall_ms}, quotas);
  std::optional<NamespaceInfo> existing;
  std::size_t rows = 0;
  {
    base::MutexLock lock(mutex_);
    const auto found = entries_.find(name);
    const bool has_row = found != entries_.end() && found->second.row.has_value();
    if (has_row) existing = InfoLocked(name, found->second);
    rows = rows_;
  }
  if (existing.has_value()) {
    const std::vector<std::string> difference = Difference(existing->record, wanted);
    if (difference.empty())
      return Answer<CreatedNamespace>(done, CreatedNamespace{*existing, false});
    return Answer<CreatedNamespace>(
        done, ToStatus(NamespaceError(
                  Reason::kNamespaceExistsDifferent, name,
                  absl::StrCat("it exists with other quotas: ", absl::StrJoin(difference, "; "),
                               "; use update to change it"))));
  }
  if (rows >= limits::kNamespacesMax) {
    ErrorInfo full = NamespaceError(Reason::kQuotaExceeded, name,
                                    absl::StrCat("the broker has its ", limits::kNamespacesMax,
                                                 " namespaces with quotas; delete some"));
    full.limit = limits::kNamespacesMax;
    full.current = rows;
    return Answer<CreatedNamespace>(done, ToStatus(full));
  }
  Write(name, std::move(wanted),
        [this, name, done = std::move(done)](const absl::Status& written) mutable {
          if (!written.ok()) return Answer<CreatedNamespace>(done, written);
          WhenQueuesHaveTurned(name, [this, name, done = std::move(done)]() mutable {
            absl::StatusOr<NamespaceInfo> info = Get(name);
            if (!info.ok()) return Answer<CreatedNamespace>(done, info.status());
            Answer<CreatedNamespace>(done, CreatedNamespace{*std::move(info), true});
          });
        });
}

void NamespaceRegistry::StartUpdate(std::string name, NamespaceQuotas quotas,
                                    Callback<NamespaceInfo> done) {
  absl::StatusOr<NamespaceInfo> before = Get(name);
  if (!before.ok()) return Answer<NamespaceInfo>(done, before.status());
  NamespaceRecord wanted = Applied(before->record, quotas);
  if (wanted.create_time_ms == 0) wanted.create_time_ms = deps_.clock().wall_ms;
  Write(name, std::move(wanted),
        [this, name, done = std::move(done)](const absl::Status& written) mutable {
          if (!written.ok()) return Answer<NamespaceInfo>(done, written);
          WhenQueuesHaveTurned(name, [this, name, done = std::move(done)]() mutable {
            Answer<NamespaceInfo>(done, Get(name));
          });
        });
}

void NamespaceRegistry::StartDelete(std::string name, bool force, Callback<std::uint64_t> done) {
  absl::StatusOr<NamespaceInfo> before = Get(name);
  if (!before.ok()) return Answer<std::uint64_t>(done, before.status());
  if (before->queues > 0 && !force) {
    ErrorInfo not_empty =
        NamespaceError(Reason::kNamespaceNotEmpty, name,
                       absl::StrCat("it has ", before->queues,
                                    " queues; delete them first, or use force, which "
                                    "deletes them with all they hold"));
    not_empty.current = before->queues;
    return Answer<std::uint64_t>(done, ToStatus(not_empty));
  }
  const auto queues = deps_.queues.List(name, "", "", SIZE_MAX);
  if (queues.empty()) return DeleteRow(std::move(name), 0, std::move(done));
  struct Gathering {
    std::atomic<std::size_t> left;
    std::atomic<std::uint64_t> deleted{0};
    base::Mutex mutex;
    absl::Status error ABSL_GUARDED_BY(mutex);
    Callback<std::uint64_t> done;
  };
  auto gathering = std::make_shared<Gathering>();
  gathering->left = queues.size();
  gathering->done = std::move(done);
  for (const std::shared_ptr<QueueActor>& queue : queues) {
    queue->Delete(true, [this, name, gathering](const absl::StatusOr<std::uint64_t>& gone) {
      if (gone.ok()) {
        ++gathering->deleted;
      } else if (ErrorInfoOf(gone.status()).reason != Reason::kQueueNotFound) {
        base::MutexLock lock(gathering->mutex);
        gathering->error = gone.status();
      }
      if (--gathering->left > 0) return;
      absl::Status error;
      {
        base::MutexLock lock(gathering->mutex);
        error = gathering->error;
      }
      if (!error.ok()) return Answer<std::uint64_t>(gathering->done, error);
      DeleteRow(name, gathering->deleted, std::move(gathering->done));
    });
  }
}

void NamespaceRegistry::DeleteRow(std::string name, std::uint64_t queues,
                                  Callback<std::uint64_t> done) {
  Write(name, std::nullopt, [this, queues, done = std::move(done)](absl::Status written) mutable {
    if (!written.ok()) return Answer<std::uint64_t>(done, std::move(written));
    Answer<std::uint64_t>(done, queues);
  });
}

// ---- rows

void NamespaceRegistry::Write(std::string name, std::optional<NamespaceRecord> wanted,
                              Written then) {
  storage::Batch batch;
  if (wanted.has_value()) {
    batch.PutNamespace(*wanted);
  } else {
    batch.DeleteNamespace(name);
  }
  deps_.store.Append(
      deps_.shard, deps_.store.CurrentEpoch(), std::move(batch), storage::Sync::kFlush,
      [this, name = std::move(name), wanted = std::move(wanted),
       then = std::move(then)](storage::CommitResult result) mutable {
        asio::post(deps_.pool, [this, name = std::move(name), wanted = std::move(wanted),
                                then = std::move(then), outcome = result.outcome]() mutable {
          OnWritten(name, wanted, outcome, std::move(then));
        });
      });
}

void NamespaceRegistry::OnWritten(const std::string& name,
                                  const std::optional<NamespaceRecord>& wanted,
                                  storage::Outcome outcome, Written then) {
  if (outcome == storage::Outcome::kUnknown) {  // it may be there after all: ask the store
    const absl::StatusOr<std::optional<NamespaceRecord>> row = ReadRow(name);
    if (row.ok() && *row == wanted) outcome = storage::Outcome::kCommitted;
  }
  if (outcome == storage::Outcome::kCommitted) {
    TakeOver(name, wanted);
    return then(absl::OkStatus());
  }
  const bool stopping = outcome == storage::Outcome::kShuttingDown;
  then(ToStatus(NamespaceError(
      stopping ? Reason::kDraining : Reason::kOutcomeUnknown, name,
      stopping ? "the broker is stopping" : "the change could not be stored; try again")));
}

absl::StatusOr<std::optional<NamespaceRecord>> NamespaceRegistry::ReadRow(
    const std::string& name) const {
  std::optional<NamespaceRecord> found;
  const std::string wanted = storage::NamespaceRowKey(name);
  const absl::Status status = deps_.store.Scan(deps_.shard, storage::Table::kMeta, wanted,
                                               [&](std::string_view key, std::string_view value) {
                                                 if (key != wanted)
                                                   return absl::OkStatus();  // of a longer name
                                                 auto row = storage::DecodeNamespaceRecord(value);
                                                 if (row.ok()) found = *std::move(row);
                                                 return row.status();
                                               });
  if (!status.ok()) return status;
  return found;
}

void NamespaceRegistry::TakeOver(const std::string& name, std::optional<NamespaceRecord> row) {
  base::MutexLock lock(mutex_);
  Entry& entry = EntryOf(name);
  rows_ += row.has_value() ? 1 : 0;
  rows_ -= entry.row.has_value() ? 1 : 0;
  entry.row = std::move(row);
  const NamespaceRecord quotas = entry.row.value_or(NamespaceRecord{});
  entry.ledger->SetQuota(quotas.max_messages, quotas.max_bytes);
  DropIfUnusedLocked(name);
}

void NamespaceRegistry::WhenQueuesHaveTurned(const std::string& name, Task then) {
  const auto queues = deps_.queues.List(name, "", "", SIZE_MAX);
  if (queues.empty()) return then();
  auto left = std::make_shared<std::atomic<std::size_t>>(queues.size());
  auto task = std::make_shared<Task>(std::move(then));
  for (const std::shared_ptr<QueueActor>& queue : queues) {
    queue->Info([left, task](const absl::StatusOr<QueueInfo>&) {
      if (--*left == 0) (*task)();
    });
  }
}

}  // namespace mqd::queue
