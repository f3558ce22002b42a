// explain_rpc.cc: step 1 of 5 (rpc edge). The calls of AdminService that look at messages and
// clients, and those that take one message or key away.
#include <utility>

#include "server/limits.h"
#include "server/rpc/admin_answer.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/look_convert.h"

namespace mqd::rpc {

AdminService::Reactor* AdminService::PeekMessages(Context* context,
                                                  const v1::PeekMessagesRequest* request,
                                                  v1::PeekMessagesResponse* response) {
  auto queue = Open(Action::kViewQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  const std::uint32_t limit =
      request->limit() == 0 ? limits::kPeekMessagesDefault : request->limit();
  if (limit > limits::kPeekMessagesMax) {
    return Fail(*context, BadFieldStatus("limit", "too many", limits::kPeekMessagesMax, limit));
  }
  if (!v1::MessageStatus_IsValid(request->status())) {
    return Fail(*context, BadFieldStatus("status", "not a state that this version knows"));
  }
  Reactor* reactor = context->DefaultReactor();
  queue::Peek peek{.status = static_cast<queue::MessageStatus>(request->status()),
                   .from_sequence = request->from_sequence(),
                   .limit = limit};
  (*queue)->PeekMessages(
      peek, [reactor, response](absl::StatusOr<std::vector<queue::PeekedMessage>> peeked) {
        if (!peeked.ok()) return reactor->Finish(ToGrpc(peeked.status()));
        for (const queue::PeekedMessage& message : *peeked) {
          if (response->ByteSizeLong() > limits::kPeekBytesMax) break;
          const absl::Status status = ToProto(message, *response->add_messages());
          if (!status.ok()) return reactor->Finish(ToGrpc(status));
        }
        reactor->Finish(grpc::Status::OK);
      });
  return reactor;
}

AdminService::Reactor* AdminService::Explain(Context* context, const v1::ExplainRequest* request,
                                             v1::ExplainResponse* response) {
  auto queue = Open(Action::kViewQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  auto subject = SubjectOf(*request);
  if (!subject.ok()) return Fail(*context, subject.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Why(*std::move(subject), Answer<std::vector<queue::Explanation>>(
                                         reactor, [response](const auto& explanations) {
                                           for (const queue::Explanation& each : explanations) {
                                             *response->add_explanations() = ToProto(each);
                                           }
                                         }));
  return reactor;
}

AdminService::Reactor* AdminService::FindMessage(Context* context,
                                                 const v1::FindMessageRequest* request,
                                                 v1::FindMessageResponse* response) {
  auto queue = Open(Action::kViewQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  auto find = FindOf(*request);
  if (!find.ok()) return Fail(*context, find.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Find(*std::move(find), [reactor, response](absl::StatusOr<queue::PeekedMessage> found) {
    const absl::Status status =
        found.ok() ? ToProto(*found, *response->mutable_message()) : found.status();
    reactor->Finish(ToGrpc(status));
  });
  return reactor;
}

AdminService::Reactor* AdminService::CancelMessages(Context* context,
                                                    const v1::CancelMessagesRequest* request,
                                                    v1::CancelMessagesResponse* response) {
  auto queue = Open(Action::kChangeQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  const auto count = static_cast<std::uint64_t>(request->sequences_size());
  if (count == 0 || count > limits::kCancelSequencesMax) {
    return Fail(*context, BadFieldStatus("sequences", "name 1 to 1,024 messages",
                                         limits::kCancelSequencesMax, count));
  }
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Cancel({request->sequences().begin(), request->sequences().end()},
                   Answer<queue::CancelResult>(reactor, [response](const auto& result) {
                     response->set_cancelled(result.cancelled);
                     for (const auto& [sequence, error] : result.exceptions) {
                       v1::CancelException& exception = *response->add_exceptions();
                       exception.set_sequence(sequence);
                       *exception.mutable_error() = ToProto(error);
                     }
                   }));
  return reactor;
}

AdminService::Reactor* AdminService::GetDedupEntry(Context* context,
                                                   const v1::GetDedupEntryRequest* request,
                                                   v1::GetDedupEntryResponse* response) {
  auto queue = Open(Action::kViewQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  const auto key = KeyOf(request->idempotency_key());
  if (!key.ok()) return Fail(*context, key.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->ShowDedup(*key, Answer<queue::DedupInfo>(reactor, [response](const auto& info) {
    *response = ToProto(info);
  }));
  return reactor;
}

AdminService::Reactor* AdminService::ForgetDedupEntry(Context* context,
                                                      const v1::ForgetDedupEntryRequest* request,
                                                      v1::ForgetDedupEntryResponse*) {
  auto queue = Open(Action::kChangeQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  const auto key = KeyOf(request->idempotency_key());
  if (!key.ok()) return Fail(*context, key.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->ForgetDedupKey(*key, Answer<queue::DedupInfo>(reactor, [](const auto&) {}));
  return reactor;
}

AdminService::Reactor* AdminService::GetHistory(Context* context,
                                                const v1::GetHistoryRequest* request,
                                                v1::GetHistoryResponse* response) {
  auto queue = Open(Action::kViewQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  const std::uint32_t limit =
      request->limit() == 0 ? limits::kHistoryPageDefault : request->limit();
  if (limit > limits::kHistoryPageMax) {
    return Fail(*context, BadFieldStatus("limit", "too many", limits::kHistoryPageMax, limit));
  }
  Reactor* reactor = context->DefaultReactor();
  (*queue)->History(
      request->sequence(), limit,
      Answer<std::vector<queue::HistoryEntry>>(reactor, [response](const auto& entries) {
        for (const queue::HistoryEntry& entry : entries) *response->add_entries() = ToProto(entry);
      }));
  return reactor;
}

AdminService::Reactor* AdminService::ListClients(Context* context,
                                                 const v1::ListClientsRequest* request,
                                                 v1::ListClientsResponse* response) {
  auto queue = Open(Action::kViewQueue, request->queue());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Clients(Answer<queue::ClientList>(reactor, [response](const auto& clients) {
    for (const auto& publisher : clients.publishers) {
      *response->add_publishers() = ToProto(publisher);
    }
    for (const auto& consumer : clients.consumers) *response->add_consumers() = ToProto(consumer);
  }));
  return reactor;
}

}  // namespace mqd::rpc
