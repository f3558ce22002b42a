// redrive_rpc.cc: step 1 of 5 (rpc edge). The calls of AdminService about redrives.
#include "server/rpc/redrive_rpc.h"

#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "proto/wire/frame_scan.h"
#include "server/limits.h"
#include "server/queue/redrive_manager.h"
#include "server/rpc/admin_answer.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/limit_convert.h"
#include "server/rpc/time_convert.h"

namespace mqd::rpc {
namespace {

/// The years 1 to 9999, as timestamp.proto has them.
constexpr std::int64_t kSecondsMin = -62'135'596'800;
constexpr std::int64_t kSecondsMax = 253'402'300'799;

absl::StatusOr<storage::WallMs> FromTimestamp(bool present, const google::protobuf::Timestamp& time,
                                              std::string_view field) {
  if (!present) return 0;
  if (time.seconds() < kSecondsMin || time.seconds() > kSecondsMax || time.nanos() < 0 ||
      time.nanos() > 999'999'999) {
    return BadFieldStatus(field, "not a time");
  }
  const storage::WallMs ms = time.seconds() * 1'000 + time.nanos() / 1'000'000;
  return ms == 0 ? 1 : ms;
}

absl::Status ReadNames(const v1::StartRedriveRequest& wire, storage::RedriveRecord& record) {
  const auto read = [](const std::string& from, std::string& to) {
    auto full = queue::FullName(from);
    if (full.ok()) to = *std::move(full);
    return full.status();
  };
  absl::Status status = read(wire.queue(), record.queue);
  if (status.ok() && !wire.target().empty()) status = read(wire.target(), record.target);
  if (status.ok() && !wire.filter().origin().empty()) {
    status = read(wire.filter().origin(), record.origin_filter);
  }
  return status;
}

absl::Status ReadFilter(const v1::RedriveFilter& wire, storage::RedriveRecord& record) {
  if (wire.reason_contains().size() > limits::kReasonBytesMax) {
    return BadFieldStatus("reason_contains", "longer than any reason", limits::kReasonBytesMax,
                          wire.reason_contains().size());
  }
  record.reason_filter = wire.reason_contains();
  auto before = FromTimestamp(wire.has_dead_lettered_before(), wire.dead_lettered_before(),
                              "dead_lettered_before");
  if (!before.ok()) return before.status();
  record.before_ms = *before;
  auto after = FromTimestamp(wire.has_dead_lettered_after(), wire.dead_lettered_after(),
                             "dead_lettered_after");
  if (!after.ok()) return after.status();
  record.after_ms = *after;
  record.max_messages = wire.max_messages();
  return absl::OkStatus();
}

absl::StatusOr<std::uint64_t> TaskId(const std::string& text) {
  std::uint64_t id = 0;
  if (absl::SimpleAtoi(text, &id)) return id;
  return queue::ToStatus({.reason = queue::Reason::kTaskNotFound,
                          .resource = absl::StrCat("task ", text),
                          .message = absl::StrCat("there is no task \"", text,
                                                  "\"; the id of a task is a number, which "
                                                  "StartRedrive and ListRedrives tell")});
}

auto FillRedrive(auto* response) {
  return [response](const storage::RedriveRecord& record) {
    *response->mutable_redrive() = ToProto(record);
  };
}

}  // namespace

absl::StatusOr<storage::RedriveRecord> FromProto(const v1::StartRedriveRequest& wire) {
  storage::RedriveRecord record;
  if (absl::Status status = ReadNames(wire, record); !status.ok()) return status;
  if (absl::Status status = ReadFilter(wire.filter(), record); !status.ok()) return status;
  auto rate = FromLimit(wire.has_max_rate(), wire.max_rate(), "max_rate");
  if (!rate.ok()) return rate.status();
  if (rate->has_value() && **rate != queue::kUnlimited) {
    if (**rate == 0) return BadFieldStatus("max_rate", "nothing would ever move; leave it out");
    if (**rate > limits::kRateMax) {
      return BadFieldStatus("max_rate", "too high; say unlimited", limits::kRateMax, **rate);
    }
    record.max_rate = **rate;
  }
  record.dry_run = wire.dry_run();
  return record;
}

v1::Redrive ToProto(const storage::RedriveRecord& record) {
  v1::Redrive out;
  out.set_task_id(absl::StrCat(record.id));
  out.set_queue(record.queue);
  out.set_target(record.target);
  v1::RedriveFilter& filter = *out.mutable_filter();
  filter.set_origin(record.origin_filter);
  filter.set_reason_contains(record.reason_filter);
  if (record.before_ms != 0) SetTimestamp(record.before_ms, *filter.mutable_dead_lettered_before());
  if (record.after_ms != 0) SetTimestamp(record.after_ms, *filter.mutable_dead_lettered_after());
  filter.set_max_messages(record.max_messages);
  SetLimit(record.max_rate == 0 ? queue::kUnlimited : record.max_rate, *out.mutable_max_rate());
  out.set_dry_run(record.dry_run);
  out.set_state(static_cast<v1::RedriveState>(record.state));
  out.set_matched(record.matched);
  out.set_moved(record.moved);
  out.set_skipped(record.skipped);
  SetTimestamp(record.start_time_ms, *out.mutable_start_time());
  if (record.end_time_ms != 0) SetTimestamp(record.end_time_ms, *out.mutable_end_time());
  if (record.error_reason != 0) {
    *out.mutable_error() = ToProto(queue::ErrorInfo{
        .reason = static_cast<queue::Reason>(record.error_reason), .message = record.error});
  }
  return out;
}

std::optional<queue::SpecialFields> SpecialOfStored(std::string_view element) {
  // It was held against the limits of its day when it was published.
  constexpr wire::MessageLimits kAny{.payload_bytes_max = std::numeric_limits<std::size_t>::max(),
                                     .key_bytes_max = std::numeric_limits<std::size_t>::max(),
                                     .headers_max = std::numeric_limits<std::size_t>::max(),
                                     .header_bytes_max = std::numeric_limits<std::size_t>::max(),
                                     .priority_max = limits::kPriorityMax,
                                     .batch_messages_max = 1,
                                     .delay_ms_max = std::numeric_limits<std::int64_t>::max(),
                                     .ttl_ms_max = limits::kTtlMax.count(),
                                     .deliver_after_max = std::numeric_limits<std::size_t>::max()};
  wire::ScannedBatch scanned;
  const absl::Status status = wire::ScanMessages(element, kAny, scanned);
  if (!status.ok() || scanned.messages.size() != 1) return std::nullopt;
  const wire::ScannedMessage& message = scanned.messages[0];
  if (message.ordering_key.empty() && message.priority == 0 && message.ttl_ms == 0) {
    return std::nullopt;
  }
  return queue::SpecialFields{
      .ordering_key = message.ordering_key, .priority = message.priority, .ttl_ms = message.ttl_ms};
}

AdminService::Reactor* AdminService::StartRedrive(Context* context,
                                                  const v1::StartRedriveRequest* request,
                                                  v1::StartRedriveResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kChangeQueue, request->queue());
  if (!allowed.ok()) return Fail(*context, allowed);
  auto asked = FromProto(*request);
  if (!asked.ok()) return Fail(*context, asked.status());
  Reactor* reactor = context->DefaultReactor();
  deps_.redrives.Start(*std::move(asked),
                       Answer<storage::RedriveRecord>(reactor, FillRedrive(response)));
  return reactor;
}

