// A batch says exactly what was asked for: which rows, in which order, how often put.
#include "storage/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/record_codec.h"

namespace mqd::storage {
namespace {

using ::testing::ElementsAre;

constexpr QueueId kQueue = 9;

struct Row {
  OpKind kind;
  Table table;
  std::string key;
  bool operator==(const Row&) const = default;
};

std::vector<Row> RowsOf(const Batch& batch) {
  std::vector<Row> rows;
  for (const Op& op : batch.ops()) rows.push_back({op.kind, op.table, op.key});
  return rows;
}

std::shared_ptr<const Body> OneMessage() {
  Body::Builder builder;
  builder.Append("\x7a\x01x");
  return std::move(builder).Finish();
}

ChunkRecord Chunk(ChunkKey key) { return {.key = key, .charges = {65}, .count = 1}; }

TEST(BatchTest, ChunkIsOneRowAndItsBodyAnotherThatIsPutOnce) {
  Batch batch;
  batch.PutChunk(kQueue, Chunk({5, 0}), OneMessage());
  EXPECT_THAT(RowsOf(batch),
              ElementsAre(Row{OpKind::kPut, Table::kChunks, ChunkRowKey(kQueue, 5)},
                          Row{OpKind::kPutOnce, Table::kBodies, BodyRowKey(kQueue, {5, 0})}));
}

TEST(BatchTest, DeletedChunkTakesBodyAndSettlesAlong) {
  Batch batch;
  batch.DeleteChunk(kQueue, {5, 2});
  EXPECT_THAT(RowsOf(batch),
              ElementsAre(Row{OpKind::kDelete, Table::kChunks, ChunkRowKey(kQueue, 5)},
                          Row{OpKind::kDeleteOnce, Table::kBodies, BodyRowKey(kQueue, {5, 2})},
                          Row{OpKind::kDelete, Table::kSettles, ChunkRowKey(kQueue, 5)}));
}

// The new body has a key of its own: the old one was put once and is deleted once.
TEST(BatchTest, RewrittenChunkNeverPutsABodyKeyTwice) {
  Batch batch;
  batch.RewriteChunk(kQueue, {5, 0}, Chunk({5, 1}), OneMessage());
  EXPECT_THAT(RowsOf(batch),
              ElementsAre(Row{OpKind::kDelete, Table::kChunks, ChunkRowKey(kQueue, 5)},
                          Row{OpKind::kDeleteOnce, Table::kBodies, BodyRowKey(kQueue, {5, 0})},
                          Row{OpKind::kDelete, Table::kSettles, ChunkRowKey(kQueue, 5)},
                          Row{OpKind::kPut, Table::kChunks, ChunkRowKey(kQueue, 5)},
                          Row{OpKind::kPutOnce, Table::kBodies, BodyRowKey(kQueue, {5, 1})}));
}

TEST(BatchTest, DeletedQueueLeavesNoTableOut) {
  Batch batch;
  batch.DeleteQueue(kQueue);
  std::vector<Table> tables;
  for (const Op& op : batch.ops()) {
    tables.push_back(op.table);
    EXPECT_EQ(op.key, op.table == Table::kMeta ? QueueRowKey(kQueue) : QueuePrefix(kQueue));
    EXPECT_EQ(op.kind, op.table == Table::kMeta ? OpKind::kDelete : OpKind::kDeletePrefix);
  }
  EXPECT_EQ(tables.size(), kTableCount);
  for (std::size_t i = 0; i < kTableCount; ++i) {
    EXPECT_THAT(tables, ::testing::Contains(static_cast<Table>(i)));
  }
}

// They share table meta with the queues, and a scan of the queues must not meet them.
TEST(BatchTest, NamespacesAndRedrivesAreRowsOfMetaBesideTheQueues) {
  Batch batch;
  batch.PutNamespace({.name = "queue"});
  batch.DeleteNamespace("queue");
  batch.PutRedrive({.id = 7});
  batch.DeleteRedrive(7);
  EXPECT_THAT(RowsOf(batch), ElementsAre(Row{OpKind::kPut, Table::kMeta, "nqueue"},
                                         Row{OpKind::kDelete, Table::kMeta, "nqueue"},
                                         Row{OpKind::kPut, Table::kMeta, RedriveRowKey(7)},
                                         Row{OpKind::kDelete, Table::kMeta, RedriveRowKey(7)}));
  for (const Op& op : batch.ops()) EXPECT_FALSE(op.key.starts_with(QueueRowPrefix()));
}

TEST(BatchTest, BytesAreKeysValuesAndBodies) {
  Batch batch;
  const std::shared_ptr<const Body> body = OneMessage();
  batch.PutChunk(kQueue, Chunk({5, 0}), body);
  EXPECT_EQ(batch.bytes(),
            16 + EncodeChunkRecord(Chunk({5, 0})).size() + 20 + body->encoded().size());
  const std::size_t before = batch.bytes();
  batch.DeleteAttempt(kQueue, 5);
  EXPECT_EQ(batch.bytes(), before + 16);
}

TEST(BatchTest, AppendedBatchComesBehindAndIsCounted) {
  Batch first;
  first.DeleteAttempt(kQueue, 1);
  Batch second;
  second.DeleteAttempt(kQueue, 2);
  second.DeleteAttempt(kQueue, 3);
  first.Append(std::move(second));
  EXPECT_THAT(RowsOf(first),
              ElementsAre(Row{OpKind::kDelete, Table::kAttempts, AttemptRowKey(kQueue, 1)},
                          Row{OpKind::kDelete, Table::kAttempts, AttemptRowKey(kQueue, 2)},
                          Row{OpKind::kDelete, Table::kAttempts, AttemptRowKey(kQueue, 3)}));
  EXPECT_EQ(first.bytes(), 48u);
  Batch none;
  none.Append(std::move(first));
  EXPECT_EQ(none.ops().size(), 3u);
  EXPECT_EQ(none.bytes(), 48u);
}

TEST(BatchTest, EveryTableHasItsNameOfFormatMd) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kTableCount; ++i) {
    names.push_back(std::string(TableName(static_cast<Table>(i))));
  }
  EXPECT_THAT(names,
              ElementsAre("meta", "chunks", "bodies", "settles", "attempts", "dedup", "producers"));
}

}  // namespace
}  // namespace mqd::storage
