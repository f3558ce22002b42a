#pragma once

// test_ledger.h: a namespace's quota that is used up, or not, as the test says.
//
// Threads: one at a time.

#include <cstdint>
#include <optional>

#include "server/queue/queue_core.h"

namespace mqd::queue::testing {

class TestLedger final : public QuotaLedger {
 public:
  std::optional<ErrorInfo> Take(std::uint64_t) override {
    if (full) return Full();
    ++taken;
    return std::nullopt;
  }
  std::optional<ErrorInfo> Full() const override {
    if (!full) return std::nullopt;
    return ErrorInfo{.reason = Reason::kQuotaExceeded,
                     .resource = "namespace default",
                     .message = "namespace default: max_messages is used up"};
  }

  bool full = false;
  std::uint64_t taken = 0;
};

}  // namespace mqd::queue::testing
