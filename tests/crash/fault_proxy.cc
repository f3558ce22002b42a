// fault_proxy.cc: connections, and what a fault does to the bytes of each direction.

#include "tests/crash/fault_proxy.h"

#include <array>
#include <deque>
#include <functional>
#include <future>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "asio.hpp"
#include "tests/crash/http2_frames.h"

namespace mqd::crash {
namespace {

using Clock = std::chrono::steady_clock;
using Socket = asio::ip::tcp::socket;
using std::chrono::milliseconds;

constexpr std::size_t kQueuedMax = 1 << 20;
constexpr std::size_t kPieceBytes = 16 * 1'024;
constexpr std::size_t kThrottledBytes = 2 * 1'024;
constexpr std::uint64_t kFramesToSpoil = 40;  // the last good frame is one of so many

asio::ip::tcp::endpoint Loopback(int port) {
  return {asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)};
}

/// One direction of a connection.
struct Pipe {
  Pipe(Socket& source, Socket& sink, bool client)
      : from(source), to(sink), to_target(client), frames(client), timer(source.get_executor()) {}

  struct Piece {
    Clock::time_point due;
    std::size_t size;  // as it was read
    std::vector<char> bytes;
  };

  Socket& from;
  Socket& to;
  const bool to_target;
  Http2Frames frames;
  asio::steady_timer timer;
  std::vector<char> buffer = std::vector<char>(kPieceBytes);
  std::deque<Piece> queue;
  std::size_t queued = 0;
  std::uint64_t good_frames = 0;  // before one is spoiled
  Clock::time_point last_due;
  bool reading = false;
  bool writing = false;
  bool ended = false;  // nothing more comes
};

}  // namespace

const char* NameOf(Network network) {
  static constexpr std::array<const char*, kNetworks> kNames = {
      "good",  "latency",  "jitter", "stall",   "half-open",
      "reset", "throttle", "cut",    "framing", "flip"};
  return kNames.at(static_cast<std::size_t>(network));
}

/// Everything in it belongs to the one thread that runs `io`.
class FaultProxy::Core {
 public:
  explicit Core(std::uint64_t seed) : random(seed) {}

  class Connection;

