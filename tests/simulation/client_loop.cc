// client_loop.cc: client/loop.h and client/connection.h on virtual time, without threads, channels
// and chance.

#include <utility>

#include "client/connection.h"
#include "proto/base/assert.h"
#include "tests/simulation/timeline.h"

namespace mqd::client {
namespace {

std::int64_t NsOf(Time time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

struct Loop::State {};

Loop::Loop() : state_(std::make_shared<State>()) {}

Loop::~Loop() = default;

void Loop::Post(Task task) { PostAt(Clock::now(), std::move(task)); }

void Loop::PostAt(Time time, Task task) {
  simulation::Timeline::current()->At(
      NsOf(time), [alive = std::weak_ptr<State>(state_), task = std::move(task)] {
        if (!alive.expired()) task();
      });
}

/// All that is due now has then run.
void Loop::WaitForPosted() {
  bool reached = false;
  Post([&reached] { reached = true; });
  while (!reached && simulation::Timeline::current()->Step(NsOf(Clock::now()))) {
  }
}

Connection::Connection(ClientOptions options) : options_(std::move(options)) {}

/// The simulated network has no use for one.
std::shared_ptr<grpc::Channel> Connection::NextChannel() { return nullptr; }

double Connection::Random() {
  constexpr double kAll = 18446744073709551616.0;  // 2^64
  return static_cast<double>(simulation::Timeline::current()->Seed()) / kAll;
}

std::string Connection::RandomId() {
  std::string id;
  for (int half = 0; half < 2; ++half) {
    const std::uint64_t word = simulation::Timeline::current()->Seed();
    id.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  return id;
}

}  // namespace mqd::client
