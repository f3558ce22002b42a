// queue_core_explain.cc: step 3 of 5 (queue). Looking: find, dedup, history, clients, why.

#include "server/queue/queue_core.h"

namespace mqd::queue {

std::vector<storage::AttemptNote> QueueCore::NotesOf(const FlightRun&, std::uint32_t) const {
  return {};
}
void QueueCore::AddNote(Held& held, ConsumerId, const std::string& error) const {
  held.notes.push_back({.attempt = held.attempts, .time_ms = around_->now.wall_ms, .consumer = "", .error = error});
}
void QueueCore::Handle(CancelMessages&) {}
void QueueCore::Handle(FindMessage&) {}
void QueueCore::Handle(GetDedup&) {}
void QueueCore::Handle(ForgetDedup&) {}
void QueueCore::Handle(GetHistory&) {}
void QueueCore::Handle(ListClients&) {}
void QueueCore::Handle(Explain&) {}
void QueueCore::Handle(WatchMessage&) {}
void QueueCore::Handle(RefAnswer&) {}
void QueueCore::Handle(DivertFailed&) {}

}  // namespace mqd::queue
