// admin_service.cc: step 1 of 5 (rpc edge). Administration of queues and the node, one call after
// the other.
#include "server/rpc/admin_service.h"

#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/admin_answer.h"
#include "server/rpc/handshake.h"
#include "server/rpc/session_list.h"
#include "server/rpc/settings_convert.h"
#include "server/rpc/status_map.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

using queue::QueueInfo;

template <class Response>
auto FillQueue(Response* response) {
  return [response](const QueueInfo& info) { *response->mutable_queue() = ToProto(info); };
}

/// Bytes of this process in memory; field 2 of /proc/self/statm is pages (proc(5)).
std::uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  statm >> size >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

/// Gathers the descriptions of a page of queues, whose answers come one after the other.
class QueueLister : public std::enable_shared_from_this<QueueLister> {
 public:
  QueueLister(std::vector<std::shared_ptr<queue::QueueActor>> queues,
              grpc::ServerUnaryReactor* reactor, v1::ListQueuesResponse* response)
      : queues_(std::move(queues)), reactor_(reactor), response_(response) {}

  void Next() {
    if (next_ == queues_.size()) return reactor_->Finish(grpc::Status::OK);
    const std::shared_ptr<queue::QueueActor> queue = queues_[next_++];
    queue->Info([self = shared_from_this()](absl::StatusOr<QueueInfo> info) {
      // A queue that was deleted meanwhile is left out.
      if (info.ok()) *self->response_->add_queues() = ToProto(*info);
      self->Next();
    });
  }

 private:
  const std::vector<std::shared_ptr<queue::QueueActor>> queues_;
  grpc::ServerUnaryReactor* const reactor_;
  v1::ListQueuesResponse* const response_;
  std::size_t next_ = 0;
};

/// A dead-letter queue may be named without its namespace.
absl::Status QualifyDeadLetterQueue(queue::QueueSettings& settings) {
  if (settings.dead_letter_queue.empty()) return absl::OkStatus();
  auto full = queue::FullName(settings.dead_letter_queue);
  if (!full.ok()) return full.status();
  settings.dead_letter_queue = *std::move(full);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<queue::QueueActor>> AdminService::Open(
    Action action, const std::string& name) const {
  if (absl::Status allowed = deps_.authorizer.Authorize({}, action, name); !allowed.ok()) {
    return allowed;
  }
  return FindQueue(deps_.registry, name);
}

AdminService::Reactor* AdminService::CreateQueue(Context* context,
                                                 const v1::CreateQueueRequest* request,
                                                 v1::CreateQueueResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kChangeQueue, request->name());
  if (!allowed.ok()) return Fail(*context, allowed);
  auto name = queue::FullName(request->name());
  if (!name.ok()) return Fail(*context, name.status());
  auto settings = ApplySettings(request->settings(), {});
  if (!settings.ok()) return Fail(*context, settings.status());
  const absl::Status qualified = QualifyDeadLetterQueue(*settings);
  if (!qualified.ok()) return Fail(*context, qualified);
  Reactor* reactor = context->DefaultReactor();
  deps_.registry.Create(*std::move(name), *std::move(settings),
                        Answer<queue::CreatedQueue>(reactor, [response](auto created) {
                          *response->mutable_queue() = ToProto(created.info);
                          response->set_created(created.created);
                        }));
  return reactor;
}

AdminService::Reactor* AdminService::GetQueue(Context* context, const v1::GetQueueRequest* request,
                                              v1::GetQueueResponse* response) {
  auto queue = Open(Action::kViewQueue, request->name());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Info(Answer<QueueInfo>(reactor, FillQueue(response)));
  return reactor;
}

AdminService::Reactor* AdminService::ListQueues(Context* context,
                                                const v1::ListQueuesRequest* request,
                                                v1::ListQueuesResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kViewQueue, request->namespace_());
  if (!allowed.ok()) return Fail(*context, allowed);
  const std::uint32_t size =
      request->page_size() == 0 ? limits::kPageSizeDefault : request->page_size();
  if (size > limits::kPageSizeMax) {
    return Fail(*context, BadFieldStatus("page_size", "too many", limits::kPageSizeMax, size));
  }
  const std::string name_space = request->namespace_().empty() ? "default" : request->namespace_();
  if (auto checked = queue::FullName(name_space + "/x"); !checked.ok()) {
    return Fail(*context, BadFieldStatus("namespace", "not a name of a namespace"));
  }
  auto queues = deps_.registry.List(name_space, request->prefix(), request->page_token(), size + 1);
  if (queues.size() > size) {
    queues.pop_back();
    const std::string& last = queues.back()->name();
    response->set_next_page_token(last.substr(last.find('/') + 1));
  }
  Reactor* reactor = context->DefaultReactor();
  std::make_shared<QueueLister>(std::move(queues), reactor, response)->Next();
  return reactor;
}

