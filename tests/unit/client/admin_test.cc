// Admin against a service that the test plays: what is asked, and what is made of the answer.
#include "mqd/admin.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "mqd/client.h"
#include "mqd/v1/admin.grpc.pb.h"

namespace mqd {
namespace {

using ::testing::ElementsAre;

/// Keeps the last request of each kind and answers what the test has put there.
class FakeAdmin final : public v1::AdminService::Service {
 public:
  template <class Request, class Response>
  struct Call {
    Request asked;
    Response answer;
    grpc::Status status;
    grpc::Status operator()(const Request* request, Response* response) {
      asked = *request;
      *response = answer;
      return status;
    }
  };
#define MQD_CALL(name)                                                      \
  grpc::Status name(grpc::ServerContext*, const v1::name##Request* request, \
                    v1::name##Response* response) override {                \
    return on_##name(request, response);                                    \
  }                                                                         \
  Call<v1::name##Request, v1::name##Response> on_##name;

  MQD_CALL(Explain)
  MQD_CALL(FindMessage)
  MQD_CALL(CancelMessages)
  MQD_CALL(GetDedupEntry)
  MQD_CALL(ForgetDedupEntry)
  MQD_CALL(GetHistory)
  MQD_CALL(ListClients)
  MQD_CALL(StartRedrive)
  MQD_CALL(GetRedrive)
  MQD_CALL(ListRedrives)
  MQD_CALL(CancelRedrive)
  MQD_CALL(CreateNamespace)
  MQD_CALL(ListNamespaces)
  MQD_CALL(DeleteNamespace)
  MQD_CALL(UpdateQueue)
#undef MQD_CALL
};

class AdminTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&fake_);
    server_ = builder.BuildAndStart();
    auto client = Client::Connect({.address = "127.0.0.1:" + std::to_string(port)});
    ASSERT_TRUE(client.ok()) << client.status();
    admin_ = (*client)->NewAdmin();
  }
  void TearDown() override { server_->Shutdown(); }

  FakeAdmin fake_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Admin> admin_;
};

TEST_F(AdminTest, EverySubjectIsAskedByItsOwnField) {
  auto& explain = fake_.on_Explain;
  v1::Explanation& answer = *explain.answer.add_explanations();
  answer.set_cause(v1::CAUSE_KEY_HELD);
  answer.set_text("held");
  answer.mutable_until()->set_seconds(5);
  const auto why = admin_->Explain("orders", Subject::OrderingKey("customer-7"));
  ASSERT_TRUE(why.ok()) << why.status();
  EXPECT_EQ(explain.asked.queue(), "orders");
  EXPECT_EQ(explain.asked.ordering_key(), "customer-7");
  EXPECT_EQ(why->at(0).cause, Cause::kKeyHeld);
  EXPECT_EQ(CauseName(why->at(0).cause), "KEY_HELD");
  EXPECT_EQ(why->at(0).until, WallTime(std::chrono::seconds(5)));
  EXPECT_EQ(why->at(0).since, std::nullopt);
  ASSERT_TRUE(admin_->Explain("orders").ok());
  EXPECT_EQ(explain.asked.subject_case(), v1::ExplainRequest::SUBJECT_NOT_SET);
  ASSERT_TRUE(admin_->Explain("orders", Subject::Consumer(3)).ok());
  EXPECT_EQ(explain.asked.consumer_id(), 3u);
  ASSERT_TRUE(admin_->Explain("orders", Subject::Publisher(4)).ok());
  EXPECT_EQ(explain.asked.publisher_id(), 4u);
  ASSERT_TRUE(admin_->Explain("orders", Subject::ConsumersNamed("a")).ok());
  EXPECT_EQ(explain.asked.consumer_name(), "a");
  ASSERT_TRUE(admin_->Explain("orders", Subject::PublishersNamed("b")).ok());
  EXPECT_EQ(explain.asked.publisher_name(), "b");
  ASSERT_TRUE(admin_->Explain("orders", Subject::Message(9)).ok());
  EXPECT_EQ(explain.asked.sequence(), 9u);
}

