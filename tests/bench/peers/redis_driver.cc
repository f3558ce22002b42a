// redis_driver.cc: Redis Streams through hiredis. XADD in pipelines; one consumer group, whose
// members XACK and XDEL what they took, so that a stream does not grow.
//
// Confirm: the reply of XADD, which `appendfsync always` sends after the fsync.

#include <sys/time.h>

#include "hiredis/hiredis.h"
#include "tests/bench/peers/harness.h"

namespace mqd::bench {
namespace {

constexpr std::size_t kTakenMax = 512;  // by one XREADGROUP
constexpr const char* kGroup = "workers";

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

/// A command, word by word.
class Command {
 public:
  Command& Add(std::string_view word) {
    words_.push_back(word.data());
    sizes_.push_back(word.size());
    return *this;
  }
  void AppendTo(redisContext& context) const {
    const int count = static_cast<int>(words_.size());
    auto** words = const_cast<const char**>(words_.data());
    if (redisAppendCommandArgv(&context, count, words, sizes_.data()) != REDIS_OK) {
      Die(context.errstr);
    }
  }

 private:
  std::vector<const char*> words_;
  std::vector<std::size_t> sizes_;
};

Reply NextReply(redisContext& context) {
  void* reply = nullptr;
  if (redisGetReply(&context, &reply) != REDIS_OK) Die(context.errstr);
  Reply owned(static_cast<redisReply*>(reply));
  if (owned->type == REDIS_REPLY_ERROR) Die(owned->str);
  return owned;
}

Reply Call(redisContext& context, const Command& command) {
  command.AppendTo(context);
  return NextReply(context);
}

/// Writes all that was appended.
void Flush(redisContext& context) {
  int done = 0;
  while (done == 0) {
    if (redisBufferWrite(&context, &done) != REDIS_OK) Die(context.errstr);
  }
}

/// Reads once, and returns how many replies are whole. None may be an error.
std::uint32_t TakeReplies(redisContext& context) {
  if (redisBufferRead(&context) != REDIS_OK) Die(context.errstr);
  std::uint32_t count = 0;
  while (true) {
    void* reply = nullptr;
    if (redisGetReplyFromReader(&context, &reply) != REDIS_OK) Die(context.errstr);
    const Reply owned(static_cast<redisReply*>(reply));
    if (owned == nullptr) return count;
    if (owned->type == REDIS_REPLY_ERROR) Die(owned->str);
    ++count;
  }
}

std::string_view Text(const redisReply& reply) { return {reply.str, reply.len}; }

class RedisDriver final : public Driver {
 public:
  explicit RedisDriver(const Options& options) : options_(options) {}

  std::uint32_t Window(const Options& options) const override {
    return options.size <= 16'384 ? 1'024 : 64;
  }

  void MakeQueues(const std::vector<std::string>& queues) override {
    const Context context = Connect();
    for (const std::string& queue : queues) {
      Call(*context,
           Command().Add("XGROUP").Add("CREATE").Add(queue).Add(kGroup).Add("0").Add("MKSTREAM"));
    }
  }

  void DeleteQueues(const std::vector<std::string>& queues) override {
    const Context context = Connect();
    for (const std::string& queue : queues) Call(*context, Command().Add("UNLINK").Add(queue));
  }

  /// Sends without waiting for replies, which are taken as they come.
  void Produce(Source& source, const std::vector<std::string>& queues) override {
    const Context context = Connect();
    const std::size_t window = options_.window > 0 ? options_.window : Window(options_);
    source.AwaitStart();
    std::uint32_t next_confirm = 0;
    while (source.active()) {
      const auto wait = source.PublishDue(window, window, [&](const Source::Message& message) {
        Command()
            .Add("XADD")
            .Add(queues[message.number % queues.size()])
            .Add("*")
            .Add("m")
            .Add(message.payload)
            .AppendTo(*context);
      });
      Flush(*context);
      if (!Readable(context->fd, wait)) continue;
      const std::uint32_t count = TakeReplies(*context);
      source.Confirmed(next_confirm, count);
      next_confirm += count;
    }
  }

  void Consume(Sink& sink, const std::vector<std::string>& queues) override {
    const Context context = Connect();
    const std::string name = "consumer-" + std::to_string(next_consumer_.fetch_add(1));
    const std::string count = std::to_string(kTakenMax);
    Command take;
    take.Add("XREADGROUP").Add("GROUP").Add(kGroup).Add(name).Add("COUNT").Add(count);
    take.Add("BLOCK").Add("20").Add("STREAMS");
    for (const std::string& queue : queues) take.Add(queue);
    for (std::size_t i = 0; i < queues.size(); ++i) take.Add(">");
    sink.Ready();
    int acks = 0;  // replies to come before that of the next XREADGROUP
    while (sink.open()) {
      take.AppendTo(*context);
      for (; acks > 0; --acks) NextReply(*context);
      const Reply taken = NextReply(*context);
      if (taken->type != REDIS_REPLY_ARRAY) continue;
      for (std::size_t i = 0; i < taken->elements; ++i) {
        acks += TakeStream(sink, *context, *taken->element[i]);
      }
    }
    for (; acks > 0; --acks) NextReply(*context);
  }

 private:
  Context Connect() const {
    const HostPort at = ParseAddress(options_.address);
    Context context(redisConnect(at.host.c_str(), at.port));
    if (context == nullptr || context->err != 0) Die("cannot connect to redis");
    return context;
  }

  /// One stream's part of an XREADGROUP: its name, and entries of id and fields. Returns how many
  /// commands it left without a reply.
  static int TakeStream(Sink& sink, redisContext& context, const redisReply& stream) {
    const std::string_view queue = Text(*stream.element[0]);
    const redisReply& entries = *stream.element[1];
    Command ack;
    ack.Add("XACK").Add(queue).Add(kGroup);
    Command erase;
    erase.Add("XDEL").Add(queue);
    for (std::size_t i = 0; i < entries.elements; ++i) {
      const redisReply& entry = *entries.element[i];
      sink.Got(Text(*entry.element[1]->element[1]));
      ack.Add(Text(*entry.element[0]));
      erase.Add(Text(*entry.element[0]));
    }
    ack.AppendTo(context);
    erase.AppendTo(context);
    return 2;
  }

  const Options options_;
  std::atomic<int> next_consumer_{0};
};

}  // namespace
}  // namespace mqd::bench

int main(int argc, char** argv) {
  return mqd::bench::DriverMain(argc, argv, "redis", [](const mqd::bench::Options& options) {
    return std::make_unique<mqd::bench::RedisDriver>(options);
  });
}
