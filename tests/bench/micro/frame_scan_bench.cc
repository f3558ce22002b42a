// frame_scan_bench.cc: encoding and scanning the two frames that carry messages. Arguments:
// messages of a frame, bytes of a payload.

#include <string>

#include "benchmark/benchmark.h"
#include "proto/wire/frame_scan.h"
#include "proto/wire/frame_write.h"
#include "server/limits.h"
#include "server/message_limits.h"

namespace mqd::wire {
namespace {

constexpr MessageLimits kLimits = limits::MessageLimitsOf(limits::kPayloadBytesMax);

std::string Elements(const benchmark::State& state, bool keys) {
  const std::string payload(static_cast<std::size_t>(state.range(1)), 'x');
  std::string elements;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    const std::string key = keys ? "key-" + std::to_string(i) : "";
    AppendElement({.payload = payload, .idempotency_key = key}, elements);
  }
  return elements;
}

void Count(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1));
}

void WriteElements(benchmark::State& state) {
  const std::string payload(static_cast<std::size_t>(state.range(1)), 'x');
  std::string elements;
  for (auto _ : state) {
    elements.clear();
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      AppendElement({.payload = payload}, elements);
    }
    benchmark::DoNotOptimize(elements.data());
  }
  Count(state);
}

void Scan(benchmark::State& state, bool keys) {
  const std::string elements = Elements(state, keys);
  const std::string bytes = PublishBatchHead({.first_publish_id = 1}, elements.size()) + elements;
  for (auto _ : state) {
    const auto frame = ScanFrame(bytes);
    const auto batch = ScanPublishBatch(frame->content, kLimits);
    if (!batch.ok() || batch->messages.size() != static_cast<std::size_t>(state.range(0))) {
      state.SkipWithError("the frame was not understood");
      break;
    }
  }
  Count(state);
}

void ScanPublish(benchmark::State& state) { Scan(state, false); }
void ScanPublishWithKeys(benchmark::State& state) { Scan(state, true); }

void ScanDelivered(benchmark::State& state) {
  const std::string elements = Elements(state, false);
  const std::string head = EncodeRunHead({.first_delivery_id = 1,
                                          .first_sequence = 1,
                                          .delivery_attempt = 1,
                                          .publish_time_ms = 1,
                                          .lease_ms = 30'000});
  const std::string run = RunPrefix(head.size(), elements.size()) + head + elements;
  const auto count = static_cast<std::uint64_t>(state.range(0));
  const std::string bytes = DeliveriesHead(0, count, run.size(), run.size()) + run;
  for (auto _ : state) {
    const auto frame = ScanFrame(bytes);
    const auto deliveries = ScanDeliveries(frame->content);
    if (!deliveries.ok() || deliveries->runs[0].messages.size() != count) {
      state.SkipWithError("the frame was not understood");
      break;
    }
  }
  Count(state);
}

BENCHMARK(WriteElements)->Args({512, 100})->Args({256, 1'024});
BENCHMARK(ScanPublish)->Args({1, 100})->Args({512, 100})->Args({256, 1'024});
BENCHMARK(ScanPublishWithKeys)->Args({512, 100})->Args({256, 1'024});
BENCHMARK(ScanDelivered)->Args({512, 100})->Args({256, 1'024});

}  // namespace
}  // namespace mqd::wire
