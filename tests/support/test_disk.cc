#include "tests/support/test_disk.h"

#include "proto/base/assert.h"
#include "storage/record_codec.h"
#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using storage::OpKind;
using storage::Table;

constexpr char kField15 = '\x7a';  // number 15, length-delimited: of a frame and of a Message

std::string_view ValueOf(std::string_view field) {
  MQD_ASSERT(!field.empty() && field[0] == kField15);
  std::size_t at = 1;
  while ((field.at(at) & 0x80) != 0) ++at;
  return field.substr(at + 1);
}

}  // namespace

std::string PayloadOf(std::string_view element) { return std::string(ValueOf(ValueOf(element))); }

void TestDisk::Append(QueueHarness& queue, CommitRequest commit) {
  waiting_.emplace_back(&queue, std::move(commit));
}

bool TestDisk::CommitNext() {
  if (waiting_.empty()) return false;
  const auto [queue, commit] = std::move(waiting_.front());
  waiting_.pop_front();
  Apply(commit.batch);
  queue->Step(CommitDone{commit.commit});
  return true;
}

bool TestDisk::ApplyNext() {
  if (waiting_.empty()) return false;
  Apply(waiting_.front().second.batch);
  waiting_.pop_front();
  return true;
}

void TestDisk::CommitAll() {
  while (CommitNext()) {
  }
}

void TestDisk::OrderDedupByHash() {
  std::map<std::string, std::string> by_hash;
  for (const auto& [key, value] : tables_.at(Slot(Table::kDedup))) {
    std::string row = key;
    by_hash[row.erase(8, 8)] = value;  // between queue and hash
  }
  tables_.at(Slot(Table::kDedup)) = std::move(by_hash);
}

void TestDisk::Apply(const storage::Batch& batch) {
  const storage::Op* chunk = nullptr;
  for (const storage::Op& op : batch.ops()) {
    auto& rows = tables_.at(Slot(op.table));
    switch (op.kind) {
      case OpKind::kPutOnce:
        MQD_ASSERT(!rows.contains(op.key));
        [[fallthrough]];
      case OpKind::kPut:
        rows[op.key] = op.body != nullptr ? std::string(op.body->encoded()) : op.value;
        break;
      case OpKind::kDeletePrefix:
        std::erase_if(rows, [&](const auto& row) { return row.first.starts_with(op.key); });
        break;
      default:
        rows.erase(op.key);
    }
    if (op.table == Table::kChunks) chunk = &op;
    if (op.kind == OpKind::kPutOnce && chunk != nullptr) Note(*chunk, *op.body);
  }
}

void TestDisk::Note(const storage::Op& chunk, const storage::Body& body) {
  const auto record = storage::DecodeChunkRecord(chunk.value);
  MQD_ASSERT(record.ok());
  if (record->key.generation > 0) return;  // rewritten: nothing new
  const Chunk known = Chunk::FromRecord(*record);
  storage::QueueId queue = 0;
  for (int i = 0; i < 8; ++i) queue = queue << 8 | static_cast<unsigned char>(chunk.key[i]);
  for (std::uint32_t i = 0; i < known.count; ++i) {
    stored_.push_back({queue, known.SequenceAt(i), known.ChargeAt(i), PayloadOf(body.Element(i))});
  }
}

absl::Status TestDisk::Scan(storage::ShardId, Table table, std::string_view prefix,
                            const Visit& visit) const {
  const auto& rows = tables_.at(Slot(table));
  for (auto row = rows.lower_bound(std::string(prefix));
       row != rows.end() && row->first.starts_with(prefix); ++row) {
    if (absl::Status status = visit(row->first, row->second); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void TestDisk::ReadBody(storage::ShardId, QueueId queue, ChunkKey key, BodyDone done) const {
  const auto& rows = tables_.at(Slot(Table::kBodies));
  const auto row = rows.find(storage::BodyRowKey(queue, key));
  if (row == rows.end()) return done(absl::NotFoundError("no such body"));
  done(storage::Body::Decode(row->second));
}

std::size_t TestDisk::rows() const {
  std::size_t count = 0;
  for (const auto& table : tables_) count += table.size();
  return count;
}

}  // namespace mqd::queue::testing
