#include "server/queue/namespace_ledger.h"

#include "absl/strings/str_cat.h"
#include "server/limits.h"

namespace mqd::queue {
namespace {

/// Adds `amount` unless the sum would pass `limit`. False: `*current` is what left no room.
bool Raise(std::atomic<std::uint64_t>& count, std::uint64_t amount, std::uint64_t limit,
           std::uint64_t* current) {
  std::uint64_t seen = count.load(std::memory_order_relaxed);
  do {
    *current = seen;
    if (seen > limit || amount > limit - seen) return false;
  } while (!count.compare_exchange_weak(seen, seen + amount, std::memory_order_relaxed));
  return true;
}

}  // namespace

void NamespaceLedger::SetQuota(std::uint64_t max_messages, std::uint64_t max_bytes) {
  max_messages_.store(max_messages, std::memory_order_relaxed);
  max_bytes_.store(max_bytes, std::memory_order_relaxed);
}

bool NamespaceLedger::has_quota() const {
  return max_messages_.load(std::memory_order_relaxed) != kNoQuota ||
         max_bytes_.load(std::memory_order_relaxed) != kNoQuota;
}

std::optional<ErrorInfo> NamespaceLedger::Take(std::uint64_t bytes) {
  std::uint64_t current = 0;
  const std::uint64_t max_messages = max_messages_.load(std::memory_order_relaxed);
  if (!Raise(messages_, 1, max_messages, &current)) {
    return Refusal("messages", max_messages, current);
  }
  const std::uint64_t max_bytes = max_bytes_.load(std::memory_order_relaxed);
  if (Raise(bytes_, bytes, max_bytes, &current)) return std::nullopt;
  messages_.fetch_sub(1, std::memory_order_relaxed);
  return Refusal("bytes", max_bytes, current);
}

std::optional<ErrorInfo> NamespaceLedger::Full() const {
  const std::uint64_t max_messages = max_messages_.load(std::memory_order_relaxed);
  if (messages() >= max_messages) return Refusal("messages", max_messages, messages());
  const std::uint64_t max_bytes = max_bytes_.load(std::memory_order_relaxed);
  const std::uint64_t held = bytes();
  if (held > max_bytes || max_bytes - held < limits::kMessageOverheadBytes) {
    return Refusal("bytes", max_bytes, held);
  }
  return std::nullopt;
}

void NamespaceLedger::Add(std::int64_t messages, std::int64_t bytes) {
  messages_.fetch_add(static_cast<std::uint64_t>(messages), std::memory_order_relaxed);
  bytes_.fetch_add(static_cast<std::uint64_t>(bytes), std::memory_order_relaxed);
}

ErrorInfo NamespaceLedger::Refusal(const char* unit, std::uint64_t limit,
                                   std::uint64_t current) const {
  return {.reason = Reason::kQuotaExceeded,
          .resource = absl::StrCat("namespace ", name_),
          .message = absl::StrCat("namespace ", name_, ": its queues hold ", current, " of ", limit,
                                  " ", unit,
                                  " and the message does not fit; settle or purge "
                                  "messages of any of them, or raise the namespace's max_",
                                  unit),
          .limit = limit,
          .current = current};
}

std::optional<ErrorInfo> QuotaShare::Take(std::uint64_t bytes) {
  std::optional<ErrorInfo> refusal = ledger_->Take(bytes);
  if (refusal.has_value()) return refusal;
  ++messages_;
  bytes_ += bytes;
  return std::nullopt;
}

void QuotaShare::Count(std::uint64_t messages, std::uint64_t bytes) {
  if (messages == messages_ && bytes == bytes_) return;
  ledger_->Add(static_cast<std::int64_t>(messages - messages_),
               static_cast<std::int64_t>(bytes - bytes_));
  messages_ = messages;
  bytes_ = bytes;
}

}  // namespace mqd::queue
