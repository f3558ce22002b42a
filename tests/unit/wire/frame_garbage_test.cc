#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "mqd/v1/broker.pb.h"
#include "proto/wire/frame_scan.h"

// The scan agrees with the generated classes on what is well formed, or is stricter: what it lets
// pass unharmed, every receiver can decode.
namespace mqd::wire {
namespace {

constexpr MessageLimits kLimits = {.payload_bytes_max = 1'000,
                                   .key_bytes_max = 128,
                                   .headers_max = 4,
                                   .header_bytes_max = 100,
                                   .priority_max = 9,
                                   .batch_messages_max = 8,
                                   .delay_ms_max = 10'000,
                                   .ttl_ms_max = 1'000'000,
                                   .deliver_after_max = 3};

std::string ValidBatch() {
  v1::PublishBatch batch;
  batch.set_first_publish_id(300);
  batch.set_answered_through(200);
  batch.mutable_timeout()->set_seconds(200);
  v1::Message& message = *batch.add_messages();
  message.set_idempotency_key("key-1");
  message.set_priority(5);
  message.mutable_deliver_at()->set_seconds(2'000'000'000);
  (*message.mutable_headers())["trace"] = "abc";
  v1::MessageRef& after = *message.add_deliver_after();
  after.set_queue("orders");
  after.set_sequence(300);
  message.set_payload(std::string(200, 'p'));
  batch.add_messages()->set_payload("two");
  return batch.SerializeAsString();
}

std::string ValidDeliveries() {
  v1::Deliveries deliveries;
  deliveries.set_queue_index(1);
  deliveries.set_charged_bytes(500);
  v1::DeliveryRun& run = *deliveries.add_runs();
  run.set_first_delivery_id(1'000);
  run.mutable_lease()->set_seconds(30);
  run.mutable_dead_letter()->set_queue("orders");
  (*run.add_messages()->mutable_headers())["a"] = "b";
  run.add_messages()->set_payload(std::string(200, 'p'));
  return deliveries.SerializeAsString();
}

void CheckReferences(const v1::Message& decoded, const ScannedBatch& batch,
                     const ScannedMessage& scanned, const std::string& what) {
  ASSERT_EQ(static_cast<std::uint32_t>(decoded.deliver_after_size()), scanned.reference_count)
      << what;
  for (int i = 0; i < decoded.deliver_after_size(); ++i) {
    const ScannedReference& reference =
        batch.references.at(scanned.first_reference + static_cast<std::uint32_t>(i));
    EXPECT_EQ(decoded.deliver_after(i).queue(), reference.queue) << what;
    EXPECT_EQ(decoded.deliver_after(i).sequence(), reference.sequence) << what;
  }
}

/// Whatever passed without a fault must decode, and mean the same.
void CheckAgreement(const std::string& bytes, const std::string& what) {
  const auto scanned = ScanPublishBatch(bytes, kLimits);
  if (!scanned.ok() || !scanned->faults.empty()) return;
  v1::PublishBatch decoded;
  ASSERT_TRUE(decoded.ParseFromString(bytes)) << what;
  ASSERT_EQ(static_cast<std::size_t>(decoded.messages_size()), scanned->messages.size()) << what;
  for (std::size_t i = 0; i < scanned->messages.size(); ++i) {
    const v1::Message& message = decoded.messages(static_cast<int>(i));
    EXPECT_EQ(message.idempotency_key(), scanned->messages[i].idempotency_key) << what;
    EXPECT_EQ(message.priority(), scanned->messages[i].priority) << what;
    CheckReferences(message, *scanned, scanned->messages[i], what);
    EXPECT_TRUE(message.GetReflection()->GetUnknownFields(message).empty()) << what;
  }
}

/// A batch with one message of these bytes.
std::string BatchAround(const std::string& message) {
  v1::PublishBatch batch;
  batch.set_first_publish_id(1);
  std::string bytes = batch.SerializeAsString() + "\x7A";
  bytes += static_cast<char>(message.size());
  return bytes + message;
}

void ExpectBadField(const std::string& message, const std::string& field) {
  const std::string bytes = BatchAround(message);
  const auto scanned = ScanPublishBatch(bytes, kLimits);
  ASSERT_TRUE(scanned.ok()) << "one bad message must not end the stream: " << scanned.status();
  ASSERT_EQ(scanned->faults.size(), 1u) << field;
  EXPECT_EQ(scanned->faults[0].second.field, field);
  EXPECT_EQ(scanned->faults[0].second.kind, MessageFault::Kind::kBadField);
}

TEST(FrameGarbageTest, EveryTruncationIsRefusedOrAgreesWithProtobuf) {
  const std::string bytes = ValidBatch();
  for (std::size_t length = 0; length <= bytes.size(); ++length) {
    CheckAgreement(bytes.substr(0, length), "length " + std::to_string(length));
  }
  const std::string deliveries = ValidDeliveries();
  v1::Deliveries decoded;
  for (std::size_t length = 0; length <= deliveries.size(); ++length) {
    const std::string cut = deliveries.substr(0, length);
    EXPECT_EQ(ScanDeliveries(cut).ok(), decoded.ParseFromString(cut)) << "length " << length;
  }
}

TEST(FrameGarbageTest, EveryByteChangedToEveryValueIsRefusedOrAgreesWithProtobuf) {
  const std::string bytes = ValidBatch();
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(value);
      CheckAgreement(changed, "byte " + std::to_string(at) + " = " + std::to_string(value));
      (void)ScanFrame(changed);
      (void)ScanDeliveries(changed);
    }
  }
}

TEST(FrameGarbageTest, RandomBytesAreRefusedOrAgreeWithProtobuf) {
  constexpr unsigned kSeed = 20'240'101;
  std::mt19937 random(kSeed);
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? 0x7A : random());
    CheckAgreement(bytes, "seed " + std::to_string(kSeed) + " round " + std::to_string(round));
    (void)ScanDeliveries(bytes);
    ScannedBatch out;
    (void)ScanMessages(bytes, kLimits, out);
  }
}

