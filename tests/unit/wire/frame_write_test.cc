#include "proto/wire/frame_write.h"

#include <gtest/gtest.h>

#include "google/protobuf/util/time_util.h"
#include "mqd/v1/broker.pb.h"

namespace mqd::wire {
namespace {

using google::protobuf::util::TimeUtil;

const std::vector<std::pair<std::string, std::string>> kHeaders = {{"a", "1"}, {"b", ""}};

const std::vector<MessageReference> kReferences = {{"orders", 1ULL << 40}, {"", 3}};

MessageParts FullParts() {
  return {.payload = "body",
          .idempotency_key = "key",
          .ordering_key = "order",
          .priority = 9,
          .delay_ms = 1'500,
          .deliver_at_ms = 0,
          .ttl_ms = 60'000,
          .headers = kHeaders,
          .deliver_after = kReferences};
}

TEST(FrameWriteTest, BatchReadsBackThroughTheGeneratedClass) {
  std::string elements;
  const std::size_t first = AppendElement(FullParts(), elements);
  EXPECT_EQ(first, elements.size());
  const std::size_t second = AppendElement({.payload = std::string_view()}, elements);
  EXPECT_EQ(first + second, elements.size());
  AppendElement({.payload = "p", .deliver_at_ms = 1'700'000'000'123}, elements);
  const BatchHead head = {.first_publish_id = 1ULL << 63,
                          .answered_through = 128,
                          .confirm_level = v1::CONFIRM_LEVEL_DURABLE,
                          .timeout_ms = 250};

  v1::PublishStreamRequest request;
  ASSERT_TRUE(request.ParseFromString(PublishBatchHead(head, elements.size()) + elements));
  const v1::PublishBatch& batch = request.batch();
  EXPECT_EQ(batch.first_publish_id(), 1ULL << 63);
  EXPECT_EQ(batch.answered_through(), 128u);
  EXPECT_EQ(batch.confirm_level(), v1::CONFIRM_LEVEL_DURABLE);
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(batch.timeout()), 250);
  ASSERT_EQ(batch.messages_size(), 3);
  const v1::Message& full = batch.messages(0);
  EXPECT_EQ(full.payload(), "body");
  EXPECT_EQ(full.idempotency_key(), "key");
  EXPECT_EQ(full.ordering_key(), "order");
  EXPECT_EQ(full.priority(), 9u);
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(full.delay()), 1'500);
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(full.ttl()), 60'000);
  EXPECT_FALSE(full.has_deliver_at());
  ASSERT_EQ(full.headers().size(), 2u);
  EXPECT_EQ(full.headers().at("a"), "1");
  EXPECT_EQ(full.headers().at("b"), "");
  ASSERT_EQ(full.deliver_after_size(), 2);
  EXPECT_EQ(full.deliver_after(0).queue(), "orders");
  EXPECT_EQ(full.deliver_after(0).sequence(), 1ULL << 40);
  EXPECT_EQ(full.deliver_after(1).sequence(), 3u);
  EXPECT_EQ(batch.messages(1).ByteSizeLong(), 0u);
  EXPECT_EQ(TimeUtil::TimestampToMilliseconds(batch.messages(2).deliver_at()), 1'700'000'000'123);
}

TEST(FrameWriteTest, AbsentFieldsStayAbsent) {
  v1::PublishStreamRequest request;
  ASSERT_TRUE(request.ParseFromString(PublishBatchHead({.first_publish_id = 1}, 0)));
  EXPECT_FALSE(request.batch().has_timeout());
  EXPECT_EQ(request.batch().confirm_level(), v1::CONFIRM_LEVEL_UNSPECIFIED);
  ASSERT_TRUE(request.ParseFromString(PublishBatchHead({.timeout_ms = 0}, 0)));
  EXPECT_TRUE(request.batch().has_timeout()) << "zero is a timeout too";
}

TEST(FrameWriteTest, PayloadSizesAroundVarintStepsReadBack) {
  for (const std::size_t size : {0, 1, 119, 120, 126, 127, 128, 16'380, 16'384, 2'097'160}) {
    const std::string payload(size, 'p');
    std::string elements = "before";
    const std::size_t appended = AppendElement({.payload = payload}, elements);
    ASSERT_EQ(elements.size(), appended + 6);
    v1::PublishBatch batch;
    ASSERT_TRUE(batch.ParseFromString(elements.substr(6))) << size;
    EXPECT_EQ(batch.messages(0).payload(), payload) << size;
  }
}

TEST(FrameWriteTest, DeliveriesReadBackThroughTheGeneratedClass) {
  v1::DeadLetterInfo info;
  info.set_queue("default/orders");
  info.set_attempts(16);
  const std::string info_bytes = info.SerializeAsString();
  std::string elements;
  AppendElement(FullParts(), elements);
  AppendElement({.payload = "two"}, elements);
  const std::string head = EncodeRunHead({.first_delivery_id = (5ULL << 48) + 9,
                                          .first_sequence = 300,
                                          .delivery_attempt = 1,
                                          .publish_time_ms = 1'700'000'000'001,
                                          .lease_ms = 30'000,
                                          .fence = 7,
                                          .dead_letter = info_bytes});
  const std::string run = RunPrefix(head.size(), elements.size()) + head + elements;
  const std::string bytes = DeliveriesHead(3, 4, 5'000, 2 * run.size()) + run + run;

  v1::ConsumeStreamResponse response;
  ASSERT_TRUE(response.ParseFromString(bytes));
  const v1::Deliveries& deliveries = response.deliveries();
  EXPECT_EQ(deliveries.queue_index(), 3u);
  EXPECT_EQ(deliveries.charged_messages(), 4u);
  EXPECT_EQ(deliveries.charged_bytes(), 5'000u);
  ASSERT_EQ(deliveries.runs_size(), 2);
  const v1::DeliveryRun& read = deliveries.runs(1);
  EXPECT_EQ(read.first_delivery_id(), (5ULL << 48) + 9);
  EXPECT_EQ(read.first_sequence(), 300u);
  EXPECT_EQ(read.delivery_attempt(), 1u);
  EXPECT_EQ(TimeUtil::TimestampToMilliseconds(read.publish_time()), 1'700'000'000'001);
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(read.lease()), 30'000);
  EXPECT_EQ(read.fence(), 7u);
  EXPECT_EQ(read.dead_letter().attempts(), 16u);
  ASSERT_EQ(read.messages_size(), 2);
  EXPECT_EQ(read.messages(1).payload(), "two");
}

}  // namespace
}  // namespace mqd::wire
