#include "tests/bench/peers/harness.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <bit>
#include <condition_variable>
#include <cstring>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>

#include "tests/bench/peers/bitmap.h"
#include "tests/bench/peers/process_cpu.h"

namespace mqd::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr std::uint32_t kSampleMask = 7;  // without a rate every eighth message is timed
constexpr std::int64_t kUsPerSecond = 1'000'000;
constexpr std::int64_t kPatienceUs = 60 * kUsPerSecond;
constexpr microseconds kUntilDueMax{5'000};

}  // namespace

/// What all sources and sinks of a run look at, and who waits for whom.
class Run {
 public:
  Run(const Options& options, Driver& driver);

  nlohmann::json Execute();

  const Options& options() const { return options_; }
  std::uint32_t window() const { return window_; }
  Phase phase() const { return phase_.load(std::memory_order_relaxed); }
  std::int64_t NowUs() const {
    return std::chrono::duration_cast<microseconds>(Clock::now() - begin_).count();
  }
  bool measuring() const { return phase() == Phase::kMeasure; }
  std::int64_t end_us() const { return end_us_.load(std::memory_order_relaxed); }

  void CountReady();
  void AwaitPhase(Phase at_least);
  /// Waits until then, or until the phase is no longer `phase`.
  void AwaitTime(std::int64_t at_us, Phase phase);
  bool Arrived(std::uint32_t producer, std::uint32_t number);
  bool InOrder(std::uint32_t producer, std::uint32_t number);

 private:
  void SetPhase(Phase phase);
  void AwaitReady(std::uint32_t count);
  void StartProducers();
  void StartConsumers();
  std::vector<std::string> Share(std::uint32_t index, std::uint32_t clients) const;
  void Fill();
  void Measure();
  void AwaitArrivals(std::uint64_t wanted);
  void JoinProducers();
  void Hold();
  nlohmann::json Result() const;
  std::uint64_t Confirmed() const;
  std::uint64_t Consumed() const;

  const Options options_;
  Driver& driver_;
  const std::uint32_t window_;
  const Clock::time_point begin_ = Clock::now();
  std::atomic<Phase> phase_{Phase::kConnect};
  std::atomic<std::int64_t> end_us_{INT64_MAX};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint32_t ready_ = 0;  // under mutex_

  std::vector<std::string> queues_;
  std::vector<std::unique_ptr<Source>> sources_;
  std::vector<std::unique_ptr<Sink>> sinks_;
  std::vector<std::thread> producer_threads_;
  std::vector<std::thread> consumer_threads_;
  std::unique_ptr<Bitmap[]> arrived_;  // by producer
  std::vector<std::atomic<std::uint32_t>> last_of_key_;
  std::atomic<std::uint64_t> duplicates_{0};

  std::int64_t measure_begin_us_ = 0;
  std::int64_t measure_end_us_ = 0;
  double fill_seconds_ = 0;
  double drain_seconds_ = 0;
  double client_cpu_seconds_ = 0;
  double broker_cpu_seconds_ = 0;
};

// ---- Source

namespace {

std::uint64_t PartOf(std::uint64_t total, std::uint32_t index, std::uint32_t parts) {
  return total / parts + (index < total % parts ? 1 : 0);
}

}  // namespace

Source::Source(Run& run, std::uint32_t producer)
    : run_(run),
      producer_(producer),
      interval_us_(run.options().rate > 0 ? 1e6 * run.options().producers / run.options().rate : 0),
      fill_(PartOf(run.options().fill, producer, run.options().producers)),
      times_mask_(std::bit_ceil(2 * std::max(run.window(), 16 * run.options().queues)) - 1),
      payload_(run.options().size, '\0'),
      times_(times_mask_ + 1) {
  // What does not repeat is not made smaller by a system that compresses.
  std::mt19937_64 random(producer);
  for (char& byte : payload_) byte = static_cast<char>(random());
}

