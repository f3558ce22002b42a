// model_turn.cc: time, administration, crashes, and the end of every turn.

#include <algorithm>

#include "tests/model/queue_model.h"

namespace mqd::queue::testing {

std::string QueueModel::EndTurn(bool written, bool commits_pending, std::deque<Seen>& seen) {
  ExpireLeases();
  ReadyDue();
  ExpireTtl();
  ExpireWaiters();
  ExpireAwaited();
  ExpireIdle();
  if (deleted_) return seen.empty() ? "" : "a queue that is deleted delivers";
  // Without a disk a change is done when the turn ends, unless a commit is under way; and what it
  // made room for or could be dropped for goes on in the same turn.
  const bool done = !durable() && !written && !commits_pending;
  std::string wrong;
  for (bool more = true; more && wrong.empty();) {
    AdmitWaiters();
    more = done && Finish(commit_);
    ObserveLanes();
    if (settings_.delivery == DeliveryMode::kAtMostOnce) {
      HandOverAtMostOnce();
      more = (done && Finish(handed_over_)) || more;
      continue;
    }
    while (!seen.empty() && wrong.empty() && !NothingLeft().empty()) {
      wrong = Take(seen);
    }
  }
  while (!seen.empty() && wrong.empty()) wrong = Take(seen);
  ObserveLanes();
  return wrong;
}

std::string QueueModel::Take(std::deque<Seen>& seen) {
  const Seen next = seen.front();
  seen.pop_front();
  const std::string wrong = Deliver(next);
  return wrong.empty() ? "" : wrong + ": " + Names({next})[0];
}

/// Does what a commit does to the memory; whether that was anything.
bool QueueModel::Finish(ModelCommit& commit) {
  if (commit.empty()) return false;
  for (const auto& step : std::exchange(commit, {}).memory) step();
  return true;
}

// ---- what is due

void QueueModel::ExpireLeases() {
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kInFlight) continue;
    if (message.deadline_ms > clock_.steady_ms) continue;
    if (consumers_.contains(message.consumer)) dues_.lost.insert(message.delivery);
    Return(sequence, message, message.started,
           message.started ? BackoffMs(message.attempts + 1, sequence) : 0);
  }
}

/// Ready, or delayed and by what.
void QueueModel::Place(Sequence, ModelMessage& message) {
  message.state = ModelState::kDelayed;
  if (!message.refs.empty()) {
    message.wait = ModelWait::kMessages;
  } else if (message.delay_ms > 0 && message.wait == ModelWait::kNothing) {
    message.wait = ModelWait::kDelay;  // until due_ms
  } else if (message.deliver_at_ms > clock_.wall_ms) {
    message.wait = ModelWait::kWallTime;
    message.due_ms = message.deliver_at_ms;
  } else {
    message.wait = ModelWait::kNothing;
    message.state = ModelState::kReady;
  }
}

void QueueModel::ReadyDue() {
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kDelayed || message.wait == ModelWait::kMessages) continue;
    const bool wall = message.wait == ModelWait::kWallTime;
    if (message.due_ms > (wall ? clock_.wall_ms : clock_.steady_ms)) continue;
    message.state = ModelState::kReady;
    message.wait = ModelWait::kNothing;
  }
}

bool QueueModel::Expired(const ModelMessage& message) const {
  WallMs expires_ms = message.expires_ms;
  if (expires_ms == 0 && settings_.default_ttl.count() > 0) {
    expires_ms = message.published_ms + settings_.default_ttl.count();
  }
  return expires_ms != 0 && expires_ms <= clock_.wall_ms;
}

void QueueModel::ExpireTtl() {
  for (auto& [sequence, message] : messages_) {
    if (message.state != ModelState::kReady && message.state != ModelState::kDelayed) continue;
    if (!Expired(message)) continue;
    if (!settings_.dead_letter_queue.empty() && settings_.expired_to_dead_letter) {
      Park(sequence, message);
    } else {
      Free(sequence, &ModelCounts::expired);
    }
  }
}

void QueueModel::ExpireWaiters() {
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    if (waiter->deadline_ms > clock_.steady_ms) {
      ++waiter;
      continue;
    }
    if (waiter->transaction != 0)
      dues_.prepared.emplace_back(waiter->transaction, "BLOCKED_TIMEOUT");
    for (; waiter->transaction == 0 && waiter->next < waiter->messages.size(); ++waiter->next) {
      const std::uint64_t publish_id = waiter->first_id + waiter->next;
      if (AnswerFromRecord(*waiter, publish_id)) continue;
      Answer(waiter->publisher, publish_id, "BLOCKED_TIMEOUT", false);
    }
    waiter = waiters_.erase(waiter);
  }
}

void QueueModel::ExpireAwaited() {
  for (auto each = awaited_.begin(); each != awaited_.end();) {
    if (each->second.deadline_ms > clock_.steady_ms) {
      ++each;
      continue;
    }
    Answer(each->second.publisher, each->second.publish_id, "BLOCKED_TIMEOUT", false);
    each = awaited_.erase(each);
  }
}

