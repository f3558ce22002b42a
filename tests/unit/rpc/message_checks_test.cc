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
                                         .batch_messages_max = 1'024,
                                         .delay_ms_max = 10'000,
                                         .ttl_ms_max = 1'000'000,
                                         .deliver_after_max = 3};

v1::Message Plain() {
  v1::Message message;
  message.set_payload("0123456789");
  return message;
}

constexpr queue::WallMs kNow = 1'700'000'000'000;

/// Keeps the bytes that the views point into.
struct Checked {
  std::string bytes;
  CheckedBatch batch;
};

/// A broker with two queues: "orders" is 7, "mail" is 8.
absl::StatusOr<queue::QueueId> TwoQueues(std::string_view name) {
  if (name == "orders") return 7;
  if (name == "mail") return 8;
  return queue::ToStatus({.reason = queue::Reason::kQueueNotFound, .message = "no such queue"});
}

Checked Check(const v1::PublishBatch& batch, ReferenceResolver resolve = TwoQueues) {
  Checked out{batch.SerializeAsString(), {}};
  const auto scanned = wire::ScanPublishBatch(out.bytes, kLimits);
  EXPECT_TRUE(scanned.ok()) << scanned.status();
  if (scanned.ok()) out.batch = CheckBatch(*scanned, kNow, resolve);
  return out;
}

queue::ErrorInfo OnlyError(const Checked& checked) {
  EXPECT_EQ(checked.batch.refused.size(), 1u);
  if (checked.batch.refused.size() != 1) return {};
  return std::get<queue::ErrorInfo>(checked.batch.refused[0].result);
}

/// What the queue is to refuse the message at `index` for; an empty error for nothing.
queue::ErrorInfo FaultOf(const Checked& checked, std::size_t index = 0) {
  EXPECT_TRUE(checked.batch.refused.empty());
  if (checked.batch.good.size() != 1) return {};
  const queue::PublishBatch& batch = checked.batch.good[0];
  const queue::SpecialFields* special = batch.SpecialOf(batch.messages.at(index));
  if (special == nullptr || special->fault == nullptr) return {};
  return *special->fault;
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

/// A batch of one message that `set` has filled.
template <class Set>
v1::PublishBatch BatchWith(Set set) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  *batch.add_messages() = Plain();
  set(*batch.mutable_messages(0));
  return batch;
}

