// history_test.cc: a history that was written down is read as it was.

#include "tests/crash/history.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace mqd::crash {
namespace {

std::string Text(const std::vector<Record>& records) {
  const std::string path = std::filesystem::path(testing::TempDir()) / "mqd-history-again.jsonl";
  EXPECT_TRUE(WriteJsonLines(records, path).ok());
  const auto read = ReadJsonLines(path);
  EXPECT_TRUE(read.ok()) << read.status();
  std::filesystem::remove(path);
  if (!read.ok() || read->size() != records.size()) return "not all records";
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Record& a = records[i];
    const Record& b = (*read)[i];
    const bool same = a.kind == b.kind && a.outcome == b.outcome && a.settle == b.settle &&
                      a.duplicate == b.duplicate && a.at_rest == b.at_rest &&
                      a.limited == b.limited && a.broken == b.broken && a.process == b.process &&
                      a.queue == b.queue && a.attempt == b.attempt && a.id == b.id &&
                      a.parent == b.parent && a.session == b.session && a.message == b.message &&
                      a.digest == b.digest && a.key == b.key && a.sequence == b.sequence &&
                      a.origin == b.origin && a.delivery == b.delivery &&
                      a.messages == b.messages && a.bytes == b.bytes && a.lease_ns == b.lease_ns &&
                      a.stored == b.stored && a.gone == b.gone && a.invoked_ns == b.invoked_ns &&
                      a.returned_ns == b.returned_ns && a.note == b.note;
    if (!same) return "record " + std::to_string(i);
  }
  return "";
}

TEST(HistoryTest, IsReadAsItWasWritten) {
  std::vector<Record> records;
  std::uint64_t next = UINT64_MAX - 100;
  for (int kind = 0; kind <= static_cast<int>(Kind::kDaemonExit); ++kind) {
    const bool odd = kind % 2 == 1;
    records.push_back({.kind = static_cast<Kind>(kind),
                       .outcome = static_cast<Outcome>(kind % 3),
                       .settle = static_cast<SettleKind>(kind % 5),
                       .duplicate = odd,
                       .at_rest = !odd,
                       .limited = odd,
                       .broken = !odd,
                       .process = 7,
                       .queue = 3,
                       .attempt = 4,
                       .id = next++,
                       .parent = next++,
                       .session = next++,
                       .message = next++,
                       .digest = next++,
                       .key = next++,
                       .sequence = next++,
                       .origin = next++,
                       .delivery = next++,
                       .messages = next++,
                       .bytes = next++,
                       .lease_ns = INT64_MAX,
                       .stored = next++,
                       .gone = next++,
                       .invoked_ns = 5,
                       .returned_ns = odd ? 0 : 6,
                       .note = odd ? "" : "\"quoted\" \\"});
    next = UINT64_MAX - 100;
  }
  EXPECT_EQ(Text(records), "");
}

TEST(HistoryTest, AppendedRecordsKeepTheirParents) {
  History history;
  history.Add({.kind = Kind::kServe});
  history.Append(
      {{.kind = Kind::kSettle, .id = 1}, {.kind = Kind::kPublish, .id = 2, .parent = 1}});
  const std::vector<Record> records = history.Copy();
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[2].id, 3U);
  EXPECT_EQ(records[2].parent, records[1].id);
}

}  // namespace
}  // namespace mqd::crash
