// nemesis_clients.cc: consumers that read nothing, grant nothing, settle nothing, or settle what
// they never had, next to those that behave; and clients that use up the daemon's descriptors.

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <array>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "asio.hpp"
#include "mqd/client.h"
#include "mqd/v1/broker.grpc.pb.h"
#include "tests/crash/nemesis.h"
#include "tests/crash/raw_producer.h"

namespace mqd::crash {
namespace {

using asio::ip::tcp;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kHold = milliseconds(2'500);
constexpr auto kProgressMax = milliseconds(5'000);
constexpr std::uint64_t kGarbageSettles = 50;
constexpr auto kGarbagePause = milliseconds(20);
constexpr std::size_t kDeadConnections = 10;
/// Queues whose messages have as many attempts as it takes.
constexpr std::array<std::uint32_t, 2> kQueues = {kKeyedQueue, kSinkQueue};

enum class Manner : std::uint8_t {
  kReadsNothing,    // takes credit for hundreds, and leaves it all in the pipe
  kGrantsNothing,   // opens, and that is all
  kSettlesNothing,  // reads, and holds everything until it is gone
  kSettlesGarbage,  // grants all credit that a number holds, settles what never was
};
constexpr std::size_t kManners = 4;

/// A stream of a consumer that means no good, on a connection of its own.
class BadConsumer {
 public:
  BadConsumer(const std::string& address, std::uint32_t queue, Manner manner, std::uint64_t seed)
      : manner_(manner), random_(seed), stub_(v1::BrokerService::NewStub(QuickChannel(address))) {
    thread_ = std::thread([this, queue] { Run(queue); });
  }
  ~BadConsumer() {
    over_.Stop();
    context_.TryCancel();
    thread_.join();
  }

 private:
  using Stream = grpc::ClientReaderWriter<v1::ConsumeStreamRequest, v1::ConsumeStreamResponse>;

  void Run(std::uint32_t queue) {
    const auto stream = stub_->ConsumeStream(&context_);
    v1::ConsumeStreamRequest open;
    open.mutable_open()->add_queues()->set_queue(QueueName(queue));
    v1::ConsumeStreamResponse answer;
    if (stream->Write(open) && stream->Read(&answer)) Misbehave(*stream);
    context_.TryCancel();
    stream->Finish();
  }

  void Misbehave(Stream& stream) {
    v1::ConsumeStreamRequest credit;
    const bool all = manner_ == Manner::kSettlesGarbage;
    credit.mutable_credit()->set_messages(all ? UINT64_MAX : 500);
    credit.mutable_credit()->set_bytes(all ? UINT64_MAX : 1'000'000);
    if (manner_ != Manner::kGrantsNothing && !stream.Write(credit)) return;
    v1::ConsumeStreamResponse answer;
    if (manner_ == Manner::kSettlesNothing) {
      while (stream.Read(&answer)) {
      }
    }
    if (manner_ == Manner::kSettlesGarbage) SettleGarbage(stream);
    over_.WaitFor(std::chrono::hours(1));
  }

  /// Delivery ids of an epoch that never was, twice the same settle id, ranges upside down.
  void SettleGarbage(Stream& stream) {
    for (std::uint64_t i = 0; i < kGarbageSettles && over_.WaitFor(kGarbagePause); ++i) {
      v1::ConsumeStreamRequest request;
      v1::SettleBatch& batch = *request.mutable_settle();
      batch.set_settle_id(1 + i / 2);
      v1::SettleEntry& entry = *batch.add_entries();
      const std::uint64_t first = 1 + Below(random_, 1'000'000);
      entry.mutable_range()->set_first_delivery_id(first);
      entry.mutable_range()->set_last_delivery_id(OneIn(random_, 4) ? first - 1 : first + i);
      entry.mutable_ack();
      if (!stream.Write(request)) return;
    }
  }

  const Manner manner_;
  Random random_;
  StopFlag over_;
  grpc::ClientContext context_;
  std::unique_ptr<v1::BrokerService::Stub> stub_;
  std::thread thread_;
};

/// Connections that say something that is no HTTP/2, or nothing, and stay. As many as can be had.
std::vector<tcp::socket> Connect(asio::io_context& io, int port, std::size_t count) {
  std::vector<tcp::socket> sockets;
  const tcp::endpoint target(asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port));
  for (std::size_t i = 0; i < count; ++i) {
    tcp::socket socket(io);
    std::error_code error;
    socket.open(tcp::v4(), error);
    socket.non_blocking(true, error);
    socket.connect(target, error);
    if (error && error != asio::error::in_progress && error != asio::error::would_block) break;
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

class BadConsumers final : public Nemesis {
 public:
  absl::Status Strike(Scene& scene) override {
    const OperationId record = scene.BeginFault("bad consumers");
    {
      asio::io_context io;
      std::vector<tcp::socket> dead = Connect(io, scene.daemon.port(), kDeadConnections);
      for (std::size_t i = 0; i < dead.size(); i += 2) {
        std::error_code ignored;
        dead[i].write_some(asio::buffer("GET / HTTP/0.9\r\n", 16), ignored);
      }
      std::vector<std::unique_ptr<BadConsumer>> consumers;
      for (const std::uint32_t queue : kQueues) {
        for (std::size_t i = 0; i < kManners; ++i) {
          consumers.push_back(std::make_unique<BadConsumer>(
              scene.daemon.address(), queue, static_cast<Manner>(i), scene.random()));
        }
      }
      scene.WaitProgress(kProgressMax, "bad consumers came");
      scene.Wait(scene.HoldOr(kHold));
      scene.WaitProgress(kProgressMax, "bad consumers were there");
    }
    scene.EndFault(record);
    scene.WaitProgress(kProgressMax, "bad consumers went");
    return scene.daemon.Serving().status();
  }
};

class Descriptors final : public Nemesis {
 public:
  absl::Status Prepare(Scene& scene) override {
    scene.daemon.SetFilesMax(kFilesMax);
    return absl::OkStatus();
  }

  absl::Status Strike(Scene& scene) override {
    const OperationId record = scene.BeginFault("no descriptors");
    {
      asio::io_context io;
      const std::vector<tcp::socket> sockets = Connect(io, scene.daemon.port(), 2 * kFilesMax);
      scene.Wait(scene.HoldOr(kHold));
      auto refused = Client::Connect(
          {.address = scene.daemon.address(), .connect_timeout = milliseconds(500)});
      std::printf("no descriptors: %zu connections, one more: %s\n", sockets.size(),
                  refused.status().ToString().c_str());
      if (refused.ok()) scene.Note(Kind::kStuck, "the descriptors did not run out");
    }
    const auto again =
        Client::Connect({.address = scene.daemon.address(), .connect_timeout = kProgressMax});
    if (!again.ok()) return again.status();
    scene.WaitProgress(kProgressMax, "descriptors ran out");
    scene.EndFault(record);
    return scene.daemon.Serving().status();
  }

 private:
  static constexpr std::uint64_t kFilesMax = 128;
};

}  // namespace

std::unique_ptr<Nemesis> MakeConsumers() { return std::make_unique<BadConsumers>(); }
std::unique_ptr<Nemesis> MakeDescriptors() { return std::make_unique<Descriptors>(); }

}  // namespace mqd::crash
