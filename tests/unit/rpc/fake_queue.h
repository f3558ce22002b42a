#pragma once

// fake_queue.h: queues that do nothing by themselves. They keep what the edge asks of them, and the
// test says what they answer.
//
// Threads: any; a Wait...() returns when the edge has asked.
// Ownership: FakeRegistry shares its queues with the test. Sinks are kept until their detach.

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "asio/system_executor.hpp"
#include "server/queue/queue_registry.h"
#include "storage/memory_store.h"

namespace mqd::rpc {

class FakeQueue final : public queue::QueueActor {
 public:
  FakeQueue(queue::QueueId id, std::string name) : id_(id), name_(std::move(name)) {}

  queue::QueueId id() const override { return id_; }
  const std::string& name() const override { return name_; }

  // ---- what the test reads and sets
  template <class Wanted>
  Wanted WaitFor() {
    std::unique_lock lock(mutex_);
    for (;;) {
      for (auto at = events_.begin(); at != events_.end(); ++at) {
        if (!std::holds_alternative<Wanted>(*at)) continue;
        Wanted wanted = std::get<Wanted>(std::move(*at));
        events_.erase(at);
        return wanted;
      }
      changed_.wait(lock);
    }
  }
  std::shared_ptr<queue::PublishSink> publisher() { return Get(publish_sink_); }
  std::shared_ptr<queue::ConsumeSink> consumer() { return Get(consume_sink_); }

  /// Sessions own their queue, so that one that keeps them keeps itself.
  void LetGo() {
    Keep(publish_sink_, std::shared_ptr<queue::PublishSink>());
    Keep(consume_sink_, std::shared_ptr<queue::ConsumeSink>());
  }

  queue::CancelResult cancel_result;
  queue::PeekedMessage found;
  queue::DedupInfo dedup;
  std::vector<queue::HistoryEntry> history;
  queue::ClientList clients;
  std::vector<queue::Explanation> explanations;

  // ---- of QueueActor
  void Attach(queue::AttachPublisher attach, std::shared_ptr<queue::PublishSink> sink) override {
    Keep(publish_sink_, sink);
    Post(std::move(attach));
    sink->OnAttached(queue::AttachedPublisher{});
  }
  void Attach(queue::AttachConsumer attach, std::uint32_t slot,
              std::shared_ptr<queue::ConsumeSink> sink) override {
    Keep(consume_sink_, sink);
    Post(std::move(attach));
    sink->OnAttached(slot, 30'000);
  }
  void Post(queue::Event event) override {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    changed_.notify_all();
  }

  void Settle(std::vector<queue::SettleEntry>, Callback<queue::SettleResult> done) override {
    done(queue::SettleResult{});
  }
  void Close(Callback<queue::QueueInfo> done) override { Refuse(done); }
  void Reopen(Callback<queue::QueueInfo> done) override { Refuse(done); }
  void Purge(bool, Callback<std::uint64_t> done) override { Refuse(done); }
  void Update(queue::QueueSettings, std::uint64_t, Callback<queue::QueueInfo> done) override {
    Refuse(done);
  }
  void Info(Callback<queue::QueueInfo> done) override { done(queue::QueueInfo{.name = name_}); }
  void PeekMessages(queue::Peek peek, Callback<std::vector<queue::PeekedMessage>> done) override {
    Post(peek);
    done(std::vector<queue::PeekedMessage>{found});
  }
  void Delete(bool, Callback<std::uint64_t> done) override { Refuse(done); }
  void Cancel(std::vector<queue::Sequence> sequences, Callback<queue::CancelResult> done) override {
    Post(queue::CancelMessages{.sequences = std::move(sequences)});
    done(cancel_result);
  }
  void Find(queue::FindMessage find, Callback<queue::PeekedMessage> done) override {
    Post(find);
    done(found);
  }
  void ShowDedup(queue::KeyHash key, Callback<queue::DedupInfo> done) override {
    Post(queue::GetDedup{.key = key});
    done(dedup);
  }
  void ForgetDedupKey(queue::KeyHash key, Callback<queue::DedupInfo> done) override {
    Post(queue::ForgetDedup{.key = key});
    done(dedup);
  }
  void History(queue::Sequence sequence, std::uint32_t limit,
               Callback<std::vector<queue::HistoryEntry>> done) override {
    Post(queue::GetHistory{.sequence = sequence, .limit = limit});
    done(history);
  }
  void Clients(Callback<queue::ClientList> done) override { done(clients); }
  void Why(queue::ExplainSubject subject, Callback<std::vector<queue::Explanation>> done) override {
    Post(queue::Explain{.subject = std::move(subject)});
    done(explanations);
  }

  void Prepare(queue::PrepareTransaction,
               absl::AnyInvocable<void(queue::TransactionPrepared)>) override {}
  void Commit(queue::CommitTransaction, absl::AnyInvocable<void(CommitOutcome)>) override {}
  void End(queue::EndTransaction) override {}
  void Rebuild() override {}

 private:
  template <class T>
  static void Refuse(Callback<T>& done) {
    done(absl::UnimplementedError("not of this queue"));
  }
  template <class Sink>
  void Keep(std::shared_ptr<Sink>& kept, std::shared_ptr<Sink> sink) {
    const std::lock_guard lock(mutex_);
    kept.swap(sink);  // the one before may end with this call, after the lock
  }
  template <class Sink>
  std::shared_ptr<Sink> Get(std::shared_ptr<Sink>& kept) {
    const std::lock_guard lock(mutex_);
    return kept;
  }

  const queue::QueueId id_;
  const std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<queue::Event> events_;
  std::shared_ptr<queue::PublishSink> publish_sink_;  // of who attached last
  std::shared_ptr<queue::ConsumeSink> consume_sink_;
};

class FakeRegistry final : public queue::QueueRegistry {
 public:
  std::shared_ptr<FakeQueue> Add(const std::string& name) {
    auto queue = std::make_shared<FakeQueue>(queues_.size() + 1, name);
    queues_[name] = queue;
    return queue;
  }

  absl::StatusOr<std::shared_ptr<queue::QueueActor>> Find(std::string_view name) const override {
    const auto found = queues_.find(std::string(name));
    if (found != queues_.end()) return found->second;
    return queue::ToStatus({.reason = queue::Reason::kQueueNotFound, .message = "no such queue"});
  }
  void Create(std::string, queue::QueueSettings,
              queue::QueueActor::Callback<queue::CreatedQueue> done) override {
    done(absl::UnimplementedError("not of this registry"));
  }
  void Delete(std::string_view, bool, queue::QueueActor::Callback<std::uint64_t> done) override {
    done(absl::UnimplementedError("not of this registry"));
  }
  std::vector<std::shared_ptr<queue::QueueActor>> List(std::string_view, std::string_view,
                                                       std::string_view,
                                                       std::size_t) const override {
    return {};
  }
  queue::NamespaceRegistry& namespaces() override { return namespaces_; }
  std::size_t size() const override { return queues_.size(); }
  std::uint64_t cached_body_bytes() const override { return 0; }
  std::chrono::milliseconds recovery_time() const override { return {}; }
  void Stop() override {
    for (auto& [name, queue] : queues_) queue->LetGo();
  }

 private:
  std::map<std::string, std::shared_ptr<FakeQueue>> queues_;
  storage::MemoryStore store_;
  queue::NamespaceRegistry namespaces_{
      {.store = store_, .pool = asio::system_executor(), .clock = {}, .queues = *this}};
};

}  // namespace mqd::rpc
