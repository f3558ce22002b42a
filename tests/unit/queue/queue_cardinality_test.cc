// max_producers, max_consumers, take-over with fencing, and single_active.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_harness.h"

namespace mqd::queue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr ProducerId kProducer{3};

QueueHarness WithOne(QueueSettings settings = {.max_producers = 1, .max_consumers = 1}) {
  QueueHarness queue(std::move(settings));
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 10, .marks_started = true});
  queue.Take<PublisherAttached>();
  queue.Take<ConsumerAttached>();
  return queue;
}

// ---- publishers

TEST(MaxProducersTest, TheExtraOneIsRefusedWithTheHolderNamed) {
  QueueHarness queue = WithOne();
  queue.AttachPublisher("bob");
  const auto error = queue.Take<PublisherAttached>().at(0).error;
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->reason, Reason::kCardinality);
  EXPECT_THAT(error->message, HasSubstr("ann"));
  EXPECT_THAT(error->message, HasSubstr("\" for 0 s"));
  EXPECT_EQ(error->limit, 1u);
  EXPECT_EQ(queue.Stats().publishers, 1u);
}

TEST(MaxProducersTest, ATakeOverFencesOffTheOneThatWasHereLongest) {
  QueueHarness queue = WithOne();
  queue.AttachPublisher("bob", {.take_over = true});
  EXPECT_FALSE(queue.Take<PublisherAttached>().at(0).error.has_value());
  const auto gone = queue.Take<PublisherGone>();
  ASSERT_THAT(gone, SizeIs(1));
  EXPECT_EQ(gone[0].publisher, queue.PublisherIdOf("ann"));
  EXPECT_EQ(gone[0].code, GoAwayCode::kFenced);
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeResults(), IsEmpty());
  EXPECT_EQ(queue.Stats().published, 0u);
}

TEST(MaxProducersTest, AProducerThatResumesTakesItsOwnPlace) {
  QueueHarness queue(QueueSettings{.max_producers = 1});
  queue.AttachPublisher("pia", kProducer);
  queue.AttachPublisher("pia again", kProducer);
  for (const PublisherAttached& attached : queue.Take<PublisherAttached>()) {
    EXPECT_FALSE(attached.error.has_value());
  }
  EXPECT_EQ(queue.Stats().publishers, 1u);
}

TEST(MaxProducersTest, ALeavingOneMakesRoom) {
  QueueHarness queue = WithOne();
  queue.DetachPublisher("ann");
  queue.AttachPublisher("bob");
  EXPECT_FALSE(queue.Take<PublisherAttached>().at(0).error.has_value());
}

// ---- consumers

TEST(MaxConsumersTest, TheExtraOneIsRefusedWithTheHolderNamed) {
  QueueHarness queue = WithOne();
  queue.AttachConsumer("dan", {});
  const auto error = queue.Take<ConsumerAttached>().at(0).error;
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->reason, Reason::kCardinality);
  EXPECT_THAT(error->message, HasSubstr("cat"));
  EXPECT_THAT(error->message, HasSubstr("\" for 0 s"));
  EXPECT_EQ(queue.Stats().consumers, 1u);
}

TEST(MaxConsumersTest, ATakeOverChargesWhatWasStartedAndReleasesTheRest) {
  QueueHarness queue = WithOne();
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  const auto before = queue.TakeDeliveries();
  queue.Step(MarkStarted{{before.at(0).range()}});
  queue.AttachConsumer("dan", {.messages = 10, .take_over = true});
  queue.CommitAll();
  const auto gone = queue.Take<ConsumerGone>();
  ASSERT_THAT(gone, SizeIs(1));
  EXPECT_EQ(gone[0].consumer, queue.ConsumerIdOf("cat"));
  EXPECT_EQ(gone[0].code, GoAwayCode::kFenced);
  const auto after = queue.TakeDeliveries();
  EXPECT_THAT(Names(after), ::testing::UnorderedElementsAre("dan<-a#2", "dan<-b#1"));
  EXPECT_GT(after.at(0).fence, before.at(0).fence);
  EXPECT_EQ(after.at(0).fence, after.at(1).fence);
  EXPECT_EQ(queue.Settle(before[0].range(), AckOutcome{}).settled,
            0u);  // the old owner is too late
}

