#pragma once

// select.h: waits for whichever comes first: a message of one of several queues, a timeout, or a
// cancel; and runs the handler of just that arm.
//
// It is one pull style Consumer: one stream and one credit pool over all queues, and the broker
// chooses between them, by weight or by priority with an ageing floor.
//
// Threads:   any thread may call any method. Handlers run inside Wait() or Run(), on the caller's
//            thread; when several threads wait, in all of them. A handler may call Cancel().
// Ownership: yours. May outlive the Client object. Its destructor ends the stream; what was not
//            handed to a handler is ready again at the broker.
// Limits:    1 to 64 arms; SelectOptions::credit_messages.
//
//   auto select = *mqd::Select::Make(*client, {
//       .arms = {{.queue = {.queue = "urgent", .priority = 9}, .handler = Urgent},
//                {.queue = {.queue = "bulk", .priority = 1}, .handler = Bulk}},
//       .mode = mqd::SelectMode::kPriority,
//       .timeout = std::chrono::seconds(5),
//       .on_timeout = [] { std::puts("nothing for 5 s"); },
//       .on_cancel = [] { std::puts("asked to stop"); }});
//   std::thread signals([&] { WaitForSignal(); select->Cancel(); });
//   const absl::Status why = select->Run();  // OK: cancelled, or every queue has ended

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mqd/client.h"
#include "mqd/consumer.h"

namespace mqd {

/// One queue and what to do with its messages.
struct SelectArm {
  SelectQueue queue = {};
  /// As that of a Consumer: what it answers, or an exception, settles the message. Not empty.
  Handler handler = {};
};

struct SelectOptions {
  std::vector<SelectArm> arms = {};
  SelectMode mode = SelectMode::kWeighted;
  /// For kPriority: a queue that has messages is served at least that often; 0: the broker's 30 s.
  std::chrono::milliseconds ageing_floor{0};

  /// The timeout arm: how long one Wait() waits for a message. Not set: for ever. 0: not at all,
  /// which makes `on_timeout` the default arm.
  std::optional<std::chrono::milliseconds> timeout = {};
  std::function<void()> on_timeout = {};

  /// The cancel arm. It goes before messages that are there.
  std::function<void()> on_cancel = {};

  /// How many messages may be here unsettled, the one that is handled included. With 1 nothing is
  /// taken ahead while a handler runs, so that priority is exact, and each message costs a round
  /// trip. More is faster; so it must be when handlers keep deliveries to settle them later.
  std::uint32_t credit_messages = 1;
  /// As in ConsumerOptions.
  std::string client_name = {};
};

/// What a Wait() did.
struct Selected {
  enum class Kind : std::uint8_t {
    kMessage,  // a message of arm `arm` was handled
    kTimeout,
    kCancelled,
    kEnded,  // every queue is closed and empty: no arm can ever be chosen
  };
  Kind kind = Kind::kMessage;
  std::size_t arm = 0;  // by index of SelectOptions::arms
};

class Select {
 public:
  /// Opens the stream behind it. kInvalidArgument for options that cannot be.
  static absl::StatusOr<std::unique_ptr<Select>> Make(Client& client, SelectOptions options);

  Select(std::unique_ptr<Consumer> consumer, SelectOptions options);
  ~Select();
  Select(const Select&) = delete;
  Select& operator=(const Select&) = delete;

  /// Waits for one arm and runs its handler. An error, with no handler run, when the broker refused
  /// the stream for good: Reason::kQueueNotFound, kCardinality, kFenced.
  absl::StatusOr<Selected> Wait();

  /// Waits again and again, over timeouts too, until it is cancelled or every queue has ended (OK
  /// both), or an error as in Wait().
  absl::Status Run();

  /// Every Wait() from now on, and one that waits now, takes the cancel arm. A handler that runs
  /// ends first. Repeatable.
  void Cancel();

  /// The stream behind it, for Stats(), ConnectionStatus() and Drain().
  Consumer& consumer() { return *consumer_; }

 private:
  void Handle(Delivery delivery, std::size_t arm) const;
  std::size_t ArmOf(const Delivery& delivery) const;

  const SelectOptions options_;
  const std::unique_ptr<Consumer> consumer_;
};

}  // namespace mqd
