#pragma once

// convert.h: values between the generated classes and the public types.
//
// Threads:   any; pure functions.
// Limits:    none; the broker checks.

#include <chrono>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "mqd/admin.h"
#include "mqd/client.h"
#include "mqd/v1/admin.pb.h"
#include "mqd/v1/broker.pb.h"
#include "proto/wire/frame_scan.h"
#include "proto/wire/frame_write.h"

namespace mqd::client {

std::chrono::milliseconds FromProto(const google::protobuf::Duration& duration);
WallTime FromProto(const google::protobuf::Timestamp& timestamp);
WallTime WallTimeOf(std::int64_t milliseconds);
/// Nothing for a time that is not set.
std::optional<WallTime> TimeIf(bool has, const google::protobuf::Timestamp& timestamp);
void ToProto(WallTime from, google::protobuf::Timestamp* to);
void ToProto(std::chrono::milliseconds from, google::protobuf::Duration* to);

PublishOutcome FromProto(const v1::Duplicate& duplicate);
PublishOutcome FromProto(const v1::Dropped& dropped);
PublishResult FromProto(const v1::PublishResult& result);

Message FromProto(const v1::Message& message);
Message FromView(const wire::MessageView& view);
DeadLetterInfo FromProto(const v1::DeadLetterInfo& info);
AttemptNote FromProto(const v1::AttemptNote& note);
/// `bytes` are an encoded DeadLetterInfo; nothing when there are none.
std::optional<DeadLetterInfo> DeadLetterFrom(std::string_view bytes);

v1::Limit ToProto(const Limit& limit);
Limit FromProto(const v1::Limit& limit);
v1::QueueSettings ToProto(const QueueSettings& settings);
Queue FromProto(const v1::Queue& queue);
QueueStats FromProto(const v1::QueueStats& stats);
NodeStatus FromProto(const v1::GetNodeStatusResponse& status);

PeekedMessage FromProto(const v1::PeekedMessage& message);
Explanation FromProto(const v1::Explanation& explanation);
HistoryEntry FromProto(const v1::HistoryEntry& entry);
QueueClients FromProto(const v1::ListClientsResponse& clients);
Redrive FromProto(const v1::Redrive& redrive);
Namespace FromProto(const v1::Namespace& name_space);
v1::NamespaceQuotas ToProto(const NamespaceQuotas& quotas);
void ToProto(const RedriveFilter& filter, v1::RedriveFilter* out);

/// Writes the outcome, or the extension, of a settle entry.
void SetOutcome(const Outcome& outcome, v1::SettleEntry* entry);
void SetExtend(std::optional<std::chrono::milliseconds> lease, v1::SettleEntry* entry);
void ToProto(const Message& message, v1::Message* out);
void ToProto(const QueuePublish& publish, v1::TransactionalPublish* out);

/// A message as the frame writer takes it; borrows the view's bytes.
class EncodedParts {
 public:
  explicit EncodedParts(const MessageView& message);

  const wire::MessageParts& get() const { return parts_; }
  /// Payload, headers and keys.
  std::size_t content_bytes() const { return content_bytes_; }

 private:
  absl::InlinedVector<wire::MessageReference, 1> references_;
  wire::MessageParts parts_;
  std::size_t content_bytes_ = 0;
};

}  // namespace mqd::client
