#include "client/consumer_core.h"

#include <exception>
#include <limits>
#include <utility>

#include "client/status_map.h"
#include "proto/base/assert.h"

namespace mqd::client {
namespace {

/// How long Stop() waits for the answers to the last settles, and for the broker to end the stream.
constexpr std::chrono::milliseconds kFlushTimeout{1'000};

/// How much later than the drain's own deadline its answer may come.
constexpr std::chrono::milliseconds kDrainGrace{5'000};

CreditControl::Options CreditOptions(const ConsumerOptions& options) {
  return {.messages_initial = options.credit_messages_initial,
          .messages_max = options.credit_messages_max,
          .bytes_initial = static_cast<std::int64_t>(options.credit_bytes_initial),
          .bytes_max = static_cast<std::int64_t>(options.credit_bytes_max)};
}

}  // namespace

ConsumerCore::ConsumerCore(std::shared_ptr<Connection> connection, ConsumerOptions options)
    : connection_(std::move(connection)),
      options_(std::move(options)),
      credit_(CreditOptions(options_)),
      book_(options_.queues.size()),
      ended_(options_.queues.size()) {}

// ---- handler threads

void ConsumerCore::RunHandlers(WorkSlot& slot) {
  while (LoadSlot(slot)) {
    RunPiece(slot);
    slot.Unload(Clock::now());
  }
}

/// Reports what was done, then waits for a piece to work on; false when there will be none.
bool ConsumerCore::LoadSlot(WorkSlot& slot) {
  Report(slot);
  std::optional<DeliveryPiece> piece;
  bool mark = false;
  {
    base::MutexLock lock(mutex_);
    ++waiting_;
    while (phase_ == Phase::kRunning && buffer_.empty()) lock.Wait(work_);
    --waiting_;
    if (phase_ != Phase::kRunning) return false;
    piece = buffer_.Take(slot.PieceSize());
    running_ += piece->count();
    mark = slot.PieceSize() == 1 && !piece->leaseless();
    if (mark) to_mark_.insert({piece->queue_index(), piece->id(piece->begin)});
  }
  slot.Load(*std::move(piece), Clock::now());
  if (mark) link_->Pump();
  return true;
}

void ConsumerCore::RunPiece(WorkSlot& slot) {
  Delivery delivery;
  std::optional<WorkSlot::Done> before;
  while (const std::optional<std::uint32_t> index = slot.Next(std::move(before))) {
    if (delivery.pending()) {
      delivery.handle().index = *index;
    } else {
      const DeliveryPiece& piece = slot.piece();
      delivery = Delivery(DeliveryHandle{shared_from_this(), piece.frame, piece.run, *index});
    }
    before = RunHandler(delivery);
  }
  delivery.handle() = {};  // the slot settles it
}

WorkSlot::Done ConsumerCore::RunHandler(Delivery& delivery) {
  WorkSlot::Done done;
  try {
    done.outcome = options_.handler(delivery);
  } catch (const std::exception& error) {
    done.exception = true;
    done.outcome = Outcome::Retry(error.what());
  }
  done.handed_off = !delivery.pending();
  if (done.outcome.kind == Outcome::Kind::kDeferred) done.outcome = Outcome::Release();
  return done;
}

void ConsumerCore::Report(WorkSlot& slot) {
  WorkSlot::Report report = slot.TakeReport();
  if (report.empty()) return;
  const Time now = Clock::now();
  {
    base::MutexLock lock(mutex_);
    Absorb(std::move(report), now);
  }
  link_->Pump();
}

void ConsumerCore::Absorb(WorkSlot::Report report, Time now) {
  const std::uint32_t queue = report.queue_index;
  const bool leaseless = report.frame->scanned.runs[report.run].lease_ms == 0;
  stats_.handled += report.finished + report.handed_off.size();
  stats_.handler_exceptions += report.exceptions;
  running_ -= report.finished;
  if (report.finished > 0) credit_.OnFinished(report.finished, report.finished_bytes, now);
  if (leaseless) {  // nothing to settle
    report.acks = {};
    report.others.clear();
  }
  for (const IdRange range : report.acks.Take(std::numeric_limits<std::size_t>::max())) {
    book_.Ack(queue, range);
    if (to_mark_.empty() && lost_.empty()) continue;
    for (std::uint64_t id = range.first; id <= range.last; ++id) {
      to_mark_.erase({queue, id});
      lost_.erase({queue, id});
    }
  }
  const std::string line = KeyLines::NameOf({.frame = report.frame, .run = report.run});
  for (SettleBook::Entry& entry : report.others) {
    to_mark_.erase({queue, entry.range.first});
    lost_.erase({queue, entry.range.first});
    HoldIfGivenBack(line, entry);
    book_.Add(std::move(entry));
  }
  if (report.finished > 0) LeaveLine(line);
  for (const std::uint64_t id : report.handed_off) {
    DeliveryPiece piece{.frame = report.frame, .run = report.run};
    piece.lease_until = now + piece.lease();
    AddDeferred(piece, static_cast<std::uint32_t>(id - piece.head().first_delivery_id), now);
  }
}

void ConsumerCore::HoldIfGivenBack(const std::string& line, SettleBook::Entry& entry) {
  const Outcome::Kind kind = entry.outcome.kind;
  if (kind == Outcome::Kind::kRetry || kind == Outcome::Kind::kRelease) HoldLine(line, entry);
}

void ConsumerCore::HoldLine(const std::string& line, SettleBook::Entry& entry) {
  if (line.empty()) return;
  buffer_.Hold(line);
  entry.held.push_back(line);
}

void ConsumerCore::LeaveLine(const std::string& line) {
  if (line.empty() || !buffer_.Leave(line)) return;
  if (waiting_ > 0) work_.notify_one();
}

/// The application has this delivery now; it may have settled it already.
void ConsumerCore::AddDeferred(const DeliveryPiece& piece, std::uint32_t index, Time now) {
  const Key key = {piece.queue_index(), piece.id(index)};
  deferred_[key] = {.stream = piece.frame->stream,
                    .since = now,
                    .lease_until = piece.lease_until,
                    .lease = piece.lease(),
                    .bytes = piece.bytes(index, index + 1),
                    .line = KeyLines::NameOf(piece)};
  if (!piece.leaseless()) to_mark_.insert(key);
  if (settled_early_.erase(key) > 0) FinishDeferred(key, now);
}

void ConsumerCore::FinishDeferred(const Key& key, Time now) {
  to_mark_.erase(key);
  lost_.erase(key);
  const auto found = deferred_.find(key);
  if (found == deferred_.end()) {  // its handler has not returned
    settled_early_.insert(key);
    return;
  }
  --running_;
  credit_.OnFinished(1, found->second.bytes, now);
  LeaveLine(found->second.line);
  deferred_.erase(found);
}

// ---- deliveries

ConsumerCore::Key ConsumerCore::KeyOf(const DeliveryHandle& handle) {
  const wire::ScannedDeliveries& scanned = handle.frame->scanned;
  return {scanned.queue_index, scanned.runs[handle.run].first_delivery_id + handle.index};
}

void ConsumerCore::Settle(const DeliveryHandle& handle, Outcome outcome, SettleCallback callback) {
  const Key key = KeyOf(handle);
  const bool leaseless = handle.frame->scanned.runs[handle.run].lease_ms == 0;
  bool stopped = false;
  {
    base::MutexLock lock(mutex_);
    stopped = phase_ == Phase::kStopped && !connected_;
    if (!stopped && !leaseless) {
      SettleBook::Entry entry{.queue_index = key.first,
                              .range = {key.second, key.second},
                              .outcome = std::move(outcome),
                              .callback = callback};
      HoldIfGivenBack(KeyLines::NameOf({.frame = handle.frame, .run = handle.run}), entry);
      book_.Add(std::move(entry));
    }
    FinishDeferred(key, Clock::now());
  }
  if (leaseless) {
    PostSettled(std::move(callback), SettleResult{});
  } else if (stopped && callback) {
    callback(absl::CancelledError("the consumer is stopped"));
  }
  link_->Pump();
}

void ConsumerCore::SettleAtomic(const DeliveryHandle& handle, Outcome outcome,
                                std::vector<QueuePublish> publishes, SettleCallback callback) {
  const Key key = KeyOf(handle);
  bool stopped = false;
  {
    base::MutexLock lock(mutex_);
    stopped = phase_ == Phase::kStopped && !connected_;
    if (!stopped) {
      SettleBook::Entry entry{.queue_index = key.first,
                              .range = {key.second, key.second},
                              .outcome = std::move(outcome),
                              .callback = callback};
      HoldLine(KeyLines::NameOf({.frame = handle.frame, .run = handle.run}), entry);
      book_.AddAtomic(std::move(entry), std::move(publishes));
    }
    FinishDeferred(key, Clock::now());
  }
  if (stopped && callback) callback(absl::CancelledError("the consumer is stopped"));
  link_->Pump();
}

void ConsumerCore::Extend(const DeliveryHandle& handle,
                          std::optional<std::chrono::milliseconds> lease) {
  const Key key = KeyOf(handle);
  if (handle.frame->scanned.runs[handle.run].lease_ms == 0) return;
  {
    base::MutexLock lock(mutex_);
    book_.Add({.queue_index = key.first,
               .range = {key.second, key.second},
               .extend = true,
               .lease = lease});
    const auto found = deferred_.find(key);
    if (found != deferred_.end()) {
      found->second.lease_until = Clock::now() + (lease ? *lease : found->second.lease);
    }
  }
  link_->Pump();
}

bool ConsumerCore::LeaseLost(const DeliveryHandle& handle) const {
  const Key key = KeyOf(handle);
  base::MutexLock lock(mutex_);
  return lost_.contains(key);
}

absl::StatusOr<Delivery> ConsumerCore::Next(std::chrono::milliseconds timeout) {
  if (options_.handler) return absl::FailedPreconditionError("a handler is set");
  const Time until = Clock::now() + timeout;
  std::optional<DeliveryPiece> piece;
  {
    base::MutexLock lock(mutex_);
    ++waiting_;
    bool late = false;
    while (phase_ == Phase::kRunning && failed_.ok() && buffer_.empty() && !late) {
      if (next_cancelled_) break;
      if (std::find(ended_.begin(), ended_.end(), false) == ended_.end()) break;
      late = lock.WaitUntil(work_, until) == std::cv_status::timeout;
    }
    --waiting_;
    if (!failed_.ok()) return failed_;
    if (phase_ != Phase::kRunning) return absl::CancelledError("the consumer is stopped");
    if (next_cancelled_) return absl::CancelledError("CancelNext() was called");
    piece = buffer_.Take(1);
    if (!piece && late) return absl::DeadlineExceededError("no message came");
    if (!piece) return absl::OutOfRangeError("every queue has ended");
    ++running_;
    ++stats_.handled;
    AddDeferred(*piece, piece->begin, Clock::now());
  }
  link_->Pump();
  return Delivery(DeliveryHandle{shared_from_this(), piece->frame, piece->run, piece->begin});
}

void ConsumerCore::CancelNext() {
  {
    base::MutexLock lock(mutex_);
    next_cancelled_ = true;
  }
  work_.notify_all();
}

// ---- the end

absl::StatusOr<DrainCounts> ConsumerCore::Drain(std::chrono::milliseconds deadline) {
  {
    base::MutexLock lock(mutex_);
    if (phase_ != Phase::kRunning) return absl::CancelledError("the consumer is stopped");
    if (!failed_.ok()) return failed_;
    phase_ = Phase::kDraining;
  }
  work_.notify_all();
  ReclaimSlots(false);
  MarkRunning();
  {
    base::MutexLock lock(mutex_);
    DropBuffer();
    drain_wanted_ = true;
    drain_deadline_ = deadline;
  }
  link_->Pump();
  const Time until = Clock::now() + deadline + kDrainGrace;
  absl::StatusOr<DrainCounts> result = absl::DeadlineExceededError("the broker did not answer");
  {
    base::MutexLock lock(mutex_);
    while (!drained_ && drain_failed_.ok()) {
      if (lock.WaitUntil(changed_, until) == std::cv_status::timeout) break;
    }
    if (!drain_failed_.ok()) result = drain_failed_;
    if (drained_) result = *drained_;
  }
  link_->Close(true);
  return result;
}

void ConsumerCore::Stop() {
  std::call_once(stop_once_, [this] {
    {
      base::MutexLock lock(mutex_);
      phase_ = Phase::kStopped;
      DropBuffer();
    }
    work_.notify_all();
    ReclaimSlots(false);
    for (std::thread& thread : threads_) thread.join();
    bool flushed = false;
    {
      const Time until = Clock::now() + kFlushTimeout;
      base::MutexLock lock(mutex_);
      while (connected_ && !book_.idle()) {
        if (lock.WaitUntil(changed_, until) == std::cv_status::timeout) break;
      }
      flushed = book_.idle();
    }
    Finish(flushed);
    connection_->callbacks().EndCallbacks(silent_);
  });
}

void ConsumerCore::Finish(bool flushed) {
  link_->Close(true);
  if (!flushed || !link_->WaitClosed(Clock::now() + kFlushTimeout)) {
    link_->Abort(absl::CancelledError("the consumer was stopped"));
    link_->WaitClosed(Clock::now() + kFlushTimeout);
  }
  SettleBook::Answers answers;
  {
    base::MutexLock lock(mutex_);
    book_.FailAll(absl::CancelledError("the consumer was stopped before the answer"), answers);
  }
  Tell(std::move(answers));
}

absl::Status ConsumerCore::ConnectionStatus() const {
  {
    base::MutexLock lock(mutex_);
    if (!failed_.ok()) return failed_;
  }
  return link_->status();
}

ConsumerStats ConsumerCore::Stats() const {
  base::MutexLock lock(mutex_);
  ConsumerStats stats = stats_;
  stats.connects = link_->connects();
  stats.buffered = buffer_.messages();
  stats.running = running_;
  stats.credit_messages = credit_.target_messages();
  stats.credit_bytes = credit_.target_bytes();
  return stats;
}

}  // namespace mqd::client
