// rabbitmq_driver.cc: RabbitMQ through librabbitmq: --kind quorum or classic. Persistent messages
// to durable queues, publisher confirms, and acks of many at once.
//
// Confirm: basic.ack; a quorum queue sends it after the fsync of its log.

#include <sys/time.h>

#include <deque>

#include "amqp.h"
#include "amqp_tcp_socket.h"
#include "tests/bench/peers/harness.h"

namespace mqd::bench {
namespace {

using std::chrono::microseconds;

constexpr amqp_channel_t kChannel = 1;
constexpr int kFrameBytes = 131'072;
constexpr std::size_t kBurst = 64;        // publishes between two looks for confirms
constexpr std::uint64_t kAckEvery = 128;  // deliveries, unless there is nothing to read
constexpr microseconds kConsumeWait{20'000};

timeval ToTimeval(microseconds duration) {
  return {.tv_sec = duration.count() / 1'000'000, .tv_usec = duration.count() % 1'000'000};
}

amqp_bytes_t BytesOf(std::string_view text) {
  return {.len = text.size(), .bytes = const_cast<char*>(text.data())};
}

/// A connection with one channel.
class Session {
 public:
  explicit Session(const HostPort& at) : state_(amqp_new_connection()) {
    amqp_socket_t* socket = amqp_tcp_socket_new(state_);
    if (socket == nullptr || amqp_socket_open(socket, at.host.c_str(), at.port) != AMQP_STATUS_OK) {
      Die("cannot connect to rabbitmq");
    }
    Check(amqp_login(state_, "/", 0, kFrameBytes, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
          "login");
    amqp_channel_open(state_, kChannel);
    CheckReply("channel.open");
  }
  ~Session() {
    amqp_connection_close(state_, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(state_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  amqp_connection_state_t get() const { return state_; }
  void CheckReply(const char* what) { Check(amqp_get_rpc_reply(state_), what); }

  /// Whether there is something to read. The library's own timeouts are whole milliseconds.
  bool Await(microseconds wait) const {
    return SomethingToRead() || Readable(amqp_get_sockfd(state_), wait);
  }
  /// False when there is no frame.
  bool Read(amqp_frame_t& frame) {
    const timeval timeout{};
    amqp_maybe_release_buffers(state_);
    const int status = amqp_simple_wait_frame_noblock(state_, &frame, &timeout);
    if (status == AMQP_STATUS_TIMEOUT) return false;
    if (status != AMQP_STATUS_OK) Die(amqp_error_string2(status));
    return true;
  }
  bool SomethingToRead() const {
    return amqp_frames_enqueued(state_) != 0 || amqp_data_in_buffer(state_) != 0;
  }

 private:
  static void Check(const amqp_rpc_reply_t& reply, const char* what) {
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) Die(std::string("rabbitmq refused ") + what);
  }

  const amqp_connection_state_t state_;
};

/// Which messages are confirmed, when acks may name one, or all up to one, in any order. One queue
/// of many may be late by any number of messages.
class Confirms {
 public:
  explicit Confirms(Source& source) : source_(source) {}

  void Ack(std::uint64_t tag, bool multiple) {  // tags begin with 1
    if (multiple) {
      std::uint32_t run = 0;
      while (oldest_ < tag) {
        if (PassOldest()) {
          Flush(oldest_ - 1, run);
        } else {
          ++run;
        }
      }
      Flush(oldest_, run);
    } else {
      source_.Confirmed(static_cast<std::uint32_t>(tag - 1));
      const std::size_t place = tag - 1 - oldest_;
      if (known_.size() <= place) known_.resize(place + 1);
      known_[place] = true;
    }
    while (!known_.empty() && known_.front()) PassOldest();
  }

 private:
  /// Whether it was confirmed alone.
  bool PassOldest() {
    ++oldest_;
    if (known_.empty()) return false;
    const bool known = known_.front();
    known_.pop_front();
    return known;
  }
  void Flush(std::uint64_t end, std::uint32_t& run) {
    if (run > 0) source_.Confirmed(static_cast<std::uint32_t>(end - run), run);
    run = 0;
  }

  Source& source_;
  std::deque<bool> known_;    // from the oldest on: confirmed alone
  std::uint64_t oldest_ = 0;  // the first that is not confirmed
};

class RabbitDriver final : public Driver {
 public:
  explicit RabbitDriver(const Options& options) : options_(options) {
    if (options.kind != "quorum" && options.kind != "classic") Die("--kind: quorum or classic");
  }

  std::uint32_t Window(const Options& options) const override {
    return options.size <= 16'384 ? 2'048 : 64;
  }

  void MakeQueues(const std::vector<std::string>& queues) override {
    Session session(ParseAddress(options_.address));
    amqp_table_entry_t type{};
    type.key = amqp_cstring_bytes("x-queue-type");
    type.value.kind = AMQP_FIELD_KIND_UTF8;
    type.value.value.bytes = BytesOf(options_.kind);
    const amqp_table_t arguments{.num_entries = 1, .entries = &type};
    for (const std::string& queue : queues) {
      constexpr amqp_boolean_t kPassive = 0, kDurable = 1, kExclusive = 0, kAutoDelete = 0;
      amqp_queue_declare(session.get(), kChannel, BytesOf(queue), kPassive, kDurable, kExclusive,
                         kAutoDelete, arguments);
      session.CheckReply("queue.declare");
    }
  }

  void DeleteQueues(const std::vector<std::string>& queues) override {
    Session session(ParseAddress(options_.address));
    for (const std::string& queue : queues) {
      amqp_queue_delete(session.get(), kChannel, BytesOf(queue), 0, 0);
      session.CheckReply("queue.delete");
    }
  }

  void Produce(Source& source, const std::vector<std::string>& queues) override {
    Session session(ParseAddress(options_.address));
    amqp_confirm_select(session.get(), kChannel);
    session.CheckReply("confirm.select");
    const std::size_t window = options_.window > 0 ? options_.window : Window(options_);
    Confirms confirms(source);
    source.AwaitStart();
    while (source.active()) {
      const microseconds wait = source.PublishDue(
          window, kBurst,
          [&](const Source::Message& message) { Publish(session, message, queues); });
      if (session.Await(wait)) ReadConfirms(session, source, confirms);
    }
  }

  void Consume(Sink& sink, const std::vector<std::string>& queues) override {
    Session session(ParseAddress(options_.address));
    const std::uint16_t prefetch = options_.size <= 16'384 ? 2'000 : 64;
    amqp_basic_qos(session.get(), kChannel, 0, prefetch, 0);
    session.CheckReply("basic.qos");
    for (const std::string& queue : queues) {
      constexpr amqp_boolean_t kNoLocal = 0, kNoAck = 0, kExclusive = 0;
      amqp_basic_consume(session.get(), kChannel, BytesOf(queue), amqp_empty_bytes, kNoLocal,
                         kNoAck, kExclusive, amqp_empty_table);
      session.CheckReply("basic.consume");
    }
    sink.Ready();
    const std::uint64_t ack_every = std::min<std::uint64_t>(kAckEvery, prefetch / 4);
    std::uint64_t unacked = 0;
    std::uint64_t last_tag = 0;
    while (sink.open()) {
      if (unacked >= ack_every || (unacked > 0 && !session.SomethingToRead())) {
        amqp_basic_ack(session.get(), kChannel, last_tag, 1);
        unacked = 0;
      }
      amqp_envelope_t envelope{};
      const timeval timeout = ToTimeval(kConsumeWait);
      amqp_maybe_release_buffers(session.get());
      const amqp_rpc_reply_t reply = amqp_consume_message(session.get(), &envelope, &timeout, 0);
      if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
          reply.library_error == AMQP_STATUS_TIMEOUT) {
        continue;
      }
      if (reply.reply_type != AMQP_RESPONSE_NORMAL) Die("rabbitmq ended a consumer");
      const amqp_bytes_t& body = envelope.message.body;
      sink.Got({static_cast<const char*>(body.bytes), body.len});
      last_tag = envelope.delivery_tag;
      ++unacked;
      amqp_destroy_envelope(&envelope);
    }
  }

 private:
  static void Publish(Session& session, const Source::Message& message,
                      const std::vector<std::string>& queues) {
    amqp_basic_properties_t properties{};
    properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties.delivery_mode = AMQP_DELIVERY_PERSISTENT;
    const std::string& queue = queues[message.number % queues.size()];
    const int status = amqp_basic_publish(session.get(), kChannel, amqp_empty_bytes, BytesOf(queue),
                                          0, 0, &properties, BytesOf(message.payload));
    if (status != AMQP_STATUS_OK) Die(amqp_error_string2(status));
  }

  /// All that are there.
  static void ReadConfirms(Session& session, Source& source, Confirms& confirms) {
    amqp_frame_t frame{};
    while (session.Read(frame)) {
      if (frame.frame_type != AMQP_FRAME_METHOD) continue;
      const amqp_method_t& method = frame.payload.method;
      if (method.id == AMQP_BASIC_ACK_METHOD) {
        const auto* ack = static_cast<const amqp_basic_ack_t*>(method.decoded);
        confirms.Ack(ack->delivery_tag, ack->multiple != 0);
      } else if (method.id == AMQP_BASIC_NACK_METHOD) {
        source.Failed();
      } else {
        Die("rabbitmq closed the channel");
      }
    }
  }

  const Options options_;
};

}  // namespace
}  // namespace mqd::bench

int main(int argc, char** argv) {
  return mqd::bench::DriverMain(argc, argv, "rabbitmq", [](const mqd::bench::Options& options) {
    return std::make_unique<mqd::bench::RabbitDriver>(options);
  });
}
