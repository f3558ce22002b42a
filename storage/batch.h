#pragma once

// batch.h: a typed list of changes that become durable together.
//
// A batch touches one shard. It names logical tables, never a database's column families, so that
// the same bytes can be applied by any store. Building one encodes the records (record_codec.h);
// bodies are shared, not copied.
//
// Threads: a Batch: one at a time. A BatchChain: any.

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/body.h"
#include "storage/records.h"
#include "storage/types.h"

namespace mqd::storage {

enum class Table : std::uint8_t {
  kMeta,
  kChunks,
  kBodies,
  kSettles,
  kAttempts,
  kDedup,
  kProducers
};
inline constexpr std::size_t kTableCount = 7;

/// "chunks", as FORMAT.md and error messages call it.
std::string_view TableName(Table table);

enum class OpKind : std::uint8_t {
  kPut,
  kPutOnce,  // this key was never put before
  kDelete,
  kDeleteOnce,  // the key was put exactly once
  kDeletePrefix,
};

struct Op {
  OpKind kind;
  Table table;
  std::string key;    // without the shard, which every store puts in front
  std::string value;  // of a put; empty when `body` holds it
  std::shared_ptr<const Body> body;
};

/// Batches that build on each other: when one is refused, those behind it are refused too, since
/// what they say may rest on it.
class BatchChain {
 public:
  void Break() { broken_.store(true, std::memory_order_relaxed); }
  bool broken() const { return broken_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> broken_{false};
};

class Batch {
 public:
  /// Makes this batch a link of `chain`, behind those that were appended before.
  void Join(std::shared_ptr<BatchChain> chain) { chain_ = std::move(chain); }

  void PutQueue(const QueueRecord& record);
  /// Removes the queue's rows in every table.
  void DeleteQueue(QueueId queue);

  void PutChunk(QueueId queue, const ChunkRecord& record, std::shared_ptr<const Body> body);
  /// The chunk, its body and its settle record. Attempts, dedup, producers have rows of their own.
  void DeleteChunk(QueueId queue, ChunkKey key);
  /// Puts `record` in the place of the generation before it.
  void RewriteChunk(QueueId queue, ChunkKey old_key, const ChunkRecord& record,
                    std::shared_ptr<const Body> body);
  void PutSettles(QueueId queue, Sequence chunk_first_sequence, const SettleRecord& record);

  void PutAttempt(QueueId queue, Sequence sequence, const AttemptRecord& record);
  void DeleteAttempt(QueueId queue, Sequence sequence);

  void PutDedup(QueueId queue, KeyHash hash, const DedupRecord& record);
  void DeleteDedup(QueueId queue, const DedupRowId& row);

  void PutProducer(QueueId queue, const ProducerId& producer, const ProducerRecord& record);
  void DeleteProducer(QueueId queue, const ProducerId& producer);

  void PutNamespace(const NamespaceRecord& record);
  void DeleteNamespace(std::string_view name);

  void PutRedrive(const RedriveRecord& record);
  void DeleteRedrive(std::uint64_t task);

  /// Moves all of `other` behind what is here.
  void Append(Batch other);

  /// For the store: this batch is refused, or must be.
  void BreakChain() const {
    if (chain_ != nullptr) chain_->Break();
  }
  bool chain_broken() const { return chain_ != nullptr && chain_->broken(); }

  bool empty() const { return ops_.empty(); }
  /// Keys and values, as they are counted against CommitLog::kBatchBytesMax.
  std::size_t bytes() const { return bytes_; }
  const std::vector<Op>& ops() const { return ops_; }

 private:
  void Add(Op op);

  std::vector<Op> ops_;
  std::size_t bytes_ = 0;
  std::shared_ptr<BatchChain> chain_;  // null: of none
};

}  // namespace mqd::storage
