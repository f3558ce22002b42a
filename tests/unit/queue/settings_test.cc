// Settings in the store, and what is said of those that are out of range.
#include "server/queue/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/limits.h"
#include "server/queue/error.h"

namespace mqd::queue {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

QueueSettings Unusual() {
  QueueSettings settings{.max_messages = kUnlimited,
                         .max_bytes = 12'345,
                         .overflow_policy = OverflowPolicy::kThrottle,
                         .durability = Durability::kMemory,
                         .delivery = DeliveryMode::kAtMostOnce,
                         .lease_duration = milliseconds(1'500),
                         .max_attempts = 3,
                         .dead_letter_queue = "default/dead=letters",
                         .default_ttl = milliseconds(7),
                         .expired_to_dead_letter = false,
                         .dedup_window = milliseconds(9),
                         .dedup_max_entries = 1,
                         .dedup_full_policy = DedupFullPolicy::kReject,
                         .dispatch_policy = DispatchPolicy::kSticky,
                         .ordering = Ordering::kKeyed,
                         .max_producers = 1,
                         .max_consumers = 2,
                         .single_active = true,
                         .paused = Paused::kBoth,
                         .expires_after_idle = milliseconds(4),
                         .max_publish_rate = 5,
                         .max_delivery_rate = 6,
                         .kind = QueueKind::kLog,
                         .history_entries = 8,
                         .ageing_floor = milliseconds(3)};
  settings.retry_backoff = {milliseconds(1), 1.0 / 3.0, milliseconds(2), 0.25};
  return settings;
}

TEST(SettingsTest, EveryFieldSurvivesTheStore) {
  const auto read = DecodeSettings(EncodeSettings(Unusual()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, Unusual());
}

TEST(SettingsTest, MissingFieldsHaveTheirDefaults) {
  const auto read = DecodeSettings("max_messages=5\n");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, (QueueSettings{.max_messages = 5}));
}

TEST(SettingsTest, NewerAndDamagedSettingsAreToldApart) {
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodeSettings("unheard_of=1\n").status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeSettings("max_messages=many\n").status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeSettings("single_active=perhaps\n").status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeSettings("durability=PERHAPS\n").status()));
}

TEST(SettingsTest, DifferenceNamesEachFieldInOrder) {
  EXPECT_THAT(Difference({}, {}), IsEmpty());
  EXPECT_THAT(Difference({.max_messages = 64, .single_active = true},
                         {.max_messages = kUnlimited, .lease_duration = milliseconds(5)}),
              ElementsAre("max_messages: 64, not unlimited", "lease_duration: 30000ms, not 5ms",
                          "single_active: true, not false"));
}

/// What Validate() says, or "" when it is content.
std::string Said(const QueueSettings& settings) {
  const absl::Status status = Validate(settings, "default/q");
  if (!status.ok()) {
    EXPECT_EQ(ErrorInfoOf(status).reason, Reason::kBadField);
  }
  return std::string(status.message());
}

TEST(SettingsTest, DefaultsAreGood) { EXPECT_EQ(Said({}), ""); }

TEST(SettingsTest, ValueOutOfRangeIsRefusedWithFieldAndLimits) {
  EXPECT_THAT(Said({.lease_duration = milliseconds(999)}),
              HasSubstr("lease_duration: must be from 1000 ms to 43200000 ms, not 999 ms"));
  EXPECT_THAT(Said({.max_attempts = 0}), HasSubstr("max_attempts"));
  EXPECT_THAT(Said({.max_bytes = 0}), HasSubstr("max_bytes"));
  EXPECT_THAT(Said({.dedup_window = milliseconds(0)}), HasSubstr("dedup_window"));
  EXPECT_THAT(Said({.dedup_max_entries = 0}), HasSubstr("dedup_max_entries"));
  QueueSettings settings;
  settings.retry_backoff.multiplier = 0.5;
  EXPECT_THAT(Said(settings), HasSubstr("retry_backoff.multiplier"));
  settings.retry_backoff = {.jitter = 1.5};
  EXPECT_THAT(Said(settings), HasSubstr("retry_backoff.jitter"));
  settings.retry_backoff = {.initial = milliseconds(10), .max = milliseconds(5)};
  EXPECT_THAT(Said(settings), HasSubstr("retry_backoff.initial"));
}