TEST(MaxConsumersTest, TheOneThatWasHereLongestGoes) {
  QueueHarness queue(QueueSettings{.max_consumers = 2});
  queue.AttachConsumer("cat", {});
  queue.AttachConsumer("dan", {});
  queue.AttachConsumer("eve", {.take_over = true});
  const auto gone = queue.Take<ConsumerGone>();
  ASSERT_THAT(gone, SizeIs(1));
  EXPECT_EQ(gone[0].consumer, queue.ConsumerIdOf("cat"));
}

TEST(MaxConsumersTest, WhoeverTakesOverHasTheHigherFenceAlsoWhereThereHadBeenSeveral) {
  QueueHarness queue({.max_consumers = 1});
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 0});
  queue.Update({});
  queue.AttachConsumer("dan", {.messages = 0});
  queue.Update({.max_consumers = 1});
  std::vector<DeliveryId> fences;
  for (const std::string consumer : {"dan", "cat", "dan"}) {
    queue.Grant(consumer, 1);
    queue.Publish("ann", {"a"});
    queue.CommitAll();
    const auto seen = queue.TakeDeliveries();
    ASSERT_THAT(seen, SizeIs(1));
    fences.push_back(seen[0].fence);
  }
  EXPECT_THAT(fences,
              ElementsAre(::testing::Gt(0u), ::testing::Gt(fences[0]), ::testing::Gt(fences[1])));
}

// ---- single_active

QueueSettings SingleActive() { return {.single_active = true}; }

TEST(SingleActiveTest, TheFirstGetsEverythingAndTheNextTakesOverAtOnce) {
  QueueHarness queue(SingleActive());
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 1});
  queue.AttachConsumer("dan", {.messages = 10});
  queue.Publish("ann", {"a", "b"});
  queue.CommitAll();
  const auto first = queue.TakeDeliveries();
  EXPECT_THAT(Names(first), ElementsAre("cat<-a#1"));
  queue.DetachConsumer("cat");
  queue.CommitAll();
  const auto second = queue.TakeDeliveries();
  EXPECT_THAT(Names(second), ::testing::UnorderedElementsAre("dan<-a#2", "dan<-b#1"));
  EXPECT_GT(first.at(0).fence, 0u);
  EXPECT_GT(second.at(0).fence, first.at(0).fence);
}

TEST(SingleActiveTest, ADrainHandsOver) {
  QueueHarness queue(SingleActive());
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {.messages = 1, .marks_started = true});
  queue.AttachConsumer("dan", {.messages = 10});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("cat<-a#1"));
  queue.Step(DrainConsumer{queue.ConsumerIdOf("cat")});
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-a#1"));
}

TEST(SingleActiveTest, SwitchingItOffLetsEverybodyTake) {
  QueueHarness queue(SingleActive());
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {});
  queue.AttachConsumer("dan", {.messages = 10});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  EXPECT_THAT(queue.TakeDeliveries(), IsEmpty());
  queue.Change([](QueueSettings& settings) { settings.single_active = false; });
  EXPECT_THAT(Names(queue.TakeDeliveries()), ElementsAre("dan<-a#1"));
}

TEST(SingleActiveTest, ASelectOnStandbyIsNotAskedForCredit) {
  QueueHarness queue(SingleActive());
  queue.AttachPublisher("ann");
  queue.AttachConsumer("cat", {});
  queue.AttachConsumer("sam", {.on_demand = true});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  EXPECT_THAT(queue.Take<WantCredit>(), IsEmpty());
  queue.DetachConsumer("cat");
  EXPECT_THAT(queue.Take<WantCredit>(), SizeIs(1));
}

TEST(ClientListTest, SaysWhoIsHereAndWhatTheyHold) {
  QueueHarness queue(SingleActive());
  queue.AttachPublisher("ann", {.client_name = "shop"});
  queue.AttachConsumer("cat", {.messages = 3, .client_name = "billing-1"});
  queue.AttachConsumer("dan", {.client_name = "billing-2"});
  queue.Publish("ann", {"a"});
  queue.CommitAll();
  const ClientList list = queue.Ask<ClientList>(ListClients{});
  ASSERT_THAT(list.publishers, SizeIs(1));
  EXPECT_EQ(list.publishers[0].client_name, "shop");
  ASSERT_THAT(list.consumers, SizeIs(2));
  EXPECT_EQ(list.consumers[0].client_name, "billing-1");
  EXPECT_EQ(list.consumers[0].in_flight, 1u);
  EXPECT_EQ(list.consumers[0].credit_messages, 2);
  EXPECT_FALSE(list.consumers[0].standby);
  EXPECT_TRUE(list.consumers[1].standby);
}

}  // namespace
}  // namespace mqd::queue::testing
