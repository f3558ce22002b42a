#include "server/rpc/settings_convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/rpc/status_map.h"

namespace mqd::rpc {
namespace {

using std::chrono::milliseconds;

/// Every field differs from its default.
queue::QueueSettings Unusual() {
  return {.max_messages = 7,
          .max_bytes = queue::kUnlimited,
          .overflow_policy = queue::OverflowPolicy::kBlock,
          .durability = queue::Durability::kAsync,
          .delivery = queue::DeliveryMode::kAtMostOnce,
          .lease_duration = milliseconds(1'500),
          .max_attempts = 3,
          .retry_backoff = {milliseconds(20), 1.5, milliseconds(40), 0.25},
          .dead_letter_queue = "default/dead",
          .default_ttl = milliseconds(9'000),
          .expired_to_dead_letter = false,
          .dedup_window = milliseconds(60'000),
          .dedup_max_entries = 11,
          .dedup_full_policy = queue::DedupFullPolicy::kReject,
          .dispatch_policy = queue::DispatchPolicy::kSticky,
          .ordering = queue::Ordering::kKeyed,
          .max_producers = 1,
          .max_consumers = 2,
          .single_active = true,
          .paused = queue::Paused::kConsume,
          .expires_after_idle = milliseconds(10'000),
          .max_publish_rate = 100,
          .max_delivery_rate = 200,
          .kind = queue::QueueKind::kLog,
          .history_entries = 50,
          .ageing_floor = milliseconds(2'500)};
}

queue::ErrorInfo ErrorOf(const v1::QueueSettings& wire) {
  const auto read = ApplySettings(wire, {});
  EXPECT_FALSE(read.ok());
  return read.ok() ? queue::ErrorInfo{} : queue::ErrorInfoOf(read.status());
}

google::protobuf::FieldMask MaskOf(std::initializer_list<const char*> paths) {
  google::protobuf::FieldMask mask;
  for (const char* path : paths) mask.add_paths(path);
  return mask;
}

TEST(SettingsConvertTest, EveryFieldGoesThereAndBack) {
  const queue::QueueSettings before = Unusual();
  const v1::QueueSettings wire = ToProto(before);
  const auto after = ApplySettings(wire, {});
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_THAT(queue::Difference(*after, before), testing::IsEmpty());
  EXPECT_EQ(*after, before);
}

TEST(SettingsConvertTest, EveryFieldOfTheSchemaIsShown) {
  const v1::QueueSettings wire = ToProto(queue::QueueSettings{});
  const auto* type = v1::QueueSettings::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    EXPECT_TRUE(v1::QueueSettings::GetReflection()->HasField(wire, type->field(i)))
        << type->field(i)->name();
  }
}

TEST(SettingsConvertTest, EveryStatisticIsShown) {
  queue::QueueStats stats;
  std::uint64_t next = 1;
  for (std::uint64_t* each : {&stats.ready,
                              &stats.in_flight,
                              &stats.delayed,
                              &stats.parked,
                              &stats.committing,
                              &stats.backlog_bytes,
                              &stats.publishers,
                              &stats.consumers,
                              &stats.blocked_publishers,
                              &stats.dedup_entries,
                              &stats.published,
                              &stats.duplicates,
                              &stats.rejected,
                              &stats.delivered,
                              &stats.redelivered,
                              &stats.acked,
                              &stats.retried,
                              &stats.released,
                              &stats.dead_lettered,
                              &stats.lease_expired,
                              &stats.purged,
                              &stats.dedup_evicted,
                              &stats.dropped,
                              &stats.expired,
                              &stats.diverted,
                              &stats.cancelled,
                              &stats.recalled,
                              &stats.awaited_confirms,
                              &stats.dead_letter_waiting}) {
    *each = next++;
  }
  stats.oldest_age_ms = 1;
  stats.closed = true;
  stats.alarms = {"one", "two"};
  const v1::QueueStats wire = ToProto(stats);
  std::vector<const google::protobuf::FieldDescriptor*> shown;
  v1::QueueStats::GetReflection()->ListFields(wire, &shown);
  EXPECT_EQ(static_cast<int>(shown.size()), v1::QueueStats::descriptor()->field_count());
  EXPECT_EQ(wire.expired_total(), 24u);
  EXPECT_EQ(wire.diverted_total(), 25u);
  EXPECT_EQ(wire.cancelled_total(), 26u);
  EXPECT_EQ(wire.recalled_total(), 27u);
  EXPECT_EQ(wire.awaited_confirms(), 28u);
  EXPECT_EQ(wire.dead_letter_waiting(), 29u);
  EXPECT_THAT(wire.alarms(), testing::ElementsAre("one", "two"));
}

TEST(SettingsConvertTest, WhatIsNotSetKeepsItsValue) {
  const auto read = ApplySettings(v1::QueueSettings(), Unusual());
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, Unusual());
}

TEST(SettingsConvertTest, ZeroIsALimitOfZeroAndUnlimitedMustBeSaid) {
  v1::QueueSettings wire;
  wire.mutable_max_messages()->set_value(0);
  wire.mutable_max_bytes()->set_unlimited(true);
  const auto read = ApplySettings(wire, {});
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->max_messages, 0u);
  EXPECT_EQ(read->max_bytes, queue::kUnlimited);

  wire.mutable_max_messages()->Clear();
  EXPECT_EQ(ErrorOf(wire).resource, "field max_messages");
  wire.mutable_max_messages()->set_unlimited(false);
  EXPECT_EQ(ErrorOf(wire).resource, "field max_messages");
}

TEST(SettingsConvertTest, NegativeDurationsAreRefusedByName) {
  v1::QueueSettings wire;
  wire.mutable_lease_duration()->set_seconds(-1);
  EXPECT_EQ(ErrorOf(wire).resource, "field lease_duration");
  EXPECT_EQ(ErrorOf(wire).reason, queue::Reason::kBadField);
  wire.mutable_lease_duration()->set_seconds(0);
  wire.mutable_lease_duration()->set_nanos(-1);
  EXPECT_EQ(ErrorOf(wire).resource, "field lease_duration");
}

TEST(SettingsConvertTest, OverflowingDurationsAreRefusedByName) {
  v1::QueueSettings wire;
  wire.mutable_retry_backoff()->mutable_max()->set_seconds(INT64_MAX);
  EXPECT_EQ(ErrorOf(wire).resource, "field retry_backoff.max");
  wire.Clear();
  wire.mutable_default_ttl()->set_nanos(1'000'000'000);
  EXPECT_EQ(ErrorOf(wire).resource, "field default_ttl");
}

TEST(SettingsConvertTest, UnknownEnumValuesAreRefusedByName) {
  v1::QueueSettings wire;
  wire.set_overflow_policy(static_cast<v1::OverflowPolicy>(99));
  EXPECT_EQ(ErrorOf(wire).resource, "field overflow_policy");
}

TEST(SettingsConvertTest, AMaskChangesOnlyWhatItNames) {
  v1::QueueSettings wire;
  wire.mutable_max_messages()->set_value(5);
  wire.set_max_attempts(9);
  const auto read = ApplyMask(wire, MaskOf({"max_messages"}), Unusual());
  ASSERT_TRUE(read.ok()) << read.status();
  queue::QueueSettings expected = Unusual();
  expected.max_messages = 5;
  EXPECT_EQ(*read, expected);
}

TEST(SettingsConvertTest, AMaskedFieldThatIsNotSetGoesBackToItsDefault) {
  const auto read =
      ApplyMask({}, MaskOf({"dead_letter_queue", "retry_backoff", "paused"}), Unusual());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->dead_letter_queue, "");
  EXPECT_EQ(read->retry_backoff, queue::RetryBackoff{});
  EXPECT_EQ(read->paused, queue::Paused::kNone);
  EXPECT_EQ(read->max_attempts, 3u);
}

TEST(SettingsConvertTest, AnUnknownPathIsRefused) {
  const auto read = ApplyMask({}, MaskOf({"max_mesages"}), {});
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(queue::ErrorInfoOf(read.status()).resource, "field update_mask");
  EXPECT_THAT(std::string(read.status().message()), testing::HasSubstr("max_mesages"));
  EXPECT_FALSE(ApplyMask({}, MaskOf({}), {}).ok());
}

}  // namespace
}  // namespace mqd::rpc