AdminService::Reactor* AdminService::UpdateQueue(Context* context,
                                                 const v1::UpdateQueueRequest* request,
                                                 v1::UpdateQueueResponse* response) {
  auto queue = Open(Action::kChangeQueue, request->name());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  // Read, change, write: the generation that was read guards against a change in between.
  (*queue)->Info([reactor, response, request, actor = *queue](absl::StatusOr<QueueInfo> info) {
    absl::StatusOr<queue::QueueSettings> settings = queue::QueueSettings{};
    if (info.ok()) {
      settings = ApplyMask(request->settings(), request->update_mask(), info->settings);
    }
    absl::Status status = info.ok() ? settings.status() : info.status();
    if (status.ok()) status = QualifyDeadLetterQueue(*settings);
    if (status.ok()) status = queue::Validate(*settings, actor->name());
    if (!status.ok()) return reactor->Finish(ToGrpc(status));
    const std::uint64_t generation =
        request->expected_generation() != 0 ? request->expected_generation() : info->generation;
    actor->Update(*std::move(settings), generation,
                  Answer<QueueInfo>(reactor, FillQueue(response)));
  });
  return reactor;
}

AdminService::Reactor* AdminService::DeleteQueue(Context* context,
                                                 const v1::DeleteQueueRequest* request,
                                                 v1::DeleteQueueResponse* response) {
  auto queue = Open(Action::kChangeQueue, request->name());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Delete(request->force(),
                   Answer<std::uint64_t>(reactor, [response](std::uint64_t count) {
                     response->set_deleted_messages(count);
                   }));
  return reactor;
}

AdminService::Reactor* AdminService::PurgeQueue(Context* context,
                                                const v1::PurgeQueueRequest* request,
                                                v1::PurgeQueueResponse* response) {
  auto queue = Open(Action::kChangeQueue, request->name());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Purge(request->purge_dedup(),
                  Answer<std::uint64_t>(reactor, [response](std::uint64_t count) {
                    response->set_purged_messages(count);
                  }));
  return reactor;
}

AdminService::Reactor* AdminService::CloseQueue(Context* context,
                                                const v1::CloseQueueRequest* request,
                                                v1::CloseQueueResponse* response) {
  auto queue = Open(Action::kChangeQueue, request->name());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Close(Answer<QueueInfo>(reactor, FillQueue(response)));
  return reactor;
}

AdminService::Reactor* AdminService::ReopenQueue(Context* context,
                                                 const v1::ReopenQueueRequest* request,
                                                 v1::ReopenQueueResponse* response) {
  auto queue = Open(Action::kChangeQueue, request->name());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Reopen(Answer<QueueInfo>(reactor, FillQueue(response)));
  return reactor;
}

AdminService::Reactor* AdminService::GetQueueStats(Context* context,
                                                   const v1::GetQueueStatsRequest* request,
                                                   v1::GetQueueStatsResponse* response) {
  auto queue = Open(Action::kViewQueue, request->name());
  if (!queue.ok()) return Fail(*context, queue.status());
  Reactor* reactor = context->DefaultReactor();
  (*queue)->Info(Answer<QueueInfo>(reactor, [response](const QueueInfo& info) {
    *response->mutable_stats() = ToProto(info.stats);
  }));
  return reactor;
}

AdminService::Reactor* AdminService::GetNodeStatus(Context* context,
                                                   const v1::GetNodeStatusRequest*,
                                                   v1::GetNodeStatusResponse* response) {
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kViewNode, "node");
  if (!allowed.ok()) return Fail(*context, allowed);
  const storage::StoreStats stats = deps_.store.Stats();
  response->set_version(MQD_VERSION);
  response->set_node_name(deps_.options.node_name);
  SetTimestamp(deps_.start_time_ms, *response->mutable_start_time());
  response->set_epoch(deps_.store.CurrentEpoch());
  response->set_data_dir(deps_.options.data_dir);
  response->set_queues(deps_.registry.size());
  response->set_publish_streams(deps_.sessions.publish_streams());
  response->set_consume_streams(deps_.sessions.consume_streams());
  response->set_resident_bytes(ResidentBytes());
  response->set_disk_free_bytes(stats.disk_free_bytes);
  response->set_disk_low_watermark_bytes(stats.disk_low_watermark_bytes);
  response->set_disk_low(deps_.store.DiskLow());
  response->set_draining(deps_.sessions.draining());
  SetDuration(deps_.registry.recovery_time().count(), *response->mutable_recovery_time());
  response->set_committed_batches_total(stats.committed_batches);
  response->set_fsyncs_total(stats.flushes);
  response->set_cached_body_bytes(deps_.registry.cached_body_bytes());
  FillLimits(deps_.options, *response->mutable_limits());
  Reactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace mqd::rpc
