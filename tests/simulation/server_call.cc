// server_call.cc: one stream at the broker, without gRPC's threads.

#include "tests/simulation/server_call.h"

#include <map>
#include <utility>

#include "proto/base/assert.h"
#include "server/rpc/stream_session.h"

namespace mqd::simulation {
namespace {

constexpr std::int64_t kReactionNs = 1 * kNsPerUs;

std::map<const void*, ServerCall*>& CallsByContext() {
  static auto& calls = *new std::map<const void*, ServerCall*>;
  return calls;
}

grpc::ByteBuffer BufferOf(const std::string& frame) {
  const grpc::Slice slice(frame);
  return grpc::ByteBuffer(&slice, 1);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  MQD_ASSERT(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

void ServerCall::Begin(rpc::BrokerService& service) {
  stream_->Join(Side::kBroker, shared_from_this());
  CallsByContext()[static_cast<const grpc::ServerContextBase*>(&context_)] = this;
  const bool consume = stream_->method().ends_with("ConsumeStream");
  reactor_ = consume ? service.ConsumeStream(&context_) : service.PublishStream(&context_);
  BindReactor(reactor_);
}

void ServerCall::Tick(std::int64_t now_ns) {
  auto* session = dynamic_cast<rpc::StreamSession*>(reactor_);
  if (session != nullptr && session->due_ns() <= now_ns) session->OnTick(now_ns);
}

void ServerCall::Kill(std::int64_t notice_ns) {
  cancelled_ = true;
  stream_->Kill(notice_ns);
  if (reactor_ != nullptr) reactor_->OnCancel();
  while (reactor_ != nullptr) {
    if (std::exchange(writing_, false)) reactor_->OnWriteDone(false);
    React();
  }
}

// ---- from the network

void ServerCall::OnFrame(const std::string& frame) {
  inbox_.push_back(frame);
  Post();
}

void ServerCall::OnHalfClosed() {
  half_closed_ = true;
  Post();
}

void ServerCall::OnClosed(const grpc::Status&) {
  if (reactor_ == nullptr || finished_) return;
  cancelled_ = true;
  reactor_->OnCancel();
  Post();
}

void ServerCall::CancelByBroker() {
  if (cancelled_ || finished_) return;
  stream_->Close(Side::kBroker, grpc::Status::CANCELLED);
  Timeline::current()->After(
      kReactionNs, [self = shared_from_this()] { self->OnClosed(grpc::Status::CANCELLED); });
}

// ---- from the session

void ServerCall::Read(grpc::ByteBuffer* frame) {
  MQD_ASSERT(read_ == nullptr);
  read_ = frame;
  Post();
}

void ServerCall::Write(const grpc::ByteBuffer* frame, grpc::WriteOptions) {
  MQD_ASSERT(!writing_ && !finished_);
  writing_ = true;
  if (!cancelled_) stream_->Send(Side::kBroker, BytesOf(*frame));
  stream_->AfterWrite([self = shared_from_this()] {
    if (self->reactor_ == nullptr || !std::exchange(self->writing_, false)) return;
    self->reactor_->OnWriteDone(!self->cancelled_);
    self->Post();
  });
}

void ServerCall::WriteAndFinish(const grpc::ByteBuffer*, grpc::WriteOptions, grpc::Status) {
  MQD_ASSERT(false);  // sessions do not
}

void ServerCall::Finish(grpc::Status status) {
  MQD_ASSERT(!finished_ && !writing_);
  finished_ = true;
  stream_->Close(Side::kBroker, status);
  Post();
}

// ---- reactions

void ServerCall::Post() {
  Timeline::current()->After(kReactionNs, [self = shared_from_this()] { self->React(); });
}

bool ServerCall::ReactToRead() {
  if (read_ == nullptr) return false;
  if (cancelled_ || finished_ || (half_closed_ && inbox_.empty())) {
    read_ = nullptr;
    reactor_->OnReadDone(false);
    return true;
  }
  if (inbox_.empty()) return false;
  *std::exchange(read_, nullptr) = BufferOf(inbox_.front());
  inbox_.pop_front();
  reactor_->OnReadDone(true);
  return true;
}

void ServerCall::React() {
  if (reactor_ == nullptr) return;
  ReactToRead();
  if (!finished_ || writing_ || read_ != nullptr) return;
  CallsByContext().erase(static_cast<const grpc::ServerContextBase*>(&context_));
  std::exchange(reactor_, nullptr)->OnDone();
  done_();
}

/// Of a session that cuts its client off.
void CancelCall(const void* context) {
  const auto found = CallsByContext().find(context);
  if (found != CallsByContext().end()) found->second->CancelByBroker();
}

}  // namespace mqd::simulation

/// Before that of the gRPC library.
void grpc::ServerContextBase::TryCancel() const { mqd::simulation::CancelCall(this); }
