// grpc_log_test.cc: gRPC's own words come out as lines of our log.
#include "server/rpc/grpc_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <sstream>

#include "grpc/support/log.h"
#include "grpcpp/grpcpp.h"
#include "mqd/v1/broker.pb.h"
#include "server/rpc/log_brake.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

namespace mqd::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class GrpcLogTest : public ::testing::Test {
 protected:
  GrpcLogTest() {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_, true);
    sink->set_pattern("%l %v");
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", std::move(sink)));
  }
  ~GrpcLogTest() override { spdlog::set_default_logger(before_); }

  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream text_;
  // gRPC says nothing at all before it is initialised.
  const std::shared_ptr<grpc::Channel> channel_ =
      grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials());
};

TEST_F(GrpcLogTest, ErrorOfGrpcIsALineOfOurLog) {
  GrpcLog route;
  gpr_log("/somewhere/deep/chttp2.cc", 7, GPR_LOG_SEVERITY_ERROR, "bad %s", "frame");
  EXPECT_EQ(text_.str(), "warning grpc: chttp2.cc:7: bad frame\n");
}

TEST_F(GrpcLogTest, FieldThatProtobufRefusesIsALineOfOurLog) {
  GrpcLog route;
  v1::PublishOpen open;
  EXPECT_FALSE(open.ParseFromString("\x0a\x01\xff"));
  EXPECT_THAT(text_.str(), AllOf(StartsWith("warning protobuf: "), HasSubstr("invalid UTF-8")));
}

TEST_F(GrpcLogTest, PlaceThatComplainsAThousandTimesDoesNotHaveAThousandLines) {
  GrpcLog route;
  for (int i = 0; i < 1'000; ++i) gpr_log("chttp2.cc", 99, GPR_LOG_SEVERITY_ERROR, "bad %d", i);
  EXPECT_THAT(text_.str(), StartsWith("warning grpc: chttp2.cc:99: bad 0\n"));
  const std::string text = text_.str();
  EXPECT_LT(std::ranges::count(text, '\n'), 100);
}

TEST(LogBrakeTest, NextLineSaysHowManyWereLeftOut) {
  LogBrake brake;
  const LogBrake::Clock::time_point now{};
  EXPECT_EQ(brake.Pass("a.cc", 1, now), 0u);
  EXPECT_EQ(brake.Pass("a.cc", 1, now), std::nullopt);
  EXPECT_EQ(brake.Pass("a.cc", 2, now), 0u);
  EXPECT_EQ(brake.Pass("a.cc", 1, now + LogBrake::kInterval), 1u);
  EXPECT_EQ(brake.Pass("a.cc", 1, now + 2 * LogBrake::kInterval), 0u);
}

TEST(LogBrakeTest, PlacesBeyondTheLimitShareOne) {
  LogBrake brake;
  const LogBrake::Clock::time_point now{};
  for (int line = 0; line < static_cast<int>(LogBrake::kPlacesMax); ++line) {
    EXPECT_EQ(brake.Pass("a.cc", line, now), 0u);
  }
  EXPECT_EQ(brake.Pass("b.cc", 1, now), 0u);
  EXPECT_EQ(brake.Pass("b.cc", 2, now), std::nullopt);
}

TEST_F(GrpcLogTest, NothingComesAfterItsEnd) {
  { GrpcLog route; }
  gpr_log("chttp2.cc", 7, GPR_LOG_SEVERITY_ERROR, "late");
  EXPECT_EQ(text_.str(), "");
}

}  // namespace
}  // namespace mqd::rpc
