#pragma once

// example.h: what every example begins and ends with: the broker's address from the command line,
// queues of its own that go away afterwards, and an end that says what was proved.
//
// Threads: Check(), OrFail() and Fail() any; the rest main.

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "mqd/admin.h"
#include "mqd/client.h"

namespace example {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long an example waits for what must come.
constexpr milliseconds kPatience = seconds(30);

[[noreturn]] inline void Fail(std::string_view what) {
  std::cerr << "failed: " << what << '\n';
  std::_Exit(1);  // other threads may be anywhere
}

/// Ends the program unless `promise` was kept.
inline void Check(bool promise, std::string_view what) {
  if (!promise) Fail(what);
}

inline void OrFail(const absl::Status& status) {
  if (!status.ok()) Fail(status.ToString());
}

template <class T>
T OrFail(absl::StatusOr<T> result) {
  OrFail(result.status());
  return *std::move(result);
}

/// `program [--addr] [HOST:PORT]`
inline std::string AddressOf(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return "127.0.0.1:6480";
  if (words.size() == 2 && words[0] == "--addr") return words[1];
  if (words.size() == 1 && !words[0].starts_with('-')) return words[0];
  std::cerr << "usage: " << argv[0] << " [--addr] [HOST:PORT]\n";
  std::exit(64);
}

/// A connection, and queues that are deleted with it.
class Broker {
 public:
  Broker(int argc, char** argv)
      : client_(OrFail(mqd::Client::Connect({.address = AddressOf(argc, argv)}))),
        admin_(client_->NewAdmin()) {}
  ~Broker() {
    for (const std::string& queue : queues_) (void)admin_->DeleteQueue(queue, true);
  }
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  mqd::Client& client() { return *client_; }
  mqd::Admin& admin() { return *admin_; }

  /// Makes a queue whose name no other run has.
  std::string NewQueue(const std::string& name, const mqd::QueueSettings& settings) {
    queues_.push_back("example-" + name + "-" + std::to_string(getpid()));
    OrFail(admin_->CreateQueue(queues_.back(), settings).status());
    return queues_.back();
  }

  std::unique_ptr<mqd::Publisher> NewPublisher(mqd::PublisherOptions options) {
    return OrFail(client_->NewPublisher(std::move(options)));
  }
  std::unique_ptr<mqd::Consumer> NewConsumer(mqd::ConsumerOptions options) {
    return OrFail(client_->NewConsumer(std::move(options)));
  }

  /// Takes `count` messages, acks them, and answers their payloads.
  std::vector<std::string> Take(const std::string& queue, std::size_t count) {
    std::vector<std::string> payloads;
    while (payloads.size() < count) {
      const auto left = static_cast<std::uint32_t>(count - payloads.size());
      const mqd::ReceiveResult received =
          OrFail(client_->Receive(queue, {.max_messages = left, .wait = kPatience}));
      Check(!received.messages.empty(), "a message of " + queue + " did not come");
      std::vector<mqd::SettleEntry> acks;
      for (const mqd::ReceivedMessage& message : received.messages) {
        payloads.push_back(message.message.payload);
        acks.push_back({message.delivery_id, message.delivery_id, mqd::Outcome::Ack()});
      }
      Check(OrFail(client_->Settle(queue, acks)).errors.empty(), "an ack was refused");
    }
    return payloads;
  }

 private:
  std::unique_ptr<mqd::Client> client_;
  std::unique_ptr<mqd::Admin> admin_;
  std::vector<std::string> queues_;
};

}  // namespace example
