// checker_fault_test.cc: what faults of the network, pauses and power cuts excuse, and what they do
// not.

#include <gtest/gtest.h>

#include "tests/crash/story.h"

namespace mqd::crash {
namespace {

/// One message delivered twice at once, at the end of a fault of 31 s and `ms` later.
void DeliverTwiceAfterAFault(Story& story, std::int64_t ms) {
  story.Publish(1, 11);
  story.Fault(31'000);
  story.Wait(ms);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Deliver(1, 11, DeliveryId(1, 2));
  story.Ack(1, 11, DeliveryId(1, 2));
}

TEST(CheckerTest, DeliverySeenLateAfterAFaultMayHaveLostItsLease) {
  Story story;
  DeliverTwiceAfterAFault(story, 0);
  ExpectClean(story);
}

TEST(CheckerTest, LeaseOverlapLongAfterAFaultIsReported) {
  Story story;
  DeliverTwiceAfterAFault(story, 3'000);
  ExpectOnly(Violation::kLeaseOverlap, story);
}

TEST(CheckerTest, StaleAckAfterAFaultIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Fault(31'000);
  story.Deliver(1, 11, DeliveryId(1, 2), 2);
  story.Ack(1, 11, DeliveryId(1, 1));
  story.Ack(1, 11, DeliveryId(1, 2));
  ExpectOnly(Violation::kStaleAck, story);
}

/// An ack, and the same message again after the broker died `ms` later.
void AckAndAgain(Story& story, std::int64_t ms, void (Story::*die)()) {
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Ack(1, 11, DeliveryId(1, 1));
  story.Wait(ms);
  (story.*die)();
  story.Deliver(1, 11, DeliveryId(2, 1));
  story.Ack(1, 11, DeliveryId(2, 1));
}

TEST(CheckerTest, APowerCutMayUndoASettleThatWasNotSynced) {
  Story story;
  AckAndAgain(story, 0, &Story::PowerCut);
  ExpectClean(story);
}

TEST(CheckerTest, ASettleUndoneLaterOrWithoutAPowerCutIsReported) {
  Story late;
  AckAndAgain(late, 1'000, &Story::PowerCut);
  ExpectOnly(Violation::kResurrect, late);
  Story killed;
  AckAndAgain(killed, 0, &Story::Kill);
  ExpectOnly(Violation::kResurrect, killed);
}

/// A message comes for the second time, and again as the first time after a power cut.
void ChargeAndForget(Story& story, std::int64_t ms) {
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kRetry, 1, 11, DeliveryId(1, 1));
  story.Deliver(1, 11, DeliveryId(1, 2), 2);
  story.Wait(ms);
  story.PowerCut();
  story.Deliver(1, 11, DeliveryId(2, 1), 1);
  story.Ack(1, 11, DeliveryId(2, 1));
}

TEST(CheckerTest, OnlyAChargeThatWasNotSyncedMayBeForgotten) {
  Story soon;
  ChargeAndForget(soon, 0);
  ExpectClean(soon);
  Story late;
  ChargeAndForget(late, 1'000);
  ExpectOnly(Violation::kAttempt, late);
}

TEST(CheckerTest, LossInAPowerCutIsReported) {
  Story story;
  story.Publish(1, 11);
  story.PowerCut();
  ExpectOnly(Violation::kLost, story);
}

}  // namespace
}  // namespace mqd::crash
