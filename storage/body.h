#pragma once

// body.h: the message bytes of one chunk, in memory exactly as on disk.
//
// An element is one message as it travels inside a frame: the tag 0x7A (field 15,
// length-delimited), the length as a varint, the encoded Message. Elements lie one after the other,
// so that any run of them can be sent as it is.
//
// Encoded form (FORMAT.md): elements | end offset of each element, u32 LE | count, u32 LE |
// version, u8 | XXH3-64 of all before it, u64 LE.
//
// Threads: Immutable once built; share it as std::shared_ptr<const Body>.
// Limits: Elements of one body up to kBodyBytesMax, kBodyMessagesMax messages.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mqd::storage {

/// One frame holds at most a batch (1,024 messages, 4 MiB) or one message of 16 MiB; a body gathers
/// a few frames.
inline constexpr std::size_t kBodyBytesMax = 17u << 20;
inline constexpr std::size_t kBodyMessagesMax = 4096;

class Body {
 public:
  class Builder {
   public:
    void Reserve(std::size_t element_bytes, std::size_t count);
    void Append(std::string_view element);
    std::size_t element_bytes() const { return bytes_.size(); }
    std::size_t count() const { return ends_.size(); }
    std::shared_ptr<const Body> Finish() &&;

   private:
    std::string bytes_;
    std::vector<std::uint32_t> ends_;
  };

  /// Fails with kDataLoss when the checksum, the version or an offset is wrong.
  static absl::StatusOr<std::shared_ptr<const Body>> Decode(std::string encoded);

  std::size_t count() const { return count_; }
  std::string_view encoded() const { return encoded_; }
  /// What it takes in memory: one that grew message by message has room to spare.
  std::size_t memory_bytes() const { return encoded_.capacity(); }
  /// Elements first .. last (not included) as one piece.
  std::string_view Elements(std::size_t first, std::size_t last) const;
  std::string_view Element(std::size_t index) const { return Elements(index, index + 1); }

 private:
  Body(std::string encoded, std::size_t count) : encoded_(std::move(encoded)), count_(count) {}
  std::size_t EndOf(std::size_t index) const;

  std::string encoded_;
  std::size_t count_;
};

}  // namespace mqd::storage