/// With nobody there it goes, and all that it holds.
void QueueModel::ExpireIdle() {
  const std::int64_t idle_ms = settings_.expires_after_idle.count();
  if (idle_ms == 0 || deleted_ || clock_.steady_ms < last_used_ms_ + idle_ms) return;
  if (!publishers_.empty() || !consumers_.empty() || !prepared_.empty()) return;
  deleted_ = true;
  for (const ModelWaiter& waiter : waiters_) {
    dues_.prepared.emplace_back(waiter.transaction, "QUEUE_NOT_FOUND");
  }
  waiters_.clear();
  messages_.clear();
  dedup_.clear();
  commit_.disk.push_back([this] {
    disk_.messages.clear();
    disk_.dedup.clear();
    disk_.producers.clear();
  });
}

void QueueModel::Recreate(const QueueSettings& settings, Sequence next_sequence) {
  disk_ = {.settings = settings};
  deleted_ = false;
  Crash(next_sequence, false);
}

// ---- administration

void QueueModel::Close() {
  closed_ = true;
  commit_.disk.push_back([this] { disk_.closed = true; });
}

void QueueModel::Reopen() {
  closed_ = false;
  commit_.disk.push_back([this] { disk_.closed = false; });
}

void QueueModel::Update(const QueueSettings& settings) {
  Used();
  if (settings == settings_) return;
  if (settings.ordering != settings_.ordering ||
      settings.dispatch_policy != settings_.dispatch_policy) {
    lanes_.clear();
  }
  if (settings.single_active != settings_.single_active) owners_.clear();
  settings_ = settings;
  for (auto& [sequence, message] : messages_) {
    if (HeedsKeys() && !message.key.empty()) message.with_key = true;
  }
  commit_.disk.push_back([this, settings] { disk_.settings = settings; });
  ElectActive();
}

// ---- a crash

void QueueModel::Crash(Sequence next_sequence, bool rebuilt) {
  messages_ = disk_.messages;
  settings_ = disk_.settings;
  closed_ = disk_.closed;
  dedup_ = disk_.dedup;
  producers_.clear();
  for (const auto& [name, stored] : disk_.producers) producers_[name].stored = stored;
  next_sequence_ = rebuilt ? std::max(next_sequence, next_sequence_) : next_sequence;
  if (!rebuilt) mono_base_ms_ = clock_.wall_ms - clock_.steady_ms;
  for (auto& [key, entry] : dedup_) {  // the clock may have been set back
    entry.written_ms = entry.first_seen_ms;
    entry.first_seen_ms = std::min(entry.first_seen_ms, MonoMs());
  }
  for (auto& [sequence, message] : messages_) {
    if (message.state == ModelState::kCommitting) {  // never tried: as it was published
      if (message.delay_ms > 0) message.deliver_at_ms = message.published_ms + message.delay_ms;
      message.delay_ms = 0;
      Place(sequence, message);
    } else if (message.state == ModelState::kDelayed) {
      const std::int64_t left_ms = message.retry_wall_ms - clock_.wall_ms;
      message.due_ms =
          clock_.steady_ms + std::clamp<std::int64_t>(left_ms, 0, message.retry_delay_ms);
    }
  }
  commit_ = handed_over_ = {};
  counts_ = {.restored = messages_.size()};
  dues_ = {};
  publishers_.clear();
  consumers_.clear();
  waiters_.clear();
  awaited_.clear();
  results_.clear();
  diverts_.clear();
  prepared_.clear();
  known_refs_.clear();
  asked_refs_.clear();
  publish_rate_ = delivery_rate_ = {};
  active_ = turn_ = 0;
  lanes_.clear();
  owners_.clear();
  recalled_ms_ = -1;
  Used();
}

// ---- questions

bool QueueModel::OnDisk(const Stored& stored) const {
  const auto found = disk_.messages.find(stored.sequence);
  return found != disk_.messages.end() && found->second.payload == stored.payload &&
         found->second.charge == stored.charge_bytes;
}

bool QueueModel::HasPendingKeys() const {
  return std::any_of(dedup_.begin(), dedup_.end(),
                     [](const auto& entry) { return entry.second.pending; });
}

bool QueueModel::Blank() const {
  return messages_.empty() && dedup_.empty() &&
         std::all_of(producers_.begin(), producers_.end(),
                     [](const auto& entry) { return entry.second.stored.empty(); });
}

std::uint64_t QueueModel::Count(ModelState state) const {
  return static_cast<std::uint64_t>(
      std::count_if(messages_.begin(), messages_.end(),
                    [state](const auto& entry) { return entry.second.state == state; }));
}

std::uint64_t QueueModel::Bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [sequence, message] : messages_) bytes += message.charge;
  return bytes;
}

}  // namespace mqd::queue::testing
