#include "server/queue/live_queue_registry.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "asio/post.hpp"
#include "server/limits.h"

namespace mqd::queue {
namespace {

Now ReadClocks() {
  using std::chrono::duration_cast;
  return {
      duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count(),
      duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count()};
}

/// How many letters must change to make `a` of `b` (Levenshtein 1966), for "did you mean".
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

ErrorInfo QueueError(Reason reason, std::string_view name, std::string text) {
  return {.reason = reason,
          .resource = absl::StrCat("queue ", std::string(name)),
          .message = absl::StrCat("queue ", std::string(name), ": ", text)};
}

bool IsNamePart(std::string_view part) {
  const auto alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (part.empty() || part.size() > limits::kNameBytesMax || !alnum(part[0])) return false;
  return std::all_of(part.begin(), part.end(),
                     [&](char c) { return alnum(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace

absl::StatusOr<std::string> FullName(std::string_view name) {
  const std::size_t slash = name.find('/');
  const bool parts_good = slash == std::string_view::npos ? IsNamePart(name)
                                                          : IsNamePart(name.substr(0, slash)) &&
                                                                IsNamePart(name.substr(slash + 1));
  if (!parts_good) {
    return ToStatus({.reason = Reason::kBadField,
                     .resource = "field queue",
                     .message =
                         "a queue name is [namespace/]name, each part a letter or digit and up "
                         "to 127 more letters, digits, '.', '_' or '-'"});
  }
  return slash == std::string_view::npos ? absl::StrCat("default/", std::string(name))
                                         : std::string(name);
}

std::string_view NamespaceOf(std::string_view full_name) {
  return full_name.substr(0, full_name.find('/'));
}

absl::StatusOr<std::unique_ptr<QueueRegistry>> QueueRegistry::Open(storage::Store& store,
                                                                   asio::any_io_executor pool,
                                                                   RegistryOptions options) {
  auto registry = std::make_unique<LiveQueueRegistry>(store, std::move(pool), std::move(options));
  if (absl::Status status = registry->Recover(); !status.ok()) return status;
  return registry;
}

LiveQueueRegistry::LiveQueueRegistry(storage::Store& store, asio::any_io_executor pool,
                                     RegistryOptions options)
    : store_(store),
      pool_(std::move(pool)),
      options_(std::move(options)),
      namespaces_(
          {.store = store_, .shard = shard_, .pool = pool_, .clock = ReadClocks, .queues = *this}) {
}

LiveQueueRegistry::~LiveQueueRegistry() = default;

std::shared_ptr<LiveQueueActor> LiveQueueRegistry::MakeActor(RecoveredQueue recovered) {
  ActorDeps deps{.store = &store_,
                 .shard = shard_,
                 .directory = this,
                 .ledger = namespaces_.LedgerOf(NamespaceOf(recovered.record.name)),
                 .on_alarm = options_.on_alarm,
                 .cached_bytes = cached_bytes_,
                 .cache_bytes_max = options_.cache_bytes,
                 .pool = pool_,
                 .clock = ReadClocks};
  return std::make_shared<LiveQueueActor>(std::move(deps), std::move(recovered));
}

absl::Status LiveQueueRegistry::Recover() {
  const auto start = std::chrono::steady_clock::now();
  if (absl::Status status = namespaces_.Recover(); !status.ok()) return status;
  auto records = ListQueueRecords(store_, shard_);
  if (!records.ok()) return records.status();
  std::vector<std::shared_ptr<LiveQueueActor>> actors;
  for (storage::QueueRecord& record : *records) {
    auto recovered = RecoverQueue(store_, shard_, std::move(record));
    if (!recovered.ok()) return recovered.status();
    namespaces_.AddQueue(NamespaceOf(recovered->record.name));
    actors.push_back(MakeActor(*std::move(recovered)));
  }
  {
    base::MutexLock lock(mutex_);
    for (const auto& actor : actors) AddLocked(actor);
  }
  for (const auto& actor : actors) actor->Wake();
  recovery_time_ = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<QueueActor>> LiveQueueRegistry::Find(std::string_view name) const {
  base::MutexLock lock(mutex_);
  const auto found = queues_.find(std::string(name));
  if (found != queues_.end()) return found->second;
  std::string text = absl::StrCat("there is no such queue among ", queues_.size());
  std::size_t best = 3;  // names further apart than two letters are no misspelling
  const std::string* close = nullptr;
  for (const auto& [other, actor] : queues_) {
    if (queues_.size() > 1'000) break;  // not worth a scan
    const std::size_t distance = EditDistance(name, other);
    if (distance < best) {
      best = distance;
      close = &other;
    }
  }
  if (close != nullptr) absl::StrAppend(&text, "; did you mean ", *close, "?");
  if (close == nullptr) absl::StrAppend(&text, "; create it first");
  return ToStatus(QueueError(Reason::kQueueNotFound, name, text));
}

void LiveQueueRegistry::AddLocked(std::shared_ptr<LiveQueueActor> actor) {
  by_id_[actor->id()] = actor;
  queues_.emplace(actor->name(), std::move(actor));
}

std::shared_ptr<QueueActor> LiveQueueRegistry::FindById(QueueId id) const {
  base::MutexLock lock(mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void LiveQueueRegistry::Forget(const std::string& name, QueueId id) {
  std::shared_ptr<LiveQueueActor> gone;
  {
    base::MutexLock lock(mutex_);
    const auto found = queues_.find(name);
    if (found == queues_.end() || found->second->id() != id) return;
    gone = std::move(found->second);
    queues_.erase(found);
    by_id_.erase(id);
  }
  namespaces_.RemoveQueue(NamespaceOf(name));
}

// ---- create and delete

void LiveQueueRegistry::Create(std::string name, QueueSettings settings,
                               QueueActor::Callback<CreatedQueue> done) {
  if (absl::Status status = Validate(settings, name); !status.ok()) return done(status);
  std::shared_ptr<QueueActor> existing;
  std::optional<ErrorInfo> refusal;
  storage::QueueRecord record;
  {
    base::MutexLock lock(mutex_);
    const auto found = queues_.find(name);
    const auto pending = creating_.find(name);
    if (found != queues_.end()) {
      existing = found->second;
    } else if (pending != creating_.end()) {
      pending->second.waiting.emplace_back(std::move(settings), std::move(done));
      return;
    } else if (stopped_) {
      refusal = QueueError(Reason::kDraining, name, "the broker is stopping");
    } else if (queues_.size() + creating_.size() >= options_.queues_max) {
      refusal = QueueError(Reason::kQuotaExceeded, name,
                           absl::StrCat("the broker has its ", options_.queues_max,
                                        " queues; delete some or raise [limits] max_queues"));
      refusal->limit = options_.queues_max;
      refusal->current = queues_.size();
    } else {
      record.id = (store_.CurrentEpoch() << 32) | next_number_++;
      creating_[name] = {settings, {}};
      creating_[name].waiting.emplace_back(settings, std::move(done));
    }
  }
  if (refusal.has_value()) return done(ToStatus(*refusal));
  if (existing != nullptr) return CompareWithExisting(existing, settings, std::move(done));
  if (auto full = namespaces_.AdmitQueue(NamespaceOf(name))) return RefuseCreation(name, *full);
  record.name = name;
  record.settings = EncodeSettings(settings);
  record.create_time_ms = ReadClocks().wall_ms;
  storage::Batch batch;
  batch.PutQueue(record);
  store_.Append(shard_, store_.CurrentEpoch(), std::move(batch), storage::Sync::kFlush,
                [this, name, record = std::move(record),
                 settings = std::move(settings)](storage::CommitResult result) mutable {
                  asio::post(pool_,
                             [this, name, record = std::move(record),
                              settings = std::move(settings), outcome = result.outcome]() mutable {
                               OnCreated(name, std::move(record), std::move(settings), outcome);
                             });
                });
}

void LiveQueueRegistry::RefuseCreation(const std::string& name, const ErrorInfo& refusal) {
  Pending pending;
  {
    base::MutexLock lock(mutex_);
    pending = std::move(creating_[name]);
    creating_.erase(name);
  }
  for (auto& [wanted, done] : pending.waiting) done(ToStatus(refusal));
}

void LiveQueueRegistry::OnCreated(const std::string& name, storage::QueueRecord record,
                                  QueueSettings settings, storage::Outcome outcome) {
  std::shared_ptr<LiveQueueActor> actor;
  if (outcome == storage::Outcome::kCommitted) {
    actor = MakeActor({.record = std::move(record), .settings = std::move(settings)});
  } else if (outcome == storage::Outcome::kUnknown) {
    // It may be there after all: ask the store.
    auto found = FindQueueRecord(store_, shard_, record.id);
    if (found.ok()) actor = MakeActor({.record = *std::move(found), .settings = settings});
  }
  Pending pending;
  {
    base::MutexLock lock(mutex_);
    pending = std::move(creating_[name]);
    creating_.erase(name);
    if (actor != nullptr) AddLocked(actor);
  }
  if (actor == nullptr) namespaces_.RemoveQueue(NamespaceOf(name));
  bool first = true;
  for (auto& [wanted, done] : pending.waiting) {
    if (actor == nullptr) {
      done(
          ToStatus(QueueError(Reason::kOutcomeUnknown, name, "it could not be stored; try again")));
    } else if (first) {
      actor->Info([done = std::move(done)](absl::StatusOr<QueueInfo> info) mutable {
        if (!info.ok()) return done(info.status());
        done(CreatedQueue{*std::move(info), true});
      });
    } else {
      CompareWithExisting(actor, wanted, std::move(done));
    }
    first = false;
  }
}

void LiveQueueRegistry::CompareWithExisting(const std::shared_ptr<QueueActor>& queue,
                                            const QueueSettings& settings,
                                            QueueActor::Callback<CreatedQueue> done) {
  queue->Info([settings, done = std::move(done)](absl::StatusOr<QueueInfo> info) mutable {
    if (!info.ok()) return done(info.status());
    const std::vector<std::string> difference = Difference(info->settings, settings);
    if (difference.empty()) return done(CreatedQueue{*std::move(info), false});
    done(ToStatus(
        QueueError(Reason::kQueueExistsDifferent, info->name,
                   absl::StrCat("it exists with other settings: ", absl::StrJoin(difference, "; "),
                                "; use update to change it"))));
  });
}

void LiveQueueRegistry::Delete(std::string_view name, bool force,
                               QueueActor::Callback<std::uint64_t> done) {
  auto queue = Find(name);
  if (!queue.ok()) return done(queue.status());
  (*queue)->Delete(force, std::move(done));
}

// ---- the rest

std::vector<std::shared_ptr<QueueActor>> LiveQueueRegistry::List(std::string_view name_space,
                                                                 std::string_view prefix,
                                                                 std::string_view after,
                                                                 std::size_t limit) const {
  const std::string begin = absl::StrCat(std::string(name_space), "/", std::string(prefix));
  const std::string behind = absl::StrCat(std::string(name_space), "/", std::string(after));
  std::vector<std::shared_ptr<QueueActor>> found;
  base::MutexLock lock(mutex_);
  auto next =
      !after.empty() && behind >= begin ? queues_.upper_bound(behind) : queues_.lower_bound(begin);
  for (; next != queues_.end() && found.size() < limit; ++next) {
    if (next->first.compare(0, begin.size(), begin) != 0) break;
    found.push_back(next->second);
  }
  return found;
}

std::size_t LiveQueueRegistry::size() const {
  base::MutexLock lock(mutex_);
  return queues_.size();
}

std::uint64_t LiveQueueRegistry::cached_body_bytes() const {
  return cached_bytes_->load(std::memory_order_relaxed);
}

void LiveQueueRegistry::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
  }
  // Batches complete in order: when an empty one is through, so is every one before it.
  std::promise<void> through;
  store_.Append(shard_, store_.CurrentEpoch(), {}, storage::Sync::kFlush,
                [&through](storage::CommitResult) { through.set_value(); });
  through.get_future().wait();
}

}  // namespace mqd::queue
