#include "storage/byte_codec.h"

#include <xxhash.h>

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/base/mutant.h"

namespace mqd::storage {
namespace {

// Shifts instead of casts: the compiler makes one load or store of them, on any machine.
template <class Number>
void AppendBigEndian(std::string& out, Number value) {
  char bytes[sizeof(Number)];
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    bytes[i] = static_cast<char>(value >> (8 * (sizeof(Number) - 1 - i)));
  }
  out.append(bytes, sizeof(Number));
}

template <class Number>
Number LoadBigEndian(const char* bytes) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    value = static_cast<Number>(value << 8) | static_cast<std::uint8_t>(bytes[i]);
  }
  return value;
}

template <class Number>
void AppendLittleEndian(std::string& out, Number value) {
  char bytes[sizeof(Number)];
  for (std::size_t i = 0; i < sizeof(Number); ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  out.append(bytes, sizeof(Number));
}

template <class Number>
Number LoadLittleEndian(const char* bytes) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    value |= static_cast<Number>(static_cast<std::uint8_t>(bytes[i])) << (8 * i);
  }
  return value;
}

}  // namespace

void AppendBigEndian16(std::string& out, std::uint16_t value) { AppendBigEndian(out, value); }
void AppendBigEndian32(std::string& out, std::uint32_t value) { AppendBigEndian(out, value); }
void AppendBigEndian64(std::string& out, std::uint64_t value) { AppendBigEndian(out, value); }
std::uint16_t LoadBigEndian16(const char* bytes) { return LoadBigEndian<std::uint16_t>(bytes); }
std::uint64_t LoadBigEndian64(const char* bytes) { return LoadBigEndian<std::uint64_t>(bytes); }
void AppendLittleEndian32(std::string& out, std::uint32_t value) { AppendLittleEndian(out, value); }
void AppendLittleEndian64(std::string& out, std::uint64_t value) { AppendLittleEndian(out, value); }
std::uint32_t LoadLittleEndian32(const char* bytes) {
  return LoadLittleEndian<std::uint32_t>(bytes);
}
std::uint64_t LoadLittleEndian64(const char* bytes) {
  return LoadLittleEndian<std::uint64_t>(bytes);
}

std::uint64_t Checksum(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

void AppendChecksum(std::string& bytes) { AppendLittleEndian64(bytes, Checksum(bytes)); }

bool EndsWithItsChecksum(std::string_view bytes) {
  if (bytes.size() < kChecksumBytes) return false;
  if (MQD_MUTANT(checksum_ignored)) return true;
  const std::size_t covered = bytes.size() - kChecksumBytes;
  return LoadLittleEndian64(bytes.data() + covered) == Checksum(bytes.substr(0, covered));
}

void RecordWriter::Varint(std::uint64_t value) {
  while (value >= 0x80) {
    bytes_.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  bytes_.push_back(static_cast<char>(value));
}

void RecordWriter::Signed(std::int64_t value) {
  Varint((static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
}

void RecordWriter::String(std::string_view value) {
  Varint(value.size());
  bytes_.append(value);
}

std::string RecordWriter::Finish() && {
  AppendChecksum(bytes_);
  return std::move(bytes_);
}

std::uint8_t ByteReader::Byte() {
  if (!ok_ || rest_.empty()) {
    Fail();
    return 0;
  }
  const auto value = static_cast<std::uint8_t>(rest_.front());
  rest_.remove_prefix(1);
  return value;
}

bool ByteReader::Bool() {
  const std::uint8_t value = Byte();
  if (value > 1) Fail();
  return value == 1;
}

std::uint64_t ByteReader::Varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const std::uint8_t byte = Byte();
    if (!ok_) return 0;
    if (shift == 63 && byte > 1) break;  // would not fit into 64 bits
    if (shift > 0 && byte == 0) break;   // longer than needed: not written by us
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  Fail();
  return 0;
}

std::uint32_t ByteReader::Varint32() {
  const std::uint64_t value = Varint();
  if (value <= std::numeric_limits<std::uint32_t>::max()) return static_cast<std::uint32_t>(value);
  Fail();
  return 0;
}

std::int64_t ByteReader::Signed() {
  const std::uint64_t value = Varint();
  return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

std::string_view ByteReader::String() {
  const std::uint64_t size = Varint();
  if (!ok_ || size > rest_.size()) {
    Fail();
    return {};
  }
  const std::string_view value = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return value;
}

std::size_t ByteReader::Count(std::size_t element_bytes_min) {
  const std::uint64_t count = Varint();
  if (!ok_ || count > rest_.size() / element_bytes_min) {
    Fail();
    return 0;
  }
  return count;
}

absl::StatusOr<ByteReader> OpenRecord(std::string_view value, absl::string_view kind,
                                      std::uint8_t newest_version) {
  if (!EndsWithItsChecksum(value)) {
    return absl::DataLossError(
        absl::StrCat(std::string(kind), " record: its checksum does not match"));
  }
  const std::string_view fields = value.substr(0, value.size() - kChecksumBytes);
  const std::uint8_t version = fields.empty() ? 0 : static_cast<std::uint8_t>(fields.front());
  if (version == 0) {
    return absl::DataLossError(absl::StrCat(std::string(kind), " record: it has no version"));
  }
  if (version > newest_version) {
    return absl::FailedPreconditionError(
        absl::StrCat(std::string(kind), " record: it has version ", static_cast<unsigned>(version),
                     " and this program reads up to ", static_cast<unsigned>(newest_version),
                     "; start the newer program that wrote it"));
  }
  return ByteReader(fields.substr(1), version);
}

absl::Status DamagedRecord(absl::string_view kind) {
  return absl::DataLossError(
      absl::StrCat(std::string(kind), " record: a field does not make sense"));
}

}  // namespace mqd::storage
