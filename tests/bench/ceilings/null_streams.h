#pragma once

// null_streams.h: the streams and queues of a broker that keeps nothing: a batch that comes in is
// confirmed and goes out to a consumer with credit, its messages untouched. Nothing is stored,
// leased, ordered by key or delivered twice. What mqd does more than this is what it costs.
//
// Threads:   any. A queue's lock is taken before a stream's, and no lock is held over a call of
// gRPC. Ownership: a stream keeps itself alive until OnDone(); queues share the streams that wait.
// Limits:    the publish window of the real broker, given back when a consumer has the messages: a
//            queue without consumers holds no more than that of each publisher.

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "mqd/v1/broker.pb.h"
#include "proto/base/mutex.h"
#include "proto/wire/frame_scan.h"

namespace mqd::bench {

/// One raw stream: one read and one write at a time, frames in between.
class NullStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                   public std::enable_shared_from_this<NullStream> {
 public:
  void Begin();
  void OnReadDone(bool ok) final;
  void OnWriteDone(bool ok) final;
  void OnCancel() final { Close(); }
  void OnDone() final;

 protected:
  virtual void OnFrame(const wire::Frame& frame, const std::shared_ptr<grpc::Slice>& owner) = 0;
  virtual void OnClosed() {}
  /// Fills `out` with what is to be written next; false for nothing.
  virtual bool TakeLocked(grpc::ByteBuffer& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;

  void Send(const google::protobuf::MessageLite& frame);
  void Pump();
  void Close();

  base::Mutex mutex_;

 private:
  std::shared_ptr<NullStream> keep_alive_;
  grpc::ByteBuffer read_buffer_;
  grpc::ByteBuffer write_buffer_;  // of whoever has set writing_
  std::deque<grpc::ByteBuffer> control_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool starts_read_ ABSL_GUARDED_BY(mutex_) = false;  // no Finish beside it
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

class NullPublish;
class NullConsume;

/// Messages of one batch that no consumer has yet.
struct Piece {
  std::shared_ptr<grpc::Slice> owner;
  std::vector<wire::ScannedMessage> messages;
  std::size_t next = 0;
  std::shared_ptr<NullPublish> publisher;
};

/// Messages on their way to one consumer: bytes in `owner`.
struct NullRun {
  std::shared_ptr<grpc::Slice> owner;
  std::string_view elements;
  std::uint64_t first_id = 0;  // delivery id and sequence
  std::uint64_t count = 0;
  std::uint64_t charge = 0;
};

class NullQueue {
 public:
  /// Returns the sequence of the first of them.
  std::uint64_t Add(Piece piece);
  void Attach(std::shared_ptr<NullConsume> consumer);
  void Detach(const NullConsume* consumer);
  void Grant(NullConsume& consumer, std::uint64_t messages, std::uint64_t bytes);

 private:
  struct Place {
    std::shared_ptr<NullConsume> consumer;
    std::uint64_t messages = 0;
    std::int64_t bytes = 0;
  };
  void Dispatch();
  static NullRun Take(Piece& piece, Place& place, std::uint64_t first_id);

  base::Mutex mutex_;
  std::deque<Piece> pieces_ ABSL_GUARDED_BY(mutex_);
  std::vector<Place> places_ ABSL_GUARDED_BY(mutex_);
  std::size_t turn_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 1;
  std::uint64_t next_delivery_ ABSL_GUARDED_BY(mutex_) = 1;
};

class NullQueues {
 public:
  /// Makes it when it is not there.
  std::shared_ptr<NullQueue> Find(const std::string& name);
  void Erase(const std::string& name);

 private:
  base::Mutex mutex_;
  std::map<std::string, std::shared_ptr<NullQueue>> queues_ ABSL_GUARDED_BY(mutex_);
};

class NullPublish final : public NullStream {
 public:
  explicit NullPublish(NullQueues& queues) : queues_(queues) {}
  /// A consumer has these.
  void GiveBack(std::uint64_t messages, std::uint64_t bytes);

 private:
  void OnFrame(const wire::Frame& frame, const std::shared_ptr<grpc::Slice>& owner) override;
  void OnBatch(std::string_view content, const std::shared_ptr<grpc::Slice>& owner);
  bool TakeLocked(grpc::ByteBuffer& out) override;

  NullQueues& queues_;
  std::shared_ptr<NullQueue> queue_;
  v1::PublishStreamResponse confirms_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t back_messages_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t back_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

/// Consumes from the first queue that it names.
class NullConsume final : public NullStream {
 public:
  explicit NullConsume(NullQueues& queues) : queues_(queues) {}
  void Deliver(NullRun run);
  void Flush() { Pump(); }

 private:
  void OnFrame(const wire::Frame& frame, const std::shared_ptr<grpc::Slice>& owner) override;
  void OnOpen(const v1::ConsumeOpen& open);
  void OnSettle(const v1::SettleBatch& settle);
  void OnClosed() override;
  bool TakeLocked(grpc::ByteBuffer& out) override;

  NullQueues& queues_;
  std::shared_ptr<NullQueue> queue_;
  std::deque<NullRun> runs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::bench
