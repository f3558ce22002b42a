#pragma once

// byte_codec.h: numbers and strings as bytes, and the seal (version in front, checksum behind) that
// every value of the store carries.
//
// Threads: Pure functions and plain values.
// Ownership: A ByteReader borrows what it reads.
// Limits: A reader never allocates: a count that lies is found out before anybody reserves for
// it.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mqd::storage {

inline constexpr std::size_t kChecksumBytes = 8;

void AppendBigEndian16(std::string& out, std::uint16_t value);
void AppendBigEndian32(std::string& out, std::uint32_t value);
void AppendBigEndian64(std::string& out, std::uint64_t value);
/// Each needs its 2, 4 or 8 bytes at `bytes`.
std::uint16_t LoadBigEndian16(const char* bytes);
std::uint64_t LoadBigEndian64(const char* bytes);
void AppendLittleEndian32(std::string& out, std::uint32_t value);
void AppendLittleEndian64(std::string& out, std::uint64_t value);
std::uint32_t LoadLittleEndian32(const char* bytes);
std::uint64_t LoadLittleEndian64(const char* bytes);

/// XXH3-64, seed 0.
std::uint64_t Checksum(std::string_view bytes);

/// Appends the checksum of all that `bytes` holds.
void AppendChecksum(std::string& bytes);

/// Whether the last 8 bytes are the checksum of those before them.
bool EndsWithItsChecksum(std::string_view bytes);

/// Builds one value: version, fields, checksum.
class RecordWriter {
 public:
  explicit RecordWriter(std::uint8_t version) { bytes_.push_back(static_cast<char>(version)); }

  void Byte(std::uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void Varint(std::uint64_t value);
  /// Zigzag, so that small negative numbers are short too.
  void Signed(std::int64_t value);
  /// Length, then the bytes.
  void String(std::string_view value);
  std::string Finish() &&;

 private:
  std::string bytes_;
};

/// Takes fields from the front. The first field that does not fit makes it fail for good: from then
/// on every field reads as zero or empty, and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes, std::uint8_t version = 0)
      : rest_(bytes), version_(version) {}

  std::uint8_t Byte();
  /// A byte that is 0 or 1.
  bool Bool();
  std::uint64_t Varint();
  std::uint32_t Varint32();
  std::int64_t Signed();
  std::string_view String();
  /// A number of elements, each of at least `element_bytes_min` bytes: fails when the rest cannot
  /// hold so many.
  std::size_t Count(std::size_t element_bytes_min);

  /// Of the record that OpenRecord() opened.
  std::uint8_t version() const { return version_; }

  void Fail() { ok_ = false; }
  bool ok() const { return ok_; }
  bool AtEnd() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  std::uint8_t version_;
  bool ok_ = true;
};

/// Checks the seal of `value` and returns a reader of its fields. kDataLoss when the checksum is
/// wrong, kFailedPrecondition when the version is above `newest_version`. `kind` is for the
/// message.
absl::StatusOr<ByteReader> OpenRecord(std::string_view value, absl::string_view kind,
                                      std::uint8_t newest_version);

absl::Status DamagedRecord(absl::string_view kind);

/// A record must be used up exactly: what is left over means that a field before was wrong.
template <class Record>
absl::StatusOr<Record> Finished(const ByteReader& reader, absl::string_view kind, Record record) {
  if (!reader.ok() || !reader.AtEnd()) return DamagedRecord(kind);
  return record;
}

}  // namespace mqd::storage