  std::uint64_t Below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random);
  }

  void Accept();

  /// Runs `task` on the thread and waits for it.
  void Do(std::function<void()> task) {
    std::promise<void> done;
    asio::post(io, [&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }

  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  asio::ip::tcp::acceptor acceptor{io};
  std::mt19937_64 random;
  NetworkFault fault;
  ProxyCounts counts;
  std::set<std::shared_ptr<Connection>> connections;
  int port = 0;
  int target_port = 0;
  std::thread thread;
};

class FaultProxy::Core::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Core& core, Socket client)
      : core_(core), client_(std::move(client)), target_(core.io), reset_timer_(core.io) {}

  void Start() {
    target_.async_connect(Loopback(core_.target_port),
                          [self = shared_from_this()](const std::error_code& error) {
                            if (error) return self->Close(true);
                            std::error_code ignored;
                            self->client_.set_option(asio::ip::tcp::no_delay(true), ignored);
                            self->target_.set_option(asio::ip::tcp::no_delay(true), ignored);
                            self->connected_ = true;
                            self->OnFault();
                          });
  }

  /// The fault has changed, or this connection is new to it.
  void OnFault() {
    const NetworkFault& fault = core_.fault;
    reset_timer_.cancel();
    cut_left_ = UINT64_MAX;
    if (fault.network == Network::kHalfOpen) swallows_ = true;
    if (fault.network == Network::kCut) cut_left_ = 1 + core_.Below(fault.bytes);
    if (fault.network == Network::kReset) ResetWithin(fault.delay);
    for (Pipe* pipe : {&up_, &down_}) {
      pipe->good_frames = pipe->frames.frames() + 1 + core_.Below(kFramesToSpoil);
      if (connected_) Move(*pipe);
    }
  }

  void Close(bool reset) {
    std::error_code ignored;
    for (Socket* socket : {&client_, &target_}) {
      if (reset && socket->is_open())
        socket->set_option(asio::socket_base::linger(true, 0), ignored);
      socket->close(ignored);
    }
    up_.timer.cancel();
    down_.timer.cancel();
    reset_timer_.cancel();
    core_.connections.erase(shared_from_this());
  }

 private:
  void Abort() {
    ++core_.counts.aborted;
    Close(true);
  }

  void ResetWithin(milliseconds most) {
    const auto count = static_cast<std::uint64_t>(most.count());
    reset_timer_.expires_after(milliseconds(core_.Below(count + 1)));
    reset_timer_.async_wait([self = shared_from_this()](const std::error_code& error) {
      if (!error && self->client_.is_open()) self->Abort();
    });
  }

  bool Stalls(const Pipe& pipe) const {
    return core_.fault.network == Network::kStall && core_.fault.to_target == pipe.to_target;
  }

  void Move(Pipe& pipe) {
    Read(pipe);
    Write(pipe);
  }

  void Read(Pipe& pipe) {
    if (pipe.reading || pipe.ended || pipe.queued >= kQueuedMax || Stalls(pipe)) return;
    pipe.reading = true;
    const bool slow = core_.fault.network == Network::kThrottle;
    pipe.from.async_read_some(
        asio::buffer(pipe.buffer.data(), slow ? kThrottledBytes : kPieceBytes),
        [self = shared_from_this(), &pipe](const std::error_code& error, std::size_t size) {
          pipe.reading = false;
          if (!self->client_.is_open()) return;
          self->OnRead(pipe, error, size);
        });
  }

  void OnRead(Pipe& pipe, const std::error_code& error, std::size_t size) {
    if (swallows_) {
      core_.counts.swallowed += size;
      // Nobody learns of an end: the socket stays open until its own side gives up.
      pipe.ended = static_cast<bool>(error);
      if (up_.ended && down_.ended) return Close(true);
      return Read(pipe);
    }
    if (error) {
      pipe.ended = true;
      if (pipe.queue.empty()) Close(error != asio::error::eof);
      return;
    }
    std::vector<char> bytes(pipe.buffer.begin(),
                            pipe.buffer.begin() + static_cast<std::ptrdiff_t>(size));
    Spoil(pipe, bytes);
    const Clock::time_point due = DueOf(pipe, size);
    pipe.queued += size;
    pipe.queue.push_back({due, size, std::move(bytes)});
    Move(pipe);
  }

  void Spoil(Pipe& pipe, std::vector<char>& bytes) {
    const NetworkFault& fault = core_.fault;
    const bool framing =
        fault.network == Network::kFraming && pipe.frames.frames() >= pipe.good_frames;
    core_.counts.spoiled += pipe.frames.Pass(bytes, framing);
    if (fault.network != Network::kFlip) return;
    for (char& byte : bytes) {
      if (core_.Below(fault.bytes) != 0) continue;
      byte = static_cast<char>(static_cast<unsigned char>(byte) ^ (1U << core_.Below(8)));
      ++core_.counts.spoiled;
    }
  }

  Clock::time_point DueOf(Pipe& pipe, std::size_t size) {
    const NetworkFault& fault = core_.fault;
    const Clock::time_point now = Clock::now();
    Clock::time_point due = now;
    if (fault.network == Network::kLatency) due = now + fault.delay;
    if (fault.network == Network::kJitter) {
      due = now + milliseconds(core_.Below(static_cast<std::uint64_t>(fault.delay.count()) + 1));
    }
    if (fault.network == Network::kThrottle) {
      due = std::max(now, pipe.last_due) +
            std::chrono::microseconds(size * 1'000'000 / std::max<std::uint64_t>(1, fault.bytes));
    }
    return pipe.last_due = std::max(due, pipe.last_due);
  }

  void Write(Pipe& pipe) {
    if (pipe.writing || pipe.queue.empty() || Stalls(pipe)) return;
    pipe.writing = true;
    pipe.timer.expires_at(pipe.queue.front().due);
    pipe.timer.async_wait([self = shared_from_this(), &pipe](const std::error_code&) {
      if (self->client_.is_open()) self->WriteFront(pipe);
    });
  }

  void WriteFront(Pipe& pipe) {
    if (Stalls(pipe)) {
      pipe.writing = false;
      return;
    }
    Pipe::Piece& piece = pipe.queue.front();
    if (swallows_) {
      core_.counts.swallowed += piece.bytes.size();
      piece.bytes.clear();
    }
    const bool last = cut_left_ <= piece.bytes.size();
    if (last) piece.bytes.resize(cut_left_);
    if (cut_left_ != UINT64_MAX) cut_left_ -= piece.bytes.size();
    asio::async_write(
        pipe.to, asio::buffer(piece.bytes),
        [self = shared_from_this(), &pipe, last](const std::error_code& error, std::size_t size) {
          pipe.writing = false;
          if (!self->client_.is_open()) return;
          if (last) return self->Abort();
          self->OnWritten(pipe, error, size);
        });
  }

  void OnWritten(Pipe& pipe, const std::error_code& error, std::size_t size) {
    core_.counts.bytes += size;
    pipe.queued -= pipe.queue.front().size;
    pipe.queue.pop_front();
    if (error && !swallows_) return Close(true);
    if (pipe.ended && pipe.queue.empty() && !swallows_) return Close(false);
    Move(pipe);
  }

  Core& core_;
  Socket client_;
  Socket target_;
  Pipe up_{client_, target_, true};
  Pipe down_{target_, client_, false};
  asio::steady_timer reset_timer_;
  std::uint64_t cut_left_ = UINT64_MAX;
  bool connected_ = false;
  bool swallows_ = false;
};

void FaultProxy::Core::Accept() {
  acceptor.async_accept([this](const std::error_code& error, Socket socket) {
    if (error) return;
    ++counts.connections;
    auto connection = std::make_shared<Connection>(*this, std::move(socket));
    connections.insert(connection);
    connection->Start();
    Accept();
  });
}

FaultProxy::FaultProxy(std::uint64_t seed) : core_(std::make_unique<Core>(seed)) {
  core_->thread = std::thread([core = core_.get()] { core->io.run(); });
}

FaultProxy::~FaultProxy() {
  core_->Do([core = core_.get()] {
    std::error_code ignored;
    core->acceptor.close(ignored);
    const auto all = core->connections;
    for (const auto& connection : all) connection->Close(true);
    core->work.reset();
  });
  core_->thread.join();
}

absl::Status FaultProxy::Listen(int target_port) {
  std::error_code error;
  core_->Do([&] {
    core_->target_port = target_port;
    core_->acceptor.open(asio::ip::tcp::v4(), error);
    if (!error) core_->acceptor.bind(Loopback(0), error);
    if (!error) core_->acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return;
    core_->port = core_->acceptor.local_endpoint(error).port();
    core_->Accept();
  });
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the proxy cannot listen: ", error.message()));
}

int FaultProxy::port() const { return core_->port; }

void FaultProxy::Inflict(const NetworkFault& fault) {
  core_->Do([&] {
    core_->fault = fault;
    const auto all = core_->connections;
    for (const auto& connection : all) connection->OnFault();
  });
}

ProxyCounts FaultProxy::counts() const {
  ProxyCounts counts;
  core_->Do([&] { counts = core_->counts; });
  return counts;
}

}  // namespace mqd::crash
