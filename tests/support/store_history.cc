#include "tests/support/store_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "storage/memory_store.h"
#include "storage/record_codec.h"

namespace mqd::test {

using storage::Batch;
using storage::Store;
using storage::Table;

absl::StatusOr<std::vector<std::string>> Dump(const Store& store) {
  std::vector<std::string> rows;
  for (std::size_t table = 0; table < storage::kTableCount; ++table) {
    const std::string name(TableName(static_cast<Table>(table)));
    const absl::Status status =
        store.Scan(kShard, static_cast<Table>(table), "", [&](auto key, auto value) {
          rows.push_back(
              absl::StrCat(name, " ", absl::BytesToHexString(std::string(key)), " ",
                           absl::BytesToHexString(std::string(value.substr(value.size() - 8)))));
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
  }
  return rows;
}

std::vector<std::string> Difference(const std::vector<std::string>& rows,
                                    const std::vector<std::string>& expected) {
  std::vector<std::string> difference;
  for (const std::string& row : rows) {
    if (std::find(expected.begin(), expected.end(), row) == expected.end()) {
      difference.push_back("+ " + row);
    }
  }
  for (const std::string& row : expected) {
    if (std::find(rows.begin(), rows.end(), row) == rows.end()) difference.push_back("- " + row);
  }
  return difference;
}

absl::StatusOr<std::size_t> CountBatches(const Store& store) {
  std::size_t count = 0;
  const absl::Status status =
      store.Scan(kShard, Table::kProducers, storage::QueuePrefix(kQueue), [&](auto, auto value) {
        const absl::StatusOr<storage::ProducerRecord> record = storage::DecodeProducerRecord(value);
        if (record.ok()) count = record->last_publish_id;
        return record.status();
      });
  if (!status.ok()) return status;
  return count;
}

const Batch& History::Add(Batch batch) {
  batch.PutProducer(kQueue, kCounter, {.last_publish_id = batches_.size() + 1});
  batches_.push_back(std::move(batch));
  return batches_.back();
}

std::vector<std::string> History::DumpAfter(std::size_t count) const {
  storage::MemoryStore store;
  for (std::size_t i = 0; i < count; ++i) {
    store.Append(kShard, store.CurrentEpoch(), batches_[i], storage::Sync::kFlush,
                 [](storage::CommitResult result) {
                   EXPECT_EQ(result.outcome, storage::Outcome::kCommitted);
                 });
  }
  return *Dump(store);
}

std::size_t ExpectABeginningOf(const History& history, std::size_t confirmed, const Store& store) {
  const absl::StatusOr<std::size_t> count = CountBatches(store);
  const absl::StatusOr<std::vector<std::string>> rows = Dump(store);
  EXPECT_TRUE(count.ok()) << std::string(count.status().message());
  EXPECT_TRUE(rows.ok()) << std::string(rows.status().message());
  if (!count.ok() || !rows.ok()) return 0;
  EXPECT_GE(*count, confirmed) << "confirmed batches are lost";
  EXPECT_LE(*count, history.size()) << "batches that were never accepted, or were refused";
  if (*count <= history.size()) {
    EXPECT_THAT(Difference(*rows, history.DumpAfter(*count)), ::testing::IsEmpty())
        << "not what " << *count << " batches leave";
  }
  return *count;
}

}  // namespace mqd::test
