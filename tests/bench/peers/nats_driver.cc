// nats_driver.cc: NATS JetStream through libnats: one stream with file storage and work queue
// retention a queue, asynchronous publishes, and a push consumer whose members ack one by one.
//
// Confirm: the server's publish ack. It says that the message is written; nats-server 2.9 has no
// setting to fsync before it.

#include <cstring>
#include <mutex>

#include "nats/nats.h"
#include "tests/bench/peers/harness.h"

namespace mqd::bench {
namespace {

constexpr const char* kGroup = "workers";
constexpr std::int64_t kMinuteMs = 60'000;
constexpr std::int64_t kMinuteNs = kMinuteMs * 1'000'000;

void OrDie(natsStatus status, const char* what) {
  if (status == NATS_OK) return;
  const char* last = nats_GetLastError(nullptr);
  Die(std::string(what) + ": " + natsStatus_GetText(status) + ", " + (last ? last : ""));
}

/// A connection and its JetStream context.
class Session {
 public:
  Session(const Options& options, Source* source, std::uint32_t window) {
    natsOptions* connect = nullptr;
    OrDie(natsOptions_Create(&connect), "options");
    natsOptions_SetURL(connect, ("nats://" + options.address).c_str());
    // Without it what is published waits up to a millisecond for more: right for throughput only.
    natsOptions_SetSendAsap(connect, options.rate > 0);
    OrDie(natsConnection_Connect(&connection_, connect), "connect to nats");
    natsOptions_Destroy(connect);
    jsOptions context;
    jsOptions_Init(&context);
    context.Wait = kMinuteMs;
    context.PublishAsync.MaxPending = window;
    context.PublishAsync.StallWait = kMinuteMs;
    context.PublishAsync.AckHandler = OnAck;
    context.PublishAsync.AckHandlerClosure = source;
    OrDie(natsConnection_JetStream(&jetstream_, connection_, &context), "JetStream");
  }
  ~Session() {
    jsCtx_Destroy(jetstream_);
    natsConnection_Destroy(connection_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  jsCtx* jetstream() const { return jetstream_; }

 private:
  static void OnAck(jsCtx*, natsMsg* message, jsPubAck* ack, jsPubAckErr*, void* closure) {
    auto& source = *static_cast<Source*>(closure);
    if (ack != nullptr) {
      source.Confirmed(NumberOf({natsMsg_GetData(message), kPayloadBytesMin}));
    } else {
      source.Failed();
    }
    natsMsg_Destroy(message);
  }

  natsConnection* connection_ = nullptr;
  jsCtx* jetstream_ = nullptr;
};

/// A consumer's part of one or more queues; each subscription has a thread of the library.
struct Member {
  Sink& sink;
  std::mutex mutex;

  static void OnMessage(natsConnection*, natsSubscription*, natsMsg* message, void* closure) {
    auto& member = *static_cast<Member*>(closure);
    {
      const std::lock_guard lock(member.mutex);
      const auto size = static_cast<std::size_t>(natsMsg_GetDataLength(message));
      member.sink.Got({natsMsg_GetData(message), size});
    }
    natsMsg_Ack(message, nullptr);
    natsMsg_Destroy(message);
  }
};

class NatsDriver final : public Driver {
 public:
  explicit NatsDriver(const Options& options) : options_(options) {}

  std::uint32_t Window(const Options& options) const override {
    return options.size <= 16'384 ? 4'096 : 64;
  }

  void MakeQueues(const std::vector<std::string>& queues) override {
    const Session session(options_, nullptr, 1);
    for (const std::string& queue : queues) {
      const char* subject = queue.c_str();
      jsStreamConfig stream;
      jsStreamConfig_Init(&stream);
      stream.Name = queue.c_str();
      stream.Subjects = &subject;
      stream.SubjectsLen = 1;
      stream.Retention = js_WorkQueuePolicy;
      stream.Storage = js_FileStorage;
      OrDie(js_AddStream(nullptr, session.jetstream(), &stream, nullptr, nullptr), "add a stream");
    }
  }

  void DeleteQueues(const std::vector<std::string>& queues) override {
    const Session session(options_, nullptr, 1);
    for (const std::string& queue : queues) {
      OrDie(js_DeleteStream(session.jetstream(), queue.c_str(), nullptr, nullptr), "delete");
    }
  }

  void Produce(Source& source, const std::vector<std::string>& queues) override {
    const Session session(options_, &source,
                          options_.window > 0 ? options_.window : Window(options_));
    source.AwaitStart();
    while (source.AwaitDue()) {
      const Source::Message message = source.Next();
      const std::string& subject = queues[message.number % queues.size()];
      OrDie(js_PublishAsync(session.jetstream(), subject.c_str(), message.payload.data(),
                            static_cast<int>(message.payload.size()), nullptr),
            "publish");
    }
    source.AwaitConfirms();
  }

  void Consume(Sink& sink, const std::vector<std::string>& queues) override {
    const Session session(options_, nullptr, 1);
    Member member{sink, {}};
    std::vector<natsSubscription*> subscriptions;
    for (const std::string& queue : queues) {
      jsSubOptions options;
      jsSubOptions_Init(&options);
      options.Stream = queue.c_str();
      options.Queue = kGroup;
      options.ManualAck = true;
      options.Config.Durable = kGroup;
      options.Config.AckPolicy = js_AckExplicit;
      options.Config.AckWait = kMinuteNs;
      options.Config.MaxAckPending = options_.size <= 16'384 ? 8'192 : 32;
      natsSubscription* subscription = nullptr;
      OrDie(js_Subscribe(&subscription, session.jetstream(), queue.c_str(), Member::OnMessage,
                         &member, nullptr, &options, nullptr),
            "subscribe");
      subscriptions.push_back(subscription);
    }
    sink.Ready();
    sink.AwaitEnd();
    for (natsSubscription* subscription : subscriptions) {
      natsSubscription_DrainTimeout(subscription, kMinuteMs);
      natsSubscription_WaitForDrainCompletion(subscription, kMinuteMs);
      natsSubscription_Destroy(subscription);
    }
  }

 private:
  const Options options_;
};

}  // namespace
}  // namespace mqd::bench

int main(int argc, char** argv) {
  return mqd::bench::DriverMain(argc, argv, "nats", [](const mqd::bench::Options& options) {
    return std::make_unique<mqd::bench::NatsDriver>(options);
  });
}
