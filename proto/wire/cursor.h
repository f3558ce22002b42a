#pragma once

// cursor.h: walks the fields of one encoded message in place.
//
// Threads:   one at a time; it is a value on its user's stack.
// Ownership: borrows the bytes; what it answers points into them.
// Limits:    below 2 GiB of bytes.
// Source:    The Protocol Buffers wire format, in its shortest form only.

#include <cstdint>
#include <limits>
#include <string_view>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace mqd::wire {

/// The tag of a field that holds bytes, text or a message.
constexpr std::uint32_t Len(int field) {
  return (static_cast<std::uint32_t>(field) << 3) |
         google::protobuf::internal::WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
}
/// The tag of a field that holds a varint.
constexpr std::uint32_t Var(int field) {
  return (static_cast<std::uint32_t>(field) << 3) |
         google::protobuf::internal::WireFormatLite::WIRETYPE_VARINT;
}

/// Walks the fields of one encoded message. Every read answers false when the bytes end too early
/// or a varint is not in its shortest form.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes)
      : base_(bytes.data()),
        size_(static_cast<int>(bytes.size())),
        in_(reinterpret_cast<const std::uint8_t*>(bytes.data()), size_) {}

  bool AtEnd() const { return in_.CurrentPosition() == size_; }
  int Position() const { return in_.CurrentPosition(); }

  bool Varint(std::uint64_t& value) {
    const int start = Position();
    if (!in_.ReadVarint64(&value)) return false;
    const int used = Position() - start;
    return used == 1 ||
           used == static_cast<int>(google::protobuf::io::CodedOutputStream::VarintSize64(value));
  }

  bool Tag(std::uint32_t& tag) {
    std::uint64_t value = 0;
    if (!Varint(value) || value > std::numeric_limits<std::uint32_t>::max()) return false;
    tag = static_cast<std::uint32_t>(value);
    return tag >> 3 != 0;
  }

  bool Bytes(std::string_view& bytes) {
    std::uint64_t length = 0;
    if (!Varint(length)) return false;
    const int at = Position();
    if (length > static_cast<std::uint64_t>(size_ - at)) return false;
    bytes = {base_ + at, static_cast<std::size_t>(length)};
    return in_.Skip(static_cast<int>(length));
  }

  bool Skip(std::uint32_t tag) {
    return google::protobuf::internal::WireFormatLite::SkipField(&in_, tag);
  }

 private:
  const char* const base_;
  const int size_;
  google::protobuf::io::CodedInputStream in_;
};

}  // namespace mqd::wire
