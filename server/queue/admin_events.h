#pragma once

// admin_events.h: step 3 of 5 (queue). What an operator asks of a queue, as values. Each has one
// answer.
//
// Threads: plain values, made on one thread and moved to the queue's.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/queue/ids.h"
#include "server/queue/settings.h"

namespace mqd::queue {

struct CloseQueue {
  RequestId request = 0;
};
struct ReopenQueue {
  RequestId request = 0;
};
struct PurgeQueue {
  RequestId request = 0;
  bool purge_dedup = false;
};
struct UpdateSettings {
  RequestId request = 0;
  QueueSettings settings;
  std::uint64_t expected_generation = 0;  // 0: any
};
struct DeleteQueue {
  RequestId request = 0;
  bool force = false;
};
struct GetStats {
  RequestId request = 0;
};

struct Peek {
  RequestId request = 0;
  MessageStatus status = MessageStatus::kUnspecified;  // kUnspecified: every state
  Sequence from_sequence = 0;
  std::uint32_t limit = 0;
  bool bodies = true;  // false: only those that the queue holds in memory
};

struct CancelMessages {
  RequestId request = 0;
  std::vector<Sequence> sequences;
};
/// By one of the two.
struct FindMessage {
  RequestId request = 0;
  Sequence sequence = 0;
  std::optional<KeyHash> key;
};
struct GetDedup {
  RequestId request = 0;
  KeyHash key;
};
struct ForgetDedup {
  RequestId request = 0;
  KeyHash key;
};
struct GetHistory {
  RequestId request = 0;
  Sequence sequence = 0;  // 0: every message
  std::uint32_t limit = 0;
};
struct ListClients {
  RequestId request = 0;
};

struct ExplainQueue {};
struct ExplainConsumer {
  ConsumerId id = 0;  // 0: by name
  std::string name;
};
struct ExplainPublisher {
  PublisherId id = 0;  // 0: by name
  std::string name;
};
struct ExplainKey {
  std::string key;
};
struct ExplainMessage {
  Sequence sequence = 0;
};
using ExplainSubject =
    std::variant<ExplainQueue, ExplainConsumer, ExplainPublisher, ExplainKey, ExplainMessage>;
struct Explain {
  RequestId request = 0;
  ExplainSubject subject;
};

}  // namespace mqd::queue
