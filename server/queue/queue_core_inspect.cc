// queue_core_inspect.cc: step 3 of 5 (queue). Answers questions about messages and clients.

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/queue/queue_core.h"
#include "server/queue/queue_explainer.h"
#include "server/queue/queue_inspector.h"

namespace mqd::queue {

void QueueCore::Handle(struct Peek& event) {
  Send(RequestDone{event.request, QueueInspector(*this).Peek(event)});
}

void QueueCore::Handle(FindMessage& event) {
  Sequence sequence = event.sequence;
  if (event.key.has_value()) {
    const DedupEntry* known = dedup_.Find(*event.key, MonoMs() - settings_.dedup_window.count());
    sequence = known == nullptr ? 0 : known->sequence;
  }
  if (sequence == 0 || sequence >= next_sequence_) {
    return Reply(event.request,
                 MakeError(Reason::kMessageNotFound,
                           event.key.has_value()
                               ? "no message with this idempotency_key within dedup_window"
                               : absl::StrCat("sequence ", sequence, " was not given yet")));
  }
  std::vector<PeekedMessage> found;
  const Chunk* chunk = FindChunk(sequence);
  const auto index = chunk == nullptr ? std::nullopt : chunk->IndexOf(sequence);
  if (index.has_value() && chunk->committed && !chunk->settled.Contains(*index)) {
    found.push_back(QueueInspector(*this).Show(*chunk, *index));
  } else {
    found.push_back({.sequence = sequence, .status = MessageStatus::kSettled});
  }
  Send(RequestDone{event.request, std::move(found)});
}

void QueueCore::Handle(GetDedup& event) {
  const DedupEntry* known = dedup_.Find(event.key, MonoMs() - settings_.dedup_window.count());
  if (known == nullptr) {
    return Reply(event.request, MakeError(Reason::kMessageNotFound,
                                          "no such idempotency_key within dedup_window"));
  }
  Send(RequestDone{event.request,
                   DedupInfo{known->sequence, StatusOf(known->sequence), known->first_seen_ms,
                             known->first_seen_ms + settings_.dedup_window.count()}});
}

void QueueCore::Handle(GetHistory& event) {
  Send(RequestDone{event.request, history_.Get(event.sequence, event.limit)});
}

void QueueCore::Handle(ListClients& event) {
  Send(RequestDone{event.request, QueueInspector(*this).Clients()});
}

void QueueCore::Handle(Explain& event) {
  const auto* message = std::get_if<ExplainMessage>(&event.subject);
  if (message != nullptr && (message->sequence == 0 || message->sequence >= next_sequence_)) {
    return Reply(event.request,
                 MakeError(Reason::kMessageNotFound,
                           absl::StrCat("sequence ", message->sequence, " was not given yet")));
  }
  Send(RequestDone{event.request, QueueExplainer(*this).Explain(event.subject)});
}

void QueueCore::Note(Transition transition, Sequence first, Sequence last, std::uint32_t attempt,
                     const std::string& client, const std::string& text) {
  if (!history_.on()) return;
  history_.Add({first, last, around_->now.wall_ms, transition, attempt, client, text});
}

void QueueCore::Note(Transition transition, const FlightRun& run, const std::string& text) {
  if (!history_.on()) return;
  Note(transition, run.chunk->SequenceAt(run.first_index),
       run.chunk->SequenceAt(run.first_index + run.count - 1), run.attempt, NameOf(run), text);
}

}  // namespace mqd::queue
