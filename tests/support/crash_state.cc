#include "tests/support/crash_state.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"
#include "tests/support/temporary_directory.h"

namespace mqd::test {
namespace {

using Random = CrashState::Random;

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kPageBytes = 4096;

std::uint64_t BehindUnit(std::uint64_t at, std::uint64_t unit) { return (at / unit + 1) * unit; }

void LosePages(std::string& bytes, std::uint64_t synced, Random& random) {
  std::uint64_t left = synced;
  for (std::uint64_t at = synced; at < bytes.size(); at = BehindUnit(at, kPageBytes)) {
    const std::uint64_t end = std::min<std::uint64_t>(bytes.size(), BehindUnit(at, kPageBytes));
    if (random() % 2) {
      left = end;
    } else {
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                bytes.begin() + static_cast<std::ptrdiff_t>(end), '\0');
    }
  }
  if (random() % 2) bytes.resize(left);  // the new length may be durable although bytes are not
}

void TearLastPage(std::string& bytes, std::uint64_t synced, Random& random) {
  const std::uint64_t last_page = (bytes.size() - 1) / kPageBytes * kPageBytes;
  for (std::uint64_t at = std::max(synced, last_page); at < bytes.size();
       at = BehindUnit(at, kSectorBytes)) {
    const std::uint64_t end = std::min<std::uint64_t>(bytes.size(), BehindUnit(at, kSectorBytes));
    const std::uint64_t fate = random() % 3;  // kept, zeroes, garbage
    for (std::uint64_t i = at; fate > 0 && i < end; ++i) {
      bytes[i] = fate == 1 ? '\0' : static_cast<char>(random());
    }
  }
}

/// What is left of `bytes`, of which the first `synced` are safe.
std::string Cut(std::string bytes, std::uint64_t synced, Bytes remains, Random& random) {
  if (remains == Bytes::kWritten || bytes.size() <= synced) return bytes;
  switch (remains) {
    case Bytes::kSynced:
      bytes.resize(synced);
      break;
    case Bytes::kPages:
      LosePages(bytes, synced, random);
      break;
    default:
      bytes.resize(synced + random() % (bytes.size() - synced + 1));
      if (remains == Bytes::kTorn && bytes.size() > synced) TearLastPage(bytes, synced, random);
  }
  return bytes;
}

}  // namespace

CrashState::Inode CrashState::Adopt(const std::string& name, std::uint64_t size) {
  extents_.push_back({size, size});
  names_[name] = durable_[name] = extents_.size() - 1;
  return extents_.size() - 1;
}

CrashState::Inode CrashState::Make(const std::string& name) {
  extents_.push_back({});
  Do({.added = name, .inode = extents_.size() - 1});
  return extents_.size() - 1;
}

void CrashState::Rename(const std::string& from, const std::string& to) {
  Do({.removed = from, .added = to, .inode = names_.at(from)});
}

void CrashState::Remove(const std::string& name) { Do({.removed = name}); }

void CrashState::SyncDirectory() {
  durable_ = names_;
  changes_.clear();
}

void CrashState::Truncate(Inode inode, std::uint64_t size) {
  Extent& extent = extents_[inode];
  extent.written = std::min(extent.written, size);
  extent.synced = std::min(extent.synced, size);
}

void CrashState::Do(Change change) {
  Apply(change, names_);
  changes_.push_back(std::move(change));
}

void CrashState::Apply(const Change& change, Names& names) {
  if (!change.removed.empty()) names.erase(change.removed);
  if (!change.added.empty()) names[change.added] = change.inode;
}

void CrashState::Materialise(const std::string& attic, Remains remains, Random& random,
                             const std::string& target) const {
  Names names = durable_;
  std::size_t kept = remains.entries == Entries::kWritten ? changes_.size() : 0;
  if (remains.entries == Entries::kPrefix) kept = random() % (changes_.size() + 1);
  for (std::size_t i = 0; i < kept; ++i) Apply(changes_[i], names);
  std::filesystem::create_directory(target);
  for (const auto& [name, inode] : names) {
    std::string bytes = ReadFile(absl::StrCat(attic, "/", inode));
    const Extent& extent = extents_[inode];
    MQD_ASSERT(bytes.size() >= extent.written);
    bytes.resize(extent.written);
    WriteFile(absl::StrCat(target, "/", name),
              Cut(std::move(bytes), extent.synced, remains.bytes, random));
  }
}

}  // namespace mqd::test
