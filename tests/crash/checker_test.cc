// checker_test.cc: the checker against histories made by hand: one for each violation, which it
// must report, and clean ones, on which it must be silent.

#include "tests/crash/checker.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/crash/story.h"

namespace mqd::crash {
namespace {

// ---- what is allowed

TEST(CheckerTest, RunThroughACrashIsClean) {
  Story story;
  story.Publish(1, 11);
  story.Publish(2, 12);
  story.Publish(3, 0, Outcome::kUnknown);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Deliver(2, 12, DeliveryId(1, 2));
  story.Ack(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kAck, 2, 12, DeliveryId(1, 2), Outcome::kUnknown);
  story.Kill();
  story.Detach(true);
  story.Deliver(2, 12, DeliveryId(2, 1));
  story.Deliver(3, 13, DeliveryId(2, 2));
  story.Ack(2, 12, DeliveryId(2, 1));
  story.Ack(3, 13, DeliveryId(2, 2));
  story.Stats(0, 0, true);
  ExpectClean(story);
  const Report report = story.Check();
  EXPECT_EQ(report.kills, 1U);
  EXPECT_EQ(report.confirmed, 2U);
  EXPECT_EQ(report.delivered, 4U);
  EXPECT_EQ(report.redelivered, 1U);
  EXPECT_EQ(report.unknown_publishes, 1U);
  EXPECT_EQ(report.unknown_settles, 1U);
}

TEST(CheckerTest, RefusedPublishAndStaleSettleAreClean) {
  Story story;
  story.Publish(1, 11);
  story.Publish(2, 0, Outcome::kFail);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Wait(31'000);
  story.Deliver(1, 11, DeliveryId(1, 2), 2);
  story.Settle(SettleKind::kAck, 1, 11, DeliveryId(1, 1), Outcome::kFail);
  story.Ack(1, 11, DeliveryId(1, 2));
  ExpectClean(story);
}

TEST(CheckerTest, RetriesReleasesAndDeadLettersAreClean) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kRetry, 1, 11, DeliveryId(1, 1));
  story.Deliver(1, 11, DeliveryId(1, 2), 2);
  story.Settle(SettleKind::kRelease, 1, 11, DeliveryId(1, 2));
  story.Deliver(1, 11, DeliveryId(1, 3), 2);
  story.Detach();
  story.Deliver(1, 11, DeliveryId(1, 4), 3);
  story.Settle(SettleKind::kRetry, 1, 11, DeliveryId(1, 4));
  story.Deliver(1, 5, DeliveryId(1, 1), 1, kDead).origin = 11;
  story.Settle(SettleKind::kAck, 1, 5, DeliveryId(1, 1), Outcome::kOk, kDead);
  ExpectClean(story);
}

TEST(CheckerTest, DuplicatesOfAKeyAreClean) {
  Story story;
  story.Publish(1, 11).key = 5;
  Record& again = story.Publish(1, 11);
  again.key = 5;
  again.duplicate = true;
  story.Publish(2, 0, Outcome::kFail).key = 5;
  story.Deliver(1, 11, DeliveryId(1, 1)).key = 5;
  story.Ack(1, 11, DeliveryId(1, 1));
  ExpectClean(story);
}

// ---- publishes

TEST(CheckerTest, ConfirmedMessageThatNeverComesIsLost) {
  Story story;
  story.Publish(1, 11);
  ExpectOnly(Violation::kLost, story);
}

TEST(CheckerTest, MessageThatVanishesAfterARetryIsLost) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kAck, 1, 11, DeliveryId(1, 1), Outcome::kUnknown);
  story.Kill();
  story.Deliver(1, 11, DeliveryId(2, 1));
  story.Settle(SettleKind::kRelease, 1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kLost, story);
}

TEST(CheckerTest, DeadLetterThatNeverArrivesIsLost) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kDeadLetter, 1, 11, DeliveryId(1, 1));
  ExpectOnly(Violation::kLost, story);
}

TEST(CheckerTest, UnknownMessageIsAPhantom) {
  Story story;
  story.Deliver(1, 11, DeliveryId(1, 1));
  ExpectOnly(Violation::kPhantom, story);
}

