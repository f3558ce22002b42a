#pragma once

// frame_stream.h: one call of a raw bidirectional stream, with gRPC's rules kept in one place: one
// write outstanding, no operation after the end, holds removed exactly once.
//
// Threads:   Write(), HalfClose() and Cancel(): any. Events::OnFrame() comes one at a time;
//            OnWritten() may come at the same time as it; OnClosed() is the last event. All on gRPC
//            threads, none with a lock held.
// Ownership: keeps itself alive from Start() to OnClosed(); holds its Events until then.
// Limits:    one unread frame; one unwritten frame.

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/base/mutex.h"

namespace mqd::client {

class FrameStream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                          public std::enable_shared_from_this<FrameStream> {
  struct Private {};

 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnFrame(grpc::Slice frame) = 0;
    /// The outstanding write is over; `ok` false when the stream has ended.
    virtual void OnWritten(bool ok) = 0;
    /// Nothing more will come. OK when the broker ended the stream without an error.
    virtual void OnClosed(absl::Status status) = 0;
  };

  static std::shared_ptr<FrameStream> Make(std::shared_ptr<grpc::Channel> channel,
                                           std::shared_ptr<Events> events);

  /// Starts the call with `first` as its outstanding write. Once.
  void Start(const std::string& method, const std::string& first);

  FrameStream(Private, std::shared_ptr<grpc::Channel> channel, std::shared_ptr<Events> events);

  /// Writes one frame, the slices one after the other. Only when no write is outstanding. False
  /// when the stream has ended: there will be no OnWritten().
  bool Write(const std::vector<grpc::Slice>& slices);

  /// Says that nothing more will be written; the broker then ends the stream.
  void HalfClose();

  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnWritesDoneDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  bool TakeHold() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool EndWrite(bool& half_close);

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  std::shared_ptr<Events> events_;
  std::shared_ptr<FrameStream> self_;
  grpc::ByteBuffer incoming_;  // gRPC's between StartRead and OnReadDone
  grpc::ByteBuffer outgoing_;  // gRPC's between StartWrite and OnWriteDone

  base::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = true;  // of the first frame
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  bool half_close_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
};

/// A slice that shares `buffer`'s bytes [offset, offset + size).
grpc::Slice ShareSlice(std::shared_ptr<const std::string> buffer, std::size_t offset,
                       std::size_t size);

}  // namespace mqd::client
