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
                        .deliver_at_ms = 1'700'000'060'000,
                        .expires_at_ms = 1'700'003'600'000,
                        .priority = 9,
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
  return {.attempts = 2,
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
      Golden("chunk", "0181020082a0abfef962031e00014800008cb4f33a854c6f", ExampleChunk(),
             EncodeChunkRecord, DecodeChunkRecord),
      Golden("rewritten_chunk",
             "0181020182a0abfef962021c0200020248500101c0c9b2fef96280dae281fa62"
             "09026b31076f726465722d37010c64656661756c742f6a6f62730c0c6d61785f"
             "617474656d70747310fe9fabfef962006ef5418f015a2f",
             ExampleRewrittenChunk(), EncodeChunkRecord, DecodeChunkRecord),
      Golden("settle", "0102000203a7022f15ab40c04bf25e", ExampleSettles(), EncodeSettleRecord,
             DecodeSettleRecord),
      Golden("attempt", "01020190eeabfef96204626f6f6df727247c8a6ca429", ExampleAttempt(),
             EncodeAttemptRecord, DecodeAttemptRecord),
      Golden("dedup",
             "01ac0288ef99abc5e88c911184a0abfef962076f726465722d37c057754c48f0"
             "8a85",
             ExampleDedup(), EncodeDedupRecord, DecodeDedupRecord),
      Golden("producer", "01e80786a0abfef962028407328102b60733900393fd2f3cc1028f7c",
             ExampleProducer(), EncodeProducerRecord, DecodeProducerRecord),
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

void PrintTo(const GoldenRecord& record, std::ostream* out) { *out << record.name; }

std::string Resealed(std::string value) {
  value.resize(value.size() - kChecksumBytes);
  AppendChecksum(value);
  return value;
}

}  // namespace mqd::storage
