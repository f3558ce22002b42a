#pragma once

// story.h: histories made by hand, for tests of the checker.
//
// Threads:   one at a time.
// Ownership: plain values.
// Limits:    the queues of Rules().

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/crash/checker.h"

namespace mqd::crash {

inline constexpr std::int64_t kMs = 1'000'000;
inline constexpr std::uint32_t kPlain = 0;
inline constexpr std::uint32_t kDead = 1;
inline constexpr std::uint32_t kSink = 2;
inline constexpr std::uint64_t kEpochStep = std::uint64_t{1} << 44;

inline std::uint64_t DeliveryId(std::uint64_t epoch, std::uint64_t number) {
  return epoch * kEpochStep + number;
}

inline std::vector<QueueRules> Rules() {
  return {{.name = "plain",
           .max_messages = 10,
           .max_bytes = 1'000,
           .max_attempts = 3,
           .dead_letter = kDead},
          {.name = "dead"},
          {.name = "sink"}};
}

/// Writes a history, one millisecond an event.
class Story {
 public:
  Record& Add(Record record) {
    now_ += kMs;
    record.id = records_.size() + 1;
    record.invoked_ns = now_;
    record.returned_ns = now_;
    records_.push_back(record);
    return records_.back();
  }

  Record& Publish(std::uint64_t message, std::uint64_t sequence, Outcome outcome = Outcome::kOk,
                  std::uint32_t queue = kPlain) {
    return Add({.kind = Kind::kPublish,
                .outcome = outcome,
                .queue = queue,
                .session = 50,
                .message = message,
                .digest = message * 7,
                .sequence = sequence});
  }

  Record& Deliver(std::uint64_t message, std::uint64_t sequence, std::uint64_t delivery,
                  std::uint32_t attempt = 1, std::uint32_t queue = kPlain) {
    return Add({.kind = Kind::kDeliver,
                .outcome = Outcome::kOk,
                .queue = queue,
                .attempt = attempt,
                .session = 60,
                .message = message,
                .digest = message * 7,
                .sequence = sequence,
                .delivery = delivery,
                .bytes = 100});
  }

  Record& Settle(SettleKind settle, std::uint64_t message, std::uint64_t sequence,
                 std::uint64_t delivery, Outcome outcome = Outcome::kOk,
                 std::uint32_t queue = kPlain) {
    return Add({.kind = Kind::kSettle,
                .outcome = outcome,
                .settle = settle,
                .queue = queue,
                .session = 60,
                .message = message,
                .sequence = sequence,
                .delivery = delivery});
  }

  void Ack(std::uint64_t message, std::uint64_t sequence, std::uint64_t delivery) {
    Settle(SettleKind::kAck, message, sequence, delivery);
  }

  Record& Stats(std::uint64_t messages, std::uint64_t bytes, bool at_rest = false) {
    return Add({.kind = Kind::kStats,
                .outcome = Outcome::kOk,
                .at_rest = at_rest,
                .queue = kPlain,
                .messages = messages,
                .bytes = bytes});
  }

  void Kill() {
    Add({.kind = Kind::kKill});
    Add({.kind = Kind::kServe});
  }

  void PowerCut() { Add({.kind = Kind::kKill, .broken = true}); }

  /// A fault that lasts from now for so long.
  void Fault(std::int64_t ms) {
    Record& fault = Add({.kind = Kind::kFault});
    Wait(ms);
    fault.returned_ns = now_;
  }

  void Detach(bool broken = false) {
    Add({.kind = Kind::kDetach, .broken = broken, .queue = kPlain, .session = 60});
  }

  void Wait(std::int64_t ms) { now_ += ms * kMs; }

  Report Check() const { return crash::Check(records_, Rules()); }

 private:
  std::vector<Record> records_;
  std::int64_t now_ = 0;
};

inline std::string Texts(const Report& report) {
  std::string out;
  for (const Finding& finding : report.findings) {
    out += std::string(NameOf(finding.violation)) + ": " + finding.text + "\n";
  }
  return out;
}

inline void ExpectClean(const Story& story) {
  const Report report = story.Check();
  EXPECT_EQ(report.total(), 0U) << Texts(report);
}

/// Exactly one violation, and that one.
inline void ExpectOnly(Violation violation, const Story& story) {
  const Report report = story.Check();
  EXPECT_EQ(report.count(violation), 1U) << Texts(report);
  EXPECT_EQ(report.total(), 1U) << Texts(report);
}

}  // namespace mqd::crash