TEST(SettingsTest, EveryLimitHasAnEndAndUnlimitedIsAWord) {
  const auto ends = [](std::uint64_t QueueSettings::*field, std::uint64_t least,
                       std::uint64_t most) {
    QueueSettings settings;
    for (const std::uint64_t good : {least, most, kUnlimited}) {
      settings.*field = good;
      EXPECT_EQ(Said(settings), "");
    }
    settings.*field = most + 1;
    EXPECT_THAT(Said(settings), HasSubstr("or unlimited"));
    if (least == 0) return;
    settings.*field = least - 1;
    EXPECT_THAT(Said(settings), HasSubstr("or unlimited"));
  };
  ends(&QueueSettings::max_messages, 0, limits::kQueueMessagesMax);
  ends(&QueueSettings::max_bytes, 1, limits::kQueueBytesMax);
  ends(&QueueSettings::dedup_max_entries, 1, limits::kDedupEntriesMax);
  ends(&QueueSettings::max_producers, 1, limits::kStreamsMax);
  ends(&QueueSettings::max_consumers, 1, limits::kStreamsMax);
  ends(&QueueSettings::max_publish_rate, 1, limits::kRateMax);
  ends(&QueueSettings::max_delivery_rate, 1, limits::kRateMax);
}

TEST(SettingsTest, EveryDurationHasAnEnd) {
  EXPECT_THAT(Said({.default_ttl = limits::kTtlMax + milliseconds(1)}), HasSubstr("default_ttl"));
  EXPECT_THAT(Said({.default_ttl = milliseconds(-1)}), HasSubstr("default_ttl"));
  EXPECT_EQ(Said({.default_ttl = milliseconds(1)}), "");
  EXPECT_THAT(Said({.expires_after_idle = milliseconds(9'999)}), HasSubstr("expires_after_idle"));
  EXPECT_EQ(Said({.expires_after_idle = limits::kIdleExpiryMin}), "");
  EXPECT_EQ(Said({.expires_after_idle = milliseconds(0)}), "") << "0 is never";
  EXPECT_THAT(Said({.ageing_floor = milliseconds(99)}), HasSubstr("ageing_floor"));
  EXPECT_THAT(Said({.history_entries = limits::kHistoryEntriesMax + 1}),
              HasSubstr("history_entries"));
}

TEST(SettingsTest, ALimitThatWasMetIsInTheError) {
  const ErrorInfo info = ErrorInfoOf(Validate({.history_entries = 1'000'001}, "default/q"));
  EXPECT_EQ(info.resource, "field history_entries");
  EXPECT_EQ(info.limit, limits::kHistoryEntriesMax);
  EXPECT_EQ(info.current, 1'000'001u);
}

TEST(SettingsTest, APolicyHasWhatItNeeds) {
  EXPECT_THAT(Said({.overflow_policy = OverflowPolicy::kThrottle}), HasSubstr("max_publish_rate"));
  EXPECT_EQ(Said({.overflow_policy = OverflowPolicy::kThrottle, .max_publish_rate = 100}), "");
  EXPECT_THAT(Said({.overflow_policy = OverflowPolicy::kDeadLetter}),
              HasSubstr("dead_letter_queue"));
  EXPECT_EQ(
      Said({.overflow_policy = OverflowPolicy::kDeadLetter, .dead_letter_queue = "default/dead"}),
      "");
  EXPECT_THAT(Said({.max_messages = 0, .overflow_policy = OverflowPolicy::kDropOldest}),
              HasSubstr("rendezvous"));
  EXPECT_EQ(Said({.max_messages = 0, .overflow_policy = OverflowPolicy::kBlock}), "");
}

TEST(SettingsTest, EveryChoiceButLogQueuesIsThere) {
  for (const auto dispatch : {DispatchPolicy::kRoundRobin, DispatchPolicy::kRandom,
                              DispatchPolicy::kSticky, DispatchPolicy::kLeastLoaded}) {
    EXPECT_EQ(Said({.dispatch_policy = dispatch, .ordering = Ordering::kKeyed}), "");
  }
  for (const auto paused : {Paused::kPublish, Paused::kConsume, Paused::kBoth}) {
    EXPECT_EQ(
        Said({.delivery = DeliveryMode::kAtMostOnce, .single_active = true, .paused = paused}), "");
  }
  EXPECT_EQ(Said({.overflow_policy = OverflowPolicy::kDropNewest}), "");
  EXPECT_THAT(Said({.kind = QueueKind::kLog}), HasSubstr("kind: LOG is not supported"));
}

TEST(SettingsTest, DeadLetterQueueIsAnotherOneOfTheNamespace) {
  EXPECT_THAT(Said({.dead_letter_queue = "default/q"}), HasSubstr("its own"));
  EXPECT_THAT(Said({.dead_letter_queue = "other/dead"}), HasSubstr("namespace"));
  EXPECT_EQ(Said({.dead_letter_queue = "default/dead"}), "");
}

}  // namespace
}  // namespace mqd::queue
