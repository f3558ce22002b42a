#include "server/rpc/message_checks.h"

#include <gtest/gtest.h>

#include <string>

#include "mqd/v1/broker.pb.h"
#include "server/limits.h"
#include "server/rpc/confirm_buffer.h"

namespace mqd::rpc {
namespace {

constexpr wire::MessageLimits kLimits = {.payload_bytes_max = 100,
                                         .key_bytes_max = 128,
                                         .headers_max = 64,
                                         .header_bytes_max = 1'000,
                                         .priority_max = 9,
                                         .batch_messages_max = 1'024};

v1::Message Plain() {
  v1::Message message;
  message.set_payload("0123456789");
  return message;
}

/// Keeps the bytes that the views point into.
struct Checked {
  std::string bytes;
  CheckedBatch batch;
};

Checked Check(const v1::PublishBatch& batch) {
  Checked out{batch.SerializeAsString(), {}};
  const auto scanned = wire::ScanPublishBatch(out.bytes, kLimits);
  EXPECT_TRUE(scanned.ok()) << scanned.status();
  if (scanned.ok()) out.batch = CheckBatch(*scanned);
  return out;
}

queue::ErrorInfo OnlyError(const Checked& checked) {
  EXPECT_EQ(checked.batch.refused.size(), 1u);
  if (checked.batch.refused.size() != 1) return {};
  return std::get<queue::ErrorInfo>(checked.batch.refused[0].result);
}

TEST(MessageChecksTest, AGoodBatchStaysOneBatch) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(5);
  batch.set_answered_through(4);
  for (int i = 0; i < 3; ++i) *batch.add_messages() = Plain();
  const Checked checked = Check(batch);
  ASSERT_EQ(checked.batch.good.size(), 1u);
  EXPECT_EQ(checked.batch.good[0].first_publish_id, 5u);
  EXPECT_EQ(checked.batch.good[0].answered_through, 4u);
  EXPECT_EQ(checked.batch.good[0].messages.size(), 3u);
  EXPECT_EQ(checked.batch.bytes, 3 * (10u + limits::kMessageOverheadBytes));
}

TEST(MessageChecksTest, ABadMessageFailsAloneAndIdsStayConsecutive) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  for (int i = 0; i < 5; ++i) *batch.add_messages() = Plain();
  batch.mutable_messages(2)->set_payload(std::string(101, 'x'));
  const Checked checked = Check(batch);
  ASSERT_EQ(checked.batch.good.size(), 2u);
  EXPECT_EQ(checked.batch.good[0].first_publish_id, 1u);
  EXPECT_EQ(checked.batch.good[0].messages.size(), 2u);
  EXPECT_EQ(checked.batch.good[1].first_publish_id, 4u);
  EXPECT_EQ(checked.batch.good[1].messages.size(), 2u);
  const queue::ErrorInfo error = OnlyError(checked);
  EXPECT_EQ(error.reason, queue::Reason::kMessageTooLarge);
  EXPECT_EQ(error.limit, 100u);
  EXPECT_EQ(error.current, 101u);
  EXPECT_EQ(checked.batch.refused[0].publish_id, 3u);
  EXPECT_EQ(checked.batch.refused_bytes, 101u + limits::kMessageOverheadBytes);
}

TEST(MessageChecksTest, FieldsThatAreNotCarriedOutAreRefusedByName) {
  const auto refused = [](auto set) {
    v1::PublishBatch batch;
    batch.set_first_publish_id(1);
    *batch.add_messages() = Plain();
    set(*batch.mutable_messages(0));
    return OnlyError(Check(batch)).resource;
  };
  EXPECT_EQ(refused([](v1::Message& m) { m.set_ordering_key("k"); }), "field ordering_key");
  EXPECT_EQ(refused([](v1::Message& m) { m.set_priority(1); }), "field priority");
  EXPECT_EQ(refused([](v1::Message& m) { m.mutable_delay()->set_seconds(1); }), "field delay");
  EXPECT_EQ(refused([](v1::Message& m) { m.mutable_deliver_at()->set_seconds(1); }),
            "field deliver_at");
  EXPECT_EQ(refused([](v1::Message& m) { m.mutable_ttl()->set_seconds(1); }), "field ttl");
  EXPECT_EQ(refused([](v1::Message& m) { m.add_deliver_after()->set_sequence(1); }),
            "field deliver_after");
}

TEST(MessageChecksTest, OtherConfirmLevelsRefuseEveryMessage) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  *batch.add_messages() = Plain();
  batch.set_confirm_level(v1::CONFIRM_LEVEL_DURABLE);
  EXPECT_TRUE(Check(batch).batch.refused.empty());
  batch.set_confirm_level(v1::CONFIRM_LEVEL_SETTLED);
  EXPECT_EQ(OnlyError(Check(batch)).resource, "field confirm_level");
}

TEST(ConfirmBufferTest, RangesThatTouchAreJoined) {
  ConfirmBuffer buffer;
  buffer.Add({.ranges = {{.first_publish_id = 1, .count = 10, .first_sequence = 101}}});
  buffer.Add({.ranges = {{.first_publish_id = 11, .count = 5, .first_sequence = 111}}});
  buffer.Add({.ranges = {{.first_publish_id = 16, .count = 5, .first_sequence = 200}}});
  const queue::Confirms all = buffer.Take();
  ASSERT_EQ(all.ranges.size(), 2u);
  EXPECT_EQ(all.ranges[0].count, 15u);
  EXPECT_EQ(all.ranges[1].first_sequence, 200u);
  EXPECT_EQ(CountOf(all), 20u);
  EXPECT_TRUE(buffer.empty());
}

}  // namespace
}  // namespace mqd::rpc
