#include "tests/unit/storage/golden_records.h"

#include "absl/strings/escaping.h"
#include "storage/byte_codec.h"
#include "storage/record_codec.h"

namespace mqd::storage {
namespace {

template <class Record, class Encode, class Decode>
GoldenRecord Golden(std::string name, absl::string_view hex, const Record& example, Encode encode,
                    Decode decode) {
  return {std::move(name), absl::HexStringToBytes(hex), encode(example),
          [=](std::string_view value) -> absl::StatusOr<std::string> {
            const auto record = decode(value);
            if (!record.ok()) return record.status();
            return encode(*record);
          },
          [=](std::string_view value) {
            const auto record = decode(value);
            return record.ok() && *record == example;
          }};
}

// What the examples of version 1 say: it had no notes and no deliver_after.

ChunkRecord OldRewrittenChunk() {
  ChunkRecord chunk = ExampleRewrittenChunk();
  chunk.controls[0].dead_letter.front().notes.clear();
  chunk.controls[0].deliver_after.clear();
  return chunk;
}

AttemptRecord OldAttempt() {
  AttemptRecord attempt = ExampleAttempt();
  attempt.notes = {{.attempt = 2, .time_ms = 0, .consumer = "", .error = "boom"}};
  return attempt;
}

}  // namespace

QueueRecord ExampleQueue() {
  return {.id = 9,
          .name = "default/jobs",
          .settings = "\x01\x02",
          .generation = 3,
          .create_time_ms = 1'700'000'000'000,
          .closed = true,
          .sequence_limit = 4097};
}

ChunkRecord ExampleChunk() {
  return {.key = {257, 0},
          .publish_time_ms = 1'700'000'000'001,
          .charges = {72},
          .count = 3,
          .body_bytes = 30};
}

ChunkRecord ExampleRewrittenChunk() {
  return {.key = {257, 1},
          .publish_time_ms = 1'700'000'000'001,
          .offsets = {0, 2},
          .charges = {72, 80},
          .count = 2,
          .body_bytes = 28,
          .controls = {{.index = 1,
                        .priority = 9,
                        .deliver_at_ms = 1'700'000'060'000,
                        .expires_at_ms = 1'700'003'600'000,
                        .ordering_key = "k1",
                        .dead_letter = {{.queue = "default/jobs",
                                         .sequence = 12,
                                         .reason = "max_attempts",
                                         .attempts = 16,
                                         .time_ms = 1'699'999'999'999,
                                         .notes = {{.attempt = 16,
                                                    .time_ms = 1'699'999'999'998,
                                                    .consumer = "w1",
                                                    .error = "boom"}}}},
                        .deliver_after = {{.queue = 8, .sequence = 3}}}}};
}

SettleRecord ExampleSettles() { return {{{0, 2}, {5, 300}}}; }

AttemptRecord ExampleAttempt() {
  return {
      .attempts = 2,
      .state = HeldState::kDelayed,
      .not_before_ms = 1'700'000'005'000,
      .notes = {{.attempt = 2, .time_ms = 1'700'000'004'000, .consumer = "w1", .error = "boom"}}};
}

DedupRecord ExampleDedup() {
  return {.sequence = 300,
          .digest = 0x1122334455667788,
          .first_seen_ms = 1'700'000'000'002,
          .key = "order-7"};
}

ProducerRecord ExampleProducer() {
  return {.last_publish_id = 1000,
          .last_seen_ms = 1'700'000'000'003,
          .ranges = {{.first_publish_id = 900, .count = 50, .first_sequence = 257},
                     {.first_publish_id = 950, .count = 51, .first_sequence = 400}}};
}

NamespaceRecord ExampleNamespace() {
  return {.name = "billing",
          .create_time_ms = 1'700'000'000'004,
          .max_queues = 12,
          .max_bytes = 1 << 20};
}

RedriveRecord ExampleRedrive() {
  return {.id = 0x400000001,
          .queue = "default/dead",
          .target = "default/jobs",
          .origin_filter = "default/jobs",
          .reason_filter = "max",
          .before_ms = 1'700'000'000'005,
          .after_ms = 1'699'000'000'000,
          .max_messages = 500,
          .max_rate = 10,
          .dry_run = true,
          .state = 2,
          .matched = 130,
          .moved = 128,
          .skipped = 7,
          .cursor = 140,
          .end_sequence = 900,
          .start_time_ms = 1'700'000'000'006,
          .end_time_ms = 0,
          .error_reason = 3,
          .error = "full"};
}

HeadRow ExampleHead() { return {.epoch = 4, .group = 1'000'000}; }
AppliedRow ExampleApplied() { return {.epoch = 4, .index = 999'000}; }

IdentityRow ExampleIdentity() {
  return {.format = 1,
          .identity = {.cluster = "000102030405060708090a0b0c0d0e0f",
                       .node = "101112131415161718191a1b1c1d1e1f",
                       .disk = "202122232425262728292a2b2c2d2e2f"}};
}

const std::vector<GoldenRecord>& GoldenRecords() {
  static const std::vector<GoldenRecord> records = {
      Golden("queue",
             "01090c64656661756c742f6a6f62730201020380a0abfef96201812013d22685"
             "3de1c444",
             ExampleQueue(), EncodeQueueRecord, DecodeQueueRecord),
      Golden("chunk", "0281020082a0abfef962031e00014800bf59b4760c24892c", ExampleChunk(),
             EncodeChunkRecord, DecodeChunkRecord),
      Golden("rewritten_chunk",
             "0281020182a0abfef962021c0200020248500101c0c9b2fef96280dae281fa62"
             "09026b31010c64656661756c742f6a6f62730c0c6d61785f617474656d707473"
             "10fe9fabfef9620110fc9fabfef96202773104626f6f6d010803e12c7aa279f7"
             "baf0",
             ExampleRewrittenChunk(), EncodeChunkRecord, DecodeChunkRecord),
      Golden("settle", "0102000203a7022f15ab40c04bf25e", ExampleSettles(), EncodeSettleRecord,
             DecodeSettleRecord),
      Golden("attempt",
             "02020190eeabfef9620102c0deabfef96202773104626f6f6ddde865643a7983"
             "7b",
             ExampleAttempt(), EncodeAttemptRecord, DecodeAttemptRecord),
      Golden("dedup",
             "01ac0288ef99abc5e88c911184a0abfef962076f726465722d37c057754c48f0"
             "8a85",
             ExampleDedup(), EncodeDedupRecord, DecodeDedupRecord),
      Golden("producer", "01e80786a0abfef962028407328102b60733900393fd2f3cc1028f7c",
             ExampleProducer(), EncodeProducerRecord, DecodeProducerRecord),
      Golden("namespace",
             "010762696c6c696e6788a0abfef9620cffffffffffffffffff01808040c55620"
             "fde48b9bfa",
             ExampleNamespace(), EncodeNamespaceRecord, DecodeNamespaceRecord),
      Golden("redrive",
             "0181808080400c64656661756c742f646561640c64656661756c742f6a6f6273"
             "0c64656661756c742f6a6f6273036d61788aa0abfef96280f8d4c4f262f4030a"
             "010282018001078c0184078ca0abfef96200030466756c6c872582e0e635231d",
             ExampleRedrive(), EncodeRedriveRecord, DecodeRedriveRecord),
      Golden("head", "0104c0843d3f3149ed6695c11e", ExampleHead(), EncodeHeadRow, DecodeHeadRow),
      Golden("applied", "0104d8fc3c98d112e2b5a16d6c", ExampleApplied(), EncodeAppliedRow,
             DecodeAppliedRow),
      Golden("identity",
             "0101203030303130323033303430353036303730383039306130623063306430"
             "6530662031303131313231333134313531363137313831393161316231633164"
             "3165316620323032313232323332343235323632373238323932613262326332"
             "643265326602887a43891f7ae1",
             ExampleIdentity(), EncodeIdentityRow, DecodeIdentityRow),
  };
  return records;
}

const std::vector<GoldenRecord>& OldGoldenRecords() {
  static const std::vector<GoldenRecord> records = {
      Golden("chunk_version_1", "0181020082a0abfef962031e00014800008cb4f33a854c6f", ExampleChunk(),
             EncodeChunkRecord, DecodeChunkRecord),
      Golden("rewritten_chunk_version_1",
             "0181020182a0abfef962021c0200020248500101c0c9b2fef96280dae281fa62"
             "09026b31076f726465722d37010c64656661756c742f6a6f62730c0c6d61785f"
             "617474656d70747310fe9fabfef962006ef5418f015a2f",
             OldRewrittenChunk(), EncodeChunkRecord, DecodeChunkRecord),
      Golden("attempt_version_1", "01020190eeabfef96204626f6f6df727247c8a6ca429", OldAttempt(),
             EncodeAttemptRecord, DecodeAttemptRecord),
  };
  return records;
}

std::vector<GoldenRecord> GoldenRecordsOfEveryVersion() {
  std::vector<GoldenRecord> records = GoldenRecords();
  records.insert(records.end(), OldGoldenRecords().begin(), OldGoldenRecords().end());
  return records;
}

void PrintTo(const GoldenRecord& record, std::ostream* out) { *out << record.name; }

std::string Resealed(std::string value) {
  value.resize(value.size() - kChecksumBytes);
  AppendChecksum(value);
  return value;
}

}  // namespace mqd::storage
