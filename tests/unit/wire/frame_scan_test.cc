#include "proto/wire/frame_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "google/protobuf/util/message_differencer.h"
#include "mqd/v1/broker.pb.h"

namespace mqd::wire {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr MessageLimits kLimits = {.payload_bytes_max = 1'000,
                                   .key_bytes_max = 128,
                                   .headers_max = 4,
                                   .header_bytes_max = 100,
                                   .priority_max = 9,
                                   .batch_messages_max = 8,
                                   .delay_ms_max = 10'000,
                                   .ttl_ms_max = 1'000'000,
                                   .deliver_after_max = 3};

v1::Message FullMessage() {
  v1::Message message;
  message.set_idempotency_key("key-1");
  message.set_ordering_key("customer-7");
  message.set_priority(5);
  message.mutable_delay()->set_seconds(3);
  message.mutable_delay()->set_nanos(4'000'000);
  message.mutable_ttl()->set_nanos(1);
  (*message.mutable_headers())["trace"] = "abc";
  (*message.mutable_headers())["kind"] = "order";
  message.set_payload("the payload");
  return message;
}

std::string BatchOf(const std::vector<v1::Message>& messages) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(7);
  for (const v1::Message& message : messages) *batch.add_messages() = message;
  return batch.SerializeAsString();
}

/// The fault of a batch of this one message; kind, field and text.
MessageFault FaultOf(const v1::Message& message) {
  const std::string bytes = BatchOf({message});
  const auto batch = ScanPublishBatch(bytes, kLimits);
  EXPECT_TRUE(batch.ok()) << batch.status();
  if (!batch.ok() || batch->faults.size() != 1) {
    ADD_FAILURE() << "expected one fault for " << message.ShortDebugString();
    return {};
  }
  return batch->faults.front().second;
}

std::uint64_t DigestOf(const v1::Message& message) {
  const std::string bytes = BatchOf({message});
  return ScanPublishBatch(bytes, kLimits).value().messages.at(0).digest;
}

TEST(ScanFrameTest, NamesTheFieldOfTheOneof) {
  v1::PublishStreamRequest request;
  request.mutable_ping()->set_nonce(300);
  const std::string bytes = request.SerializeAsString();
  const auto frame = ScanFrame(bytes);
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->field, 3u);
  EXPECT_EQ(frame->content, request.ping().SerializeAsString());
}

TEST(ScanFrameTest, RefusesEmptySeveralAndTrailing) {
  v1::PublishStreamRequest request;
  request.mutable_ping()->set_nonce(300);
  const std::string one = request.SerializeAsString();
  EXPECT_FALSE(ScanFrame("").ok());
  EXPECT_FALSE(ScanFrame(one + one).ok());
  EXPECT_FALSE(ScanFrame(one + "x").ok());
  EXPECT_FALSE(ScanFrame("\x08\x01").ok()) << "a frame field is never a number";
}

