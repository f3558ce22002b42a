#pragma once

// queue_inspector.h: shows messages of a queue without touching them.
//
// Threads: That of the core, between two of its steps.
// Limits: Peek's limit; a peek of messages in flight walks all of them.

#include <vector>

#include "server/queue/queue_core_data.h"

namespace mqd::queue {

class QueueInspector {
 public:
  explicit QueueInspector(const QueueData& core) : core_(core) {}

  std::vector<PeekedMessage> Peek(const struct Peek& peek) const;
  PeekedMessage Show(const Chunk& chunk, std::uint32_t index) const;
  ClientList Clients() const;

 private:
  std::vector<PeekedMessage> PeekHeld(const struct Peek& peek) const;
  std::vector<PeekedMessage> PeekInFlight(const struct Peek& peek) const;
  std::vector<PeekedMessage> PeekChunks(const struct Peek& peek) const;

  const QueueData& core_;
};

}  // namespace mqd::queue