TEST_F(AdminTest, AMessageIsFoundWithItsNotes) {
  v1::PeekedMessage& message = *fake_.on_FindMessage.answer.mutable_message();
  message.set_sequence(9);
  message.set_status(v1::MESSAGE_STATUS_PARKED);
  message.add_notes()->set_error("timeout");
  message.mutable_dead_letter()->set_queue("default/orders");
  const auto found = admin_->FindMessageByKey("dead", "order-9");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(fake_.on_FindMessage.asked.idempotency_key(), "order-9");
  EXPECT_EQ(found->status, MessageStatus::kParked);
  EXPECT_EQ(found->notes.at(0).error, "timeout");
  EXPECT_EQ(found->dead_letter.value().queue, "default/orders");
  ASSERT_TRUE(admin_->FindMessage("dead", 9).ok());
  EXPECT_EQ(fake_.on_FindMessage.asked.sequence(), 9u);
}

TEST_F(AdminTest, CancelTellsWhatCouldNotBeCancelled) {
  fake_.on_CancelMessages.answer.set_cancelled(1);
  v1::CancelException& exception = *fake_.on_CancelMessages.answer.add_exceptions();
  exception.set_sequence(6);
  exception.mutable_error()->set_reason(v1::REASON_MESSAGE_NOT_FOUND);
  const std::vector<std::uint64_t> sequences = {5, 6};
  const auto cancelled = admin_->CancelMessages("orders", sequences);
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_THAT(fake_.on_CancelMessages.asked.sequences(), ElementsAre(5, 6));
  EXPECT_EQ(cancelled->cancelled, 1u);
  EXPECT_EQ(cancelled->errors.at(0).sequence, 6u);
  EXPECT_EQ(ReasonOf(cancelled->errors.at(0).status), Reason::kMessageNotFound);
}

TEST_F(AdminTest, DedupEntriesAreShownAndForgotten) {
  fake_.on_GetDedupEntry.answer.set_sequence(4);
  fake_.on_GetDedupEntry.answer.mutable_expires()->set_seconds(60);
  const auto entry = admin_->GetDedupEntry("orders", "k");
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->sequence, 4u);
  EXPECT_EQ(entry->expires, WallTime(std::chrono::seconds(60)));
  ASSERT_TRUE(admin_->ForgetDedupEntry("orders", "k").ok());
  EXPECT_EQ(fake_.on_ForgetDedupEntry.asked.idempotency_key(), "k");
}

TEST_F(AdminTest, HistoryAndClientsAreRead) {
  v1::HistoryEntry& entry = *fake_.on_GetHistory.answer.add_entries();
  entry.set_first_sequence(1);
  entry.set_last_sequence(3);
  entry.set_transition(v1::TRANSITION_LEASE_EXPIRED);
  const auto history = admin_->GetHistory("orders", 2, 50);
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(fake_.on_GetHistory.asked.limit(), 50u);
  EXPECT_EQ(TransitionName(history->at(0).transition), "LEASE_EXPIRED");
  fake_.on_ListClients.answer.add_publishers()->set_waiting(8);
  fake_.on_ListClients.answer.add_consumers()->set_credit_bytes(-5);
  const auto clients = admin_->ListClients("orders");
  ASSERT_TRUE(clients.ok()) << clients.status();
  EXPECT_EQ(clients->publishers.at(0).waiting, 8u);
  EXPECT_EQ(clients->consumers.at(0).credit_bytes, -5);
}

