#pragma once

// consumer.h: leases messages of one or more queues and hands them to handler threads.
//
// One stream selects over all queues with one credit pool (select.h has a handler for each). Credit
// starts small, grows with the throughput, and shrinks when handlers are slow, so that a message
// never waits in the buffer for more than a fraction of its lease. Leases of running handlers and
// of buffered messages are prolonged. Acks are merged into ranges and sent when the write before
// has completed. The stream is kept alive by pings and reopened with backoff; buffered messages of
// a broken stream are dropped (the broker releases them), running handlers go on and their settles
// are sent over the next stream, where the broker accepts those whose lease still stands.
//
// Threads:   any thread may call any method. Handlers run on the consumer's own `concurrency`
//            threads, one message at a time on each. on_* callbacks run one at a time on the
//            Client's callback thread and must not block.
// Ownership: yours. May outlive the Client object. The destructor is Stop().
// Limits:    1 to 64 queues; buffered messages and bytes within the credit granted
//            (credit_messages_max, credit_bytes_max and the broker's own limits).
//
// Deliveries of a queue with DeliveryMode::kAtMostOnce have no lease and nothing to settle: they
// are kept over a broken stream, and what is buffered when the consumer drains or stops is lost
// (ConsumerStats::lost). Grant little credit to such a queue.

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "mqd/delivery.h"

namespace mqd {

/// One queue of a select.
struct SelectQueue {
  std::string queue = {};      // "namespace/queue"; "default/" may be left out
  std::uint32_t weight = 1;    // 1 to 1,000, for kWeighted
  std::uint32_t priority = 0;  // greater goes first, for kPriority
};

enum class SelectMode : std::uint8_t {
  kWeighted,  // each queue in proportion to its weight
  kPriority,  // the higher priority first, but each at least every ageing_floor
};

/// What to do with a delivery: a function of Delivery& that answers an Outcome, or nothing, which
/// is an ack unless it settled the delivery itself. A std::exception that leaves it is a Retry with
/// its text as the error.
class Handler {
 public:
  Handler() = default;
  template <class F>
  requires(std::invocable<F&, Delivery&> && !std::same_as<std::remove_cvref_t<F>, Handler>)
      Handler(F function) {  // NOLINT(google-explicit-constructor): a lambda is a handler
    if constexpr (std::is_void_v<std::invoke_result_t<F&, Delivery&>>) {
      run_ = [call = std::move(function)](Delivery& delivery) mutable {
        call(delivery);
        return Outcome::Ack();
      };
    } else {
      run_ = std::move(function);
    }
  }

  Outcome operator()(Delivery& delivery) const { return run_(delivery); }
  explicit operator bool() const { return static_cast<bool>(run_); }

 private:
  std::function<Outcome(Delivery&)> run_;
};

/// A settle that the broker did not accept.
struct SettleError {
  std::string queue = {};
  std::uint64_t first_delivery_id = 0;
  std::uint64_t last_delivery_id = 0;
  absl::Status status = {};  // mostly Reason::kStaleDelivery
};

struct ConsumerOptions {
  std::vector<SelectQueue> queues = {};
  SelectMode select_mode = SelectMode::kWeighted;
  /// For kPriority: a queue that has messages is served at least that often; 0: the broker's 30 s.
  std::chrono::milliseconds ageing_floor{0};

  /// Shown by Admin::ListClients and Explain, in dead letters and errors; at most 128 bytes. Empty:
  /// ClientOptions::client_name.
  std::string client_name = {};

  /// Empty: pull style, with Consumer::Next().
  Handler handler = {};
  /// Handler threads; positive. They may call handler at the same time.
  std::uint32_t concurrency = 1;

  /// Credit granted at first, and at most. All positive.
  std::uint32_t credit_messages_initial = 16;
  std::uint32_t credit_messages_max = 8'192;
  std::uint64_t credit_bytes_initial = 4U << 20;
  std::uint64_t credit_bytes_max = 64U << 20;
  /// Credit shrinks until a buffered message waits no longer than this share of its lease.
  double buffered_lease_share = 0.25;

