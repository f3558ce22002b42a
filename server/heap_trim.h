#pragma once

// heap_trim.h: gives memory back that a burst has left free in the heap.
//
// malloc of glibc returns the end of a heap when it is free, and keeps all that is free in front of
// it. Slow readers, a backlog or large messages would leave the process as large as they made it.
// malloc_trim(3) returns every free page; mallinfo2(3) says how much is in use.
//
// Threads: One at a time. A trim holds up, for milliseconds, threads that ask the same heap.

#include <cstdint>
#include <optional>

namespace mqd {

/// What is resident and unused, and kept at least so as not to be asked for again at once.
inline constexpr std::uint64_t kSpareBytes = 128u << 20;

/// Whether so much more is resident than in use, in bytes, that a trim is worth its time: more than
/// kSpareBytes and a quarter of what is in use.
bool IsTrimDue(std::uint64_t resident, std::uint64_t in_use);

/// Trims if it is due; call it about once a second, and seldom after a trim that gave little back:
/// then what is free lies between things in use. Returns the bytes that are resident no more, and
/// nothing when no trim was due.
std::optional<std::uint64_t> TrimHeapIfDue();

}  // namespace mqd