TEST_F(AdminTest, ARedriveIsAskedForWithItsFilterAndWatched) {
  v1::Redrive& running = *fake_.on_StartRedrive.answer.mutable_redrive();
  running.set_task_id("t-1");
  running.set_state(v1::REDRIVE_STATE_WAITING);
  running.mutable_error()->set_reason(v1::REASON_QUEUE_FULL);
  const auto started = admin_->StartRedrive(
      "dead", {.target = "orders",
               .filter = {.reason_contains = "timeout",
                          .dead_lettered_before = WallTime(std::chrono::seconds(7)),
                          .max_messages = 10},
               .max_rate = Limit::Of(100),
               .dry_run = true});
  ASSERT_TRUE(started.ok()) << started.status();
  const v1::StartRedriveRequest& asked = fake_.on_StartRedrive.asked;
  EXPECT_EQ(asked.target(), "orders");
  EXPECT_EQ(asked.filter().dead_lettered_before().seconds(), 7);
  EXPECT_FALSE(asked.filter().has_dead_lettered_after());
  EXPECT_EQ(asked.max_rate().value(), 100u);
  EXPECT_TRUE(asked.dry_run());
  EXPECT_EQ(RedriveStateName(started->state), "WAITING");
  EXPECT_EQ(ReasonOf(started->error), Reason::kQueueFull);
  EXPECT_FALSE(started->ended());
  *fake_.on_GetRedrive.answer.mutable_redrive() = running;
  fake_.on_GetRedrive.answer.mutable_redrive()->set_state(v1::REDRIVE_STATE_DONE);
  EXPECT_TRUE(admin_->GetRedrive("t-1")->ended());
  *fake_.on_ListRedrives.answer.add_redrives() = running;
  EXPECT_EQ(admin_->ListRedrives("dead")->size(), 1u);
  ASSERT_TRUE(admin_->CancelRedrive("t-1").ok());
  EXPECT_EQ(fake_.on_CancelRedrive.asked.task_id(), "t-1");
}

TEST_F(AdminTest, OnlyQuotasThatAreSetAreSent) {
  fake_.on_CreateNamespace.answer.set_created(true);
  fake_.on_CreateNamespace.answer.mutable_namespace_()
      ->mutable_quotas()
      ->mutable_max_bytes()
      ->set_unlimited(true);
  const auto created = admin_->CreateNamespace("shop", {.max_queues = Limit::Of(0)});
  ASSERT_TRUE(created.ok()) << created.status();
  const v1::NamespaceQuotas& asked = fake_.on_CreateNamespace.asked.quotas();
  EXPECT_TRUE(asked.has_max_queues());
  EXPECT_EQ(asked.max_queues().kind_case(), v1::Limit::kValue) << "0 is a bound of nothing";
  EXPECT_FALSE(asked.has_max_bytes());
  EXPECT_EQ(created->name_space.quotas.max_bytes, Limit::Unlimited());
  fake_.on_DeleteNamespace.answer.set_deleted_queues(2);
  EXPECT_EQ(*admin_->DeleteNamespace("shop", true), 2u);
  fake_.on_ListNamespaces.answer.add_namespaces()->set_name("shop");
  EXPECT_EQ(admin_->ListNamespaces()->namespaces.at(0).name, "shop");
}

TEST_F(AdminTest, NewSettingsAreInTheMaskWhenTheyAreSet) {
  QueueSettings settings;
  settings.history_entries = 0;
  settings.ageing_floor = std::chrono::seconds(2);
  ASSERT_TRUE(admin_->UpdateQueue("orders", settings).ok());
  EXPECT_THAT(fake_.on_UpdateQueue.asked.update_mask().paths(),
              ElementsAre("history_entries", "ageing_floor"));
}

TEST(ReasonTest, EveryReasonOfTheSchemaHasItsNameAndACode) {
  for (int number = v1::Reason_MIN + 1; number <= v1::Reason_MAX; ++number) {
    const auto reason = static_cast<Reason>(number);
    EXPECT_EQ("REASON_" + ReasonName(reason), v1::Reason_Name(static_cast<v1::Reason>(number)));
    if (reason == Reason::kOutcomeUnknown) continue;  // its own code says what it is
    EXPECT_NE(CodeOf(reason), absl::StatusCode::kUnknown) << ReasonName(reason);
  }
  EXPECT_EQ(ReasonName(static_cast<Reason>(99)), "REASON_99");
  EXPECT_EQ(CauseName(static_cast<Cause>(99)), "CAUSE_99");
}

}  // namespace
}  // namespace mqd