  /// How many messages of one ordering_key a KEYED queue sends ahead; 1 to 1,024. When one is given
  /// back, or its lease is lost, the broker takes back those behind it. Those of a key, also of a
  /// STICKY queue's, are handled one at a time, in order.
  std::uint32_t in_flight_per_key = 256;

  /// A handler's lease is prolonged until it has run this long; then the lease may run out.
  std::chrono::milliseconds lease_total_max{std::chrono::hours(12)};

  /// When a queue's max_consumers is reached the one that was here longest is fenced off: it is
  /// told kFenced, and does not come back. So with every stream that this consumer opens.
  bool take_over = false;

  /// Tells the broker when a handler begins with a message, so that it charges no attempt for those
  /// that none had begun when this process died, and may recall them. Without it every delivery
  /// handed over counts as begun.
  bool marks_started = true;

  /// The queue is closed and its last message settled: nothing more will come from it.
  std::function<void(std::string_view queue)> on_end_of_queue = {};
  std::function<void(const SettleError& error)> on_settle_error = {};
  /// The stream broke (and is being reopened), was refused for good, or stands again (OK).
  std::function<void(const absl::Status& status)> on_connection = {};
};

/// Counts since the consumer was made.
struct ConsumerStats {
  std::uint64_t delivered = 0;  // came in
  std::uint64_t handled = 0;    // handed to a handler or Next()
  std::uint64_t settled = 0;    // confirmed by the broker
  std::uint64_t stale = 0;      // settles refused: the lease was lost
  std::uint64_t lease_lost = 0;
  std::uint64_t recalled = 0;
  std::uint64_t dropped_on_reconnect = 0;  // buffered when a stream broke
  std::uint64_t lost = 0;                  // AT_MOST_ONCE: buffered at the drain or stop
  std::uint64_t handler_exceptions = 0;
  std::uint64_t connects = 0;
  std::uint64_t buffered = 0;
  std::uint64_t running = 0;          // handed over, not settled yet
  std::uint64_t credit_messages = 0;  // the present target
  std::uint64_t credit_bytes = 0;
};

/// What a drain left behind.
struct DrainCounts {
  std::uint64_t settled = 0;
  std::uint64_t released = 0;
  std::uint64_t abandoned = 0;  // still running at the deadline
};

class Consumer {
 public:
  explicit Consumer(std::shared_ptr<client::ConsumerCore> core);  // made by Client::NewConsumer
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  /// Pull style: the next message, waiting up to `timeout`. Fails with
  ///   kDeadlineExceeded    none came
  ///   kOutOfRange          every queue has ended (end_of_queue)
  ///   kCancelled           CancelNext(), Stop() or Drain() was called
  ///   kFailedPrecondition  a handler is set
  ///   any other            the broker refused the stream for good (ConnectionStatus())
  absl::StatusOr<Delivery> Next(std::chrono::milliseconds timeout);

  /// A Next() that waits, and every later one, answers kCancelled at once. Does not block; the
  /// stream stands on, so that what was handed out can be settled.
  void CancelNext();

  /// Takes nothing new, gives back what no handler has begun, waits up to `deadline` for running
  /// handlers and their settles, then ends the stream. Not to be called from a handler. Fails with
  /// kDeadlineExceeded when the broker did not answer in time, kUnavailable when the stream broke.
  absl::StatusOr<DrainCounts> Drain(std::chrono::milliseconds deadline);

  /// Ends the stream and the handler threads: waits for running handlers, sends settles they left
  /// if that can be done within a second, and drops the rest: the broker releases what was not
  /// begun. When it returns, as when the destructor does, all callbacks have run and none will,
  /// unless a callback has called it. Repeatable. Not to be called from a handler.
  void Stop();

  /// OK while the stream stands or will; else the error that ended it for good.
  absl::Status ConnectionStatus() const;

  ConsumerStats Stats() const;

 private:
  std::shared_ptr<client::ConsumerCore> core_;
};

}  // namespace mqd
