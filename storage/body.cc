#include "storage/body.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "storage/byte_codec.h"

namespace mqd::storage {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kEndBytes = 4;
constexpr std::size_t kFooterBytes = 4 + 1 + kChecksumBytes;  // count, version, checksum

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("body: ", std::string(what)));
}

}  // namespace

void Body::Builder::Reserve(std::size_t element_bytes, std::size_t count) {
  bytes_.reserve(element_bytes + count * kEndBytes + kFooterBytes);
  ends_.reserve(count);
}

void Body::Builder::Append(std::string_view element) {
  MQD_ASSERT(ends_.size() < kBodyMessagesMax);
  MQD_ASSERT(element.size() <= kBodyBytesMax - bytes_.size());
  bytes_.append(element);
  ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
}

std::shared_ptr<const Body> Body::Builder::Finish() && {
  for (const std::uint32_t end : ends_) AppendLittleEndian32(bytes_, end);
  AppendLittleEndian32(bytes_, static_cast<std::uint32_t>(ends_.size()));
  bytes_.push_back(static_cast<char>(kVersion));
  AppendChecksum(bytes_);
  return std::shared_ptr<const Body>(new Body(std::move(bytes_), ends_.size()));
}

absl::StatusOr<std::shared_ptr<const Body>> Body::Decode(std::string encoded) {
  if (encoded.size() < kFooterBytes) return Damaged("it is shorter than its footer");
  if (!EndsWithItsChecksum(encoded)) return Damaged("its checksum does not match");
  const char* footer = encoded.data() + encoded.size() - kFooterBytes;
  const auto version = static_cast<std::uint8_t>(footer[4]);
  if (version != kVersion)
    return Damaged(absl::StrCat("it has unknown version ", static_cast<unsigned>(version)));
  const std::size_t count = LoadLittleEndian32(footer);
  const std::size_t room = encoded.size() - kFooterBytes;
  if (count > kBodyMessagesMax || count * kEndBytes > room) {
    return Damaged(absl::StrCat("it cannot hold the ", count, " messages it claims"));
  }
  const std::size_t element_bytes = room - count * kEndBytes;
  std::size_t last_end = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t end = LoadLittleEndian32(encoded.data() + element_bytes + i * kEndBytes);
    if (end < last_end || end > element_bytes) return Damaged("an offset is out of place");
    last_end = end;
  }
  if (last_end != element_bytes) return Damaged("bytes belong to no message");
  return std::shared_ptr<const Body>(new Body(std::move(encoded), count));
}

std::string_view Body::Elements(std::size_t first, std::size_t last) const {
  MQD_ASSERT(first <= last && last <= count_);
  const std::size_t begin = first == 0 ? 0 : EndOf(first - 1);
  const std::size_t end = last == 0 ? 0 : EndOf(last - 1);
  return std::string_view(encoded_).substr(begin, end - begin);
}

std::size_t Body::EndOf(std::size_t index) const {
  const std::size_t ends_at = encoded_.size() - kFooterBytes - count_ * kEndBytes;
  return LoadLittleEndian32(encoded_.data() + ends_at + index * kEndBytes);
}

}  // namespace mqd::storage
