// queue_core_bench.cc: the rules of a queue by themselves: publish, commit, deliver, ack, commit,
// on one thread and without a disk.

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "benchmark/benchmark.h"
#include "proto/wire/frame_write.h"
#include "server/queue/queue_core.h"

namespace mqd::queue {
namespace {

constexpr std::uint32_t kOverheadBytes = 64;
constexpr std::size_t kPayloadBytes = 100;
constexpr PublisherId kPublisher = 1;
constexpr ConsumerId kConsumer = 2;
constexpr std::int64_t kTurnNs = 1'000'000;

RecoveredQueue NewQueue(Ordering ordering) {
  RecoveredQueue queue;
  queue.record.id = 7;
  queue.record.name = "default/bench";
  queue.settings.ordering = ordering;
  return queue;
}

/// Elements that many batches share.
class Messages {
 public:
  Messages(std::size_t count, std::size_t keys) {
    const std::string payload(kPayloadBytes, 'x');
    std::vector<std::size_t> ends;
    for (std::size_t i = 0; i < count; ++i) {
      wire::AppendElement({.payload = payload}, *bytes_);
      ends.push_back(bytes_->size());
    }
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
      batch_.messages.push_back({.element = std::string_view(*bytes_).substr(begin, end - begin),
                                 .charge_bytes = kPayloadBytes + kOverheadBytes});
      begin = end;
    }
    for (std::size_t i = 0; i < keys; ++i) keys_.push_back("key-" + std::to_string(i));
    for (std::size_t i = 0; keys > 0 && i < count; ++i) {
      batch_.specials.push_back({.ordering_key = keys_[i % keys]});
      batch_.messages[i].special = static_cast<std::uint32_t>(i + 1);
    }
    batch_.publisher = kPublisher;
    batch_.owner = bytes_;
  }

  PublishBatch Batch(std::uint64_t first_id) const {
    PublishBatch batch = batch_;
    batch.first_publish_id = first_id;
    batch.answered_through = first_id - 1;
    return batch;
  }
  std::size_t count() const { return batch_.messages.size(); }

 private:
  std::shared_ptr<std::string> bytes_ = std::make_shared<std::string>();
  std::vector<std::string> keys_;
  PublishBatch batch_;
};

class Bench {
 public:
  explicit Bench(Ordering ordering)
      : core_(NewQueue(ordering), FirstDelivery(1), Now{.steady_ns = 1, .wall_ms = 1}) {
    Turn(AttachPublisher{.publisher = kPublisher});
    Turn(AttachConsumer{.consumer = kConsumer});
  }

  /// A batch in, and every delivery that comes of it acked.
  void Cycle(const Messages& messages) {
    Turn(GrantCredit{kConsumer, messages.count(), messages.count() * 1'024});
    Turn(messages.Batch(next_publish_id_));
    next_publish_id_ += messages.count();
    while (!to_commit_.empty() || !to_ack_.empty()) {
      if (to_commit_.empty()) {
        Turn(Settle{.request = ++request_, .entries = std::exchange(to_ack_, {})});
      } else {
        for (const std::uint64_t commit : std::exchange(to_commit_, {})) Turn(CommitDone{commit});
      }
    }
  }

  std::uint64_t delivered() const { return delivered_; }

 private:
  void Turn(Event event) {
    Effects effects;
    around_.now.steady_ns += kTurnNs;
    core_.Step(std::move(event), around_, effects);
    core_.EndTurn(around_, effects);
    for (const CommitRequest& commit : effects.commits) to_commit_.push_back(commit.commit);
    for (const Effect& effect : effects.sends) {
      const auto* send = std::get_if<SendDeliveries>(&effect);
      if (send == nullptr) continue;
      for (const DeliveryRun& run : send->batch.runs) {
        const DeliveryId last = run.first_delivery_id + run.count - 1;
        to_ack_.push_back({{run.first_delivery_id, last}, AckOutcome{}});
        delivered_ += run.count;
      }
    }
  }

  QueueCore core_;
  Surroundings around_{.now = {.steady_ns = 1, .wall_ms = 1}};
  std::vector<std::uint64_t> to_commit_;
  std::vector<SettleEntry> to_ack_;
  std::uint64_t next_publish_id_ = 1;
  RequestId request_ = 0;
  std::uint64_t delivered_ = 0;
};

void Run(benchmark::State& state, Ordering ordering, std::size_t keys) {
  const Messages messages(static_cast<std::size_t>(state.range(0)), keys);
  Bench bench(ordering);
  std::uint64_t published = 0;
  for (auto _ : state) {
    bench.Cycle(messages);
    published += messages.count();
  }
  if (bench.delivered() != published) state.SkipWithError("a message was not delivered");
  state.SetItemsProcessed(static_cast<std::int64_t>(published));
}

void QueueCoreFifo(benchmark::State& state) { Run(state, Ordering::kFifo, 0); }
void QueueCoreKeyed(benchmark::State& state) { Run(state, Ordering::kKeyed, 1'000); }

BENCHMARK(QueueCoreFifo)->Arg(1)->Arg(16)->Arg(128)->Arg(1'024);
BENCHMARK(QueueCoreKeyed)->Arg(16)->Arg(128)->Arg(1'024);

}  // namespace
}  // namespace mqd::queue