TEST(FrameGarbageTest, InvalidUtf8IsRefusedWhereReceiversExpectText) {
  ExpectBadField(std::string("\x0A\x02\xC3\x28", 4), "idempotency_key");
  ExpectBadField(std::string("\x12\x01\xFF", 3), "ordering_key");
  ExpectBadField(std::string("\x3A\x03\x0A\x01\xFF", 5), "headers");
  ExpectBadField(std::string("\x3A\x03\x12\x01\xFF", 5), "headers");
  ExpectBadField(std::string("\x42\x03\x0A\x01\xFF", 5), "deliver_after");
}

TEST(FrameGarbageTest, UnknownFieldsAreNamed) {
  ExpectBadField(std::string("\x48\x01", 2), "field 9");
  ExpectBadField(std::string("\x98\x06\x01", 3), "field 99");
  ExpectBadField(std::string("\x08\x01", 2), "field 1");  // a number where text belongs
}

TEST(FrameGarbageTest, FieldsSetTwiceAreRefused) {
  ExpectBadField(std::string("\x7A\x01"
                             "a"
                             "\x7A\x01"
                             "b",
                             6),
                 "payload");
  ExpectBadField(std::string("\x18\x01\x18\x01", 4), "priority");
  ExpectBadField(std::string("\x3A\x03\x0A\x01k\x3A\x03\x0A\x01k", 10), "headers");
}

TEST(FrameGarbageTest, OverlongVarintsAreRefused) {
  ExpectBadField(std::string("\x18\x81\x00", 3), "priority");
  ExpectBadField(std::string("\x7A\x81\x00"
                             "a",
                             4),
                 "payload");
  ExpectBadField(std::string("\xFA\x00\x01"
                             "a",
                             4),
                 "message");
  const std::string eleven = "\x18" + std::string(11, '\xFF');
  ExpectBadField(eleven, "priority");
  EXPECT_FALSE(ScanPublishBatch(std::string("\x08\x81\x00", 3), kLimits).ok());
}

TEST(FrameGarbageTest, LengthsThatLieAreRefused) {
  ExpectBadField(std::string("\x7A\x05"
                             "ab",
                             4),
                 "payload");
  ExpectBadField(std::string("\x7A\xFF\xFF\xFF\xFF\x0F"
                             "ab",
                             8),
                 "payload");
  ExpectBadField(std::string("\x7A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11), "payload");
  EXPECT_FALSE(ScanPublishBatch(std::string("\x08\x01\x7A\x05"
                                            "a",
                                            5),
                                kLimits)
                   .ok());
  EXPECT_FALSE(ScanFrame(std::string("\x12\x80\x80\x80\x80\x10", 6)).ok()) << "2^32 is not 0";
}

TEST(FrameGarbageTest, FieldsOfTheBatchAreSetOnceAndKnown) {
  EXPECT_FALSE(ScanPublishBatch(std::string("\x08\x01\x08\x02", 4), kLimits).ok());
  EXPECT_FALSE(ScanPublishBatch(std::string("\x28\x01", 2), kLimits).ok());
  EXPECT_FALSE(ScanPublishBatch(
                   std::string("\x22\x0B\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 13), kLimits)
                   .ok())
      << "a negative timeout";
}

TEST(FrameGarbageTest, ConsumersSkipFieldsOfNewerBrokers) {
  std::string bytes = ValidDeliveries() + std::string("\xA0\x06\x01", 3);
  const auto scanned = ScanDeliveries(bytes);
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_EQ(scanned->runs.at(0).messages.size(), 2u);
}

}  // namespace
}  // namespace mqd::wire
