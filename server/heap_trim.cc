#include "server/heap_trim.h"

#include <malloc.h>
#include <unistd.h>

#include <fstream>

namespace mqd {
namespace {

/// Of this process; 0 when /proc cannot be read.
std::uint64_t ResidentBytes() {
  std::uint64_t all_pages = 0;
  std::uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> all_pages >> resident_pages;
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

bool IsTrimDue(std::uint64_t resident, std::uint64_t in_use) {
  return resident > in_use + in_use / 4 + kSpareBytes;
}

std::optional<std::uint64_t> TrimHeapIfDue() {
  const std::uint64_t resident = ResidentBytes();
  if (!IsTrimDue(resident, 0)) return std::nullopt;  // whatever is in use
  const auto heap = ::mallinfo2();
  if (!IsTrimDue(resident, heap.uordblks + heap.hblkhd)) return std::nullopt;
  ::malloc_trim(0);
  const std::uint64_t left = ResidentBytes();
  return left < resident ? resident - left : 0;
}

}  // namespace mqd
