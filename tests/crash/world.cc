// world.cc: the queues of a run, its pace, and the contents of messages.

#include "tests/crash/world.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <utility>

#include "mqd/errors.h"

namespace mqd::crash {
namespace {

using std::chrono::milliseconds;

constexpr auto kPollTime = milliseconds(2);
constexpr std::uint64_t kFillerBytesMax = 300;
constexpr std::size_t kNumberDigits = 16;
constexpr std::uint64_t kBoundedMessages = 64;
constexpr std::uint64_t kBoundedBytes = 16'384;
constexpr std::uint32_t kFewAttempts = 5;
constexpr std::uint32_t kManyAttempts = 1'000'000;
constexpr auto kShortLease = milliseconds(1'000);
constexpr auto kLongLease = milliseconds(30'000);
/// Over a restart the wall clock counts, and one of the faults moves that by two days.
constexpr auto kDedupWindow = std::chrono::hours(7 * 24);

bool IsBounded(std::uint32_t queue) { return queue == kBoundedQueue; }

std::uint32_t AttemptsOf(std::uint32_t queue) {
  return queue == kPlainQueue ? kFewAttempts : kManyAttempts;
}

}  // namespace

std::string QueueName(std::uint32_t queue) {
  static constexpr const char* kNames[kQueueCount] = {"plain",  "keyed", "bounded",
                                                      "source", "sink",  "dead"};
  return kNames[queue];
}

QueueSettings SettingsOf(std::uint32_t queue) {
  QueueSettings settings;
  settings.lease_duration = IsBounded(queue) ? kShortLease : kLongLease;
  settings.max_attempts = AttemptsOf(queue);
  settings.retry_backoff = RetryBackoff{.initial = milliseconds(20), .max = milliseconds(200)};
  settings.dedup_window = kDedupWindow;
  if (queue == kPlainQueue) settings.dead_letter_queue = QueueName(kDeadQueue);
  if (IsBounded(queue)) {
    settings.overflow_policy = OverflowPolicy::kBlock;
    settings.max_messages = Limit::Of(kBoundedMessages);
    settings.max_bytes = Limit::Of(kBoundedBytes);
  }
  return settings;
}

std::vector<QueueRules> AllRules() {
  std::vector<QueueRules> all;
  for (std::uint32_t queue = 0; queue < kQueueCount; ++queue) {
    QueueRules& rules = all.emplace_back();
    rules.name = QueueName(queue);
    rules.max_attempts = AttemptsOf(queue);
    rules.lease_ns = std::chrono::nanoseconds(IsBounded(queue) ? kShortLease : kLongLease).count();
    if (queue == kPlainQueue) rules.dead_letter = kDeadQueue;
    if (!IsBounded(queue)) continue;
    rules.max_messages = kBoundedMessages;
    rules.max_bytes = kBoundedBytes;
  }
  return all;
}

void StopFlag::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopped_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
}

bool StopFlag::WaitUntil(Clock::time_point until) {
  base::MutexLock lock(mutex_);
  while (!stopped() && lock.WaitUntil(changed_, until) != std::cv_status::timeout) {
  }
  return !stopped();
}

void World::Refill() {
  const Clock::time_point now = Clock::now();
  if (serving_) {
    tokens_ += std::chrono::duration<double>(now - refilled_).count() *
               static_cast<double>(pace_.per_second);
  }
  tokens_ = std::min(tokens_, static_cast<double>(pace_.burst));
  refilled_ = now;
}

bool World::TakeTurn() {
  while (!stop_producers_.stopped()) {
    if (confirmed() < settled() + pace_.backlog_max) {
      base::MutexLock lock(mutex_);
      Refill();
      if (tokens_ >= 1) {
        tokens_ -= 1;
        return true;
      }
    }
    stop_producers_.WaitFor(kPollTime);
  }
  return false;
}

void World::SetServing(bool serving) {
  base::MutexLock lock(mutex_);
  Refill();
  serving_ = serving;
}

void World::EndPublish(OperationId id, Outcome outcome, std::uint64_t sequence, bool duplicate,
                       std::string note) {
  history_.Return(id, outcome, sequence, duplicate, std::move(note));
  if (outcome == Outcome::kOk && !duplicate) confirmed_.fetch_add(1);
}

void World::EndSettle(OperationId id, Outcome outcome, SettleKind kind, std::string note) {
  history_.Return(id, outcome, 0, false, std::move(note));
  const bool ends = kind == SettleKind::kAck || kind == SettleKind::kDeadLetter;
  if (ends && outcome != Outcome::kFail) settled_.fetch_add(1);
}

std::uint64_t Below(Random& random, std::uint64_t limit) {
  return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random);
}

bool OneIn(Random& random, std::uint64_t times) { return Below(random, times) == 0; }

std::string PayloadOf(std::uint64_t message) {
  char number[kNumberDigits + 1];
  std::snprintf(number, sizeof(number), "%016llx", static_cast<unsigned long long>(message));
  Random random(message);
  std::string payload = number;
  const std::size_t size = kNumberDigits + Below(random, kFillerBytesMax);
  while (payload.size() < size) payload += static_cast<char>('a' + random() % 26);
  return payload;
}

std::uint64_t MessageOf(std::string_view payload) {
  std::uint64_t message = 0;
  if (payload.size() < kNumberDigits) return 0;
  const char* end = payload.data() + kNumberDigits;
  const auto parsed = std::from_chars(payload.data(), end, message, 16);
  return parsed.ec == std::errc() && parsed.ptr == end ? message : 0;
}

std::uint64_t DigestOf(std::string_view payload) { return std::hash<std::string_view>()(payload); }

std::string KeyText(std::uint64_t key) { return key == 0 ? "" : "k" + std::to_string(key); }

std::uint64_t KeyOf(std::string_view text) {
  std::uint64_t key = 0;
  if (text.size() < 2) return 0;
  std::from_chars(text.data() + 1, text.data() + text.size(), key);
  return key;
}

Outcome OutcomeOf(const absl::Status& status) {
  return status.ok() ? Outcome::kOk : OutcomeOfReason(static_cast<int>(ReasonOf(status)));
}

Outcome OutcomeOfReason(int reason) {
  switch (static_cast<Reason>(reason)) {
    case Reason::kUnspecified:
    case Reason::kInternal:
    case Reason::kOutcomeUnknown:
      return Outcome::kUnknown;
    default:
      return Outcome::kFail;
  }
}

}  // namespace mqd::crash