TEST(MessageChecksTest, SpecialFieldsArriveAndPlainMessagesCarryNone) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  for (int i = 0; i < 4; ++i) *batch.add_messages() = Plain();
  v1::Message& keyed = *batch.mutable_messages(1);
  keyed.set_ordering_key("customer-7");
  keyed.set_priority(9);
  keyed.mutable_ttl()->set_seconds(60);
  batch.mutable_messages(2)->mutable_delay()->set_seconds(2);
  batch.mutable_messages(3)->mutable_deliver_at()->set_seconds(kNow / 1'000 + 5);
  const Checked checked = Check(batch);
  ASSERT_EQ(checked.batch.good.size(), 1u);
  const queue::PublishBatch& good = checked.batch.good[0];
  ASSERT_EQ(good.messages.size(), 4u);
  ASSERT_EQ(good.specials.size(), 3u);
  EXPECT_EQ(good.messages[0].special, 0u);
  EXPECT_EQ(good.messages[1].special, 1u);
  EXPECT_EQ(good.specials[0].ordering_key, "customer-7");
  EXPECT_EQ(good.specials[0].priority, 9u);
  EXPECT_EQ(good.specials[0].ttl_ms, 60'000);
  EXPECT_EQ(good.specials[0].delay_ms, 0);
  EXPECT_EQ(good.specials[1].delay_ms, 2'000);
  EXPECT_EQ(good.messages[3].special, 3u);
  EXPECT_EQ(good.specials[2].deliver_at_ms, kNow + 5'000);
}

TEST(MessageChecksTest, SpecialFieldsStayWithTheirMessageWhenOneBeforeItIsRefused) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  for (int i = 0; i < 3; ++i) {
    *batch.add_messages() = Plain();
    batch.mutable_messages(i)->set_priority(static_cast<std::uint32_t>(i + 1));
  }
  batch.mutable_messages(1)->set_priority(10);
  const Checked checked = Check(batch);
  ASSERT_EQ(checked.batch.good.size(), 2u);
  ASSERT_EQ(checked.batch.good[1].specials.size(), 1u);
  EXPECT_EQ(checked.batch.good[1].messages[0].special, 1u);
  EXPECT_EQ(checked.batch.good[1].specials[0].priority, 3u);
}

TEST(MessageChecksTest, DeliverAtIsHeldAgainstTheWallClock) {
  const std::int64_t most_s = limits::kDelayMax.count() / 1'000 + kNow / 1'000;
  const auto at = [](std::int64_t seconds) {
    return Check(BatchWith([&](auto& m) { m.mutable_deliver_at()->set_seconds(seconds); }));
  };
  EXPECT_EQ(FaultOf(at(most_s)).resource, "");
  EXPECT_EQ(FaultOf(at(1)).resource, "") << "the past is at once";
  const queue::ErrorInfo error = FaultOf(at(most_s + 1));
  EXPECT_EQ(error.resource, "field deliver_at");
  EXPECT_EQ(error.limit, static_cast<std::uint64_t>(limits::kDelayMax.count()));
  EXPECT_EQ(error.current, error.limit + 1'000);
}

TEST(MessageChecksTest, ReferencesBecomeQueueIdsEachOnce) {
  const Checked checked = Check(BatchWith([](v1::Message& m) {
    for (const auto& [name, sequence] :
         {std::pair("orders", 5), std::pair("mail", 5), std::pair("orders", 5)}) {
      v1::MessageRef& reference = *m.add_deliver_after();
      reference.set_queue(name);
      reference.set_sequence(static_cast<std::uint64_t>(sequence));
    }
  }));
  ASSERT_EQ(checked.batch.good.size(), 1u);
  const std::vector<storage::MessageRef> expected = {{7, 5}, {8, 5}};
  EXPECT_EQ(checked.batch.good[0].specials.at(0).deliver_after, expected);
}

TEST(MessageChecksTest, AReferenceToAnUnknownQueueIsTheFaultOfItsMessageAlone) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  for (int i = 0; i < 3; ++i) *batch.add_messages() = Plain();
  v1::MessageRef& reference = *batch.mutable_messages(1)->add_deliver_after();
  reference.set_queue("nowhere");
  reference.set_sequence(1);
  const Checked checked = Check(batch);
  EXPECT_EQ(FaultOf(checked, 1).reason, queue::Reason::kQueueNotFound);
  EXPECT_EQ(FaultOf(checked, 0).message, "");
  EXPECT_EQ(FaultOf(checked, 2).message, "");
}

TEST(MessageChecksTest, AnAtomicRequestTakesNoReferences) {
  const v1::PublishBatch batch = BatchWith([](v1::Message& m) {
    m.set_priority(3);
    v1::MessageRef& reference = *m.add_deliver_after();
    reference.set_queue("orders");
    reference.set_sequence(1);
  });
  EXPECT_EQ(FaultOf(Check(batch, RefuseReference)).resource, "field deliver_after");
}

TEST(MessageChecksTest, EveryConfirmLevelArrivesAndOthersRefuseEveryMessage) {
  v1::PublishBatch batch = BatchWith([](v1::Message&) {});
  EXPECT_EQ(Check(batch).batch.good.at(0).level, queue::ConfirmLevel::kDurable)
      << "the level of who names none";
  for (const auto level : {v1::CONFIRM_LEVEL_ACCEPTED, v1::CONFIRM_LEVEL_DURABLE,
                           v1::CONFIRM_LEVEL_DELIVERED, v1::CONFIRM_LEVEL_SETTLED}) {
    batch.set_confirm_level(level);
    EXPECT_EQ(static_cast<int>(Check(batch).batch.good.at(0).level), level);
  }
  batch.set_confirm_level(static_cast<v1::ConfirmLevel>(5));
  EXPECT_EQ(OnlyError(Check(batch)).resource, "field confirm_level");
}

TEST(MessageChecksTest, ATimeoutBeyondTheLimitRefusesEveryMessage) {
  v1::PublishBatch batch = BatchWith([](v1::Message&) {});
  batch.mutable_timeout()->set_seconds(limits::kPublishTimeoutMax.count() / 1'000 + 1);
  EXPECT_EQ(OnlyError(Check(batch)).resource, "field timeout");
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
