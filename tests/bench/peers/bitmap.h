#pragma once

// bitmap.h: one bit for each 32-bit number, in pieces that are made when they are needed.
//
// Threads: any.
// Limits:  32 KiB by itself, 128 KiB for each million numbers in a row that are used.

#include <atomic>
#include <cstdint>
#include <vector>

namespace mqd::bench {

class Bitmap {
 public:
  ~Bitmap() {
    for (auto& piece : pieces_) delete[] piece.load();
  }
  /// Sets bit `number`; whether it was set before.
  bool Set(std::uint32_t number) {
    auto* piece = pieces_[number >> kPieceBits].load(std::memory_order_acquire);
    if (piece == nullptr) piece = Make(number >> kPieceBits);
    const std::uint64_t bit = std::uint64_t{1} << (number & 63);
    auto& word = piece[(number & (kPiece - 1)) >> 6];
    return (word.fetch_or(bit, std::memory_order_relaxed) & bit) != 0;
  }

 private:
  using Word = std::atomic<std::uint64_t>;
  static constexpr std::uint32_t kPieceBits = 20;
  static constexpr std::uint32_t kPiece = 1U << kPieceBits;

  Word* Make(std::uint32_t index) {
    auto* made = new Word[kPiece / 64]();
    Word* expected = nullptr;
    if (pieces_[index].compare_exchange_strong(expected, made)) return made;
    delete[] made;
    return expected;
  }

  std::vector<std::atomic<Word*>> pieces_ =
      std::vector<std::atomic<Word*>>(1U << (32 - kPieceBits));
};

}  // namespace mqd::bench