AdminService::Reactor* AdminService::GetRedrive(Context* context,
                                                const v1::GetRedriveRequest* request,
                                                v1::GetRedriveResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kViewQueue, request->task_id());
  if (!allowed.ok()) return Fail(*context, allowed);
  const auto id = TaskId(request->task_id());
  if (!id.ok()) return Fail(*context, id.status());
  Reactor* reactor = context->DefaultReactor();
  Answer<storage::RedriveRecord>(reactor, FillRedrive(response))(deps_.redrives.Get(*id));
  return reactor;
}

AdminService::Reactor* AdminService::ListRedrives(Context* context,
                                                  const v1::ListRedrivesRequest* request,
                                                  v1::ListRedrivesResponse* response) {
  const absl::Status allowed = deps_.authorizer.Authorize({}, Action::kViewQueue, request->queue());
  if (!allowed.ok()) return Fail(*context, allowed);
  std::string queue;
  if (!request->queue().empty()) {
    auto full = queue::FullName(request->queue());
    if (!full.ok()) return Fail(*context, full.status());
    queue = *std::move(full);
  }
  for (const storage::RedriveRecord& record : deps_.redrives.List(queue)) {
    *response->add_redrives() = ToProto(record);
  }
  Reactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

AdminService::Reactor* AdminService::CancelRedrive(Context* context,
                                                   const v1::CancelRedriveRequest* request,
                                                   v1::CancelRedriveResponse* response) {
  const absl::Status allowed =
      deps_.authorizer.Authorize({}, Action::kChangeQueue, request->task_id());
  if (!allowed.ok()) return Fail(*context, allowed);
  const auto id = TaskId(request->task_id());
  if (!id.ok()) return Fail(*context, id.status());
  Reactor* reactor = context->DefaultReactor();
  deps_.redrives.Cancel(*id, Answer<storage::RedriveRecord>(reactor, FillRedrive(response)));
  return reactor;
}

}  // namespace mqd::rpc
