// fault_proxy_test.cc: each fault does to a connection what its name says, and nothing else.

#include "tests/crash/fault_proxy.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "asio.hpp"
#include "tests/crash/http2_frames.h"

namespace mqd::crash {
namespace {

using asio::ip::tcp;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kWaitMs = 10'000;
constexpr int kSilenceMs = 150;
constexpr std::size_t kBlockBytes = 4'096;

/// A client of the proxy and what it is connected to.
class FaultProxyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(proxy_.Listen(acceptor_.local_endpoint().port()).ok());
    Connect();
  }

  void Connect() {
    client_ = tcp::socket(io_);
    server_ = tcp::socket(io_);
    client_.connect({asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(proxy_.port())});
    acceptor_.accept(server_);
  }

  static void Write(tcp::socket& socket, const std::string& text) {
    std::error_code error;
    asio::write(socket, asio::buffer(text), error);
    EXPECT_FALSE(error) << error.message();
  }

  /// Whether anything, or an end, comes in time.
  static bool Readable(tcp::socket& socket, int wait_ms = kWaitMs) {
    pollfd event = {socket.native_handle(), POLLIN, 0};
    return poll(&event, 1, wait_ms) > 0;
  }

  /// All `size` bytes, or those before the connection ended or went silent.
  std::string Read(tcp::socket& socket, std::size_t size) {
    std::string text;
    while (text.size() < size && Readable(socket)) {
      std::string part(size - text.size(), ' ');
      part.resize(socket.read_some(asio::buffer(part), end_));
      if (end_) break;
      text += part;
    }
    return text;
  }

  milliseconds TimeToRead(tcp::socket& socket, const std::string& expected) {
    const Clock::time_point begin = Clock::now();
    EXPECT_EQ(Read(socket, expected.size()), expected);
    return std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
  }

  /// Reads until the connection ends, and says how.
  std::error_code EndOf(tcp::socket& socket) {
    end_ = {};
    while (!end_ && Readable(socket)) Read(socket, kBlockBytes);
    return end_;
  }

  asio::io_context io_;
  tcp::acceptor acceptor_{io_, {asio::ip::address_v4::loopback(), 0}};
  FaultProxy proxy_{7};
  tcp::socket client_{io_};
  tcp::socket server_{io_};
  std::error_code end_;
};

TEST_F(FaultProxyTest, PassesBytesBothWaysUnchanged) {
  std::string block(300'000, ' ');
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 7);
  std::thread writer([&] { Write(client_, block); });
  EXPECT_EQ(Read(server_, block.size()), block);
  writer.join();
  Write(server_, "back");
  EXPECT_EQ(Read(client_, 4), "back");
  client_.close();
  EXPECT_EQ(EndOf(server_), asio::error::eof);
}

TEST_F(FaultProxyTest, LatencyDelaysAndKeepsTheOrder) {
  proxy_.Inflict({.network = Network::kLatency, .delay = milliseconds(200)});
  Write(client_, "one");
  Write(client_, "two");
  EXPECT_GE(TimeToRead(server_, "onetwo"), milliseconds(190));
}

TEST_F(FaultProxyTest, JitterKeepsTheOrder) {
  proxy_.Inflict({.network = Network::kJitter, .delay = milliseconds(20)});
  std::string sent;
  for (char c = 'a'; c <= 'z'; ++c) {
    Write(client_, std::string(1, c));
    sent += c;
  }
  EXPECT_EQ(Read(server_, sent.size()), sent);
}

TEST_F(FaultProxyTest, StallStopsOneDirectionAndLosesNothing) {
  proxy_.Inflict({.network = Network::kStall, .to_target = true});
  Write(client_, "late");
  Write(server_, "soon");
  EXPECT_EQ(Read(client_, 4), "soon");
  EXPECT_FALSE(Readable(server_, kSilenceMs));
  proxy_.Heal();
  EXPECT_EQ(Read(server_, 4), "late");
}