TEST(ScanPublishBatchTest, ReadsWhatTheGeneratedClassWrote) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1ULL << 40);
  batch.set_answered_through(12'345);
  batch.set_confirm_level(v1::CONFIRM_LEVEL_SETTLED);
  batch.mutable_timeout()->set_seconds(2);
  batch.mutable_timeout()->set_nanos(500'000'000);
  *batch.add_messages() = FullMessage();
  batch.add_messages()->set_payload("plain");
  const std::string bytes = batch.SerializeAsString();

  const auto scanned = ScanPublishBatch(bytes, kLimits);
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_EQ(scanned->first_publish_id, 1ULL << 40);
  EXPECT_EQ(scanned->answered_through, 12'345u);
  EXPECT_EQ(scanned->confirm_level, 4u);
  EXPECT_EQ(scanned->timeout_ms, 2'500);
  EXPECT_THAT(scanned->faults, IsEmpty());
  ASSERT_THAT(scanned->messages, SizeIs(2));
  const ScannedMessage& full = scanned->messages[0];
  EXPECT_EQ(full.idempotency_key, "key-1");
  EXPECT_EQ(full.ordering_key, "customer-7");
  EXPECT_EQ(full.priority, 5u);
  EXPECT_EQ(full.delay_ms, 3'004);
  EXPECT_EQ(full.deliver_at_ms, 0);
  EXPECT_EQ(full.ttl_ms, 1) << "rounded up, so that it is not taken for none";
  EXPECT_EQ(full.content_bytes, 11u + 5 + 10 + 8 + 9);
  EXPECT_NE(full.digest, 0u);
  EXPECT_EQ(scanned->messages[1].content_bytes, 5u);
  EXPECT_EQ(scanned->messages[1].digest, 0u) << "only messages with a key have one";
}

TEST(ScanPublishBatchTest, ElementsAreTheBytesAsTheyCame) {
  const std::vector<v1::Message> messages = {FullMessage(), v1::Message(), FullMessage()};
  const std::string bytes = BatchOf(messages);
  const auto scanned = ScanPublishBatch(bytes, kLimits);
  ASSERT_TRUE(scanned.ok());
  std::string elements;
  for (const ScannedMessage& message : scanned->messages) elements += message.element;
  v1::PublishBatch again;
  ASSERT_TRUE(again.ParseFromString(elements)) << "elements alone are a batch of those messages";
  ASSERT_EQ(again.messages_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(
        MessageDifferencer::Equals(again.messages(i), messages[static_cast<std::size_t>(i)]));
  }
}

TEST(ScanPublishBatchTest, DigestIgnoresHeaderOrderAndKeyButNothingElse) {
  const v1::Message base = FullMessage();
  std::string reversed_headers;
  for (const char* entry : {"\x3A\x0C\x0A\x05trace\x12\x03"
                            "abc",
                            "\x3A\x0D\x0A\x04kind\x12\x05order"}) {
    reversed_headers += entry;
  }
  std::string forward_headers(reversed_headers.substr(14) + reversed_headers.substr(0, 14));
  v1::Message bare = base;
  bare.clear_headers();
  const auto digest = [&](const std::string& headers) {
    v1::PublishBatch batch;
    batch.set_first_publish_id(1);
    const std::string body = bare.SerializeAsString() + headers;
    std::string bytes = batch.SerializeAsString() + "\x7A";
    bytes += static_cast<char>(body.size());
    bytes += body;
    return ScanPublishBatch(bytes, kLimits).value().messages.at(0).digest;
  };
  EXPECT_EQ(digest(reversed_headers), digest(forward_headers));
  EXPECT_EQ(digest(reversed_headers), DigestOf(base));

  v1::Message other_key = base;
  other_key.set_idempotency_key("key-2");
  EXPECT_EQ(DigestOf(other_key), DigestOf(base));

  std::vector<v1::Message> changed(8, base);
  changed[0].set_payload("another payload");
  changed[1].set_ordering_key("customer-8");
  changed[2].set_priority(6);
  changed[3].mutable_delay()->set_seconds(4);
  changed[4].mutable_ttl()->set_seconds(9);
  (*changed[5].mutable_headers())["trace"] = "abd";
  changed[6].mutable_headers()->erase("trace");
  changed[7].add_deliver_after()->set_sequence(3);
  for (const v1::Message& message : changed) {
    EXPECT_NE(DigestOf(message), DigestOf(base)) << message.ShortDebugString();
  }
}

TEST(ScanPublishBatchTest, OneBadMessageFailsAlone) {
  v1::Message bad;
  bad.set_payload(std::string(1'001, 'x'));
  const std::string bytes = BatchOf({FullMessage(), bad, FullMessage()});
  const auto scanned = ScanPublishBatch(bytes, kLimits);
  ASSERT_TRUE(scanned.ok());
  EXPECT_THAT(scanned->messages, SizeIs(3));
  ASSERT_THAT(scanned->faults, SizeIs(1));
  EXPECT_EQ(scanned->faults[0].first, 1u);
  const MessageFault& fault = scanned->faults[0].second;
  EXPECT_EQ(fault.kind, MessageFault::Kind::kTooLarge);
  EXPECT_EQ(fault.field, "payload");
  EXPECT_EQ(fault.limit, 1'000u);
  EXPECT_EQ(fault.current, 1'001u);
}

TEST(ScanPublishBatchTest, NamesTheFieldThatBreaksARule) {
  std::vector<std::pair<v1::Message, std::string>> cases(9);
  cases[0].first.set_priority(10);
  cases[0].second = "priority";
  cases[1].first.set_idempotency_key(std::string(129, 'k'));
  cases[1].second = "idempotency_key";
  cases[2].first.set_ordering_key(std::string(129, 'k'));
  cases[2].second = "ordering_key";
  cases[3].first.mutable_delay()->set_seconds(-1);
  cases[3].second = "delay";
  cases[4].first.mutable_ttl();
  cases[4].second = "ttl";
  cases[5].first.mutable_delay()->set_seconds(1);
  cases[5].first.mutable_deliver_at()->set_seconds(2'000'000'000);
  cases[5].second = "delay";
  cases[6].first.mutable_ttl()->set_seconds(315'576'000'001);
  cases[6].second = "ttl";
  cases[7].first.mutable_deliver_at()->set_nanos(-1);
  cases[7].second = "deliver_at";
  for (int i = 0; i < 5; ++i) (*cases[8].first.mutable_headers())[std::to_string(i)] = "x";
  cases[8].second = "headers";
  for (const auto& [message, field] : cases) {
    const MessageFault fault = FaultOf(message);
    EXPECT_EQ(fault.field, field) << message.ShortDebugString();
    EXPECT_EQ(fault.kind, MessageFault::Kind::kBadField) << message.ShortDebugString();
    EXPECT_THAT(fault.text, HasSubstr(field));
  }
}

TEST(ScanPublishBatchTest, ReferencesOfEachMessageAreItsOwn) {
  std::vector<v1::Message> messages(4, FullMessage());
  for (std::uint64_t i = 1; i <= 2; ++i) {
    v1::MessageRef& reference = *messages[1].add_deliver_after();
    reference.set_queue("orders");
    reference.set_sequence(i << 40);
  }
  v1::MessageRef& last = *messages[3].add_deliver_after();
  last.set_queue("other/mail");
  last.set_sequence(9);
  const std::string bytes = BatchOf(messages);
  const auto scanned = ScanPublishBatch(bytes, kLimits);
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_THAT(scanned->faults, IsEmpty());
  ASSERT_THAT(scanned->references, SizeIs(3));
  EXPECT_EQ(scanned->messages[0].reference_count, 0u);
  EXPECT_EQ(scanned->messages[1].first_reference, 0u);
  EXPECT_EQ(scanned->messages[1].reference_count, 2u);
  EXPECT_EQ(scanned->references[1].queue, "orders");
  EXPECT_EQ(scanned->references[1].sequence, 2ULL << 40);
  EXPECT_EQ(scanned->messages[2].reference_count, 0u);
  EXPECT_EQ(scanned->messages[3].first_reference, 2u);
  EXPECT_EQ(scanned->references[2].queue, "other/mail");
}

TEST(ScanPublishBatchTest, ReferencesAreBoundedAndNameASequence) {
  v1::Message message;
  for (std::uint64_t i = 1; i <= 3; ++i) message.add_deliver_after()->set_sequence(i);
  EXPECT_THAT(ScanPublishBatch(BatchOf({message}), kLimits)->faults, IsEmpty());
  message.add_deliver_after()->set_sequence(4);
  const MessageFault many = FaultOf(message);
  EXPECT_EQ(many.field, "deliver_after");
  EXPECT_EQ(many.limit, 3u);
  EXPECT_EQ(many.current, 4u);

  message.clear_deliver_after();
  message.add_deliver_after()->set_queue("orders");
  EXPECT_EQ(FaultOf(message).field, "deliver_after");
  EXPECT_THAT(FaultOf(message).text, HasSubstr("without a sequence"));
}

TEST(ScanPublishBatchTest, TimesAreBounded) {
  v1::Message message;
  message.mutable_delay()->set_seconds(10);
  message.mutable_ttl()->set_seconds(1'000);
  EXPECT_THAT(ScanPublishBatch(BatchOf({message}), kLimits)->faults, IsEmpty());
  message.mutable_delay()->set_nanos(1);
  const MessageFault delay = FaultOf(message);
  EXPECT_EQ(delay.field, "delay");
  EXPECT_EQ(delay.limit, 10'000u);
  EXPECT_EQ(delay.current, 10'001u);
  message.clear_delay();
  message.mutable_ttl()->set_nanos(1);
  EXPECT_EQ(FaultOf(message).field, "ttl");
  EXPECT_EQ(FaultOf(message).limit, 1'000'000u);
}

TEST(ScanPublishBatchTest, AKeysHashIsThatOfItsMessages) {
  const std::string bytes = BatchOf({FullMessage()});
  const ScannedMessage message = ScanPublishBatch(bytes, kLimits).value().messages.at(0);
  const IdempotencyKeyHash hash = HashOfKey("key-1");
  EXPECT_EQ(hash.high, message.key_hash_high);
  EXPECT_EQ(hash.low, message.key_hash_low);
}

TEST(ScanPublishBatchTest, HeaderBytesAreBounded) {
  v1::Message message;
  (*message.mutable_headers())["k"] = std::string(100, 'v');
  const MessageFault fault = FaultOf(message);
  EXPECT_EQ(fault.field, "headers");
  EXPECT_EQ(fault.kind, MessageFault::Kind::kTooLarge);
  EXPECT_EQ(fault.current, 101u);
}

TEST(ScanPublishBatchTest, TooManyMessagesEndTheStream) {
  EXPECT_TRUE(ScanPublishBatch(BatchOf(std::vector<v1::Message>(8)), kLimits).ok());
  EXPECT_FALSE(ScanPublishBatch(BatchOf(std::vector<v1::Message>(9)), kLimits).ok());
}

TEST(ScanPublishBatchTest, PublishIdsAreChecked) {
  v1::PublishBatch batch;
  batch.add_messages();
  EXPECT_FALSE(ScanPublishBatch(batch.SerializeAsString(), kLimits).ok());
  batch.set_first_publish_id(~0ULL);
  EXPECT_FALSE(ScanPublishBatch(batch.SerializeAsString(), kLimits).ok());
  batch.clear_messages();
  EXPECT_TRUE(ScanPublishBatch(batch.SerializeAsString(), kLimits).ok())
      << "an empty batch is legal";
}

TEST(ScanMessagesTest, ReadsMessagesOfUnaryRequestsAmongOtherFields) {
  v1::PublishRequest request;
  request.set_queue("orders");
  request.set_confirm_level(v1::CONFIRM_LEVEL_DURABLE);
  request.mutable_timeout()->set_seconds(1);
  *request.add_messages() = FullMessage();
  request.add_messages()->set_payload("two");
  const std::string bytes = request.SerializeAsString();
  ScannedBatch out;
  ASSERT_TRUE(ScanMessages(bytes, kLimits, out).ok());
  ASSERT_THAT(out.messages, SizeIs(2));
  EXPECT_EQ(out.messages[0].idempotency_key, "key-1");
  EXPECT_THAT(out.faults, IsEmpty());
}

TEST(ScanDeliveriesTest, ReadsWhatTheGeneratedClassWrote) {
  v1::Deliveries deliveries;
  deliveries.set_queue_index(2);
  deliveries.set_charged_messages(2);
  deliveries.set_charged_bytes(999);
  v1::DeliveryRun& run = *deliveries.add_runs();
  run.set_first_delivery_id((3ULL << 48) + 1);
  run.set_first_sequence(77);
  run.set_delivery_attempt(2);
  run.mutable_publish_time()->set_seconds(1'700'000'000);
  run.mutable_publish_time()->set_nanos(5'000'000);
  run.mutable_lease()->set_seconds(30);
  run.set_fence(4);
  run.mutable_dead_letter()->set_queue("default/orders");
  *run.add_messages() = FullMessage();
  run.add_messages()->set_payload("plain");
  const std::string bytes = deliveries.SerializeAsString();

  const auto scanned = ScanDeliveries(bytes);
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_EQ(scanned->queue_index, 2u);
  EXPECT_EQ(scanned->charged_messages, 2u);
  EXPECT_EQ(scanned->charged_bytes, 999u);
  ASSERT_THAT(scanned->runs, SizeIs(1));
  const ScannedRun& read = scanned->runs[0];
  EXPECT_EQ(read.first_delivery_id, (3ULL << 48) + 1);
  EXPECT_EQ(read.first_sequence, 77u);
  EXPECT_EQ(read.delivery_attempt, 2u);
  EXPECT_EQ(read.publish_time_ms, 1'700'000'000'005);
  EXPECT_EQ(read.lease_ms, 30'000);
  EXPECT_EQ(read.fence, 4u);
  EXPECT_EQ(read.dead_letter, run.dead_letter().SerializeAsString());
  ASSERT_THAT(read.messages, SizeIs(2));
  EXPECT_EQ(read.messages[0].payload, "the payload");
  EXPECT_EQ(read.messages[0].priority, 5u);
  EXPECT_THAT(read.messages[0].headers, SizeIs(2));
  EXPECT_EQ(read.messages[1].payload, "plain");
}

}  // namespace
}  // namespace mqd::wire
