#include "storage/batch.h"

#include <iterator>
#include <utility>

#include "proto/base/assert.h"
#include "storage/record_codec.h"

namespace mqd::storage {

std::string_view TableName(Table table) {
  switch (table) {
    case Table::kMeta:
      return "meta";
    case Table::kChunks:
      return "chunks";
    case Table::kBodies:
      return "bodies";
    case Table::kSettles:
      return "settles";
    case Table::kAttempts:
      return "attempts";
    case Table::kDedup:
      return "dedup";
    case Table::kProducers:
      return "producers";
  }
  MQD_ASSERT(!"a table without a name");
}

void Batch::PutQueue(const QueueRecord& record) {
  Add({OpKind::kPut, Table::kMeta, QueueRowKey(record.id), EncodeQueueRecord(record), nullptr});
}

void Batch::DeleteQueue(QueueId queue) {
  Add({OpKind::kDelete, Table::kMeta, QueueRowKey(queue), {}, nullptr});
  for (const Table table : {Table::kChunks, Table::kBodies, Table::kSettles, Table::kAttempts,
                            Table::kDedup, Table::kProducers}) {
    Add({OpKind::kDeletePrefix, table, QueuePrefix(queue), {}, nullptr});
  }
}

void Batch::PutChunk(QueueId queue, const ChunkRecord& record, std::shared_ptr<const Body> body) {
  MQD_ASSERT(body != nullptr);
  Add({OpKind::kPut, Table::kChunks, ChunkRowKey(queue, record.key.first_sequence),
       EncodeChunkRecord(record), nullptr});
  Add({OpKind::kPutOnce, Table::kBodies, BodyRowKey(queue, record.key), {}, std::move(body)});
}

void Batch::DeleteChunk(QueueId queue, ChunkKey key) {
  const std::string row = ChunkRowKey(queue, key.first_sequence);
  Add({OpKind::kDelete, Table::kChunks, row, {}, nullptr});
  Add({OpKind::kDeleteOnce, Table::kBodies, BodyRowKey(queue, key), {}, nullptr});
  Add({OpKind::kDelete, Table::kSettles, row, {}, nullptr});
}

void Batch::RewriteChunk(QueueId queue, ChunkKey old_key, const ChunkRecord& record,
                         std::shared_ptr<const Body> body) {
  MQD_ASSERT(record.key.first_sequence == old_key.first_sequence);
  MQD_ASSERT(record.key.generation > old_key.generation);
  DeleteChunk(queue, old_key);
  PutChunk(queue, record, std::move(body));
}

void Batch::PutSettles(QueueId queue, Sequence chunk_first_sequence, const SettleRecord& record) {
  Add({OpKind::kPut, Table::kSettles, ChunkRowKey(queue, chunk_first_sequence),
       EncodeSettleRecord(record), nullptr});
}

void Batch::PutAttempt(QueueId queue, Sequence sequence, const AttemptRecord& record) {
  Add({OpKind::kPut, Table::kAttempts, AttemptRowKey(queue, sequence), EncodeAttemptRecord(record),
       nullptr});
}

void Batch::DeleteAttempt(QueueId queue, Sequence sequence) {
  Add({OpKind::kDelete, Table::kAttempts, AttemptRowKey(queue, sequence), {}, nullptr});
}

void Batch::PutDedup(QueueId queue, KeyHash hash, const DedupRecord& record) {
  Add({OpKind::kPut, Table::kDedup, DedupRowKey(queue, {record.sequence, hash}),
       EncodeDedupRecord(record), nullptr});
}

void Batch::DeleteDedup(QueueId queue, const DedupRowId& row) {
  Add({OpKind::kDelete, Table::kDedup, DedupRowKey(queue, row), {}, nullptr});
}

void Batch::PutProducer(QueueId queue, const ProducerId& producer, const ProducerRecord& record) {
  Add({OpKind::kPut, Table::kProducers, ProducerRowKey(queue, producer),
       EncodeProducerRecord(record), nullptr});
}

void Batch::DeleteProducer(QueueId queue, const ProducerId& producer) {
  Add({OpKind::kDelete, Table::kProducers, ProducerRowKey(queue, producer), {}, nullptr});
}

void Batch::PutNamespace(const NamespaceRecord& record) {
  Add({OpKind::kPut, Table::kMeta, NamespaceRowKey(record.name), EncodeNamespaceRecord(record),
       nullptr});
}

void Batch::DeleteNamespace(std::string_view name) {
  Add({OpKind::kDelete, Table::kMeta, NamespaceRowKey(name), {}, nullptr});
}

void Batch::PutRedrive(const RedriveRecord& record) {
  Add({OpKind::kPut, Table::kMeta, RedriveRowKey(record.id), EncodeRedriveRecord(record), nullptr});
}

void Batch::DeleteRedrive(std::uint64_t task) {
  Add({OpKind::kDelete, Table::kMeta, RedriveRowKey(task), {}, nullptr});
}

void Batch::Append(Batch other) {
  bytes_ += other.bytes_;
  if (ops_.empty()) {
    ops_ = std::move(other.ops_);
    return;
  }
  ops_.insert(ops_.end(), std::make_move_iterator(other.ops_.begin()),
              std::make_move_iterator(other.ops_.end()));
}

void Batch::Add(Op op) {
  bytes_ += op.key.size() + op.value.size() + (op.body ? op.body->encoded().size() : 0);
  ops_.push_back(std::move(op));
}

}  // namespace mqd::storage
