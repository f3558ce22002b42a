#pragma once

// fuzz_input.h: what fuzz targets share: the entry point, and values drawn from the input.
//
// Threads: one at a time.
// Ownership: an Input borrows its bytes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace mqd::fuzz {

/// Draws values from the front; behind the end all are 0 or empty.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  std::uint8_t Byte() {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }

  /// Of up to 8 bytes: the first byte says how many.
  std::uint64_t Number() {
    std::uint64_t value = 0;
    for (int bytes = Byte() % 9; bytes > 0; --bytes) value = value << 8 | Byte();
    return value;
  }

  /// Up to 255 bytes: the first byte says how many.
  std::string_view Text() {
    const std::size_t wanted = Byte();
    const std::size_t size = std::min(wanted, rest_.size());
    const std::string_view text = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return text;
  }

 private:
  std::string_view rest_;
};

inline std::string ReadInput(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace mqd::fuzz
