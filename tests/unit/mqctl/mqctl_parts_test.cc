// What mqctl does without a broker.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "client/mqctl/exit_code.h"
#include "client/mqctl/histogram.h"
#include "client/mqctl/settings_table.h"
#include "client/mqctl/units.h"
#include "mqd/errors.h"

namespace mqd::mqctl {
namespace {

TEST(HistogramTest, PercentilesAgreeWithSortedSamples) {
  std::mt19937_64 random(7);
  std::vector<std::int64_t> samples;
  Histogram histogram;
  for (int i = 0; i < 100'000; ++i) {
    const std::int64_t sample = static_cast<std::int64_t>(random() >> (24 + random() % 30));
    samples.push_back(sample);
    histogram.Record(sample);
  }
  std::sort(samples.begin(), samples.end());
  for (const double share : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const auto exact = static_cast<double>(
        samples[static_cast<std::size_t>(share * static_cast<double>(samples.size())) - 1]);
    EXPECT_NEAR(static_cast<double>(histogram.Percentile(share)), exact, exact * 0.017 + 1)
        << share;
  }
}

TEST(HistogramTest, SumOfTwoIsTheWhole) {
  Histogram one;
  Histogram two;
  for (int i = 0; i < 100; ++i) (i % 2 == 0 ? one : two).Record(i);
  one.Add(two);
  EXPECT_EQ(one.count(), 100u);
  EXPECT_EQ(one.Percentile(0.5), 49);
  EXPECT_EQ(Histogram().Percentile(0.5), 0);
}

TEST(UnitsTest, SizeWithoutAUnitIsInBytesAndADurationNeedsOne) {
  EXPECT_EQ(*ParseSize("4MiB"), 4u << 20);
  EXPECT_EQ(*ParseSize("0"), 0u);
  EXPECT_EQ(*ParseSize("100"), 100u);
  EXPECT_EQ(*ParseDuration("90s"), std::chrono::seconds(90));
  EXPECT_FALSE(ParseDuration("100").ok());
  for (const char* bad : {"", "MiB", "-1s", "4 MiB", "1e3B", "99999999999999999999GiB"}) {
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
}

TEST(UnitsTest, FormattedValuesAreReadBack) {
  for (const std::uint64_t size : {1ULL, 1'536ULL, 1ULL << 20, 3ULL << 30}) {
    EXPECT_EQ(*ParseSize(FormatSize(size)), size);
  }
  for (const int ms : {1, 1'000, 90'000, 86'400'000}) {
    EXPECT_EQ(ParseDuration(FormatDuration(std::chrono::milliseconds(ms)))->count(), ms);
  }
}

TEST(UnitsTest, TimesAreUtcAndComplete) {
  using std::chrono::milliseconds;
  const auto epoch = std::chrono::system_clock::time_point();
  EXPECT_EQ(*ParseTime("1970-01-02T00:00:01Z"), epoch + milliseconds(86'401'000));
  EXPECT_EQ(*ParseTime("1970-01-01T00:00:00.25Z"), epoch + milliseconds(250));
  for (const char* bad :
       {"", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00+01:00", "10m", "1969-12-31T23:59:59Z", "2926-01-31T12:00:00Z"}) {
    EXPECT_FALSE(ParseTime(bad).ok()) << bad;
  }
}

TEST(SettingsTableTest, EverySettingHasItsFlag) {
  QueueSettings settings;
  for (const SettingRow& row : SettingsTable()) {
    for (const char* one : {"1", "1KiB", "true", "none", "sync", "reject", "fifo", "work",
                            "at_least_once", "least_loaded", "1s"}) {
      if (row.set(settings, one).ok()) break;
    }
  }
  const std::vector<std::string> set = settings.SetFields();
  EXPECT_EQ(set.size(), 26u) << "as many as mqd.v1.QueueSettings has fields";
}

TEST(SettingsTableTest, WhatIsSetIsShown) {
  const std::vector<std::pair<const char*, const char*>> values = {
      {"max_messages", "unlimited"}, {"max_bytes", "4MiB"},      {"overflow_policy", "block"},
      {"durability", "async"},       {"lease_duration", "2m"},   {"retry_backoff_max", "1m"},
      {"dead_letter_queue", "dead"}, {"single_active", "false"}, {"paused", "both"}};
  QueueSettings settings;
  for (const auto& [name, value] : values) {
    for (const SettingRow& row : SettingsTable()) {
      if (row.name != name) continue;
      EXPECT_TRUE(row.set(settings, value).ok()) << name;
    }
  }
  const auto shown = SettingsToJson(settings);
  EXPECT_EQ(shown.size(), values.size());
  EXPECT_EQ(shown["max_messages"], "unlimited");
  EXPECT_EQ(shown["overflow_policy"], "block");
  EXPECT_EQ(shown["lease_duration"], "2m");
  EXPECT_EQ(shown["single_active"], false);
}

TEST(SettingsTableTest, NamesAreTakenInUpperCaseToo) {
  QueueSettings settings;
  for (const SettingRow& row : SettingsTable()) {
    if (row.name == "durability") {
      EXPECT_TRUE(row.set(settings, "ASYNC").ok());
    }
  }
  EXPECT_EQ(SettingsToJson(settings)["durability"], "async");
}

TEST(SettingsTableTest, ValuesThatAreNoneAreRefusedByEverySetting) {
  for (const SettingRow& row : SettingsTable()) {
    if (row.name == "dead_letter_queue") continue;  // any text; the broker knows names
    QueueSettings settings;
    EXPECT_FALSE(row.set(settings, "nonsense").ok()) << row.name;
    EXPECT_TRUE(row.get(settings).is_null()) << row.name;
  }
}

TEST(ExitCodeTest, FollowsWhatTheCallerCanDo) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(MakeStatus({.reason = Reason::kQueueNotFound})), ExitCode::kNotFound);
  EXPECT_EQ(ExitCodeOf(MakeStatus({.reason = Reason::kBadField})), ExitCode::kBadData);
  EXPECT_EQ(ExitCodeOf(MakeStatus({.reason = Reason::kQueueFull, .retryable = true})),
            ExitCode::kTryAgain);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("no")), ExitCode::kUnavailable);
}

}  // namespace
}  // namespace mqd::mqctl
