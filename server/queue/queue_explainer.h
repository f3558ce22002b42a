#pragma once

// queue_explainer.h: why a queue, consumer, publisher, key or message does not move. It asks the
// predicates by which QueueCore admits and dispatches, in their order.
//
// Threads: That of the core, between two of its steps.

#include <optional>
#include <string>
#include <vector>

#include "server/queue/queue_core_data.h"

namespace mqd::queue {

class QueueExplainer {
 public:
  explicit QueueExplainer(const QueueData& core) : core_(core) {}

  /// The most important cause first; never empty.
  std::vector<Explanation> Explain(const ExplainSubject& subject);

 private:
  using Causes = std::vector<Explanation>;

  Causes Of(const ExplainQueue& subject);
  Causes Of(const ExplainConsumer& subject);
  Causes Of(const ExplainPublisher& subject);
  Causes Of(const ExplainKey& subject);
  Causes Of(const ExplainMessage& subject);

  /// Nothing when the queue as a whole lets deliveries through.
  std::optional<Explanation> QueueHolds();
  /// Why nobody takes what is ready for anybody.
  Explanation NobodyTakes();
  std::optional<Explanation> ConsumerHolds(ConsumerId id, const Consumer& consumer);
  /// Why a publish would be refused now.
  std::optional<Explanation> Refuses();
  Explanation WhyWaits(const Waiter& waiter, bool first);
  Causes ReadyKeysHold();
  std::optional<Explanation> KeyHolds(const KeyState& key);
  Explanation WhyDelayed(Sequence sequence, const Held& held);
  Explanation WhyParked(Sequence sequence, const Held& held);
  Explanation WhyInFlight(Sequence sequence, const Chunk& chunk, std::uint32_t index);
  Explanation WhyReady(Sequence sequence, const Chunk& chunk);

  WallMs WallOf(std::int64_t steady_ns) const;
  std::string Client(const char* kind, std::uint64_t id, const std::string& name) const;

  const QueueData& core_;
};

}  // namespace mqd::queue
