#include "storage/commit_watermark.h"

#include <fcntl.h>

#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/byte_codec.h"

namespace mqd::storage {
namespace {

constexpr std::size_t kSlotBytes = 8 + kChecksumBytes;
constexpr std::uint64_t kSlotDistance = 4096;  // no device tears two of these at once

std::string EncodeSlot(std::uint64_t group) {
  std::string bytes;
  AppendLittleEndian64(bytes, group);
  AppendChecksum(bytes);
  return bytes;
}

absl::StatusOr<std::optional<std::uint64_t>> ReadSlot(const File& file, int slot) {
  absl::StatusOr<std::string> bytes = file.ReadAt(kSlotBytes, slot * kSlotDistance);
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() != kSlotBytes || !EndsWithItsChecksum(*bytes)) return std::nullopt;
  return LoadLittleEndian64(bytes->data());
}

}  // namespace

absl::StatusOr<CommitWatermark> CommitWatermark::Create(const std::string& path) {
  absl::StatusOr<File> file = File::Open(path, O_RDWR | O_CREAT | O_TRUNC);
  if (!file.ok()) return file.status();
  for (int slot = 0; slot < 2; ++slot) {
    absl::Status status = file->WriteAt(EncodeSlot(0), slot * kSlotDistance);
    if (!status.ok()) return status;
  }
  if (absl::Status status = file->Sync(); !status.ok()) return status;
  return CommitWatermark(*std::move(file), 0, 0);
}

absl::StatusOr<CommitWatermark> CommitWatermark::Open(const std::string& path) {
  absl::StatusOr<File> file = File::Open(path, O_RDWR);
  if (!file.ok()) return file.status();
  std::optional<std::uint64_t> best;
  int newest = 0;
  for (int slot = 0; slot < 2; ++slot) {
    absl::StatusOr<std::optional<std::uint64_t>> group = ReadSlot(*file, slot);
    if (!group.ok()) return group.status();
    if (!group->has_value() || (best && **group <= *best)) continue;
    best = **group;
    newest = slot;
  }
  if (!best) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: neither slot can be read"));
  }
  return CommitWatermark(*std::move(file), *best, 1 - newest);
}

absl::Status CommitWatermark::Advance(std::uint64_t group) {
  if (absl::Status status = file_.WriteAt(EncodeSlot(group), slot_ * kSlotDistance); !status.ok()) {
    return status;
  }
  group_ = group;
  slot_ = 1 - slot_;
  return absl::OkStatus();
}

}  // namespace mqd::storage
