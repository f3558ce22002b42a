// config_test.cc: every key: its range, its unit, and what the error says.

#include "server/config.h"

#include <gmock/gmock.h>

#include <chrono>
#include <set>
#include <string>

#include "server/config_keys.h"
#include "server/limits.h"

namespace mqd::server {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

absl::StatusOr<Config> LoadFlags(std::map<std::string, std::string> flags) {
  flags.emplace("data_dir", "data");
  return LoadConfig({.file = "", .environment = {}, .flags = std::move(flags)});
}

std::string ErrorOf(std::map<std::string, std::string> flags) {
  return std::string(LoadFlags(std::move(flags)).status().message());
}

TEST(ConfigTest, DefaultsListenOnLoopbackOnly) {
  const absl::StatusOr<Config> config = LoadFlags({});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(IsLoopback(ParseListenAddress(config->grpc.listen)->host));
  EXPECT_TRUE(IsLoopback(ParseListenAddress(config->http.listen)->host));
  EXPECT_FALSE(config->node_name.empty());
  EXPECT_EQ(config->grpc.max_payload_bytes, limits::kPayloadBytesDefault);
}

TEST(ConfigTest, EveryDefaultPassesTheCheckOfItsKey) {
  for (const ConfigKey& key : ConfigKeys()) {
    Config config;
    const std::string text = ConfigValueText(key, config);
    EXPECT_TRUE(SetConfigValue(key, text, config).ok()) << ConfigPath(key) << " = " << text;
    EXPECT_EQ(ConfigValueText(key, config), text);
  }
}

TEST(ConfigTest, NoTwoKeysShareANameOrVariable) {
  std::set<std::string> seen;
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_TRUE(seen.insert(ConfigPath(key)).second) << ConfigPath(key);
    EXPECT_TRUE(seen.insert(ConfigVariable(key)).second) << ConfigVariable(key);
    EXPECT_FALSE(key.meaning.empty()) << ConfigPath(key);
  }
}

TEST(ConfigTest, MissingDataDirectoryIsAnErrorThatSaysHowToGiveIt) {
  const absl::StatusOr<Config> config = LoadConfig({});
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("--data DIR"));
}

TEST(ConfigTest, SizesHaveUnits) {
  EXPECT_EQ(LoadFlags({{"storage.cache_bytes", "4MiB"}})->storage.cache_bytes, 4 * limits::kMiB);
  EXPECT_EQ(LoadFlags({{"storage.cache_bytes", "2GiB"}})->storage.cache_bytes, 2 * limits::kGiB);
  for (const char* wrong : {"4194304", "4MB", "4 MiB", "-4MiB", "", "MiB", "1.5MiB",
                            "99999999999999999999GiB", "18446744073709551615TiB"}) {
    EXPECT_THAT(ErrorOf({{"storage.cache_bytes", wrong}}), HasSubstr("size with its unit"))
        << wrong;
  }
}

TEST(ConfigTest, DiskLowWatermarkIsTheStoresUntilItIsSet) {
  EXPECT_EQ(LoadFlags({})->storage.disk_low_watermark, std::nullopt);
  EXPECT_EQ(LoadFlags({{"storage.disk_low_watermark", ""}})->storage.disk_low_watermark,
            std::nullopt);
  EXPECT_EQ(LoadFlags({{"storage.disk_low_watermark", "2GiB"}})->storage.disk_low_watermark,
            2 * limits::kGiB);
  EXPECT_THAT(ErrorOf({{"storage.disk_low_watermark", "0B"}}), HasSubstr("0B is not between"));
}

