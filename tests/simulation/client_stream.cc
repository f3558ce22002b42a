// client_stream.cc: client/frame_stream.h over the simulated network. The reactions below do what
// those of client/frame_stream.cc do; the network calls them where gRPC would.

#include "tests/simulation/client_stream.h"

#include <grpcpp/channel.h>

#include <map>
#include <utility>

#include "client/frame_stream.h"
#include "client/status_map.h"
#include "proto/base/assert.h"

namespace mqd::simulation {
namespace {

Network* client_network = nullptr;

/// The client's end of a stream: gRPC's side of a FrameStream.
class ClientEnd final : public StreamEnd, public std::enable_shared_from_this<ClientEnd> {
 public:
  explicit ClientEnd(client::FrameStream& reactor) : reactor_(reactor) {}

  void Begin(const std::string& method) {
    stream_ = client_network->Connect(method, shared_from_this());
  }
  void Write(std::string frame) {
    writing_ = true;
    stream_->Send(Side::kClient, std::move(frame));
    stream_->AfterWrite([self = shared_from_this()] { self->EndWrite(true); });
  }
  void HalfClose() {
    half_closing_ = true;
    stream_->HalfClose(Side::kClient);
    stream_->AfterWrite([self = shared_from_this()] { self->EndWrite(true); });
  }
  void Cancel() {
    if (closed_) return;
    stream_->Close(Side::kClient, grpc::Status::CANCELLED);
    stream_->AfterWrite([self = shared_from_this()] { self->OnClosed(grpc::Status::CANCELLED); });
  }
  /// The frame that OnReadDone() is about.
  const std::string& arrived() const { return arrived_; }

  void OnFrame(const std::string& frame) override {
    if (closed_) return;
    arrived_ = frame;
    reactor_.OnReadDone(true);
  }
  void OnHalfClosed() override {}
  void OnClosed(const grpc::Status& status) override {
    if (std::exchange(closed_, true)) return;
    reactor_.OnReadDone(false);
    EndWrite(false);
    reactor_.OnDone(status);
  }

 private:
  void EndWrite(bool ok) {
    if (ok && closed_) return;
    if (std::exchange(writing_, false)) reactor_.OnWriteDone(ok);
    if (std::exchange(half_closing_, false)) reactor_.OnWritesDoneDone(ok);
  }

  client::FrameStream& reactor_;  // lives until OnDone()
  std::shared_ptr<Stream> stream_;
  std::string arrived_;
  bool writing_ = false;
  bool half_closing_ = false;
  bool closed_ = false;
};

struct Entry {
  std::shared_ptr<ClientEnd> end;
  const grpc::ClientContext* context = nullptr;
};

/// By the stream of the library.
std::map<const client::FrameStream*, Entry>& Entries() {
  static auto& entries = *new std::map<const client::FrameStream*, Entry>;
  return entries;
}

ClientEnd& EndOf(const client::FrameStream& stream) { return *Entries().at(&stream).end; }

std::string Join(const std::vector<grpc::Slice>& slices) {
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

void SetClientNetwork(Network* network) {
  client_network = network;
  if (network == nullptr) Entries().clear();
}

}  // namespace mqd::simulation

/// Before that of the gRPC library.
void grpc::ClientContext::TryCancel() {
  for (const auto& [stream, entry] : mqd::simulation::Entries()) {
    if (entry.context == this) return entry.end->Cancel();
  }
}

namespace mqd::client {

using simulation::ClientEnd;
using simulation::EndOf;
using simulation::Entries;

std::shared_ptr<FrameStream> FrameStream::Make(std::shared_ptr<grpc::Channel> channel,
                                               std::shared_ptr<Events> events) {
  return std::make_shared<FrameStream>(Private{}, std::move(channel), std::move(events));
}

FrameStream::FrameStream(Private, std::shared_ptr<grpc::Channel> channel,
                         std::shared_ptr<Events> events)
    : stub_(std::move(channel)), events_(std::move(events)) {}

void FrameStream::Start(const std::string& method, const std::string& first) {
  self_ = shared_from_this();
  const auto end = std::make_shared<ClientEnd>(*this);
  Entries()[this] = {end, &context_};
  end->Begin(method);
  end->Write(first);
}

bool FrameStream::Write(const std::vector<grpc::Slice>& slices) {
  {
    base::MutexLock lock(mutex_);
    if (ended_ || half_close_wanted_) return false;
    MQD_ASSERT(!writing_);
    writing_ = true;
  }
  EndOf(*this).Write(simulation::Join(slices));
  return true;
}

void FrameStream::HalfClose() {
  {
    base::MutexLock lock(mutex_);
    half_close_wanted_ = true;
    if (ended_ || writing_ || half_closed_) return;
    writing_ = true;
    half_closed_ = true;
  }
  EndOf(*this).HalfClose();
}

bool FrameStream::EndWrite(bool& half_close) {
  base::MutexLock lock(mutex_);
  writing_ = false;
  half_close = half_close_wanted_ && !half_closed_ && !ended_;
  if (half_close) {
    writing_ = true;
    half_closed_ = true;
  }
  return ended_;
}

void FrameStream::OnReadDone(bool ok) {
  if (ok) return events_->OnFrame(grpc::Slice(EndOf(*this).arrived()));
  base::MutexLock lock(mutex_);
  ended_ = true;
}

void FrameStream::OnWriteDone(bool ok) {
  bool half_close = false;
  const bool ended = EndWrite(half_close);
  if (half_close) EndOf(*this).HalfClose();
  events_->OnWritten(ok && !ended && !half_close);
}

void FrameStream::OnWritesDoneDone(bool) {
  bool half_close = false;
  EndWrite(half_close);
}

void FrameStream::OnDone(const grpc::Status& status) {
  const std::shared_ptr<FrameStream> self = std::exchange(self_, nullptr);
  const std::shared_ptr<Events> events = std::exchange(events_, nullptr);
  Entries().erase(this);
  events->OnClosed(StatusOf(status));
}

/// A copy does for bytes that go nowhere.
grpc::Slice ShareSlice(std::shared_ptr<const std::string> buffer, std::size_t offset,
                       std::size_t size) {
  return grpc::Slice(buffer->data() + offset, size);
}

}  // namespace mqd::client