TEST_F(FaultProxyTest, HalfOpenSwallowsForGoodAndNewConnectionsHeal) {
  proxy_.Inflict({.network = Network::kHalfOpen});
  Write(client_, "gone");
  EXPECT_FALSE(Readable(server_, kSilenceMs));
  proxy_.Heal();
  Write(client_, "gone too");
  server_.close();
  EXPECT_FALSE(Readable(client_, kSilenceMs));
  Connect();
  Write(client_, "here");
  EXPECT_EQ(Read(server_, 4), "here");
  EXPECT_EQ(proxy_.counts().swallowed, 12U);
}

TEST_F(FaultProxyTest, ResetEndsConnectionsAndNewOnes) {
  proxy_.Inflict({.network = Network::kReset, .delay = milliseconds(1)});
  EXPECT_EQ(EndOf(client_), asio::error::connection_reset);
  EXPECT_EQ(EndOf(server_), asio::error::connection_reset);
  Connect();
  EXPECT_EQ(EndOf(client_), asio::error::connection_reset);
  EXPECT_EQ(proxy_.counts().aborted, 2U);
}

TEST_F(FaultProxyTest, ThrottleHoldsTheRate) {
  proxy_.Inflict({.network = Network::kThrottle, .bytes = 40'000});
  const std::string block(16'000, 'x');
  Write(client_, block);
  EXPECT_GE(TimeToRead(server_, block), milliseconds(300));
}

TEST_F(FaultProxyTest, CutLetsAFrontPartThrough) {
  proxy_.Inflict({.network = Network::kCut, .bytes = 1'000});
  const std::string block(5'000, 'x');
  Write(client_, block);
  const std::string seen = Read(server_, block.size());
  EXPECT_LE(seen.size(), 1'000U);
  EXPECT_EQ(EndOf(client_), asio::error::connection_reset);
}

TEST_F(FaultProxyTest, FlipChangesSingleBits) {
  proxy_.Inflict({.network = Network::kFlip, .bytes = 500});
  const std::string block(20'000, 'x');
  Write(client_, block);
  const std::string seen = Read(server_, block.size());
  ASSERT_EQ(seen.size(), block.size());
  std::uint64_t changed = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const int difference = static_cast<unsigned char>(seen[i]) ^ static_cast<unsigned char>('x');
    if (difference == 0) continue;
    ++changed;
    EXPECT_EQ(difference & (difference - 1), 0);
  }
  EXPECT_GE(changed, 10U);
  EXPECT_EQ(changed, proxy_.counts().spoiled);
}

std::string FrameOf(std::size_t size) {
  std::string frame = {'\0', static_cast<char>(size >> 8), static_cast<char>(size)};
  frame += std::string(5, '\0') + '\1';
  return frame + std::string(size, 'p');
}

TEST_F(FaultProxyTest, FramingSpoilsOnlyTheLengthOfAFrame) {
  proxy_.Inflict({.network = Network::kFraming});
  std::string sent;
  for (std::size_t i = 0; i < 60; ++i) sent += FrameOf(300 + i);
  Write(server_, sent);
  const std::string seen = Read(client_, sent.size());
  ASSERT_EQ(seen.size(), sent.size());
  std::size_t differ = 0;
  while (differ < sent.size() && seen[differ] == sent[differ]) ++differ;
  ASSERT_LT(differ, sent.size());
  EXPECT_EQ(seen.substr(differ, 3), "\xFF\xFF\xFF");
  EXPECT_EQ(seen.substr(differ + 3, 300), sent.substr(differ + 3, 300));
  EXPECT_GE(proxy_.counts().spoiled, 1U);
}

TEST(Http2FramesTest, FindsHeadsHoweverTheBytesCome) {
  const std::string stream = std::string(24, '*') + FrameOf(5) + FrameOf(0) + FrameOf(700);
  for (std::size_t step = 1; step < 40; ++step) {
    std::string bytes = stream;
    Http2Frames frames(true);
    for (std::size_t i = 0; i < bytes.size(); i += step) {
      frames.Pass({bytes.data() + i, std::min(step, bytes.size() - i)}, false);
    }
    EXPECT_EQ(frames.frames(), 3U);
    EXPECT_EQ(bytes, stream);
  }
}

}  // namespace
}  // namespace mqd::crash
