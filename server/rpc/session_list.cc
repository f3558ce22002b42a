#include "server/rpc/session_list.h"

#include <utility>

#include "server/limits.h"
#include "server/rpc/status_map.h"
#include "server/rpc/stream_session.h"

namespace mqd::rpc {

absl::Status SessionList::Add(std::shared_ptr<StreamSession> session) {
  base::MutexLock lock(mutex_);
  if (draining_.load()) return queue::ToStatus(Draining());
  if (sessions_.size() >= limits::kStreamsMax) {
    return queue::ToStatus({.reason = queue::Reason::kQuotaExceeded,
                            .resource = "streams",
                            .message = "the broker holds as many streams as it can; close some",
                            .limit = limits::kStreamsMax,
                            .current = sessions_.size()});
  }
  (session->kind() == StreamSession::Kind::kPublish ? publish_streams_ : consume_streams_) += 1;
  const std::uint64_t id = session->id();
  sessions_.emplace(id, std::move(session));
  return absl::OkStatus();
}

void SessionList::Remove(const StreamSession& session) {
  std::shared_ptr<StreamSession> last;  // may be destroyed: after the lock
  base::MutexLock lock(mutex_);
  const auto found = sessions_.find(session.id());
  if (found == sessions_.end()) return;
  last = std::move(found->second);
  sessions_.erase(found);
  (last->kind() == StreamSession::Kind::kPublish ? publish_streams_ : consume_streams_) -= 1;
  if (sessions_.empty()) empty_.notify_all();
}

std::vector<std::shared_ptr<StreamSession>> SessionList::All() const {
  base::MutexLock lock(mutex_);
  std::vector<std::shared_ptr<StreamSession>> all;
  all.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) all.push_back(session);
  return all;
}

void SessionList::Tick(std::int64_t now_ns) {
  std::vector<std::shared_ptr<StreamSession>> due;
  {
    base::MutexLock lock(mutex_);
    for (const auto& [id, session] : sessions_) {
      if (session->due_ns() <= now_ns) due.push_back(session);
    }
  }
  for (const auto& session : due) session->OnTick(now_ns);
}

void SessionList::BeginDrain(std::chrono::milliseconds grace) {
  {
    base::MutexLock lock(mutex_);
    draining_ = true;
  }
  for (const auto& session : All()) session->GoAway(grace);
}

bool SessionList::WaitEmpty(std::chrono::steady_clock::time_point deadline) {
  base::MutexLock lock(mutex_);
  while (!sessions_.empty()) {
    if (lock.WaitUntil(empty_, deadline) == std::cv_status::timeout) return sessions_.empty();
  }
  return true;
}

void SessionList::EndAll() {
  for (const auto& session : All()) {
    session->End(queue::ToStatus(Draining()), StreamSession::Rest::kDrop);
  }
}

}  // namespace mqd::rpc
