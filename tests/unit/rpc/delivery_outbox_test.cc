#include "server/rpc/delivery_outbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mqd/v1/broker.pb.h"
#include "proto/wire/frame_write.h"
#include "server/limits.h"
#include "server/rpc/buffers.h"

namespace mqd::rpc {
namespace {

std::string Element(const std::string& payload) {
  std::string element;
  wire::AppendElement({.payload = payload}, element);
  return element;
}

std::shared_ptr<const storage::Body> BodyOf(std::size_t count, std::size_t payload_bytes) {
  storage::Body::Builder builder;
  for (std::size_t i = 0; i < count; ++i) {
    std::string payload = std::to_string(i) + ":";
    payload.resize(std::max(payload.size(), payload_bytes), 'x');
    builder.Append(Element(payload));
  }
  return std::move(builder).Finish();
}

queue::DeliveryBatch BatchOf(std::uint64_t first, std::uint32_t count, std::size_t payload_bytes) {
  queue::DeliveryRun run{.first_delivery_id = first,
                         .first_sequence = 100 + first,
                         .count = count,
                         .attempt = 2,
                         .publish_time_ms = 1'700'000'000'123,
                         .lease_ms = 30'000,
                         .body = BodyOf(count, payload_bytes)};
  return {.runs = {run},
          .charged_messages = count,
          .charged_bytes = count * (payload_bytes + limits::kMessageOverheadBytes)};
}

v1::Deliveries Decode(const DeliveryOutbox::Taken& taken) {
  const auto slice = ToSlice(EncodeDeliveries(std::get<TakenDeliveries>(taken)));
  v1::ConsumeStreamResponse frame;
  EXPECT_TRUE(frame.ParseFromArray(slice->begin(), static_cast<int>(slice->size())));
  EXPECT_TRUE(frame.has_deliveries());
  return frame.deliveries();
}

TEST(DeliveryOutboxTest, AFrameDecodesToWhatWasDelivered) {
  for (const std::size_t payload_bytes : {10, 20'000}) {
    DeliveryOutbox outbox;
    outbox.Add(3, BatchOf(7, 2, payload_bytes));
    const v1::Deliveries frame = Decode(*outbox.Take());
    EXPECT_EQ(frame.queue_index(), 3u);
    EXPECT_EQ(frame.charged_messages(), 2u);
    EXPECT_EQ(frame.charged_bytes(), 2 * (payload_bytes + limits::kMessageOverheadBytes));
    ASSERT_EQ(frame.runs_size(), 1);
    EXPECT_EQ(frame.runs(0).first_delivery_id(), 7u);
    EXPECT_EQ(frame.runs(0).first_sequence(), 107u);
    EXPECT_EQ(frame.runs(0).delivery_attempt(), 2u);
    EXPECT_EQ(frame.runs(0).publish_time().nanos(), 123'000'000);
    EXPECT_EQ(frame.runs(0).lease().seconds(), 30);
    ASSERT_EQ(frame.runs(0).messages_size(), 2);
    EXPECT_EQ(frame.runs(0).messages(1).payload().substr(0, 2), "1:");
    EXPECT_EQ(frame.runs(0).messages(1).payload().size(), payload_bytes);
    EXPECT_FALSE(outbox.Take());
  }
}

TEST(DeliveryOutboxTest, ARunCarriesItsFenceAndWhereItCameFrom) {
  queue::DeliveryBatch batch = BatchOf(1, 1, 10);
  queue::DeliveryRun& run = batch.runs[0];
  run.fence = (std::uint64_t{3} << 44) + 5;
  run.dead_letter = storage::DeadLetterOrigin{
      .queue = "default/orders",
      .sequence = 41,
      .reason = "max_attempts",
      .attempts = 2,
      .time_ms = 1'700'000'000'000,
      .notes = {{.attempt = 1, .time_ms = 1'600'000'000'001, .consumer = "a", .error = "first"},
                {.attempt = 2, .time_ms = 1'600'000'000'002, .consumer = "b", .error = "second"}}};
  DeliveryOutbox outbox;
  outbox.Add(0, batch);
  const v1::Deliveries frame = Decode(*outbox.Take());
  ASSERT_EQ(frame.runs_size(), 1);
  EXPECT_EQ(frame.runs(0).fence(), (std::uint64_t{3} << 44) + 5);
  const v1::DeadLetterInfo& origin = frame.runs(0).dead_letter();
  EXPECT_EQ(origin.queue(), "default/orders");
  EXPECT_EQ(origin.sequence(), 41u);
  EXPECT_EQ(origin.reason(), "max_attempts");
  ASSERT_EQ(origin.notes_size(), 2);
  EXPECT_EQ(origin.notes(0).attempt(), 1u);
  EXPECT_EQ(origin.notes(1).consumer(), "b");
  EXPECT_EQ(origin.notes(1).error(), "second");
  EXPECT_EQ(origin.notes(1).time().nanos(), 2'000'000);
}

TEST(DeliveryOutboxTest, ADeliveryWithNothingToSettleHasNoLease) {
  queue::DeliveryBatch batch = BatchOf(1, 1, 10);
  batch.runs[0].lease_ms = 0;
  DeliveryOutbox outbox;
  outbox.Add(0, batch);
  const v1::Deliveries frame = Decode(*outbox.Take());
  EXPECT_EQ(frame.runs(0).lease().seconds(), 0);
  EXPECT_EQ(frame.runs(0).lease().nanos(), 0);
}

TEST(DeliveryOutboxTest, WhatWaitedTravelsTogether) {
  DeliveryOutbox outbox;
  for (std::uint64_t i = 0; i < 10; ++i) outbox.Add(0, BatchOf(1 + i, 1, 10));
  EXPECT_EQ(Decode(*outbox.Take()).runs_size(), 10);
  EXPECT_EQ(outbox.bytes(), 0u);
}

TEST(DeliveryOutboxTest, LargeBatchesAreCutAndTheChargeStaysWhole) {
  DeliveryOutbox outbox;
  const queue::DeliveryBatch batch = BatchOf(1, 1'000, 1'000);
  outbox.Add(0, batch);
  std::uint64_t next_id = 1;
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  int frames = 0;
  while (const auto taken = outbox.Take()) {
    ++frames;
    EXPECT_LE(std::get<TakenDeliveries>(*taken).elements_bytes, limits::kDeliveriesFrameBytes);
    const v1::Deliveries frame = Decode(*taken);
    messages += frame.charged_messages();
    bytes += frame.charged_bytes();
    for (const v1::DeliveryRun& run : frame.runs()) {
      EXPECT_EQ(run.first_delivery_id(), next_id);
      EXPECT_EQ(run.messages(0).payload().substr(0, 2),
                (std::to_string(next_id - 1) + ":").substr(0, 2));
      next_id += static_cast<std::uint64_t>(run.messages_size());
    }
  }
  EXPECT_EQ(next_id, 1'001u);
  EXPECT_GT(frames, 3);
  EXPECT_EQ(messages, batch.charged_messages);
  EXPECT_EQ(bytes, batch.charged_bytes);
}

TEST(DeliveryOutboxTest, AMessageLargerThanAFrameGoesAlone) {
  DeliveryOutbox outbox;
  outbox.Add(0, BatchOf(1, 3, limits::kDeliveriesFrameBytes + 1));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Decode(*outbox.Take()).runs(0).messages_size(), 1);
  EXPECT_FALSE(outbox.Take());
}

/// One message of 20 kB of each of `bodies`, which nobody else keeps.
std::vector<std::weak_ptr<const storage::Body>> AddOneOfEach(DeliveryOutbox& outbox, int bodies,
                                                             std::uint32_t messages) {
  std::vector<std::weak_ptr<const storage::Body>> added;
  for (int i = 0; i < bodies; ++i) {
    queue::DeliveryBatch batch = BatchOf(1 + static_cast<std::uint64_t>(i), messages, 20'000);
    queue::DeliveryRun& run = batch.runs[0];
    added.push_back(run.body);
    run.first_index = run.count - 1;
    run.count = 1;
    outbox.Add(0, std::move(batch));
  }
  return added;
}

int CountKept(const std::vector<std::weak_ptr<const storage::Body>>& bodies) {
  return static_cast<int>(std::count_if(bodies.begin(), bodies.end(),
                                        [](const auto& body) { return !body.expired(); }));
}

TEST(DeliveryOutboxTest, WhatWaitsForASlowReaderKeepsNothingElseOfItsBodies) {
  DeliveryOutbox outbox;
  EXPECT_EQ(CountKept(AddOneOfEach(outbox, 10, 50)), 10);  // they go with the next frame
  EXPECT_EQ(CountKept(AddOneOfEach(outbox, 10, 50)), 0);
  int messages = 0;
  while (const auto taken = outbox.Take()) {
    const v1::Deliveries frame = Decode(*taken);
    for (const v1::DeliveryRun& run : frame.runs()) {
      EXPECT_EQ(run.messages(0).payload().substr(0, 3), "49:");
      ++messages;
    }
  }
  EXPECT_EQ(messages, 20);
}

TEST(DeliveryOutboxTest, AFrameThatIsWrittenKeepsNothingElseOfItsBodies) {
  DeliveryOutbox outbox;
  const auto bodies = AddOneOfEach(outbox, 1, 50);
  std::optional<DeliveryOutbox::Taken> taken = outbox.Take();
  const grpc::ByteBuffer frame = EncodeDeliveries(std::get<TakenDeliveries>(*taken));
  taken.reset();
  EXPECT_EQ(CountKept(bodies), 0);
  EXPECT_GT(frame.Length(), 20'000u);
}

TEST(DeliveryOutboxTest, AWholeBodyIsNotCopied) {
  DeliveryOutbox outbox;
  const auto bodies = AddOneOfEach(outbox, 40, 1);
  EXPECT_EQ(CountKept(bodies), 40);
  std::optional<DeliveryOutbox::Taken> taken = outbox.Take();
  const grpc::ByteBuffer frame = EncodeDeliveries(std::get<TakenDeliveries>(*taken));
  taken.reset();
  EXPECT_EQ(CountKept(bodies), 40);
}

TEST(DeliveryOutboxTest, OtherFramesKeepTheirPlace) {
  DeliveryOutbox outbox;
  outbox.Add(0, BatchOf(1, 1, 10));
  outbox.Add(DeliveryOutbox::Frame{{}, true});
  outbox.Add(1, BatchOf(1, 1, 10));
  outbox.Add(0, BatchOf(2, 1, 10));
  EXPECT_EQ(Decode(*outbox.Take()).queue_index(), 0u);
  EXPECT_TRUE(std::get<DeliveryOutbox::Frame>(*outbox.Take()).settle_results);
  EXPECT_EQ(Decode(*outbox.Take()).queue_index(), 1u);
  EXPECT_EQ(Decode(*outbox.Take()).queue_index(), 0u);
}

TEST(DeliveryOutboxTest, DroppingDeliveriesKeepsTheOtherFrames) {
  DeliveryOutbox outbox;
  outbox.Add(0, BatchOf(1, 1, 10));
  outbox.Add(DeliveryOutbox::Frame{{}, true});
  outbox.DropDeliveries();
  EXPECT_EQ(outbox.bytes(), 0u);
  EXPECT_TRUE(std::holds_alternative<DeliveryOutbox::Frame>(*outbox.Take()));
  EXPECT_FALSE(outbox.Take());
}

}  // namespace
}  // namespace mqd::rpc
