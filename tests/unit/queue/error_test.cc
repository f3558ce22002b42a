// What the edge is told of an error.
#include "server/queue/error.h"

#include <gtest/gtest.h>

#include <set>

namespace mqd::queue {
namespace {

TEST(ErrorTest, StatusCarriesEveryField) {
  const ErrorInfo info{.reason = Reason::kQueueFull,
                       .resource = "queue default/a\nb",
                       .message = "it is full",
                       .limit = 5,
                       .current = ~std::uint64_t{0},
                       .retry_after_ms = -1};
  const absl::Status status = ToStatus(info);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const ErrorInfo back = ErrorInfoOf(status);
  EXPECT_EQ(back.reason, info.reason);
  EXPECT_EQ(back.resource, info.resource);
  EXPECT_EQ(back.message, info.message);
  EXPECT_EQ(back.limit, info.limit);
  EXPECT_EQ(back.current, info.current);
  EXPECT_EQ(back.retry_after_ms, info.retry_after_ms);
}

TEST(ErrorTest, StrangeStatusIsInternal) {
  const ErrorInfo info = ErrorInfoOf(absl::DataLossError("torn"));
  EXPECT_EQ(info.reason, Reason::kInternal);
  EXPECT_EQ(info.message, "torn");
}

TEST(ErrorTest, EveryReasonHasItsOwnNameAndACode) {
  std::set<std::string> names;
  for (int number = 1; number <= static_cast<int>(Reason::kTaskNotFound); ++number) {
    const auto reason = static_cast<Reason>(number);
    EXPECT_TRUE(names.insert(ToString(reason)).second) << number;
    EXPECT_NE(CodeOf(reason), absl::StatusCode::kOk) << number;
  }
  EXPECT_TRUE(IsRetryable(Reason::kQueueFull));
  EXPECT_FALSE(IsRetryable(Reason::kBadField));
}

}  // namespace
}  // namespace mqd::queue
