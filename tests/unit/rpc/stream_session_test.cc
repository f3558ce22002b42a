// What every stream has in common, with a session that writes down what it is asked to do.
#include "server/rpc/stream_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/rpc/rpc_broker.h"

namespace mqd::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// No call is behind it: gRPC keeps what it is asked to write for one that never comes.
class Probe final : public StreamSession {
 public:
  Probe(const RpcDeps& deps, grpc::CallbackServerContext& context)
      : StreamSession(Kind::kConsume, deps, context) {}

  /// As a queue's thread does that has something new.
  void Add(int frames) {
    {
      base::MutexLock lock(mutex_);
      frames_ += frames;
    }
    Pump();
  }
  std::vector<std::string> TakeSteps() { return std::exchange(steps_, {}); }

 private:
  Read OnFrame(wire::Frame, std::shared_ptr<const grpc::Slice>) override { return Read::kNext; }
  void OnHalfClose() override {}
  void OnEnded() override {}
  void Encode(grpc::ByteBuffer&) override { steps_.emplace_back("encode"); }
  void OnWritten() override {
    steps_.emplace_back("written");
    Pump();  // what another thread may do at this moment
    steps_.emplace_back("counted");
  }
  void BeforeGoAway() override { steps_.emplace_back("before go_away"); }
  void OnBrokerDrain() override { steps_.emplace_back("drain"); }
  void OnDeadline(std::int64_t) override {}
  grpc::ByteBuffer PingFrame(std::uint64_t) const override { return {}; }
  grpc::ByteBuffer GoAwayFrame(queue::GoAwayCode, std::chrono::milliseconds,
                               const queue::ErrorInfo&) const override {
    steps_.emplace_back("go_away");
    return {};
  }
  bool TakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) override {
    if (frames_ == 0) return false;
    --frames_;
    return true;
  }

  int frames_ ABSL_GUARDED_BY(mutex_) = 0;
  mutable std::vector<std::string> steps_;
};

class StreamSessionTest : public testing::Test {
 protected:
  Authorizer everyone_;
  RpcBroker broker_{everyone_};
  grpc::CallbackServerContext context_;
  std::shared_ptr<Probe> session_ = std::make_shared<Probe>(broker_.deps(), context_);
};

// A consume stream counts the settles whose results it owes by the frame that was written; it was
// no longer read, for good, when another frame came between.
TEST_F(StreamSessionTest, AWriteIsCountedBeforeTheNextFrameIsTaken) {
  session_->Add(2);
  EXPECT_THAT(session_->TakeSteps(), ElementsAre("encode"));
  session_->OnWriteDone(true);
  EXPECT_THAT(session_->TakeSteps(), ElementsAre("written", "counted", "encode"));
  session_->OnWriteDone(true);
  EXPECT_THAT(session_->TakeSteps(), ElementsAre("written", "counted"));
}

TEST_F(StreamSessionTest, OneFrameIsWrittenAtATime) {
  session_->Add(1);
  session_->TakeSteps();
  session_->Add(1);
  EXPECT_THAT(session_->TakeSteps(), IsEmpty());
}

TEST_F(StreamSessionTest, TheSessionIsReadyForGoAwayBeforeTheClientIsTold) {
  session_->GoAway(std::chrono::milliseconds(100));
  EXPECT_THAT(session_->TakeSteps(), ElementsAre("before go_away", "go_away", "drain"));
}

}  // namespace
}  // namespace mqd::rpc
