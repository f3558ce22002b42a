// config_sources_test.cc: where values come from, which one wins, and where an error is said to be.

#include <gmock/gmock.h>

#include <chrono>
#include <fstream>
#include <string>

#include "server/config.h"

namespace mqd::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ConfigFileTest : public testing::Test {
 protected:
  absl::StatusOr<Config> Load(const std::string& text,
                              std::map<std::string, std::string> environment = {},
                              std::map<std::string, std::string> flags = {}) {
    std::ofstream(path_, std::ios::trunc) << text;
    return LoadConfig({path_, std::move(environment), std::move(flags)});
  }
  std::string ErrorOf(const std::string& text,
                      std::map<std::string, std::string> environment = {}) {
    return std::string(Load(text, std::move(environment)).status().message());
  }

  const std::string path_ = testing::TempDir() + "/mqd_config_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(ConfigFileTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string file = "data_dir = 'file'\nnode_name = 'file'\n[log]\nlevel = 'debug'\n";
  const Config config = *Load(file, {{"MQD_DATA_DIR", "variable"}, {"MQD_NODE_NAME", "variable"}},
                              {{"data_dir", "flag"}});
  EXPECT_EQ(config.data_dir, "flag");
  EXPECT_EQ(config.node_name, "variable");
  EXPECT_EQ(config.log.level, LogLevel::kDebug);
  EXPECT_EQ(config.log.format, LogFormat::kText);
}

TEST_F(ConfigFileTest, EveryErrorIsReportedWithItsLine) {
  const std::string errors = ErrorOf(
      "data_dir = 'd'\n[grpc]\nlistn = 'x'\nreflection = 'yes'\n[storage]\nsync_interval = 5\n");
  EXPECT_THAT(errors, HasSubstr(":3:1: grpc.listn: unknown key; did you mean \"listen\"?"));
  EXPECT_THAT(errors, HasSubstr(":4:1: grpc.reflection: expected true or false"));
  EXPECT_THAT(errors, HasSubstr(":6:1: storage.sync_interval: expected a string in quotes"));
}

TEST_F(ConfigFileTest, KeyOfAnotherSectionIsSentThere) {
  EXPECT_THAT(ErrorOf("data_dir = 'd'\ncache_bytes = '1GiB'\n"), HasSubstr("belongs to [storage]"));
  EXPECT_THAT(ErrorOf("[log]\ndata_dir = 'd'\n"), HasSubstr("before the first section"));
}

TEST_F(ConfigFileTest, UnknownSectionIsAnError) {
  EXPECT_THAT(ErrorOf("[storge]\nx = 1\n"), HasSubstr("did you mean \"storage\"?"));
  EXPECT_THAT(ErrorOf("grpc = 1\n"), HasSubstr("grpc is a section"));
}

TEST_F(ConfigFileTest, BrokenTomlIsReportedWithItsLine) {
  EXPECT_THAT(ErrorOf("data_dir = 'd'\n[grpc\n"), HasSubstr(":2:"));
}

TEST_F(ConfigFileTest, MissingAndOversizedFilesAreErrors) {
  const absl::StatusOr<Config> missing =
      LoadConfig({.file = "/nonexistent/mqd.toml", .environment = {}, .flags = {}});
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("cannot be read"));
  EXPECT_THAT(ErrorOf(std::string(kConfigFileBytesMax + 1, '#')), HasSubstr("is larger than"));
}

TEST_F(ConfigFileTest, MisspeltVariableIsAnErrorWithASuggestion) {
  EXPECT_THAT(ErrorOf("data_dir = 'd'\n", {{"MQD_GRPC_LISTNE", "127.0.0.1:1"}}),
              AllOf(HasSubstr("MQD_GRPC_LISTNE"), HasSubstr("\"MQD_GRPC_LISTEN\"")));
}

TEST_F(ConfigFileTest, VariablesThatKubernetesSetsForAServiceAreIgnored) {
  const std::map<std::string, std::string> kubernetes = {
      {"MQD_PORT", "tcp://10.0.0.1:6480"},    {"MQD_SERVICE_HOST", "10.0.0.1"},
      {"MQD_GRPC_SERVICE_PORT", "6480"},      {"MQD_GRPC_PORT_6480_TCP_ADDR", "10.0.0.1"},
      {"MQD_HTTP_SERVICE_PORT_HTTP", "6481"},
  };
  EXPECT_TRUE(Load("data_dir = 'd'\n", kubernetes).ok());
}

TEST_F(ConfigFileTest, ErrorInAVariableOrFlagNamesIt) {
  EXPECT_THAT(ErrorOf("data_dir = 'd'\n", {{"MQD_LOG_LEVEL", "loud"}}),
              HasSubstr("MQD_LOG_LEVEL: \"loud\""));
  const absl::Status status = Load("data_dir = 'd'\n", {}, {{"log.level", "loud"}}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("--log-level: \"loud\""));
}

}  // namespace
}  // namespace mqd::server
