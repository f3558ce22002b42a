#include "server/rpc/status_map.h"

#include <gtest/gtest.h>

#include "mqd/v1/types.pb.h"

namespace mqd::rpc {
namespace {

v1::ErrorInfo DetailOf(const grpc::Status& status) {
  v1::RpcStatus details;
  v1::ErrorInfo info;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/mqd.v1.ErrorInfo");
  EXPECT_TRUE(details.details(0).UnpackTo(&info));
  return info;
}

TEST(StatusMapTest, OkHasNoDetail) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).error_details().empty());
}

TEST(StatusMapTest, EveryReasonArrivesWithItsCodeAndName) {
  for (int number = 1; number <= v1::Reason_MAX; ++number) {
    const auto reason = static_cast<queue::Reason>(number);
    const grpc::Status status = ToGrpc(queue::ToStatus({.reason = reason, .message = "why"}));
    const v1::ErrorInfo info = DetailOf(status);
    EXPECT_EQ(static_cast<int>(status.error_code()), static_cast<int>(queue::CodeOf(reason)));
    EXPECT_EQ(info.reason(), number);
    EXPECT_EQ(info.retryable(), queue::IsRetryable(reason));
    EXPECT_EQ(v1::Reason_Name(info.reason()), std::string("REASON_") + queue::ToString(reason));
  }
}

TEST(StatusMapTest, EveryFieldArrives) {
  const v1::ErrorInfo info = DetailOf(ToGrpc(queue::ToStatus({.reason = queue::Reason::kQueueFull,
                                                              .resource = "queue default/orders",
                                                              .message = "full; wait",
                                                              .limit = 100,
                                                              .current = 101,
                                                              .retry_after_ms = 1'250})));
  EXPECT_EQ(info.resource(), "queue default/orders");
  EXPECT_EQ(info.message(), "full; wait");
  EXPECT_EQ(info.limit(), 100u);
  EXPECT_EQ(info.current(), 101u);
  EXPECT_EQ(info.retry_after().seconds(), 1);
  EXPECT_EQ(info.retry_after().nanos(), 250'000'000);
}

TEST(StatusMapTest, AnErrorWithoutAReasonIsInternal) {
  const grpc::Status status = ToGrpc(absl::DataLossError("row 7"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(DetailOf(status).reason(), v1::REASON_INTERNAL);
}

TEST(StatusMapTest, ACancelStaysACancel) {
  EXPECT_EQ(ToGrpc(absl::CancelledError("gone")).error_code(), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace mqd::rpc
