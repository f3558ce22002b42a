// chunk_codec_bench.cc: a chunk to bytes and back: the body with its checksum, and the record of
// it. Arguments: messages of a chunk, bytes of a payload.

#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "storage/body.h"
#include "storage/record_codec.h"

namespace mqd::storage {
namespace {

std::shared_ptr<const Body> Build(std::string_view element, std::int64_t count) {
  Body::Builder builder;
  builder.Reserve(element.size() * static_cast<std::size_t>(count),
                  static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) builder.Append(element);
  return std::move(builder).Finish();
}

void Count(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1));
}

void BuildBody(benchmark::State& state) {
  const std::string element(static_cast<std::size_t>(state.range(1)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(Build(element, state.range(0)));
  Count(state);
}

void DecodeBody(benchmark::State& state) {
  const std::string element(static_cast<std::size_t>(state.range(1)), 'x');
  const std::string encoded(Build(element, state.range(0))->encoded());
  for (auto _ : state) {
    const auto body = Body::Decode(encoded);
    if (!body.ok()) {
      state.SkipWithError("the body was not understood");
      break;
    }
  }
  Count(state);
}

/// `sizes`: whether the messages differ in size.
ChunkRecord Record(std::int64_t count, bool sizes) {
  ChunkRecord record{.key = {.first_sequence = 1'000'000},
                     .publish_time_ms = 1'700'000'000'000,
                     .charges = {164},
                     .count = static_cast<std::uint32_t>(count),
                     .body_bytes = static_cast<std::uint64_t>(count) * 104};
  if (sizes) {
    record.charges.clear();
    for (std::uint32_t i = 0; i < record.count; ++i) record.charges.push_back(100 + i);
  }
  return record;
}

void ChunkRecordBothWays(benchmark::State& state) {
  const ChunkRecord record = Record(state.range(0), state.range(1) != 0);
  for (auto _ : state) {
    const auto back = DecodeChunkRecord(EncodeChunkRecord(record));
    if (!back.ok()) {
      state.SkipWithError("the record was not understood");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK(BuildBody)->Args({512, 100})->Args({256, 1'024});
BENCHMARK(DecodeBody)->Args({512, 100})->Args({256, 1'024});
BENCHMARK(ChunkRecordBothWays)
    ->ArgNames({"messages", "sizes_differ"})
    ->Args({512, 0})
    ->Args({512, 1});

}  // namespace
}  // namespace mqd::storage
