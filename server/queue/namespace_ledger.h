#pragma once

// namespace_ledger.h: step 3 of 5 (queue). The one count of the messages and bytes that all queues
// of a namespace hold, and the quotas over them.
//
// Threads: NamespaceLedger: any. QuotaShare: those of its queue's turns, one at a time.
// Ownership: The namespace and its queues share the ledger; a queue owns its share.
// Limits: A quota is never passed. A message that finds room in messages and none in bytes holds a
// place among the messages for a moment, so another may be refused one message early.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/queue/queue_core_state.h"
#include "storage/records.h"

namespace mqd::queue {

class NamespaceLedger {
 public:
  static constexpr std::uint64_t kNoQuota = storage::NamespaceRecord::kNoQuota;

  explicit NamespaceLedger(std::string name) : name_(std::move(name)) {}

  /// From now on. What is held already stays, also above the quota.
  void SetQuota(std::uint64_t max_messages, std::uint64_t max_bytes);
  bool has_quota() const;

  // As QuotaLedger.
  std::optional<ErrorInfo> Take(std::uint64_t bytes);
  std::optional<ErrorInfo> Full() const;
  /// Adds what was counted without Take(), or takes off what is no longer held.
  void Add(std::int64_t messages, std::int64_t bytes);

  std::uint64_t messages() const { return messages_.load(std::memory_order_relaxed); }
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  ErrorInfo Refusal(const char* unit, std::uint64_t limit, std::uint64_t current) const;

  const std::string name_;
  std::atomic<std::uint64_t> max_messages_{kNoQuota};
  std::atomic<std::uint64_t> max_bytes_{kNoQuota};
  std::atomic<std::uint64_t> messages_{0};
  std::atomic<std::uint64_t> bytes_{0};
};

/// What one queue has in its namespace's ledger.
class QuotaShare final : public QuotaLedger {
 public:
  explicit QuotaShare(std::shared_ptr<NamespaceLedger> ledger) : ledger_(std::move(ledger)) {}
  /// Takes off all that it has counted.
  ~QuotaShare() override { Count(0, 0); }
  QuotaShare(const QuotaShare&) = delete;
  QuotaShare& operator=(const QuotaShare&) = delete;

  std::optional<ErrorInfo> Take(std::uint64_t bytes) override;
  std::optional<ErrorInfo> Full() const override { return ledger_->Full(); }
  /// The queue holds this much, whatever was taken before.
  void Count(std::uint64_t messages, std::uint64_t bytes);

  /// What a core is given: itself, or null when the namespace has no quota.
  QuotaLedger* gate() { return ledger_->has_quota() ? this : nullptr; }

 private:
  const std::shared_ptr<NamespaceLedger> ledger_;
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace mqd::queue
