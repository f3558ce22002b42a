#pragma once

// network.h: streams of frames between clients and the broker, with latency, and what goes wrong
// with them.
//
// A frame is the bytes that gRPC would carry. Frames of one direction arrive in order or not at
// all. A stream that is cut loses what is on its way in both directions, and each end learns of it
// in its own time; one that stalls loses everything from then on, and nobody is told.
//
// Threads:   one.
// Ownership: a stream lives as long as one of its ends or an event of it.
// Limits:    memory only.

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/support/status.h"
#include "tests/simulation/timeline.h"

namespace mqd::simulation {

/// What one end hears of.
class StreamEnd {
 public:
  virtual ~StreamEnd() = default;
  virtual void OnFrame(const std::string& frame) = 0;
  /// The other end will send no more.
  virtual void OnHalfClosed() = 0;
  /// Nothing more will come or go.
  virtual void OnClosed(const grpc::Status& status) = 0;
};

enum class Side : std::uint8_t { kClient, kBroker };
constexpr Side Other(Side side) { return side == Side::kClient ? Side::kBroker : Side::kClient; }

class Stream;

/// Sees everything that passes, for the history.
class StreamObserver {
 public:
  virtual ~StreamObserver() = default;
  virtual void OnSent(const Stream& stream, Side from, const std::string& frame) = 0;
  virtual void OnArrived(const Stream& stream, Side at, const std::string& frame) = 0;
  virtual void OnHalfClosed(const Stream& stream, Side at) = 0;
  /// The broker has done with the stream, once; `killed` when it died.
  virtual void OnLeft(const Stream& stream, bool killed) = 0;
};

struct LinkQuality {
  std::int64_t latency_min_ns = 50 * kNsPerUs;
  std::int64_t latency_max_ns = 5 * kNsPerMs;
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::uint64_t id, std::string method, LinkQuality quality, StreamObserver& observer,
         std::uint64_t seed);

  std::uint64_t id() const { return id_; }
  const std::string& method() const { return method_; }
  bool over() const { return closed_[0] && closed_[1]; }

  void Join(Side side, std::shared_ptr<StreamEnd> end);
  void Send(Side from, std::string frame);
  void HalfClose(Side from);
  /// `from` is done with the stream; the other end is told behind what was sent.
  void Close(Side from, const grpc::Status& status);
  /// Calls `done` when a frame that was sent now has left the machine.
  void AfterWrite(std::function<void()> done);

  void Cut(std::int64_t client_notice_ns, std::int64_t broker_notice_ns);
  /// The broker's process ends.
  void Kill(std::int64_t client_notice_ns);
  void Stall();

 private:
  struct Direction {
    std::int64_t last_arrival_ns = 0;
    std::shared_ptr<StreamEnd> end;  // where it leads
  };

  Direction& To(Side side) { return directions_[static_cast<std::size_t>(side)]; }
  bool& Closed(Side side) { return closed_[static_cast<std::size_t>(side)]; }
  void Arrive(Side at, std::function<void(StreamEnd&)> what);
  void Tell(Side side, std::int64_t after_ns, const grpc::Status& status);
  void CloseNow(Side side, const grpc::Status& status);
  /// Whether `side` was open.
  bool MarkClosed(Side side);

  const std::uint64_t id_;
  const std::string method_;
  const LinkQuality quality_;
  StreamObserver& observer_;
  Random random_;
  std::array<Direction, 2> directions_;
  std::array<bool, 2> closed_ = {false, false};  // by side
  bool lost_ = false;                            // nothing arrives any more
  bool killed_ = false;
};

/// The streams that stand, and whoever takes new ones.
class Network {
 public:
  /// Takes the broker's end of a new stream.
  using Accept = std::function<void(const std::shared_ptr<Stream>&)>;

  Network(Timeline& timeline, StreamObserver& observer)
      : timeline_(timeline), observer_(observer) {}

  /// Empty: connections are refused.
  void Listen(Accept accept) { accept_ = std::move(accept); }
  /// For streams from now on.
  void SetQuality(LinkQuality quality) { quality_ = quality; }

  std::shared_ptr<Stream> Connect(const std::string& method, std::shared_ptr<StreamEnd> client);
  /// Those that are not over, by id.
  std::vector<std::shared_ptr<Stream>> Open();

 private:
  Timeline& timeline_;
  StreamObserver& observer_;
  Accept accept_;
  LinkQuality quality_;
  std::uint64_t next_id_ = 1;
  std::vector<std::shared_ptr<Stream>> streams_;
};

}  // namespace mqd::simulation
