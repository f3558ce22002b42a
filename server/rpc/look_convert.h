#pragma once

// look_convert.h: what a queue shows of its messages and clients, from the inside to the wire.
//
// Threads: pure functions.

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mqd/v1/admin.pb.h"
#include "server/queue/effects.h"
#include "server/queue/events.h"

namespace mqd::rpc {

v1::AttemptNote ToProto(const storage::AttemptNote& note);
v1::DeadLetterInfo ToProto(const storage::DeadLetterOrigin& origin);

/// With the message, unless it is gone. INTERNAL when the stored bytes are not a Message.
absl::Status ToProto(const queue::PeekedMessage& peeked, v1::PeekedMessage& out);

v1::Explanation ToProto(const queue::Explanation& explanation);
v1::HistoryEntry ToProto(const queue::HistoryEntry& entry);
v1::PublisherInfo ToProto(const queue::PublisherInfo& publisher);
v1::ConsumerInfo ToProto(const queue::ConsumerInfo& consumer);
v1::GetDedupEntryResponse ToProto(const queue::DedupInfo& info);

/// Whom Explain asks about; the queue itself when nothing is named. BAD_FIELD for an id or sequence
/// of 0, and for a name or key that is empty or too long.
absl::StatusOr<queue::ExplainSubject> SubjectOf(const v1::ExplainRequest& request);

/// Of FindMessage. BAD_FIELD when neither a sequence nor a key is given.
absl::StatusOr<queue::FindMessage> FindOf(const v1::FindMessageRequest& request);

/// The hash under which a queue remembers an idempotency key; BAD_FIELD unless it has 1 to 128
/// bytes.
absl::StatusOr<queue::KeyHash> KeyOf(const std::string& idempotency_key);

}  // namespace mqd::rpc