void Source::AwaitStart() {
  prctl(PR_SET_TIMERSLACK, 1'000);  // of this thread: a due message is not to wait for the kernel
  run_.CountReady();
  run_.AwaitPhase(Phase::kFill);
}

bool Source::open() const { return run_.phase() < Phase::kEnd; }

std::int64_t Source::NextDueUs() const {
  return begin_us_ + static_cast<std::int64_t>(interval_us_ * static_cast<double>(paced_));
}

std::size_t Source::Due(std::size_t max) {
  const Phase phase = run_.phase();
  if (phase == Phase::kFill) return std::min<std::uint64_t>(max, fill_ - std::min(fill_, issued()));
  if (phase != Phase::kWarmUp && phase != Phase::kMeasure) return 0;
  if (interval_us_ == 0) return max;
  if (begin_us_ == 0) {  // producers take turns
    begin_us_ = run_.NowUs() +
                static_cast<std::int64_t>(interval_us_ * producer_ / run_.options().producers);
  }
  const std::int64_t late = run_.NowUs() - NextDueUs();
  if (late < 0) return 0;
  return std::min(max, 1 + static_cast<std::size_t>(static_cast<double>(late) / interval_us_));
}

microseconds Source::UntilDue() const {
  const Phase phase = run_.phase();
  const bool running = phase == Phase::kWarmUp || phase == Phase::kMeasure;
  if (!running) return microseconds(phase == Phase::kFill && issued() < fill_ ? 0 : 1'000);
  if (interval_us_ == 0) return microseconds(0);
  return std::clamp(microseconds(NextDueUs() - run_.NowUs()), microseconds(0), kUntilDueMax);
}

bool Source::AwaitDue() {
  while (open()) {
    if (Due(1) > 0) return true;
    const Phase phase = run_.phase();
    const bool paced = begin_us_ != 0 && (phase == Phase::kWarmUp || phase == Phase::kMeasure);
    run_.AwaitTime(paced ? NextDueUs() : INT64_MAX, phase);
  }
  return false;
}

Source::Message Source::Next() {
  const std::uint64_t number = issued_.load(std::memory_order_relaxed);
  if (number > UINT32_MAX) Die("more than 2^32 messages of one producer");
  const auto narrow = static_cast<std::uint32_t>(number);
  std::uint32_t time = 0;
  if (begin_us_ != 0) {
    // The clock runs from when it was due: what kept the producer from it counts.
    time = static_cast<std::uint32_t>(NextDueUs());
    ++paced_;
  } else if ((narrow & kSampleMask) == 0) {
    time = static_cast<std::uint32_t>(run_.NowUs());
  }
  if (time != 0) times_[narrow & times_mask_].store(time, std::memory_order_relaxed);
  const auto producer = static_cast<std::uint16_t>(producer_);
  static_assert(kPayloadBytesMin == 10);
  std::memcpy(payload_.data(), &time, 4);
  std::memcpy(payload_.data() + 4, &producer, 2);
  std::memcpy(payload_.data() + 6, &narrow, 4);
  issued_.store(number + 1, std::memory_order_relaxed);
  return {narrow, payload_};
}

void Source::Confirmed(std::uint32_t first, std::uint32_t count) {
  tally_.done.store(tally_.done.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  if (!run_.measuring()) return;
  tally_.measured += count;
  std::int64_t now = 0;
  for (std::uint32_t number = first; number != first + count; ++number) {
    if (interval_us_ == 0 && (number & kSampleMask) != 0) continue;
    if (now == 0) now = run_.NowUs();
    const std::uint32_t time = times_[number & times_mask_].load(std::memory_order_relaxed);
    tally_.latency.Record((now - time) * 1'000);
  }
}

void Source::Failed() { tally_.failed.fetch_add(1); }

std::uint64_t Source::unconfirmed() const {
  return issued() - tally_.done.load(std::memory_order_relaxed) -
         tally_.failed.load(std::memory_order_relaxed);
}

void Source::AwaitConfirms() {
  while (unconfirmed() > 0 && !overdue()) run_.AwaitTime(run_.NowUs() + 1'000, run_.phase());
}

bool Source::overdue() const { return run_.NowUs() - kPatienceUs > run_.end_us(); }

std::uint32_t NumberOf(std::string_view payload) {
  std::uint32_t number = 0;
  std::memcpy(&number, payload.data() + 6, 4);
  return number;
}

// ---- Sink

void Sink::Ready() { run_.CountReady(); }

bool Sink::open() const { return run_.phase() < Phase::kOver; }

void Sink::AwaitEnd() { run_.AwaitPhase(Phase::kOver); }

void Sink::Got(std::string_view payload) {
  std::uint32_t time = 0;
  std::uint16_t producer = 0;
  if (payload.size() != run_.options().size) Die("a payload has another size than was published");
  std::memcpy(&time, payload.data(), 4);
  std::memcpy(&producer, payload.data() + 4, 2);
  const std::uint32_t number = NumberOf(payload);
  if (producer >= run_.options().producers) Die("a payload of a producer that there is not");
  if (run_.Arrived(producer, number)) return;
  if (!run_.InOrder(producer, number)) ++tally_.out_of_order;
  tally_.done.store(tally_.done.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (!run_.measuring()) return;
  ++tally_.measured;
  if (time != 0) tally_.latency.Record((run_.NowUs() - time) * 1'000);
}

// ---- Run

Run::Run(const Options& options, Driver& driver)
    : options_(options),
      driver_(driver),
      window_(options.window > 0 ? options.window : driver.Window(options)),
      arrived_(new Bitmap[options.producers]),
      last_of_key_(options.ordering_keys * options.producers) {
  std::string name = options.name;
  if (name.empty()) {
    name = "bench-" + std::to_string(std::chrono::system_clock::now().time_since_epoch().count());
  }
  for (std::uint32_t i = 0; i < options.queues; ++i) {
    queues_.push_back(name + "-" + std::to_string(i));
  }
}

bool Run::Arrived(std::uint32_t producer, std::uint32_t number) {
  const bool before = arrived_[producer].Set(number);
  if (before) duplicates_.fetch_add(1, std::memory_order_relaxed);
  return before;
}

bool Run::InOrder(std::uint32_t producer, std::uint32_t number) {
  if (options_.ordering_keys == 0) return true;
  auto& last = last_of_key_[producer * options_.ordering_keys + number % options_.ordering_keys];
  return last.exchange(number + 1, std::memory_order_relaxed) <= number;
}

void Run::SetPhase(Phase phase) {
  {
    const std::lock_guard lock(mutex_);
    phase_.store(phase);
  }
  changed_.notify_all();
}

void Run::CountReady() {
  {
    const std::lock_guard lock(mutex_);
    ++ready_;
  }
  changed_.notify_all();
}

void Run::AwaitReady(std::uint32_t count) {
  std::unique_lock lock(mutex_);
  const bool all =
      changed_.wait_for(lock, microseconds(kPatienceUs), [&] { return ready_ >= count; });
  if (!all) Die("not every client could connect in a minute");
}

void Run::AwaitPhase(Phase at_least) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return phase() >= at_least; });
}

void Run::AwaitTime(std::int64_t at_us, Phase at_phase) {
  const auto over = [&] { return phase() != at_phase; };
  std::unique_lock lock(mutex_);
  if (at_us == INT64_MAX) {
    changed_.wait(lock, over);
  } else {
    changed_.wait_until(lock, begin_ + microseconds(at_us), over);
  }
}

/// Queue i of client i modulo their number, or every n-th of them.
std::vector<std::string> Run::Share(std::uint32_t index, std::uint32_t clients) const {
  if (queues_.size() <= clients) return {queues_[index % queues_.size()]};
  std::vector<std::string> share;
  for (std::size_t i = index; i < queues_.size(); i += clients) share.push_back(queues_[i]);
  return share;
}

void Run::StartProducers() {
  for (std::uint32_t i = 0; i < options_.producers; ++i) {
    sources_.push_back(std::make_unique<Source>(*this, i));
  }
  if (options_.phase == "drain") return;  // they only say what is expected
  for (std::uint32_t i = 0; i < options_.producers; ++i) {
    producer_threads_.emplace_back(
        [this, i] { driver_.Produce(*sources_[i], Share(i, options_.producers)); });
  }
  AwaitReady(options_.producers);
}

void Run::StartConsumers() {
  for (std::uint32_t i = 0; i < options_.consumers; ++i) {
    sinks_.push_back(std::make_unique<Sink>(*this));
    consumer_threads_.emplace_back(
        [this, i, &sink = *sinks_.back()] { driver_.Consume(sink, Share(i, options_.consumers)); });
  }
  const std::uint32_t producers = options_.phase == "drain" ? 0 : options_.producers;
  AwaitReady(producers + options_.consumers);
}

std::uint64_t Run::Confirmed() const {
  std::uint64_t total = 0;
  for (const auto& source : sources_) total += source->tally().done.load();
  return total;
}

std::uint64_t Run::Consumed() const {
  std::uint64_t total = 0;
  for (const auto& sink : sinks_) total += sink->tally().done.load();
  return total;
}

void Run::Fill() {
  const std::int64_t begin = NowUs();
  SetPhase(Phase::kFill);
  while (Confirmed() < options_.fill) {
    AwaitTime(NowUs() + 1'000, Phase::kFill);
    for (const auto& source : sources_) {
      if (source->tally().failed.load() > 0) Die("a message of the fill failed");
    }
  }
  fill_seconds_ = static_cast<double>(NowUs() - begin) / 1e6;
  SetPhase(Phase::kFilled);
}

void Run::Measure() {
  SetPhase(Phase::kWarmUp);
  const auto warm_up = static_cast<std::int64_t>(options_.warm_up * 1e6);
  AwaitTime(NowUs() + warm_up, Phase::kWarmUp);
  const double client_cpu = CpuSecondsOf(getpid());
  const double broker_cpu = CpuSecondsOf(options_.broker_pid);
  measure_begin_us_ = NowUs();
  SetPhase(Phase::kMeasure);
  AwaitTime(measure_begin_us_ + static_cast<std::int64_t>(options_.seconds * 1e6), Phase::kMeasure);
  measure_end_us_ = NowUs();
  client_cpu_seconds_ = CpuSecondsOf(getpid()) - client_cpu;
  broker_cpu_seconds_ = CpuSecondsOf(options_.broker_pid) - broker_cpu;
}

void Run::JoinProducers() {
  end_us_.store(NowUs());
  SetPhase(Phase::kEnd);
  for (std::thread& thread : producer_threads_) thread.join();
}

/// Gives up when nothing came for a minute.
void Run::AwaitArrivals(std::uint64_t wanted) {
  const std::int64_t begin = NowUs();
  std::uint64_t consumed = Consumed();
  std::int64_t heard = begin;
  while (consumed < wanted && NowUs() < heard + kPatienceUs) {
    AwaitTime(NowUs() + 1'000, phase());
    if (Consumed() != consumed) heard = NowUs();
    consumed = Consumed();
  }
  drain_seconds_ = static_cast<double>(NowUs() - begin) / 1e6;
}

void Run::Hold() {
  StartProducers();
  StartConsumers();
  std::cout << R"({"ready":true})" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) {
  }
  JoinProducers();
}

nlohmann::json Run::Execute() {
  if (options_.phase != "drain") driver_.MakeQueues(queues_);
  if (options_.phase == "hold") {
    Hold();
  } else if (options_.phase == "drain") {
    StartProducers();
    SetPhase(Phase::kFilled);
    StartConsumers();
    AwaitArrivals(options_.fill);
  } else {
    StartProducers();
    if (options_.consume_fill) StartConsumers();
    Fill();
    if (options_.phase == "all") {
      if (!options_.consume_fill) StartConsumers();
      Measure();
    }
    JoinProducers();
    if (options_.phase == "all" && options_.consumers > 0) AwaitArrivals(Confirmed());
  }
  SetPhase(Phase::kOver);
  for (std::thread& thread : consumer_threads_) thread.join();
  if (options_.phase != "fill") driver_.DeleteQueues(queues_);
  return Result();
}

namespace {

nlohmann::json Percentiles(const mqctl::Histogram& latency) {
  const auto us = [&](double share) {
    return static_cast<double>(latency.Percentile(share)) / 1'000;
  };
  return {{"p50", us(0.5)}, {"p99", us(0.99)}, {"p999", us(0.999)}, {"count", latency.count()}};
}

}  // namespace

nlohmann::json Run::Result() const {
  mqctl::Histogram confirm;
  mqctl::Histogram end_to_end;
  std::uint64_t published = 0, consumed = 0, failed = 0, unconfirmed = 0, out_of_order = 0;
  for (const auto& source : sources_) {
    confirm.Add(source->tally().latency);
    published += source->tally().measured;
    failed += source->tally().failed.load();
    unconfirmed += source->unconfirmed();
  }
  for (const auto& sink : sinks_) {
    end_to_end.Add(sink->tally().latency);
    consumed += sink->tally().measured;
    out_of_order += sink->tally().out_of_order;
  }
  const bool drain = options_.phase == "drain";
  const std::uint64_t wanted = drain ? options_.fill : Confirmed();
  const bool checked = options_.consumers > 0 && (drain || options_.phase == "all");
  const double seconds = static_cast<double>(measure_end_us_ - measure_begin_us_) / 1e6;
  const auto rate = [](std::uint64_t count, double over) {
    return over > 0 ? static_cast<double>(count) / over : 0.0;
  };
  return {{"producers", options_.producers},
          {"consumers", options_.consumers},
          {"queues", options_.queues},
          {"size_bytes", options_.size},
          {"rate", options_.rate},
          {"seconds", seconds},
          {"window", window_},
          {"published_per_second", rate(published, seconds)},
          {"consumed_per_second", rate(consumed, seconds)},
          {"confirm_us", Percentiles(confirm)},
          {"end_to_end_us", Percentiles(end_to_end)},
          {"confirmed", Confirmed()},
          {"consumed", Consumed()},
          {"fill_per_second", rate(options_.fill, fill_seconds_)},
          {"drain_per_second", drain ? rate(Consumed(), drain_seconds_) : 0.0},
          {"client_cpu_seconds", client_cpu_seconds_},
          {"broker_cpu_seconds", broker_cpu_seconds_},
          {"duplicates", duplicates_.load()},
          {"failed", failed},
          {"unconfirmed", unconfirmed},
          {"out_of_order", out_of_order},
          {"lost", checked && wanted > Consumed() ? wanted - Consumed() : 0}};
}

nlohmann::json RunDriver(const Options& options, Driver& driver) {
  return Run(options, driver).Execute();
}

}  // namespace mqd::bench