TEST(CheckerTest, OtherBytesAreCorrupt) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1)).digest = 8;
  story.Ack(1, 11, DeliveryId(1, 1));
  ExpectOnly(Violation::kCorrupt, story);
}

TEST(CheckerTest, DeliveryOfARefusedMessageIsReported) {
  Story story;
  story.Publish(1, 0, Outcome::kFail);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Ack(1, 11, DeliveryId(1, 1));
  ExpectOnly(Violation::kGhostFail, story);
}

TEST(CheckerTest, KeyStoredTwiceIsReported) {
  Story story;
  story.Publish(1, 11).key = 5;
  story.Publish(2, 12).key = 5;
  story.Deliver(1, 11, DeliveryId(1, 1)).key = 5;
  story.Deliver(2, 12, DeliveryId(1, 2)).key = 5;
  story.Ack(1, 11, DeliveryId(1, 1));
  story.Ack(2, 12, DeliveryId(1, 2));
  ExpectOnly(Violation::kDupStore, story);
}

TEST(CheckerTest, ResendStoredTwiceIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Ack(1, 11, DeliveryId(1, 1));
  story.Deliver(1, 12, DeliveryId(1, 2));
  story.Ack(1, 12, DeliveryId(1, 2));
  ExpectOnly(Violation::kDupStore, story);
}

TEST(CheckerTest, PublishOrderIsChecked) {
  Story story;
  story.Publish(1, 12);
  story.Publish(2, 11);
  story.Deliver(2, 11, DeliveryId(1, 1));
  story.Deliver(1, 12, DeliveryId(1, 2));
  story.Ack(2, 11, DeliveryId(1, 1));
  story.Ack(1, 12, DeliveryId(1, 2));
  ExpectOnly(Violation::kOrder, story);
}

TEST(CheckerTest, FirstDeliveriesOutOfOrderAreReported) {
  Story story;
  story.Publish(1, 11);
  story.Publish(2, 12);
  story.Deliver(2, 12, DeliveryId(1, 1));
  story.Deliver(1, 11, DeliveryId(1, 2));
  story.Ack(1, 11, DeliveryId(1, 2));
  story.Ack(2, 12, DeliveryId(1, 1));
  ExpectOnly(Violation::kOrder, story);
}

TEST(CheckerTest, FirstDeliveryMayBeLateWhereAnIdThatNobodySawTellsOfARecall) {
  for (const std::uint64_t unseen : {0, 1}) {
    Story story;
    for (const std::uint64_t i : {1, 2, 3}) story.Publish(i, 10 + i);
    story.Deliver(1, 11, DeliveryId(1, 1));
    story.Deliver(3, 13, DeliveryId(1, 2 + unseen));
    story.Deliver(2, 12, DeliveryId(1, 3 + unseen));
    story.Ack(1, 11, DeliveryId(1, 1));
    story.Ack(3, 13, DeliveryId(1, 2 + unseen));
    story.Ack(2, 12, DeliveryId(1, 3 + unseen));
    if (unseen == 0) {
      ExpectOnly(Violation::kOrder, story);
    } else {
      ExpectClean(story);
    }
  }
}

TEST(CheckerTest, FirstDeliveriesAfterADetachMayBeLate) {
  Story story;
  story.Publish(1, 11);
  story.Publish(2, 12);
  story.Detach();
  story.Deliver(2, 12, DeliveryId(1, 2));
  story.Deliver(1, 11, DeliveryId(1, 3));
  story.Ack(1, 11, DeliveryId(1, 3));
  story.Ack(2, 12, DeliveryId(1, 2));
  ExpectClean(story);
}

// ---- atomic settle and publish

/// Message 1 of plain is settled together with a publish of message 2 to sink.
OperationId SettleAndPublish(Story& story, Outcome outcome) {
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  const OperationId settle = story.Settle(SettleKind::kAck, 1, 11, DeliveryId(1, 1), outcome).id;
  Record& publish = story.Publish(2, outcome == Outcome::kOk ? 21 : 0, outcome, kSink);
  publish.parent = settle;
  return settle;
}

