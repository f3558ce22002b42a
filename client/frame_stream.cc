#include "client/frame_stream.h"

#include <grpcpp/channel.h>

#include <utility>

#include "client/status_map.h"
#include "proto/base/assert.h"

namespace mqd::client {

std::shared_ptr<FrameStream> FrameStream::Make(std::shared_ptr<grpc::Channel> channel,
                                               std::shared_ptr<Events> events) {
  return std::make_shared<FrameStream>(Private{}, std::move(channel), std::move(events));
}

void FrameStream::Start(const std::string& method, const std::string& first) {
  self_ = shared_from_this();
  stub_.PrepareBidiStreamingCall(&context_, method, {}, this);
  AddHold();
  const grpc::Slice slice(first);
  outgoing_ = grpc::ByteBuffer(&slice, 1);
  StartWrite(&outgoing_);
  StartRead(&incoming_);
  StartCall();
}

FrameStream::FrameStream(Private, std::shared_ptr<grpc::Channel> channel,
                         std::shared_ptr<Events> events)
    : stub_(std::move(channel)), events_(std::move(events)) {}

bool FrameStream::Write(const std::vector<grpc::Slice>& slices) {
  {
    base::MutexLock lock(mutex_);
    if (ended_ || half_close_wanted_) return false;
    MQD_ASSERT(!writing_);
    writing_ = true;
  }
  outgoing_ = grpc::ByteBuffer(slices.data(), slices.size());
  StartWrite(&outgoing_);
  return true;
}

void FrameStream::HalfClose() {
  {
    base::MutexLock lock(mutex_);
    half_close_wanted_ = true;
    if (ended_ || writing_ || half_closed_) return;
    writing_ = true;  // until OnWritesDoneDone
    half_closed_ = true;
  }
  StartWritesDone();
}

bool FrameStream::TakeHold() {
  const bool take = ended_ && !writing_ && held_;
  if (take) held_ = false;
  return take;
}

/// The write is over. Answers whether the hold is to be removed, or the half close to be started.
bool FrameStream::EndWrite(bool& half_close) {
  base::MutexLock lock(mutex_);
  writing_ = false;
  half_close = half_close_wanted_ && !half_closed_ && !ended_;
  if (half_close) {
    writing_ = true;
    half_closed_ = true;
  }
  return TakeHold();
}

void FrameStream::OnReadDone(bool ok) {
  if (ok) {
    grpc::Slice frame;
    const grpc::Status dumped = incoming_.TrySingleSlice(&frame).ok()
                                    ? grpc::Status::OK
                                    : incoming_.DumpToSingleSlice(&frame);
    incoming_.Clear();
    if (!dumped.ok()) Cancel();
    events_->OnFrame(std::move(frame));
    StartRead(&incoming_);
    return;
  }
  bool remove = false;
  {
    base::MutexLock lock(mutex_);
    ended_ = true;
    remove = TakeHold();
  }
  if (remove) RemoveHold();
}

void FrameStream::OnWriteDone(bool ok) {
  // The hold must outlast OnWritten(), which may start the next write; so this reaction keeps the
  // call alive, and the next write is started within it.
  bool half_close = false;
  const bool remove = EndWrite(half_close);
  if (half_close) StartWritesDone();
  if (remove) RemoveHold();
  events_->OnWritten(ok && !remove && !half_close);
}

void FrameStream::OnWritesDoneDone(bool) {
  bool half_close = false;
  if (EndWrite(half_close)) RemoveHold();
}

void FrameStream::OnDone(const grpc::Status& status) {
  const std::shared_ptr<FrameStream> self = std::exchange(self_, nullptr);
  const std::shared_ptr<Events> events = std::exchange(events_, nullptr);
  events->OnClosed(StatusOf(status));
}

grpc::Slice ShareSlice(std::shared_ptr<const std::string> buffer, std::size_t offset,
                       std::size_t size) {
  char* data = const_cast<char*>(buffer->data()) + offset;
  auto* owner = new std::shared_ptr<const std::string>(std::move(buffer));
  const auto release = [](void* pointer) {
    delete static_cast<std::shared_ptr<const std::string>*>(pointer);
  };
  return grpc::Slice(data, size, release, owner);
}

}  // namespace mqd::client
