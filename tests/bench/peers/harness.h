#pragma once

// harness.h: what all drivers share: numbered payloads at a rate, latencies, and the proof that
// every confirmed message arrived. A driver joins it to the client library of one system.
//
// Threads:   Driver::Produce() and Consume() have a thread for each producer and consumer.
//            Source: its producer's thread, but Confirmed() and Failed() any one at a time.
//            Sink::Got() any one at a time.
// Ownership: the harness owns sources and sinks; both outlive the driver's calls.
// Limits:    65,536 producers of 2^32 messages each; payloads of at least 10 bytes; runs of 71
//            minutes. Latencies are in microseconds; without a rate those of every eighth message.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/mqctl/histogram.h"
#include "nlohmann/json.hpp"

namespace mqd::bench {

/// When it was published, by whom, and its number.
inline constexpr std::size_t kPayloadBytesMin = 10;

struct Options {
  std::string address;  // HOST:PORT
  std::string kind;     // for systems with more than one kind of queue
  std::string name;     // what the names of queues begin with; empty: one of this run
  std::uint32_t producers = 1;
  std::uint32_t consumers = 1;
  std::uint32_t queues = 1;
  std::uint64_t size = 100;  // bytes of a payload
  double rate = 0;           // messages a second of all producers; 0: as fast as confirms come
  double seconds = 5;
  double warm_up = 1;
  std::uint32_t window = 0;   // unconfirmed messages of a producer; 0: what suits the driver
  std::uint64_t fill = 0;     // messages published before anything is measured
  bool consume_fill = false;  // the consumers begin before the fill, else after it
  int broker_pid = 0;         // whose CPU time is told; 0: none
  /// "all"; "fill" leaves the filled queues there; "drain" takes what such a run has left; "hold"
  /// connects everybody, publishes nothing, and waits for the end of standard input.
  std::string phase = "all";
  // For mqd only:
  std::string durability = "sync";
  bool idempotent = false;          // an idempotency key on every message
  std::uint64_t ordering_keys = 0;  // KEYED queues and so many keys; 0: plain ones
};

enum class Phase : std::uint8_t { kConnect, kFill, kFilled, kWarmUp, kMeasure, kEnd, kOver };

class Run;

/// Counts of one producer or consumer. Written by one thread at a time.
struct Tally {
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> failed{0};
  std::uint64_t measured = 0;      // done while Phase::kMeasure
  std::uint64_t out_of_order = 0;  // of one ordering key
  mqctl::Histogram latency;        // while Phase::kMeasure; in nanoseconds
};

/// What one producer publishes.
class Source {
 public:
  struct Message {
    std::uint32_t number;  // 0, 1, 2 ...
    std::string_view payload;
  };

  Source(Run& run, std::uint32_t producer);

  /// Waits until all producers are connected. To be called once, before what follows.
  void AwaitStart();
  /// Whether more shall be published, now or later.
  bool open() const;
  /// How many messages may be published now, at most `max`.
  std::size_t Due(std::size_t max);
  /// Until there may be more of them; at most 5 ms.
  std::chrono::microseconds UntilDue() const;
  /// Waits until a message is due. False: open() is.
  bool AwaitDue();
  /// For drivers that look after a socket: publishes with `publish` (a function of a Message) what
  /// is due and finds room among `window` unconfirmed ones, at most `burst` at once. Returns how
  /// long to wait for confirms before the next time; room is used once there is a quarter of it.
  template <class Publish>
  std::chrono::microseconds PublishDue(std::size_t window, std::size_t burst, Publish publish) {
    const std::size_t enough = interval_us_ > 0 ? 1 : window / 4;
    std::size_t room = window - unconfirmed();
    const std::size_t count = room < enough ? 0 : Due(std::min(room, burst));
    for (std::size_t i = 0; i < count; ++i) publish(Next());
    room -= count;
    return room < enough || (count == 0 && !open()) ? kFullWait : UntilDue();
  }
  /// Whether confirms are still waited for.
  bool active() const { return (open() || unconfirmed() > 0) && !overdue(); }
  /// The next one. Its payload is valid until the next call.
  Message Next();

  /// Each once, in any order.
  void Confirmed(std::uint32_t first, std::uint32_t count = 1);
  /// The system refused one.
  void Failed();
  std::uint64_t unconfirmed() const;
  /// Waits until there is none, or overdue().
  void AwaitConfirms();
  /// The end was a minute ago: stop waiting for confirms.
  bool overdue() const;

  std::uint32_t producer() const { return producer_; }
  const Tally& tally() const { return tally_; }
  std::uint64_t issued() const { return issued_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::chrono::microseconds kFullWait{5'000};

  std::int64_t NextDueUs() const;

  Run& run_;
  const std::uint32_t producer_;
  const double interval_us_;  // 0: no rate
  const std::uint64_t fill_;  // this producer's part of Options::fill
  const std::uint32_t times_mask_;
  std::int64_t begin_us_ = 0;  // the first message of the rate was due then
  std::uint64_t paced_ = 0;    // messages since
  std::string payload_;
  std::vector<std::atomic<std::uint32_t>> times_;  // when published, by number
  std::atomic<std::uint64_t> issued_{0};
  Tally tally_;
};

/// Where one consumer puts what it got.
class Sink {
 public:
  explicit Sink(Run& run) : run_(run) {}

  /// This consumer is connected.
  void Ready();
  bool open() const;
  void AwaitEnd();
  void Got(std::string_view payload);

  const Tally& tally() const { return tally_; }

 private:
  Run& run_;
  Tally tally_;
};

class Driver {
 public:
  virtual ~Driver() = default;

  /// Options::window, when it is 0.
  virtual std::uint32_t Window(const Options& options) const = 0;
  virtual void MakeQueues(const std::vector<std::string>& queues) = 0;
  virtual void DeleteQueues(const std::vector<std::string>& queues) = 0;
  /// Connects, AwaitStart()s, publishes message i to queue i modulo their number while the source
  /// is open, and then waits for the confirms that are missing.
  virtual void Produce(Source& source, const std::vector<std::string>& queues) = 0;
  /// Connects, says Ready(), takes and acks until the sink is closed.
  virtual void Consume(Sink& sink, const std::vector<std::string>& queues) = 0;
  /// More to tell, once all is over.
  virtual nlohmann::json Extra() const { return nlohmann::json::object(); }
};

/// Runs it, and answers what is to be printed.
nlohmann::json RunDriver(const Options& options, Driver& driver);

/// Source::Message::number, from its payload.
std::uint32_t NumberOf(std::string_view payload);

/// Ends the program with a reason on standard error.
[[noreturn]] void Die(std::string_view what);

/// Whether a socket has something to read, now or within that time.
bool Readable(int socket, std::chrono::microseconds wait);

/// HOST:PORT
struct HostPort {
  std::string host;
  int port = 0;
};
HostPort ParseAddress(std::string_view address);

/// The main of a driver: prints one JSON object, and returns 1 when a message was lost or has no
/// confirm.
int DriverMain(int argc, char** argv, const char* system,
               const std::function<std::unique_ptr<Driver>(const Options&)>& make);

}  // namespace mqd::bench
