// Namespaces and redrives over the wire: every field there and back, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/limits.h"
#include "server/rpc/namespace_rpc.h"
#include "server/rpc/redrive_rpc.h"
#include "tests/support/streams.h"
#include "tests/unit/rpc/rpc_broker.h"

namespace mqd::rpc {
namespace {

using ::testing::HasSubstr;

class NamespaceRedriveTest : public ::testing::Test {
 protected:
  template <class Request, class Response>
  using Method = grpc::Status (v1::AdminService::Stub::*)(grpc::ClientContext*, const Request&,
                                                          Response*);

  template <class Request, class Response>
  grpc::Status Call(Method<Request, Response> method, const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    return (admin_.get()->*method)(&context, request, &response);
  }
  void Publish(const std::string& queue, int count) {
    v1::PublishRequest request;
    request.set_queue(queue);
    for (int i = 0; i < count; ++i) request.add_messages()->set_payload("m");
    v1::PublishResponse response;
    grpc::ClientContext context;
    const grpc::Status status = broker_.stub().Publish(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  const Authorizer everyone_;
  RpcBroker broker_{everyone_};
  const std::unique_ptr<v1::AdminService::Stub> admin_ =
      v1::AdminService::NewStub(broker_.channel());
};

using Stub = v1::AdminService::Stub;

TEST_F(NamespaceRedriveTest, NamespaceIsCreatedListedUpdatedAndDeleted) {
  v1::CreateNamespaceRequest create;
  create.set_name("billing");
  create.mutable_quotas()->mutable_max_queues()->set_value(1);
  create.mutable_quotas()->mutable_max_bytes()->set_unlimited(true);
  v1::CreateNamespaceResponse created;
  ASSERT_TRUE(Call(&Stub::CreateNamespace, create, created).ok());
  EXPECT_TRUE(created.created());
  EXPECT_EQ(created.namespace_().quotas().max_queues().value(), 1u);
  EXPECT_TRUE(created.namespace_().quotas().max_messages().unlimited());
  EXPECT_GT(created.namespace_().create_time().seconds(), 0);
  broker_.Create("billing/a");
  broker_.Create("audit/a");
  Publish("billing/a", 3);
  v1::UpdateNamespaceRequest update;
  update.set_name("billing");
  update.mutable_quotas()->mutable_max_messages()->set_value(3);
  v1::UpdateNamespaceResponse updated;
  ASSERT_TRUE(Call(&Stub::UpdateNamespace, update, updated).ok());
  EXPECT_EQ(updated.namespace_().quotas().max_queues().value(), 1u);
  EXPECT_EQ(updated.namespace_().messages(), 3u);
  v1::ListNamespacesRequest list;
  list.set_page_size(1);
  v1::ListNamespacesResponse page;
  ASSERT_TRUE(Call(&Stub::ListNamespaces, list, page).ok());
  ASSERT_EQ(page.namespaces_size(), 1);
  EXPECT_EQ(page.namespaces(0).name(), "audit");
  EXPECT_FALSE(page.namespaces(0).has_create_time());
  EXPECT_EQ(page.next_page_token(), "audit");
  v1::GetNamespaceRequest get;
  get.set_name("billing");
  v1::GetNamespaceResponse got;
  ASSERT_TRUE(Call(&Stub::GetNamespace, get, got).ok());
  EXPECT_EQ(got.namespace_().queues(), 1u);
  v1::DeleteNamespaceRequest remove;
  remove.set_name("billing");
  v1::DeleteNamespaceResponse removed;
  const grpc::Status refused = Call(&Stub::DeleteNamespace, remove, removed);
  EXPECT_EQ(test::DetailOf(refused).reason(), v1::REASON_NAMESPACE_NOT_EMPTY);
  remove.set_force(true);
  ASSERT_TRUE(Call(&Stub::DeleteNamespace, remove, removed).ok());
  EXPECT_EQ(removed.deleted_queues(), 1u);
  EXPECT_EQ(test::DetailOf(Call(&Stub::GetNamespace, get, got)).reason(),
            v1::REASON_NAMESPACE_NOT_FOUND);
}

TEST_F(NamespaceRedriveTest, LimitWithoutItsValueIsRefusedByName) {
  v1::CreateNamespaceRequest create;
  create.set_name("billing");
  create.mutable_quotas()->mutable_max_bytes();
  v1::CreateNamespaceResponse created;
  const grpc::Status status = Call(&Stub::CreateNamespace, create, created);
  EXPECT_EQ(test::DetailOf(status).reason(), v1::REASON_BAD_FIELD);
  EXPECT_THAT(test::DetailOf(status).resource(), HasSubstr("max_bytes"));
  v1::ListNamespacesRequest list;
  list.set_page_size(limits::kPageSizeMax + 1);
  v1::ListNamespacesResponse page;
  EXPECT_EQ(test::DetailOf(Call(&Stub::ListNamespaces, list, page)).reason(), v1::REASON_BAD_FIELD);
}

TEST_F(NamespaceRedriveTest, RedriveIsStartedSeenAndCancelled) {
  broker_.Create("dead");
  broker_.Create("jobs");
  Publish("dead", 10);
  v1::StartRedriveRequest start;
  start.set_queue("dead");
  start.set_target("jobs");
  v1::StartRedriveResponse started;
  const grpc::Status status = Call(&Stub::StartRedrive, start, started);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(started.redrive().queue(), "default/dead");
  EXPECT_EQ(started.redrive().target(), "default/jobs");
  EXPECT_TRUE(started.redrive().max_rate().unlimited());
  v1::GetRedriveRequest get;
  get.set_task_id(started.redrive().task_id());
  v1::GetRedriveResponse got;
  do {
    ASSERT_TRUE(Call(&Stub::GetRedrive, get, got).ok());
  } while (got.redrive().state() == v1::REDRIVE_STATE_RUNNING);
  EXPECT_EQ(got.redrive().state(), v1::REDRIVE_STATE_DONE);
  EXPECT_EQ(got.redrive().moved(), 10u);
  EXPECT_TRUE(got.redrive().has_end_time());
  EXPECT_EQ(broker_.Stats("jobs").ready, 10u);
  v1::CancelRedriveRequest cancel;
  cancel.set_task_id(started.redrive().task_id());
  v1::CancelRedriveResponse cancelled;
  ASSERT_TRUE(Call(&Stub::CancelRedrive, cancel, cancelled).ok());
  EXPECT_EQ(cancelled.redrive().state(), v1::REDRIVE_STATE_DONE) << "it had ended";
  v1::ListRedrivesRequest list;
  v1::ListRedrivesResponse listed;
  ASSERT_TRUE(Call(&Stub::ListRedrives, list, listed).ok());
  EXPECT_EQ(listed.redrives_size(), 1);
  get.set_task_id("7");
  EXPECT_EQ(test::DetailOf(Call(&Stub::GetRedrive, get, got)).reason(), v1::REASON_TASK_NOT_FOUND);
  get.set_task_id("seven");
  EXPECT_EQ(test::DetailOf(Call(&Stub::GetRedrive, get, got)).reason(), v1::REASON_TASK_NOT_FOUND);
}

TEST(RedriveConvertTest, EveryFieldOfARequestArrivesAndIsShown) {
  v1::StartRedriveRequest start;
  start.set_queue("dead");
  start.set_target("jobs");
  start.mutable_filter()->set_origin("orders");
  start.mutable_filter()->set_reason_contains("max");
  start.mutable_filter()->mutable_dead_lettered_before()->set_seconds(20);
  start.mutable_filter()->mutable_dead_lettered_after()->set_seconds(10);
  start.mutable_filter()->set_max_messages(5);
  start.mutable_max_rate()->set_value(7);
  start.set_dry_run(true);
  auto record = FromProto(start);
  ASSERT_TRUE(record.ok()) << record.status();
  record->id = 17;
  record->state = 2;
  record->matched = 3;
  record->moved = 2;
  record->skipped = 1;
  record->error_reason = static_cast<std::uint8_t>(queue::Reason::kQueueFull);
  record->error = "full";
  EXPECT_EQ(ToProto(*record).ShortDebugString(),
            "task_id: \"17\" queue: \"default/dead\" target: \"default/jobs\" filter { origin: "
            "\"default/orders\" reason_contains: \"max\" dead_lettered_before { seconds: 20 } "
            "dead_lettered_after { seconds: 10 } max_messages: 5 } max_rate { value: 7 } dry_run: "
            "true state: REDRIVE_STATE_WAITING matched: 3 moved: 2 skipped: 1 start_time { } error "
            "{ reason: REASON_QUEUE_FULL retryable: true message: \"full\" }");
}

TEST(RedriveConvertTest, WhatCannotBeIsRefusedByName) {
  const auto refusal = [](auto change) {
    v1::StartRedriveRequest start;
    start.set_queue("dead");
    change(start);
    const auto record = FromProto(start);
    return record.ok() ? "" : queue::ErrorInfoOf(record.status()).resource;
  };
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_THAT(refusal([](auto& r) { r.set_queue("a/b/c"); }), HasSubstr("queue"));
  EXPECT_THAT(refusal([](auto& r) { r.set_target("-"); }), HasSubstr("queue"));
  EXPECT_THAT(refusal([](auto& r) { r.mutable_max_rate()->set_value(0); }), HasSubstr("max_rate"));
  EXPECT_THAT(refusal([](auto& r) { r.mutable_max_rate()->set_value(limits::kRateMax + 1); }),
              HasSubstr("max_rate"));
  EXPECT_THAT(refusal([](auto& r) {
                r.mutable_filter()->mutable_dead_lettered_after()->set_seconds(INT64_MAX);
              }),
              HasSubstr("dead_lettered_after"));
  EXPECT_THAT(
      refusal([](auto& r) { r.mutable_filter()->set_reason_contains(std::string(2'000, 'x')); }),
      HasSubstr("reason_contains"));
}

TEST(RedriveConvertTest, KeyPriorityAndTtlOfAStoredMessageCountAgainAndItsDelayDoesNot) {
  v1::PublishRequest holder;
  v1::Message& message = *holder.add_messages();
  message.set_ordering_key("k1");
  message.set_priority(7);
  message.mutable_ttl()->set_seconds(3);
  message.mutable_delay()->set_seconds(60);
  message.set_payload(std::string(2'000'000, 'p'));
  const std::string element = holder.SerializeAsString();
  const auto special = SpecialOfStored(element);
  ASSERT_TRUE(special.has_value());
  EXPECT_EQ(special->ordering_key, "k1");
  EXPECT_EQ(special->priority, 7u);
  EXPECT_EQ(special->ttl_ms, 3'000);
  EXPECT_EQ(special->delay_ms, 0);
  v1::PublishRequest plain;
  plain.add_messages()->set_payload("p");
  EXPECT_FALSE(SpecialOfStored(plain.SerializeAsString()).has_value());
}

}  // namespace
}  // namespace mqd::rpc