TEST(CheckerTest, AtomicSettleThatHappenedWholeIsClean) {
  Story story;
  SettleAndPublish(story, Outcome::kUnknown);
  story.Kill();
  story.Deliver(2, 21, DeliveryId(2, 1), 1, kSink);
  story.Settle(SettleKind::kAck, 2, 21, DeliveryId(2, 1), Outcome::kOk, kSink);
  ExpectClean(story);
}

TEST(CheckerTest, AtomicPublishWithoutItsSettleIsReported) {
  Story story;
  SettleAndPublish(story, Outcome::kUnknown);
  story.Kill();
  story.Deliver(2, 21, DeliveryId(2, 1), 1, kSink);
  story.Settle(SettleKind::kAck, 2, 21, DeliveryId(2, 1), Outcome::kOk, kSink);
  story.Deliver(1, 11, DeliveryId(2, 1));
  story.Ack(1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kAtomic, story);
}

TEST(CheckerTest, AtomicSettleWithoutItsPublishIsReported) {
  Story story;
  SettleAndPublish(story, Outcome::kUnknown);
  story.Kill();
  ExpectOnly(Violation::kAtomic, story);
}

// ---- deliveries

TEST(CheckerTest, DeliveryAfterAnAckIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Ack(1, 11, DeliveryId(1, 1));
  story.Kill();
  story.Deliver(1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kResurrect, story);
}

TEST(CheckerTest, SecondLeaseWithinTheFirstIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Deliver(1, 11, DeliveryId(1, 2)).session = 61;
  story.Ack(1, 11, DeliveryId(1, 2));
  ExpectOnly(Violation::kLeaseOverlap, story);
}

TEST(CheckerTest, AcceptedSettleOfAnOldDeliveryIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Detach();
  story.Deliver(1, 11, DeliveryId(1, 2)).session = 61;
  story.Ack(1, 11, DeliveryId(1, 1));
  ExpectOnly(Violation::kStaleAck, story);
}

TEST(CheckerTest, RetryThatIsNotCountedIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kRetry, 1, 11, DeliveryId(1, 1));
  story.Kill();
  story.Deliver(1, 11, DeliveryId(2, 1), 1);
  story.Ack(1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kAttempt, story);
}

TEST(CheckerTest, SessionThatIsEndingMayBeChargedForAMessagePublishedSinceItsDetach) {
  Story story;
  story.Detach();  // written down before the session ends
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1), 2);
  story.Ack(1, 11, DeliveryId(1, 1));
  ExpectClean(story);
}

TEST(CheckerTest, FirstAttemptAboveOneLongAfterADetachIsReported) {
  Story story;
  story.Detach();
  story.Wait(3'000);
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1), 2);
  story.Ack(1, 11, DeliveryId(1, 1));
  ExpectOnly(Violation::kAttempt, story);
}

TEST(CheckerTest, BrokerCrashThatChargesAnAttemptIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Kill();
  story.Detach(true);
  story.Deliver(1, 11, DeliveryId(2, 1), 2);
  story.Ack(1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kAttempt, story);
}

TEST(CheckerTest, AttemptsThatGoBackwardsAreReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kRetry, 1, 11, DeliveryId(1, 1), Outcome::kUnknown);
  story.Deliver(1, 11, DeliveryId(1, 2), 2);
  story.Kill();
  story.Deliver(1, 11, DeliveryId(2, 1), 1);
  story.Ack(1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kAttempt, story);
}

TEST(CheckerTest, MessageDeadLetteredTwiceIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kDeadLetter, 1, 11, DeliveryId(1, 1));
  for (const std::uint64_t sequence : {5, 6}) {
    story.Deliver(1, sequence, DeliveryId(1, sequence), 1, kDead).origin = 11;
    story.Settle(SettleKind::kAck, 1, sequence, DeliveryId(1, sequence), Outcome::kOk, kDead);
  }
  const Report report = story.Check();
  EXPECT_EQ(report.count(Violation::kDupStore), report.total()) << Texts(report);
  EXPECT_GE(report.total(), 1U);
}

