// timeline.cc: the heap of events and the trace.

#include "tests/simulation/timeline.h"

#include <algorithm>

#include "proto/base/assert.h"
#include "xxhash.h"

namespace mqd::simulation {
namespace {

Timeline* current_timeline = nullptr;

std::uint64_t Mix(std::uint64_t seed, std::string_view bytes) {
  return XXH64(bytes.data(), bytes.size(), seed);
}

std::uint64_t Mix(std::uint64_t seed, std::uint64_t number) {
  return XXH64(&number, sizeof(number), seed);
}

}  // namespace

Timeline::Timeline(std::uint64_t seed) : random_(seed) {
  MQD_ASSERT(current_timeline == nullptr);
  current_timeline = this;
}

Timeline::~Timeline() {
  epilogue_ = nullptr;
  Clear();
  current_timeline = nullptr;
}

Timeline* Timeline::current() { return current_timeline; }

void Timeline::At(std::int64_t steady_ns, Task task) {
  tasks_.emplace(std::pair(std::max(steady_ns, steady_ns_), ++serial_), std::move(task));
}

bool Timeline::Step(std::int64_t until_ns) {
  const auto next = tasks_.begin();
  if (next == tasks_.end() || next->first.first > until_ns) {
    steady_ns_ = std::max(steady_ns_, until_ns);
    return false;
  }
  steady_ns_ = std::max(steady_ns_, next->first.first);
  const Task task = std::move(next->second);
  tasks_.erase(next);
  ++steps_;
  task();
  if (epilogue_) epilogue_();
  return true;
}

void Timeline::RunUntil(std::int64_t until_ns) {
  while (Step(until_ns)) {
  }
}

void Timeline::Clear() {
  while (!tasks_.empty()) {  // what a task holds may give new ones as it goes
    const auto dropped = std::exchange(tasks_, {});
  }
}

void Timeline::Note(std::string_view what, std::uint64_t number, std::string_view bytes) {
  if (steady_ns_ != moment_ns_) {
    trace_ = trace();
    moment_ns_ = steady_ns_;
    moment_ = 0;
  }
  moment_ += Mix(Mix(Mix(0, what), number), bytes);
}

std::uint64_t Timeline::trace() const {
  return Mix(Mix(trace_, static_cast<std::uint64_t>(moment_ns_)), moment_);
}

std::int64_t Between(Random& random, std::int64_t least, std::int64_t most) {
  return least +
         static_cast<std::int64_t>(Below(random, static_cast<std::uint64_t>(most - least) + 1));
}

}  // namespace mqd::simulation