TEST(ConfigTest, DurationsHaveUnits) {
  EXPECT_EQ(LoadFlags({{"shutdown_grace", "1m30s"}})->shutdown_grace, milliseconds(90'000));
  EXPECT_EQ(LoadFlags({{"shutdown_grace", "0s"}})->shutdown_grace, milliseconds(0));
  for (const char* wrong : {"25", "0", "-1s", "inf", "", "25 seconds"}) {
    EXPECT_THAT(ErrorOf({{"shutdown_grace", wrong}}), HasSubstr("duration with its unit")) << wrong;
  }
}

TEST(ConfigTest, ValueOutOfRangeIsRefusedWithTheRange) {
  EXPECT_THAT(ErrorOf({{"grpc.max_payload_bytes", "17MiB"}}),
              HasSubstr("17MiB is not between 1KiB and 16MiB"));
  EXPECT_THAT(ErrorOf({{"limits.max_queues", "0"}}), HasSubstr("0 is not between 1 and 100000"));
  EXPECT_THAT(ErrorOf({{"limits.max_queues", "4294967297"}}), HasSubstr("not a whole number"));
  EXPECT_THAT(ErrorOf({{"storage.sync_interval", "0s"}}), HasSubstr("not between 1ms and 1m"));
}

TEST(ConfigTest, ChoicesAreListedWhenMissed) {
  EXPECT_EQ(LoadFlags({{"log.format", "json"}})->log.format, LogFormat::kJson);
  EXPECT_EQ(LoadFlags({{"log.level", "error"}})->log.level, LogLevel::kError);
  EXPECT_THAT(ErrorOf({{"log.format", "xml"}}), HasSubstr("one of text, json"));
}

TEST(ConfigTest, AddressBeyondLoopbackNeedsAnExplicitWord) {
  for (const char* open :
       {"0.0.0.0:6480", ":6480", "[::]:6480", "10.0.0.1:6480", "mqd.example:1"}) {
    EXPECT_THAT(ErrorOf({{"grpc.listen", open}}), HasSubstr("--insecure-listen")) << open;
    EXPECT_THAT(ErrorOf({{"http.listen", open}}), HasSubstr("--insecure-listen")) << open;
    EXPECT_TRUE(LoadFlags({{"grpc.listen", open}, {"grpc.insecure", "true"}}).ok()) << open;
  }
  for (const char* closed : {"127.0.0.1:0", "127.1.2.3:80", "localhost:6480", "[::1]:6480"}) {
    EXPECT_TRUE(LoadFlags({{"grpc.listen", closed}, {"http.listen", closed}}).ok()) << closed;
  }
}

TEST(ConfigTest, MalformedAddressIsRefused) {
  for (const char* wrong : {"6480", "localhost", "::1:6480", "127.0.0.1:65536", "127.0.0.1:-1",
                            "127.0.0.1:", "[::1:6480", "a b:1", "off"}) {
    EXPECT_THAT(ErrorOf({{"grpc.listen", wrong}}), HasSubstr("HOST:PORT")) << wrong;
  }
  EXPECT_TRUE(LoadFlags({{"http.listen", "off"}}).ok());
}

TEST(ConfigTest, ReferenceNamesEveryKeyAndVariable) {
  const std::string reference = ConfigReference();
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_THAT(reference, HasSubstr("`" + ConfigPath(key) + "`"));
    EXPECT_THAT(reference, HasSubstr("`" + ConfigVariable(key) + "`"));
  }
}

TEST(ConfigTest, ReloadTakesReloadableKeysAndLeavesTheOthers) {
  const Config running = *LoadFlags({});
  const Config wanted = *LoadFlags({{"log.level", "debug"}, {"grpc.listen", "127.0.0.1:1"}});

  const std::vector<ConfigChange> changes = DiffConfig(running, wanted);
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].key, "grpc.listen");
  EXPECT_FALSE(changes[0].reloadable);
  EXPECT_EQ(changes[1].key, "log.level");
  EXPECT_TRUE(changes[1].reloadable);

  const Config reloaded = ApplyReloadable(running, wanted);
  EXPECT_EQ(reloaded.log.level, LogLevel::kDebug);
  EXPECT_EQ(reloaded.grpc.listen, running.grpc.listen);
  EXPECT_THAT(DiffConfig(running, running), testing::IsEmpty());
}

}  // namespace
}  // namespace mqd::server
