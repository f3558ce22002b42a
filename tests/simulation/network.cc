// network.cc: when frames arrive, and what each end of a stream hears of its end.

#include "tests/simulation/network.h"

#include <algorithm>
#include <utility>

namespace mqd::simulation {
namespace {

constexpr std::int64_t kWriteMinNs = 2 * kNsPerUs;
constexpr std::int64_t kWriteMaxNs = 200 * kNsPerUs;

grpc::Status Broken() { return {grpc::StatusCode::UNAVAILABLE, "the connection broke"}; }

Timeline& Now() { return *Timeline::current(); }

}  // namespace

Stream::Stream(std::uint64_t id, std::string method, LinkQuality quality, StreamObserver& observer,
               std::uint64_t seed)
    : id_(id), method_(std::move(method)), quality_(quality), observer_(observer), random_(seed) {}

void Stream::Join(Side side, std::shared_ptr<StreamEnd> end) { To(side).end = std::move(end); }

/// Behind everything else on its way there.
void Stream::Arrive(Side at, std::function<void(StreamEnd&)> what) {
  if (lost_) return;
  std::int64_t& last = To(at).last_arrival_ns;
  last = std::max(last + 1, Now().steady_ns() +
                                Between(random_, quality_.latency_min_ns, quality_.latency_max_ns));
  Now().At(last, [self = shared_from_this(), at, what = std::move(what)] {
    const std::shared_ptr<StreamEnd> end = self->To(at).end;
    if (!self->lost_ && !self->Closed(at) && end != nullptr) what(*end);
  });
}

void Stream::Send(Side from, std::string frame) {
  observer_.OnSent(*this, from, frame);
  const Side at = Other(from);
  Arrive(at, [this, at, frame = std::move(frame)](StreamEnd& end) {
    observer_.OnArrived(*this, at, frame);
    end.OnFrame(frame);
  });
}

void Stream::HalfClose(Side from) {
  const Side at = Other(from);
  Arrive(at, [this, at](StreamEnd& end) {
    observer_.OnHalfClosed(*this, at);
    end.OnHalfClosed();
  });
}

void Stream::Close(Side from, const grpc::Status& status) {
  if (!MarkClosed(from)) return;
  const Side at = Other(from);
  Arrive(at, [this, at, status](StreamEnd&) { CloseNow(at, status); });
}

bool Stream::MarkClosed(Side side) {
  if (std::exchange(Closed(side), true)) return false;
  if (side == Side::kBroker) observer_.OnLeft(*this, killed_);
  return true;
}

void Stream::CloseNow(Side side, const grpc::Status& status) {
  if (!MarkClosed(side)) return;
  Now().Note(side == Side::kClient ? "closed at client" : "closed at broker", id_);
  if (const auto end = std::exchange(To(side).end, nullptr)) end->OnClosed(status);
}

void Stream::AfterWrite(std::function<void()> done) {
  Now().After(Between(random_, kWriteMinNs, kWriteMaxNs),
              [self = shared_from_this(), done = std::move(done)] { done(); });
}

void Stream::Tell(Side side, std::int64_t after_ns, const grpc::Status& status) {
  Now().After(after_ns,
              [self = shared_from_this(), side, status] { self->CloseNow(side, status); });
}

void Stream::Cut(std::int64_t client_notice_ns, std::int64_t broker_notice_ns) {
  if (over()) return;
  Now().Note("cut", id_);
  lost_ = true;
  Tell(Side::kClient, client_notice_ns, Broken());
  Tell(Side::kBroker, broker_notice_ns, Broken());
}

void Stream::Kill(std::int64_t client_notice_ns) {
  lost_ = true;
  killed_ = true;
  MarkClosed(Side::kBroker);
  To(Side::kBroker).end = nullptr;
  Tell(Side::kClient, client_notice_ns, Broken());
}

void Stream::Stall() {
  Now().Note("stall", id_);
  lost_ = true;
}

std::shared_ptr<Stream> Network::Connect(const std::string& method,
                                         std::shared_ptr<StreamEnd> client) {
  auto stream = std::make_shared<Stream>(next_id_++, method, quality_, observer_, timeline_.Seed());
  stream->Join(Side::kClient, std::move(client));
  if (!accept_) {
    stream->Cut(kNsPerMs, 0);
    return stream;
  }
  std::erase_if(streams_, [](const auto& old) { return old->over(); });
  streams_.push_back(stream);
  accept_(stream);
  return stream;
}

std::vector<std::shared_ptr<Stream>> Network::Open() {
  std::erase_if(streams_, [](const auto& old) { return old->over(); });
  return streams_;
}

}  // namespace mqd::simulation