TEST(CheckerTest, MessageThatComesBackAfterItWasDeadLetteredIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kDeadLetter, 1, 11, DeliveryId(1, 1), Outcome::kUnknown);
  story.Deliver(1, 5, DeliveryId(1, 1), 1, kDead).origin = 11;
  story.Settle(SettleKind::kAck, 1, 5, DeliveryId(1, 1), Outcome::kOk, kDead);
  story.Kill();
  story.Deliver(1, 11, DeliveryId(2, 1));
  story.Ack(1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kAttempt, story);
}

TEST(CheckerTest, DeadLetterBeforeMaxAttemptsIsReported) {
  Story story;
  story.Publish(1, 11);
  story.Deliver(1, 11, DeliveryId(1, 1));
  story.Settle(SettleKind::kRetry, 1, 11, DeliveryId(1, 1));
  story.Deliver(1, 5, DeliveryId(1, 1), 1, kDead).origin = 11;
  story.Settle(SettleKind::kAck, 1, 5, DeliveryId(1, 1), Outcome::kOk, kDead);
  ExpectOnly(Violation::kAttempt, story);
}

// ---- counts

Story WithCredit(std::uint64_t messages, std::uint64_t bytes) {
  Story story;
  story.Publish(1, 11);
  story.Publish(2, 12);
  story.Add({.kind = Kind::kCredit, .session = 60, .messages = messages, .bytes = bytes});
  story.Deliver(1, 11, DeliveryId(1, 1)).limited = true;
  story.Deliver(2, 12, DeliveryId(1, 2)).limited = true;
  story.Ack(1, 11, DeliveryId(1, 1));
  story.Ack(2, 12, DeliveryId(1, 2));
  return story;
}

TEST(CheckerTest, DeliveriesWithinCreditAreClean) { ExpectClean(WithCredit(2, 101)); }

TEST(CheckerTest, MessagesBeyondCreditAreReported) {
  ExpectOnly(Violation::kCredit, WithCredit(1, 1'000));
}

TEST(CheckerTest, BytesBeyondCreditAreReported) {
  ExpectOnly(Violation::kCredit, WithCredit(2, 100));
}

TEST(CheckerTest, QueueAboveItsBoundIsReported) {
  Story full;
  full.Stats(10, 1'000);
  ExpectClean(full);
  Story messages;
  messages.Stats(11, 1'000);
  ExpectOnly(Violation::kBound, messages);
  Story bytes;
  bytes.Stats(10, 1'001);
  ExpectOnly(Violation::kBound, bytes);
}

TEST(CheckerTest, CountsThatDoNotAddUpAreReported) {
  Story story;
  story.Stats(0, 0, true);
  Record& later = story.Stats(0, 0, true);
  later.stored = 2;
  later.gone = 1;
  ExpectOnly(Violation::kConserve, story);
}

TEST(CheckerTest, CountsThatNoHistoryExplainsAreReported) {
  Story story;
  story.Publish(1, 11);
  story.Stats(0, 0, true);
  story.Kill();
  story.Deliver(1, 11, DeliveryId(2, 1));
  story.Ack(1, 11, DeliveryId(2, 1));
  ExpectOnly(Violation::kConserve, story);
}

TEST(CheckerTest, MessagesLeftAfterTheDrainAreReported) {
  Story story;
  story.Publish(1, 0, Outcome::kUnknown);
  story.Stats(1, 100, true);
  ExpectOnly(Violation::kConserve, story);
}

TEST(CheckerTest, StuckAndDeadDaemonsAreReported) {
  Story stuck;
  stuck.Add({.kind = Kind::kStuck, .note = "nothing was settled for 20 s"});
  ExpectOnly(Violation::kStuck, stuck);
  Story dead;
  dead.Add({.kind = Kind::kDaemonExit, .note = "signal 6"});
  ExpectOnly(Violation::kDaemonExit, dead);
}

}  // namespace
}  // namespace mqd::crash
