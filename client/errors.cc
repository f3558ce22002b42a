#include "mqd/errors.h"

#include "absl/strings/cord.h"
#include "client/status_map.h"

namespace mqd {
namespace {

constexpr const char* kTypeUrl = "type.googleapis.com/mqd.v1.ErrorInfo";

}  // namespace

std::string ReasonName(Reason reason) {
  const auto number = static_cast<v1::Reason>(reason);
  if (!v1::Reason_IsValid(number)) return "REASON_" + std::to_string(static_cast<int>(reason));
  constexpr std::size_t kPrefix = sizeof("REASON_") - 1;
  return v1::Reason_Name(number).substr(kPrefix);
}

absl::StatusCode CodeOf(Reason reason) {
  switch (reason) {
    case Reason::kQueueNotFound:
    case Reason::kMessageNotFound:
    case Reason::kNamespaceNotFound:
    case Reason::kTaskNotFound:
      return absl::StatusCode::kNotFound;
    case Reason::kQueueExistsDifferent:
    case Reason::kNamespaceExistsDifferent:
    case Reason::kIdempotencyConflict:
      return absl::StatusCode::kAlreadyExists;
    case Reason::kQueueFull:
    case Reason::kRateLimited:
    case Reason::kDedupFull:
    case Reason::kMemoryLow:
    case Reason::kQuotaExceeded:
      return absl::StatusCode::kResourceExhausted;
    case Reason::kQueueClosed:
    case Reason::kAlreadyClosed:
    case Reason::kStaleDelivery:
    case Reason::kCardinality:
    case Reason::kQueueNotEmpty:
    case Reason::kNamespaceNotEmpty:
      return absl::StatusCode::kFailedPrecondition;
    case Reason::kMessageTooLarge:
    case Reason::kBadField:
    case Reason::kCreditExceeded:
      return absl::StatusCode::kInvalidArgument;
    case Reason::kFenced:
      return absl::StatusCode::kAborted;
    case Reason::kBlockedTimeout:
      return absl::StatusCode::kDeadlineExceeded;
    case Reason::kQueuePaused:
    case Reason::kDiskLow:
    case Reason::kDraining:
    case Reason::kNotLeader:
      return absl::StatusCode::kUnavailable;
    case Reason::kUnauthenticated:
      return absl::StatusCode::kUnauthenticated;
    case Reason::kPermissionDenied:
      return absl::StatusCode::kPermissionDenied;
    case Reason::kInternal:
      return absl::StatusCode::kInternal;
    case Reason::kUnspecified:
    case Reason::kOutcomeUnknown:
      break;
  }
  return absl::StatusCode::kUnknown;
}

absl::Status MakeStatus(const ErrorInfo& info) {
  std::string text = ReasonName(info.reason);
  if (!info.message.empty()) text += ": " + info.message;
  absl::Status status(CodeOf(info.reason), text);
  status.SetPayload(kTypeUrl, absl::Cord(client::ToProto(info).SerializeAsString()));
  return status;
}

std::optional<ErrorInfo> ErrorInfoOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kTypeUrl);
  if (!payload.has_value()) return std::nullopt;
  v1::ErrorInfo info;
  if (!info.ParseFromString(std::string(*payload))) return std::nullopt;
  return client::FromProto(info);
}

Reason ReasonOf(const absl::Status& status) {
  const std::optional<ErrorInfo> info = ErrorInfoOf(status);
  return info ? info->reason : Reason::kUnspecified;
}

namespace client {

ErrorInfo FromProto(const v1::ErrorInfo& info) {
  const auto& wait = info.retry_after();
  return {
      .reason = static_cast<Reason>(info.reason()),
      .retryable = info.retryable(),
      .retry_after = std::chrono::milliseconds(wait.seconds() * 1'000 + wait.nanos() / 1'000'000),
      .resource = info.resource(),
      .limit = info.limit(),
      .current = info.current(),
      .message = info.message(),
      .leader = info.leader(),
      .epoch = info.epoch()};
}

v1::ErrorInfo ToProto(const ErrorInfo& info) {
  v1::ErrorInfo out;
  out.set_reason(static_cast<v1::Reason>(info.reason));
  out.set_retryable(info.retryable);
  if (info.retry_after.count() > 0) {
    out.mutable_retry_after()->set_seconds(info.retry_after.count() / 1'000);
    out.mutable_retry_after()->set_nanos(
        static_cast<std::int32_t>(info.retry_after.count() % 1'000 * 1'000'000));
  }
  out.set_resource(info.resource);
  out.set_limit(info.limit);
  out.set_current(info.current);
  out.set_message(info.message);
  out.set_leader(info.leader);
  out.set_epoch(info.epoch);
  return out;
}

absl::Status StatusOf(const v1::ErrorInfo& info) { return MakeStatus(FromProto(info)); }

absl::Status StatusOf(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  v1::RpcStatus rich;
  if (!rich.ParseFromString(status.error_details())) return out;
  for (const auto& detail : rich.details()) {
    if (!detail.Is<v1::ErrorInfo>()) continue;
    out.SetPayload(kTypeUrl, absl::Cord(detail.value()));
    break;
  }
  return out;
}

absl::Status OwnError(Reason reason, std::string text) {
  return MakeStatus({.reason = reason, .message = std::move(text)});
}

bool IsFatal(const absl::Status& status) {
  const std::optional<ErrorInfo> info = ErrorInfoOf(status);
  if (info && info->retryable) return false;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return true;
    default:
      return ReasonOf(status) == Reason::kCardinality;
  }
}

}  // namespace client
}  // namespace mqd
