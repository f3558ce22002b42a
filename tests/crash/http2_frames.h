#pragma once

// http2_frames.h: finds the heads of HTTP/2 frames in a stream of bytes (RFC 9113, 4.1), and can
// give one a length that no frame may have.
//
// Threads:   one at a time.
// Limits:    clear text only. After a spoiled head the rest of the stream means nothing.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mqd::crash {

class Http2Frames {
 public:
  /// What a client sends begins with the connection preface.
  explicit Http2Frames(bool from_client) : skip_(from_client ? kPrefaceBytes : 0) {}

  /// Follows the stream. When `spoil`, the next head that ends within `bytes` is spoiled in place,
  /// as far as it lies in them; true when that was done.
  bool Pass(std::span<char> bytes, bool spoil) {
    for (std::size_t i = 0; i < bytes.size();) {
      if (skip_ > 0) {
        const std::uint64_t step = std::min<std::uint64_t>(skip_, bytes.size() - i);
        skip_ -= step;
        i += step;
        continue;
      }
      head_[have_++] = static_cast<unsigned char>(bytes[i++]);
      if (have_ < kHeadBytes) continue;
      have_ = 0;
      ++frames_;
      skip_ = std::uint64_t{head_[0]} << 16 | std::uint64_t{head_[1]} << 8 | head_[2];
      if (!spoil || i < kHeadBytes) continue;
      for (std::size_t k = 0; k < kLengthBytes; ++k) bytes[i - kHeadBytes + k] = '\xFF';
      return true;
    }
    return false;
  }

  std::uint64_t frames() const { return frames_; }

 private:
  static constexpr std::uint64_t kPrefaceBytes = 24;
  static constexpr std::size_t kHeadBytes = 9;
  static constexpr std::size_t kLengthBytes = 3;

  std::array<unsigned char, kHeadBytes> head_ = {};
  std::size_t have_ = 0;  // bytes of a head
  std::uint64_t skip_;    // bytes up to the next head
  std::uint64_t frames_ = 0;
};

}  // namespace mqd::crash
