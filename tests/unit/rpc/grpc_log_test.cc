// grpc_log_test.cc: gRPC's own words come out as lines of our log.
#include "server/rpc/grpc_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>

#include "grpc/support/log.h"
#include "grpcpp/grpcpp.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

namespace mqd::rpc {
namespace {

using ::testing::HasSubstr;

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

TEST_F(GrpcLogTest, NothingComesAfterItsEnd) {
  { GrpcLog route; }
  gpr_log("chttp2.cc", 7, GPR_LOG_SEVERITY_ERROR, "late");
  EXPECT_EQ(text_.str(), "");
}

}  // namespace
}  // namespace mqd::rpc
